"""Whether the state of a switchable layer is for this kind of layer, if shapes do not tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ssn_prune.errors import CheckpointError
from ssn_prune.nn.extra_state import LENGTHS, ExtraState
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer


def require_same_kind(name: str, layer: SwitchableNorm, tensors: Mapping[str, Tensor]) -> None:
    """Refuse the state of a layer with other normalizers, or with two gates instead of one.

    Args:
        name: Path of the layer.
        layer: The layer that the state is meant for.
        tensors: Weights with the network's keys and shapes.

    Raises:
        CheckpointError: The state is not for this layer.
    """
    prefix = f"{name}." if name else ""
    shown = name or "the layer"
    extra = tensors.get(f"{prefix}_extra_state")
    if extra is not None:
        _require_same_normalizers(shown, layer, extra)
    mean, var = (tensors.get(f"{prefix}{gate}_weight") for gate in ("mean", "var"))
    if layer.shared_gate and mean is not None and var is not None and not torch.equal(mean, var):
        raise CheckpointError(
            f"{shown} shares one gate for mean and variance, the checkpoint has two",
            expected="equal mean_weight and var_weight",
            found=f"mean_weight {mean.tolist()}, var_weight {var.tolist()}",
            hint="build the network with shared_gate=False, as it was trained",
        )


def _require_same_normalizers(shown: str, layer: SwitchableNorm, extra: Tensor) -> None:
    values = extra.flatten().tolist()
    try:
        offered = ExtraState.of(values).normalizers
    except ValueError as error:
        raise CheckpointError(
            f"the _extra_state of {shown} is not that of a switchable layer",
            expected=f"{', '.join(map(str, LENGTHS))} entries: the kind of variance (0 to 2), "
            "then each 0 or 1",
            found=str(values[:8]),
            hint="the file was edited or is damaged: take the original",
        ) from error
    if offered is not None and offered != layer.normalizers:
        raise CheckpointError(
            f"{shown} was trained with other normalizers than the network offers",
            expected=_listed(layer.normalizers),
            found=f"{_listed(offered)} in the checkpoint",
            hint="build the network with the normalizers that it was trained with: "
            f"normalizers=({', '.join(repr(n.name) for n in offered)})",
        )


def _listed(normalizers: Iterable[Normalizer]) -> str:
    return ", ".join(normalizer.name for normalizer in normalizers) or "none"
