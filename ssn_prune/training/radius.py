"""The radius schedule: how fast the gates are driven to single choices.

The paper (arXiv 1903.03793, section 3.3) grows the radius of SparsestMax linearly from 0, where it
is plain sparsemax, to sqrt((K-1)/K), where only one-hot ratios are left. The reference
implementation grows it to 1 instead, so that every gate is one-hot by 81.65 % of the training.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from ssn_prune.errors import NoSwitchableLayerError
from ssn_prune.nn.single_gate import VERTEX_MARGIN, vertex_radius
from ssn_prune.nn.ssn import SSN, set_layer_radii
from ssn_prune.training.history import GateHistory


class RadiusSchedule:
    """Grows the radius of every SSN layer of a model linearly and freezes gates on the way.

    Call :meth:`step` after every ``optimizer.step()``. The constructor sets the radius of step 0.
    It never waits for the device.

    Args:
        model: A network with SSN layers; their radii are set in place. Under
            DistributedDataParallel pass either the wrapper or the wrapped module.
        total_steps: Steps after which the radius has reached its end, at least 1. Further steps
            leave it there. If the training has a few more steps than this, it ends with frozen
            gates.
        end: The radius at the end; None for the one at which only one-hot ratios are left,
            sqrt((K-1)/K), for each layer. The reference implementation uses 1. A layer that has
            reached its sqrt((K-1)/K) on the way stays there, since larger radii mean the same.
        history: If given, the gates are recorded at every step that it asks for.
        on_frozen: Called once with ``model``, after the first step at which every gate must be
            one-hot because of its radius; for example :func:`freeze_selected`.

    Raises:
        NoSwitchableLayerError: The model has no SSN layer.
        ValueError: ``total_steps`` is not positive, or ``end`` is negative or not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        total_steps: int,
        *,
        end: float | None = None,
        history: GateHistory | None = None,
        on_frozen: Callable[[nn.Module], object] | None = None,
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {total_steps}")
        if end is not None and not (end >= 0 and math.isfinite(end)):
            raise ValueError(f"end must be a finite radius >= 0, got {end}")
        self._layers = [module for module in model.modules() if isinstance(module, SSN)]
        if not self._layers:
            raise NoSwitchableLayerError(
                f"{type(model).__name__} has no SSN layer whose radius could grow",
                expected="a network with SSN1d, SSN2d or SSN3d layers",
                hint="swap the norms of your network with ssn_prune.convert_to_ssn(model).model; "
                "SN layers (softmax gates) have no radius",
            )
        self._model = model
        self.total_steps = total_steps
        self.end = end
        self._history = history
        self._on_frozen = on_frozen
        self.steps_done = 0
        self.frozen = False
        self._apply()

    def __repr__(self) -> str:
        """How far the schedule is, and the radius of layers with three normalizers."""
        frozen = ", frozen" if self.frozen else ""
        done = f"{self.steps_done} of {self.total_steps} steps"
        return f"<RadiusSchedule: {done}, radius {self.radius():.4f}{frozen}>"

    @property
    def share(self) -> float:
        """The fraction of the schedule that is done, 0 to 1."""
        return min(1.0, self.steps_done / self.total_steps)

    def radius(self, num_choices: int = 3) -> float:
        """The present radius of a layer with ``num_choices`` normalizers."""
        largest = vertex_radius(num_choices)
        radius = (largest if self.end is None else self.end) * self.share
        # Exactly the largest: a last step that missed it by rounding would freeze nothing.
        return largest if radius >= largest * (1 - VERTEX_MARGIN) else radius

    def step(self) -> None:
        """Advance by one; call it after the optimizer's step."""
        self.steps_done += 1
        if not self.frozen:
            self._apply()
        if self._history is not None:
            self._history.record(self.steps_done)
        if not self.frozen and self._all_at_vertex():
            self.frozen = True
            if self._on_frozen is not None:
                self._on_frozen(self._model)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs; plain numbers."""
        return {
            "steps_done": self.steps_done,
            "total_steps": self.total_steps,
            "end": self.end,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where ``state`` was saved; sets the radii.

        ``on_frozen`` is not called again if it was called before: a training that swapped its
        layers is resumed with swapped layers.

        Args:
            state: What :meth:`state_dict` returned. Its ``total_steps`` and ``end`` replace those
                of the constructor, with a warning if they differ: change them in ``state`` to grow
                the radius differently from here on.
        """
        for name in ("total_steps", "end"):
            saved, own = state[name], getattr(self, name)
            if saved != own:
                warnings.warn(
                    f"the saved schedule has {name}={saved}, which replaces {name}={own}; to keep "
                    f"the latter, load {{**state, {name!r}: {own}}}",
                    stacklevel=2,
                )
        self.steps_done = int(state["steps_done"])
        self.total_steps = int(state["total_steps"])
        self.end = state["end"]
        self.frozen = bool(state["frozen"])
        self._apply()

    def _apply(self) -> None:
        radii = [self.radius(len(layer.normalizers)) for layer in self._layers]
        set_layer_radii(self._layers, radii)

    def _all_at_vertex(self) -> bool:
        choices = {len(layer.normalizers) for layer in self._layers}
        return all(self.radius(count) >= vertex_radius(count) for count in choices)
