"""Tensors, built from the arguments with which PyTorch's pickles rebuild them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ssn_prune.checkpoint.stored import DTYPES, StoredTensor, UnsupportedTensor
from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.names import may_be_named
from ssn_prune.checkpoint.unpickling.python_values import Builder
from ssn_prune.checkpoint.unpickling.values import (
    Inert,
    Name,
    NumpyArray,
    Pairs,
    StorageReference,
)
from ssn_prune.text import printable, shortened

Tensor = StoredTensor | UnsupportedTensor
TensorBuilder = Callable[[tuple[object, ...]], Tensor]
_MOST_AXES = 64
_MOST_BITS = 8
# Older names of dtypes.
_SYNONYMS = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
}


def tensor(arguments: tuple[object, ...]) -> Tensor:
    """``_rebuild_tensor`` and ``_v2``: storage, offset, shape, strides, settings for training."""
    match arguments:
        case (StorageReference() as reference, offset, shape, stride, *rest):
            return _view(reference, reference.dtype, offset, shape, stride, rest[2:])
    raise PickleError("a tensor without its storage, offset, shape and strides")


def tensor_with_dtype(arguments: tuple[object, ...]) -> Tensor:
    """``_v3``: the same over an untyped storage, and a dtype."""
    match arguments:
        case (StorageReference() as reference, offset, shape, stride, _, _, Name() as dtype, *rest):
            return _view(reference, dtype_name(dtype), offset, shape, stride, rest)
    raise PickleError("a tensor without its storage, offset, shape, strides and dtype")


def parameter(arguments: tuple[object, ...]) -> Tensor:
    """``Parameter``, ``_rebuild_parameter`` with and without state: the tensor itself."""
    match arguments:
        case (StoredTensor() | UnsupportedTensor() as data, *_):
            return data
    raise PickleError("a parameter without its tensor")


def from_array(arguments: tuple[object, ...]) -> Tensor:
    """A tensor of a device without storages of its own, such as XLA, stored as an array."""
    match arguments:
        case (NumpyArray(tensor=found), Name() as dtype, *_):
            if found is not None and found.dtype == dtype_name(dtype):
                return found
            return UnsupportedTensor(f"a tensor of dtype {dtype.name} stored as another")
        case (StoredTensor() as found, Name() as dtype, *_):
            if found.dtype == dtype_name(dtype):
                return found
            return UnsupportedTensor(f"a tensor of dtype {dtype.name} stored as {found.dtype}")
        case (UnsupportedTensor() as found, *_):
            return found
    raise PickleError("a tensor of a device without its numbers and dtype")


def meta(_: tuple[object, ...]) -> Tensor:
    """A tensor on the meta device, which has no numbers."""
    return UnsupportedTensor("a tensor on the meta device, which holds no numbers")


def sparse(arguments: tuple[object, ...]) -> Tensor:
    """A sparse tensor of any layout."""
    layout = arguments[0] if arguments else None
    name = layout.name if isinstance(layout, Inert) else "unknown"
    return UnsupportedTensor(f"a sparse tensor (layout {name})")


def quantized(arguments: tuple[object, ...]) -> Tensor:
    """A quantized tensor."""
    reference = arguments[0] if arguments else None
    dtype = reference.dtype if isinstance(reference, StorageReference) else None
    return UnsupportedTensor(f"a quantized tensor (dtype torch.{dtype or 'unknown'})")


def nested(_: tuple[object, ...]) -> Tensor:
    """A nested tensor."""
    return UnsupportedTensor("a nested tensor (layout torch.jagged or torch.strided)")


def wrapper(arguments: tuple[object, ...]) -> Tensor:
    """A subclass that has no storage of its own, such as DTensor."""
    cls = arguments[0] if arguments else None
    name = printable(shortened(cls.name)) if isinstance(cls, Name) else "?"
    return UnsupportedTensor(f"a tensor of the class {name}")


def dtype_name(dtype: Name) -> str:
    """The name of a dtype, such as ``"float32"`` for ``torch.float32``."""
    short = dtype.name.removeprefix("torch.")
    return _SYNONYMS.get(short, short)


def layout(arguments: tuple[object, ...]) -> Name:
    """``torch.serialization._get_layout``: the layout of that name."""
    match arguments:
        case (str() as text,) if may_be_named(text):
            return Name(text)
    raise PickleError("a layout without its name")


def size(arguments: tuple[object, ...]) -> tuple[object, ...]:
    """``torch.Size``: a tuple."""
    match arguments:
        case ():
            return ()
        case (tuple() | list() as sizes,):
            return tuple(sizes)
    raise PickleError("a torch.Size of something else than a tuple")


def _view(
    reference: StorageReference,
    dtype: str | None,
    offset: object,
    shape: object,
    stride: object,
    metadata: Sequence[object],
) -> Tensor:
    sizes, steps = _counts(shape), _counts(stride)
    if type(offset) is not int or offset < 0 or len(sizes) != len(steps):
        raise PickleError("a tensor whose offset, shape or strides are no counts")
    if dtype is None:
        raise PickleError("a tensor without a dtype over an untyped storage")
    if dtype not in DTYPES:
        return UnsupportedTensor(f"a tensor of dtype torch.{dtype}")
    width = DTYPES[dtype][0]
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if math.prod(sizes) and (last + 1) * width > reference.storage.size:
        raise PickleError(
            f"a tensor that reaches to byte {(last + 1) * width} of a storage "
            f"of {reference.storage.size} bytes"
        )
    if _is_negated(metadata):
        return UnsupportedTensor("a tensor that is stored negated (see torch.resolve_neg)")
    return StoredTensor(reference.storage, dtype, sizes, steps, offset)


def _counts(value: object) -> tuple[int, ...]:
    """Sizes or strides."""
    if not isinstance(value, tuple | list) or len(value) > _MOST_AXES:
        raise PickleError("a tensor whose shape or strides are no short tuple")
    counts = tuple(count for count in value if type(count) is int and 0 <= count < 1 << 63)
    if len(counts) != len(value):
        raise PickleError("a tensor whose shape or strides are no counts")
    return counts


def _is_negated(metadata: Sequence[object]) -> bool:
    """Whether the tensor's values are the negatives of the stored ones."""
    bits = metadata[0] if metadata else None
    if not isinstance(bits, Pairs):
        return False
    if len(bits) > _MOST_BITS:
        raise PickleError("a tensor with metadata of another kind")
    return bits.get("neg") not in (None, False)


def uninitialized(_: tuple[object, ...]) -> Tensor:
    """A parameter of a lazy layer that never saw an input."""
    return UnsupportedTensor("an uninitialized parameter of a lazy layer")


TENSORS: dict[str, TensorBuilder] = {
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor_v3": tensor_with_dtype,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch.nn.parameter.Parameter": parameter,
    "torch.nn.parameter.Buffer": parameter,
    "torch.nn.parameter.UninitializedParameter": uninitialized,
    "torch.nn.parameter.UninitializedBuffer": uninitialized,
    "torch._utils._rebuild_device_tensor_from_numpy": from_array,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": from_array,
    "torch._utils._rebuild_xla_tensor": from_array,
    "torch._utils._rebuild_meta_tensor_no_storage": meta,
    "torch._utils._rebuild_sparse_tensor": sparse,
    "torch._utils._rebuild_sparse_csr_tensor": sparse,
    "torch._utils._rebuild_qtensor": quantized,
    "torch._utils._rebuild_nested_tensor": nested,
    "torch.nested._internal.nested_tensor._rebuild_njt": nested,
    "torch._utils._rebuild_wrapper_subclass": wrapper,
}
TORCH: dict[str, Builder] = {
    **TENSORS,
    "torch.serialization._get_layout": layout,
    "torch.Size": size,
}
