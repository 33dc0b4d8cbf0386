"""Writing a network's weights as the reference implementation stores them.

The rules of its files are in :mod:`ssn_prune.checkpoint.reference_format`.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

_SHAPES: dict[str, tuple[int, ...]] = {
    "weight": (1, -1, 1, 1),
    "bias": (1, -1, 1, 1),
    "running_mean": (1, -1, 1),
    "running_var": (1, -1, 1),
}
_GATES = ("mean_weight", "var_weight")
_GATE_TOLERANCE = 1e-5


def authors_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network in the reference layout.

    ``num_batches_tracked`` and ``_extra_state`` are left out.

    Args:
        model: A network with SSN2d or SwitchNorm2d layers; not changed.

    Raises:
        UnsupportedLayerError: The reference implementation has no such layer: it is not
            two-dimensional, its variances are not Bessel-corrected in that way, it lacks IN or LN,
            affine parameters or running statistics, or its gates are not one-hot yet and the
            reference code's SparsestMax gives other ratios.
    """
    state: dict[str, Tensor] = model.state_dict()
    for name, layer in model.named_modules(remove_duplicate=False):
        if not isinstance(layer, SwitchableNorm):
            continue
        _require_reference_kind(name, layer)
        prefix = f"{name}." if name else ""
        kept = {*_SHAPES, *_GATES}
        if isinstance(layer, SSN):
            kept |= {"mean_fixed", "var_fixed", "radius"}
        for key in layer.state_dict():
            if key not in kept:
                del state[prefix + key]
            elif key in _SHAPES:
                state[prefix + key] = state[prefix + key].reshape(_SHAPES[key])
    return state


def _require_reference_kind(name: str, layer: SwitchableNorm) -> None:
    unlike = []
    if layer.dims != (4,):
        unlike.append(f"it is a {type(layer).__name__}")
    if layer.correction != 1:
        biased = "not Bessel-corrected" if layer.correction == 0 else "corrected separately"
        unlike.append(f"its variances are {biased} (correction={layer.correction})")
    if not {Normalizer.IN, Normalizer.LN} <= set(layer.normalizers):
        unlike.append("it does not offer both IN and LN")
    if not layer.affine:
        unlike.append("it has no affine parameters")
    if layer.using_bn and layer.running_mean is None:
        unlike.append("it keeps no running statistics")
    if isinstance(layer, SSN) and not _same_gates(layer):
        unlike.append("its gates are not one-hot yet, and that code would mix in other ratios")
    if unlike:
        raise UnsupportedLayerError(
            f"{name or 'the layer'} cannot be written in the reference layout: {'; '.join(unlike)}",
            expected="SSN2d or SwitchNorm2d with correction=1 and affine parameters",
            found=str(layer),
            hint="train with correction=1, and until every gate is one-hot, if the reference "
            "implementation is to read the result; saving with torch.save(model.state_dict()) "
            "keeps everything for ssn_prune",
        )


def _same_gates(layer: SSN) -> bool:
    """Whether the reference code has the same gates, up to its float32 rounding."""
    read = copy.copy(layer)
    read.gate_definition = "reference"
    pairs = zip(layer.gates(), read.gates(), strict=True)
    return all(bool((a - b).abs().max() <= _GATE_TOLERANCE) for a, b in pairs)
