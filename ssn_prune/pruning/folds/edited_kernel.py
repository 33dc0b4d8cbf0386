"""How rules change a kernel of the network that is rewritten."""

from __future__ import annotations

from torch import Tensor, nn

from ssn_prune.pruning.capture.records import ParameterOwner
from ssn_prune.pruning.folds.kernel_arithmetic import scale_input_channels, scale_output_channels
from ssn_prune.pruning.plan import Kernel


class EditedKernel:
    """The kernel and bias of one convolution or linear layer.

    Changes are computed in float64 and cast once. A parameter may share its memory with another
    network, so a change allocates new memory and never writes into the old.

    Args:
        network: Changed in place.
        kernel: Where its tensors are.
    """

    def __init__(self, network: nn.Module, kernel: Kernel) -> None:
        self._network, self._place = network, kernel

    @property
    def weight(self) -> Tensor:
        """The kernel in its current state, detached."""
        return self._held().detach()

    @property
    def bias(self) -> Tensor | None:
        """The bias in its current state, detached; None if there is none (yet)."""
        return tensor_at(self._network, self._place.bias)

    @property
    def can_have_bias(self) -> bool:
        """Whether there is a bias or one can be created."""
        return self._place.bias is not None

    @property
    def groups(self) -> int:
        """Groups of the convolution."""
        return self._place.groups

    def scale_outputs(self, scale: Tensor) -> None:
        """Multiply the output channels by ``scale``, (C_out,)."""
        held = self._held()
        held.data = scale_output_channels(
            held.detach(),
            scale,
            transposed=self._place.transposed,
            groups=self._place.groups,
            dtype=held.dtype,
        )

    def scale_inputs(self, scale: Tensor) -> None:
        """Multiply the input channels by ``scale``, (C_in,)."""
        held = self._held()
        held.data = scale_input_channels(
            held.detach(), scale, groups=self._place.groups, dtype=held.dtype
        )

    def set_bias(self, bias: Tensor | None) -> None:
        """Set the bias, (C_out,), if there can be one; None leaves it as it is."""
        place = self._place.bias
        if bias is None or place is None:
            return
        holder = self._network.get_submodule(place.module)
        setattr(holder, place.attribute, nn.Parameter(bias.to(self._held().dtype)))

    def _held(self) -> Tensor:
        held = _held_at(self._network, self._place.weight)
        assert held is not None  # every kernel has a weight
        return held


def tensor_at(network: nn.Module, owner: ParameterOwner | None) -> Tensor | None:
    """The values at a place, detached; None if there are none (yet)."""
    found = None if owner is None else _held_at(network, owner)
    return None if found is None else found.detach()


def _held_at(network: nn.Module, owner: ParameterOwner) -> Tensor | None:
    found: Tensor | None = getattr(network.get_submodule(owner.module), owner.attribute)
    return found
