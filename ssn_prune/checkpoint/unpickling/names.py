"""Which names a pickle may use: a closed list, by name or by the library that defines them.

Nothing is ever imported or called: a name only decides which *description* stands for the object.
"""

from __future__ import annotations

import re
import sys

# Where Python, NumPy and PyTorch have moved these over time: the other prefix, the one used here.
_MOVED = (
    ("__builtin__.", "builtins."),
    ("copy_reg.", "copyreg."),
    ("numpy._core.", "numpy.core."),
    ("pathlib._local.", "pathlib."),
    ("torch.tensor.", "torch._tensor."),
    ("torch._utils.torch.", "torch."),
    ("UserDict.IterableUserDict", "collections.UserDict"),
)
# By module: classes and functions whose objects are metadata that may be left unread.
_INERT = {
    "argparse": ("Namespace",),
    "builtins": (
        *("object", "int", "long", "float", "bool", "str", "unicode", "tuple", "slice", "range"),
        *("xrange", "set", "frozenset", "Ellipsis", "NotImplemented"),
    ),
    "collections": ("UserDict", "UserList", "ChainMap"),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "deepspeed.utils.tensor_fragment": ("fragment_address",),
    "fractions": ("Fraction",),
    "functools": ("partial",),
    "http": ("HTTPStatus",),
    "logging": ("getLogger",),
    "numpy": ("ndarray",),
    "numpy.matrixlib.defmatrix": ("matrix",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64", "PCG64DXSM"),
    "numpy.random._philox": ("Philox",),
    "numpy.random._pickle": ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"),
    "numpy.random._sfc64": ("SFC64",),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "pathlib": (
        *("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"),
    ),
    "random": ("Random",),
    "re": ("_compile",),
    "time": ("struct_time",),
    "torch": ("device", "Generator"),
    "torch._C": ("Generator",),
    "torch.amp.grad_scaler": ("GradScaler",),
    "torch.cuda.amp.grad_scaler": ("GradScaler",),
    "torch.torch_version": ("TorchVersion",),
    "types": ("SimpleNamespace", "MappingProxyType"),
    "typing": ("Any",),
    "uuid": ("UUID", "SafeUUID"),
    "zoneinfo": ("ZoneInfo",),
    "zoneinfo.ZoneInfo": ("_unpickle",),
}
# Classes of these libraries are what trainers store next to the weights; functions are not.
_TRAINERS = (
    *("accelerate", "addict", "box", "deepspeed", "detectron2", "easydict", "fairseq", "fvcore"),
    *("hydra", "ignite", "iopath", "lightning", "lightning_fabric", "lightning_utilities"),
    *("ml_collections", "mmcv", "mmengine", "munch", "omegaconf", "pytorch_lightning"),
    *("tensorboardX", "torchmetrics", "transformers", "wandb", "yacs"),
)
_LOSSES = "torch.nn.modules.loss."
_PACKAGES = ("torch.optim.", "torch.distributed.", "torch.nn.attention.", "numpy.dtypes.")
_NAMED = (
    *("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"),
    *("_mkldnn", "contiguous_format", "preserve_format", "channels_last", "channels_last_3d"),
    *("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric"),
    "per_channel_affine_float_qparams",
)
_DTYPE = re.compile(
    r"torch\.(b?float\d+(_\w+)?|u?int\d+|double|float|half|long|int|short|bool"
    r"|b?complex\d+|cfloat|cdouble|chalf|quint\d\w*|qint\d+|bits\d\w*)"
)
_TENSOR_OR_STORAGE = re.compile(
    r"torch\.((cuda|sparse|cuda\.sparse|storage|xpu|mps|hpu)\.)?_?[A-Z]\w*(Tensor|Storage)"
    r"|torch\.Tensor|torch\.(_tensor|tensor)\.Tensor"
)
_CLASS = re.compile(r"[A-Z]\w*(\.[A-Z]\w*)*")
_ENUM_VALUE = re.compile(r"[\w.+-]{1,64}")
# Classes of these libraries never count as a user's own enumeration.
_NO_USER = sys.stdlib_module_names | {"torch", "numpy", "__builtin__", "copy_reg"}


def canonical(name: str) -> str:
    """The name under which the tables list it."""
    for other, prefix in _MOVED:
        if name.startswith(other):
            return prefix + name.removeprefix(other)
    return name


def is_inert(name: str) -> bool:
    """Whether objects of this class are metadata that may be left unread."""
    module, _, member = name.rpartition(".")
    if member in _INERT.get(module, ()):
        return True
    if not _CLASS.fullmatch(member):
        return False
    of_trainer = name.startswith(_PACKAGES) or name.partition(".")[0] in _TRAINERS
    return is_loss(name) or (of_trainer and ".models." not in name)


def is_loss(name: str) -> bool:
    """Whether it is a loss of ``torch.nn``: a module, but not part of a network."""
    return name.startswith(_LOSSES)


def is_module(name: str) -> bool:
    """Whether it is a class of ``torch.nn``."""
    return name.startswith("torch.nn.") and bool(_CLASS.fullmatch(name.rpartition(".")[2]))


def is_tensor_class(name: str) -> bool:
    """Whether it is a class of tensors or storages."""
    return bool(_TENSOR_OR_STORAGE.fullmatch(name))


def may_be_named(name: str) -> bool:
    """Whether a file may name it without calling it: dtypes, layouts, classes and functions."""
    torch_name = name.removeprefix("torch.")
    return (
        bool(_DTYPE.fullmatch(name))
        or is_tensor_class(name)
        or (torch_name != name and torch_name in _NAMED)
        or is_module(name)
        or (name.startswith("torch.nn.functional.") and name.count(".") == 3)
    )


def is_of_library(name: str) -> bool:
    """Whether Python, NumPy or PyTorch defines it; then it is not a user's class."""
    return name.partition(".")[0] in _NO_USER


def may_be_enum_member(name: str, arguments: tuple[object, ...]) -> bool:
    """Whether a call of an unknown name can be a member of a user's enumeration.

    An ``Enum`` member is stored as its class, called with one number or one word. Even a reader
    that makes this call comes to no harm. A name from Python's library is not a user's enumeration.
    """
    member = name.rpartition(".")[2]
    if is_of_library(name) or len(arguments) != 1:
        return False
    (value,) = arguments
    plain = type(value) in (bool, int, float, type(None))
    word = isinstance(value, str) and bool(_ENUM_VALUE.fullmatch(value))
    return bool(_CLASS.fullmatch(member)) and (plain or word)
