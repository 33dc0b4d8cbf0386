"""Recognise the reference layers, whatever their class is called, and take them over.

A layer is an SSN or SN layer if it carries their tensors: ``mean_weight`` and ``var_weight`` of 2
or 3 entries, ``weight`` and ``bias`` of shape (1, C, 1, 1), with as many ones after C as there are
spatial axes, and running statistics if and only if the gates have 3 entries. The layer for (N, C)
inputs has shapes (1, C), running statistics, and gates over LN and BN. Flags or a radius make it
SSN. ``eps`` and ``momentum`` are read from the instance; the reference momentum is the share that
is *kept*, so torch's is 1 - momentum. If the instance keeps its radius as a Python number, its code
uses that one, and the buffer is only a copy.

All this is a guess about somebody else's code. A probe supports it where the layer runs on noise;
whether it is right is decided on real activations (:mod:`ssn_prune.surgery.adoption`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.checkpoint.reference_format import VECTORS
from ssn_prune.errors import SsnPruneError, UnsupportedLayerError, first_line
from ssn_prune.nn.ssn import SSN, SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.surgery.copying import copy_replacing
from ssn_prune.surgery.probing import eps_candidates, probed

_RADII = ("radius", "rad")
_SSN_ONLY = ("mean_fixed", "var_fixed", *_RADII)
# By the number of axes of a foreign layer's weight.
_SSN: dict[int, type[SwitchableNorm]] = {2: SSN1d, 3: SSN1d, 4: SSN2d, 5: SSN3d}
_SN: dict[int, type[SwitchableNorm]] = {
    2: SwitchNorm1d,
    3: SwitchNorm1d,
    4: SwitchNorm2d,
    5: SwitchNorm3d,
}
_OWN = (*_SSN.values(), *_SN.values())


def adopt_layers(model: nn.Module) -> nn.Module:
    """Replace every layer of the reference kind by ours, with the same values bit by bit.

    Args:
        model: Any network; not changed.

    Returns:
        A copy with SSN and SwitchNorm layers of ours, sharing every other tensor with ``model``.
        Whether a layer's variance is Bessel-corrected, as in the reference implementation, and its
        eps, if no attribute is called so, are found by running it on noise. A layer that does not
        run on noise is assumed to be the reference implementation's. Neither is proof.

    Raises:
        UnsupportedLayerError: A layer has the tensors but not their shapes, or computes something
            else, or is a subclass of ours that computes something of its own.
    """
    taken: list[tuple[nn.Module, nn.Module]] = []
    for name, module in model.named_modules():  # each module once
        require_own_forward(name, module)
        if is_foreign(module):
            taken.append((module, _adopted(name, module)))
    return copy_replacing(model, taken)


def foreign_layers(model: nn.Module) -> list[str]:
    """First paths of the layers that carry the tensors of a switchable one, but are not ours."""
    return [name for name, module in model.named_modules() if is_foreign(module)]


def require_own_forward(path: str, module: nn.Module) -> None:
    """Refuse a subclass of our layers that computes something of its own.

    Args:
        path: Its name, for the message.
        module: Any module; other kinds pass.

    Raises:
        UnsupportedLayerError: The module is such a subclass.
    """
    if not isinstance(module, SwitchableNorm):
        return
    kind = type(module)
    base = next((known for known in kind.__mro__ if known in _OWN), SwitchableNorm)
    changed = [
        name
        for name in ("dims", "forward", "gates", "solved_gates")
        if getattr(kind, name, None) is not getattr(base, name, None) or name in vars(module)
    ]
    if changed:
        listed = " and ".join(changed)
        shown = path or "the layer"
        raise UnsupportedLayerError(
            f"{shown} ({kind.__name__}) is a subclass of {base.__name__} with its own {listed}",
            expected="a layer of ssn_prune itself, whose formula is known",
            found=f"an overridden {listed}",
            hint="put what the subclass adds into a module of its own after the layer",
        )


def is_foreign(module: nn.Module) -> bool:
    """Whether a module carries the tensors of a switchable layer, but is not one of ours."""
    names = ("mean_weight", "var_weight")
    return not isinstance(module, SwitchableNorm) and all(_has_tensor(module, n) for n in names)


def _has_tensor(module: nn.Module, name: str) -> bool:
    """Whether a tensor is the module's own: a wrapper may pass on those of another module."""
    stored = (module._parameters, module._buffers, vars(module))
    if not (any(name in table for table in stored) or hasattr(type(module), name)):
        return False
    try:
        return isinstance(getattr(module, name), Tensor)
    # A property is somebody else's code, and says nothing if it raises.
    except Exception:  # noqa: BLE001
        return False


def _adopted(name: str, module: nn.Module) -> SwitchableNorm:
    """Take one layer over.

    Raises:
        UnsupportedLayerError: It cannot be taken over, for whatever reason.
    """
    kind = f"{name} ({type(module).__name__})"
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedLayerError(
            f"{kind} is compiled to TorchScript, where no layer can be replaced",
            expected="layers that are Python code",
            found="a ScriptModule",
            hint="pass the network itself, before torch.jit.trace or torch.jit.script",
        )
    try:
        return _adopt(kind, module)
    except SsnPruneError:
        raise
    # What the layer holds may have any type and shape.
    except Exception as error:
        raise UnsupportedLayerError(
            f"{kind} looks like a switchable normalization layer but cannot be taken over",
            expected="tensors and settings as in the reference implementation: running statistics "
            "with one entry per channel, a radius, numbers for eps and momentum",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="replace it in your network by an SSN or SwitchNorm layer of ssn_prune",
        ) from error


def _adopt(kind: str, module: nn.Module) -> SwitchableNorm:
    tensors = {
        key: value
        for key, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }
    weight = tensors.get("weight")
    gates = [tensors[key].numel() for key in ("mean_weight", "var_weight") if key in tensors]
    choices = gates[0] if gates else 0
    has_running = "running_mean" in tensors and "running_var" in tensors
    problem = None
    if weight is None or "bias" not in tensors:
        problem = "no weight or bias"
    elif weight.dim() not in _SSN or weight.shape[1] != weight.numel():
        problem = f"weight of shape {tuple(weight.shape)}"
    elif gates != [2, 2] and (gates != [3, 3] or weight.dim() == VECTORS):
        problem = f"gates of {' and '.join(map(str, gates)) or 'no'} entries in its state dict"
    elif has_running != (choices == 3 or weight.dim() == VECTORS):
        problem = f"{choices} gate entries with{'' if has_running else 'out'} running statistics"
    if problem is not None or weight is None:
        raise UnsupportedLayerError(
            f"{kind} looks like a switchable normalization layer but cannot be taken over",
            expected="weight and bias of shape (1, C, 1, 1), or (1, C, 1) in 1-d and (1, C, 1, 1, "
            "1) in 3-d, and two gates over IN, LN and optionally BN (then with running_mean and "
            "running_var); or (1, C) for (N, C) inputs, gates over LN and BN",
            found=str(problem),
            hint="replace it in your network by an SSN or SwitchNorm layer of ssn_prune",
        )
    kinds = _SSN if any(hasattr(module, key) for key in _SSN_ONLY) else _SN
    named_eps = eps_candidates(module)
    sparse: dict[str, Any] = {"gate_definition": "reference"} if kinds is _SSN else {}
    vectors = weight.dim() == VECTORS
    layer = kinds[weight.dim()](
        weight.numel(),
        eps=named_eps[0],
        momentum=_momentum(module),
        normalizers=("LN", "BN") if vectors else ("IN", "LN", "BN")[:choices],
        shared_gate=tensors["mean_weight"] is tensors["var_weight"],
        correction=OWN_COUNT if vectors else FROM_PLANES,
        device=weight.device,
        dtype=weight.dtype,
        **sparse,
    )
    known = {k: v for k, v in layer.state_dict().items() if k != "_extra_state"}
    values = {k: v.detach() for k, v in tensors.items() if k in known}
    for key, value in values.items():  # numbers may be stored as (), gates as (1, K)
        if value.numel() == known[key].numel():
            values[key] = value.reshape(known[key].shape)
    layer.load_state_dict(values)
    if isinstance(layer, SSN):
        _take_radius(layer, module)
    found = probed(kind, module, layer, named_eps)
    layer.correction, layer.eps = found.correction, found.eps
    return layer.train(module.training)


def _take_radius(layer: SSN, module: nn.Module) -> None:
    """The radius that the code uses: a number of the instance, else its buffer."""
    for name in _RADII:
        value = getattr(module, name, None)
        if isinstance(value, int | float):
            # In full precision: a float32 buffer would round the number that the code uses.
            layer.radius = layer.radius.new_tensor([float(value)], dtype=torch.float64)
            return
    for name in _RADII:
        value = getattr(module, name, None)
        if isinstance(value, Tensor):
            layer.radius.copy_(value.detach().reshape(layer.radius.shape))
            return


def _momentum(module: nn.Module) -> float | None:
    """Torch's momentum; None, the average over all batches, means the same everywhere."""
    kept = getattr(module, "momentum", 0.9)
    return None if kept is None else 1.0 - float(kept)
