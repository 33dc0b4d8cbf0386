"""SSN1d, SSN2d and SSN3d: SparsestMax gates, and how they freeze (arXiv 1903.03793, section 3).

**Freezing.** A gate whose ratios are exactly one-hot is stored as such and flagged; from then on
its gradient is zero. The parameter still requires a gradient, because DistributedDataParallel waits
for the gradient of every parameter that it knew at the start, and because the host would have to
wait for the flag. Momentum may therefore still change the stored weight. The layer ignores that,
and :func:`set_radius` and ``state_dict`` restore the weight.

**Two definitions.** A gate that is not frozen is SparsestMax as the paper defines it, or what the
reference code computes instead (:mod:`ssn_prune.nn.reference_gate`), with which some networks were
trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ssn_prune.nn.extra_state import ExtraState
from ssn_prune.nn.functional import SolvedGates
from ssn_prune.nn.fused import GateInputs, GateKind
from ssn_prune.nn.gate_batches import freeze_gates
from ssn_prune.nn.gate_tensors import held_ratios, is_one_hot, solve_gates
from ssn_prune.nn.planes import HALVES
from ssn_prune.nn.reference_gate import GateDefinition, solved
from ssn_prune.nn.single_gate import (
    VERTEX_MARGIN,
    GateSolution,
    frozen_gate,
    is_vertex,
    vertex_radius,
)
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer


class SSN(SwitchableNorm):
    """What SSN1d, SSN2d and SSN3d share; use one of those.

    The gates are SparsestMax(``mean_weight``; ``radius``) and SparsestMax(``var_weight``;
    ``radius``). Grow the radius from 0 to sqrt((K-1)/K) during training, with
    :class:`ssn_prune.RadiusSchedule` or :func:`ssn_prune.set_radius`: gates that become one-hot
    freeze. Besides the argument below, it takes those of
    :class:`ssn_prune.nn.switchable.SwitchableNorm`.

    Args:
        gate_definition: ``"paper"``, or ``"reference"`` to compute gates that are not frozen as the
            reference code does, in float32 whatever the layer's precision. Loading a state dict
            sets it: ours record it, and the reference layout means ``"reference"``. Such gates have
            the gradient of the paper's. The first training batch with gradients, or
            :func:`ssn_prune.set_radius`, switches the layer to the paper's gates for good, with a
            warning if that changes a gate.

    Attributes:
        float64_gates: Solve the reference's gates in float64 if the layer is float64, to compare
            with the reference code in float64.
    """

    mean_fixed: Tensor
    var_fixed: Tensor
    radius: Tensor
    frozen_ratios: Tensor
    gate_definition: GateDefinition = "paper"
    float64_gates = False

    def __init__(
        self, *args: Any, gate_definition: GateDefinition = "paper", **kwargs: Any
    ) -> None:
        if gate_definition not in get_args(GateDefinition):
            listed = " or ".join(map(repr, get_args(GateDefinition)))
            raise ValueError(f"gate_definition must be {listed}, got {gate_definition!r}")
        super().__init__(*args, **kwargs)
        self.gate_definition = gate_definition
        gate = self.mean_weight.detach()
        self.register_buffer("mean_fixed", torch.zeros_like(gate[:1], dtype=torch.int64))
        self.register_buffer("var_fixed", torch.zeros_like(gate[:1], dtype=torch.int64))
        self.register_buffer("radius", torch.zeros_like(gate[:1]))
        # Rows are the ratios of gates that froze here or were loaded frozen; zeros otherwise.
        ratios = torch.zeros_like(gate).repeat(2, 1)
        self.register_buffer("frozen_ratios", ratios, persistent=False)

    def reset_parameters(self) -> None:
        """Reset everything, with gates that are not frozen."""
        super().reset_parameters()
        for name in ("mean_fixed", "var_fixed", "radius", "frozen_ratios"):
            if name in self._buffers:
                getattr(self, name).zero_()

    def _ratios(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class; a frozen gate is its stored one-hot, with a zero gradient."""
        logits = torch.stack((mean, var))
        frozen = torch.stack((self.mean_fixed, self.var_fixed)) != 0
        held = held_ratios(logits, self.frozen_ratios)
        ratios = solve_gates(
            logits, self.radius, self.gate_definition, float64=self._solves_in_float64()
        )
        p, q = torch.where(frozen, held, ratios).unbind()
        return p, q

    def _solves_in_float64(self) -> bool:
        return self.float64_gates and self.mean_weight.dtype == torch.float64

    def _ratios_for(self, input: Tensor) -> tuple[tuple[Tensor, Tensor], SolvedGates | None]:
        if self.training and torch.is_grad_enabled():
            self._train_as_defined()
        return super()._ratios_for(input)

    def _gate_inputs(self) -> GateInputs:
        if torch.is_grad_enabled():
            self._train_as_defined()
        if self.gate_definition == "reference":  # statistics are measured without gradients
            return GateInputs(GateKind.GIVEN, *self.gates())
        return GateInputs(
            GateKind.SPARSESTMAX,
            self.mean_weight,
            self.var_weight,
            self.radius,
            self.mean_fixed,
            self.var_fixed,
            self.frozen_ratios,
        )

    def _train_as_defined(self) -> None:
        if self.gate_definition != "reference":
            return
        self.gate_definition = "paper"
        # Waits for the device, once. At radius 0 both are sparsemax.
        frozen = bool(self.mean_fixed.all() and self.var_fixed.all())
        if not frozen and bool(self.radius.any()):
            # The same text for every layer, so that it is shown once.
            warnings.warn(
                "the gates of this network are those of the reference code, which are not trained "
                "here: from now on they are SparsestMax as the paper defines it",
                UserWarning,
                stacklevel=2,
            )

    def solved_gates(self) -> SolvedGates:
        """See the base class."""
        mean = self._solved(self.mean_weight.tolist(), self.mean_fixed, 0)
        return SolvedGates(
            mean, self._solved(self.var_weight.tolist(), self.var_fixed, 1), self._ratios
        )

    def _solved(self, logits: list[float], frozen: Tensor, row: int) -> GateSolution:
        if not frozen.item():
            wide = self._solves_in_float64()
            return solved(logits, self.radius.item(), self.gate_definition, float64=wide)
        if is_vertex(logits):
            return frozen_gate(logits)
        stored = self.frozen_ratios[row].tolist()
        return frozen_gate(stored if any(stored) else logits)

    def extra_repr(self) -> str:
        """Show the settings as torch's layers do."""
        by_reference = self.gate_definition == "reference"
        return super().extra_repr() + (", gate_definition=reference" if by_reference else "")

    def fix(self, mean: Normalizer, var: Normalizer) -> None:
        """Freeze the gates at a choice.

        Raises:
            ValueError: The layer does not offer a choice, or its shared gate cannot make two.
        """
        if mean not in self.normalizers or var not in self.normalizers:
            offered = ", ".join(n.name for n in self.normalizers)
            raise ValueError(f"the layer offers {offered}, not {mean.name}/{var.name}")
        if self.shared_gate and mean != var:
            raise ValueError(f"one shared gate cannot select {mean.name}/{var.name}")
        chosen = [self.normalizers.index(mean), self.normalizers.index(var)]
        one_hot = nn.functional.one_hot(torch.tensor(chosen), len(self.normalizers))
        with torch.no_grad():
            self.frozen_ratios.copy_(one_hot)
            self.mean_weight.copy_(one_hot[0])
            self.var_weight.copy_(one_hot[1])
            self.mean_fixed.fill_(1)
            self.var_fixed.fill_(1)

    def freeze_one_hot_gates(self) -> None:
        """Store and flag the gates that are one-hot, and restore those that are frozen."""
        freeze_gates([self])

    def _extra_state(self) -> ExtraState:
        return replace(super()._extra_state(), gate_definition=self.gate_definition)

    def _take_over(self, stored: ExtraState) -> None:
        super()._take_over(stored)
        self.gate_definition = stored.gate_definition

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        freeze_gates([self], restore_only=True)
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Older reference files lack the flags: one-hot weights are those of a frozen gate.
        for gate in ("mean", "var"):
            logits = state_dict.get(f"{prefix}{gate}_weight")
            if isinstance(logits, Tensor) and not logits.is_meta:
                frozen = torch.tensor([int(is_one_hot(logits))])
                state_dict.setdefault(f"{prefix}{gate}_fixed", frozen)
        state_dict.setdefault(f"{prefix}radius", torch.zeros(1))
        weight = state_dict.get(f"{prefix}weight")
        if isinstance(weight, Tensor) and weight.dim() > 1:  # the reference layout
            kind = replace(self._extra_state(), gate_definition="reference")
            state_dict.setdefault(f"{prefix}_extra_state", torch.tensor(kind.numbers()))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        with torch.no_grad():
            logits = torch.stack((self.mean_weight, self.var_weight))
            flags = torch.stack((self.mean_fixed, self.var_fixed)) != 0
            ratios = torch.where(flags, logits, torch.zeros_like(logits))
            if self.frozen_ratios.is_meta:
                self.frozen_ratios = ratios
            self.frozen_ratios.copy_(ratios)


class SSN1d(SSN):
    """Sparse Switchable Normalization over (N, C) or (N, C, L).

    See :class:`ssn_prune.nn.ssn.SSN`.
    """

    dims = (2, 3)


class SSN2d(SSN):
    """Sparse Switchable Normalization over (N, C, H, W).

    See :class:`ssn_prune.nn.ssn.SSN`.
    """

    dims = (4,)


class SSN3d(SSN):
    """Sparse Switchable Normalization over (N, C, D, H, W).

    See :class:`ssn_prune.nn.ssn.SSN`.
    """

    dims = (5,)


def set_radius(model: nn.Module, radius: float) -> None:
    """Set the radius of every SSN layer of ``model``, in place, and freeze one-hot gates.

    All gates are solved together, without waiting for the device.

    Args:
        model: A network with SSN layers.
        radius: The new radius; at sqrt((K-1)/K) and above every gate is one-hot.

    Raises:
        ValueError: The radius is negative or not a number.
    """
    if not radius >= 0:
        raise ValueError(f"radius must be a number >= 0, got {radius}")
    layers = [module for module in model.modules() if isinstance(module, SSN)]
    set_layer_radii(layers, [radius] * len(layers))


@torch.no_grad()
def set_layer_radii(layers: Sequence[SSN], radii: Sequence[float]) -> None:
    """Like :func:`set_radius`, with one radius per layer."""
    for layer in layers:
        layer._train_as_defined()
    for layer, radius in zip(layers, radii, strict=True):
        # Half precision would round the last radius down, and nothing would freeze.
        last = vertex_radius(len(layer.normalizers)) * (1 - VERTEX_MARGIN)
        half = layer.radius.dtype in HALVES
        layer.radius.fill_(1.0 if half and radius >= last else radius)
    freeze_gates(layers)
