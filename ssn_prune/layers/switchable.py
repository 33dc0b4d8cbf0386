"""SSN2d and SwitchNorm2d: normalization layers that learn which normalizer to use.

.. code-block:: text

    y = weight * (x - sum_k p_k mean_k) / sqrt(sum_k q_k var_k + eps) + bias,   k in IN, LN, BN

p and q are two separate gates over the normalizers: SparsestMax for SSN (Shao et al., CVPR 2019,
arXiv 1903.03793, equation 3), softmax for SN (Luo et al., ICLR 2019, arXiv 1806.10779).

State dicts have torch's shapes, ``weight`` (C,). The authors' layout, ``weight`` (1, C, 1, 1) and
``running_mean`` (1, C, 1), loads as it is: the values are taken over bit by bit.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.math.moments import instance_moments, pooled_moments
from ssn_prune.math.sparsestmax import sparsestmax

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


class _Standardize(torch.autograd.Function):
    """(x - mean) * scale, with the sums over positions of the backward pass in the moments' dtype.

    A gate's gradient is a small difference of large sums over positions and channels: float32
    sums leave it with a relative error of 4e-6 where float64 ones cost next to nothing.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean, scale)
        return (x - mean.to(x.dtype)) * scale.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mean, scale = ctx.saved_tensors
        centred = x - mean.to(x.dtype)
        grad_mean = -scale * grad.sum(dim=(2, 3), keepdim=True, dtype=mean.dtype)
        grad_scale = (grad * centred).sum(dim=(2, 3), keepdim=True, dtype=mean.dtype)
        return grad * scale.to(x.dtype), grad_mean, grad_scale


class SwitchableNorm2d(nn.Module):
    """What SSN2d and SwitchNorm2d share; use one of those.

    Args:
        num_features: C, the channels of an input (N, C, H, W).
        eps: Added to the variance.
        momentum: Weight of the new batch statistics, torch's convention (the authors' 0.997 is
            0.003 here).
        using_bn: Offer BatchNorm beside InstanceNorm and LayerNorm.
        correction: 0 for the paper's biased variance; 1 for the Bessel-corrected variance of the
            authors' code, which their checkpoints need. The running variance is of the same kind.
        zero_init: Start ``weight`` at 0, for the last normalizer of a residual block.

    Shape:
        Input and output: (N, C, H, W).
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        using_bn: bool = True,
        correction: int = 0,
        zero_init: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if correction not in (0, 1):
            raise ValueError(f"correction must be 0 (biased) or 1 (Bessel), got {correction!r}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.using_bn = using_bn
        self.correction = correction
        self.zero_init = zero_init
        choices = 3 if using_bn else 2
        self.weight = nn.Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.mean_weight = nn.Parameter(torch.empty(choices, device=device, dtype=dtype))
        self.var_weight = nn.Parameter(torch.empty(choices, device=device, dtype=dtype))
        for name in ("running_mean", "running_var"):
            empty = torch.empty(num_features, device=device, dtype=dtype) if using_bn else None
            self.register_buffer(name, empty)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again: weight 1 (or 0 with ``zero_init``), bias 0, equal gates, unit statistics."""
        with torch.no_grad():
            self.weight.fill_(0.0 if self.zero_init else 1.0)
            self.bias.zero_()
            self.mean_weight.fill_(1.0)
            self.var_weight.fill_(1.0)
            if self.running_mean is not None and self.running_var is not None:
                self.running_mean.zero_()
                self.running_var.fill_(1.0)

    @abstractmethod
    def gates(self) -> tuple[Tensor, Tensor]:
        """The ratios (p, q) of the mean and the variance gate, each (K,)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x`` of shape (N, C, H, W).

        Raises:
            ValueError: The input is not (N, C, H, W), or a Bessel-corrected variance over a single
                position is asked for in training.
        """
        if x.dim() != 4 or x.shape[1] != self.num_features:
            raise ValueError(
                f"expected an input of shape (N, {self.num_features}, H, W), got {tuple(x.shape)}"
            )
        undefined = x.shape[2] * x.shape[3] - self.correction <= 0
        if undefined and self.training:
            raise ValueError(
                f"Bessel-corrected variance needs at least 2 positions, got {tuple(x.shape)}"
            )
        # Everything on (N, C) is computed in float64: it costs nothing beside x, and the gates'
        # gradients need it.
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        mean_in, var_in = (m.to(wide) for m in instance_moments(x, self.correction))
        moments = [(mean_in, var_in), pooled_moments(mean_in, var_in, dim=1)]
        if self.running_mean is not None and self.running_var is not None:
            if self.training:
                moments.append(pooled_moments(mean_in, var_in, dim=0))
                self._update_running(*moments[-1])
            else:
                moments.append((self.running_mean.view(-1, 1, 1), self.running_var.view(-1, 1, 1)))
        p, q = (gate.to(wide) for gate in self.gates())
        mean, var = torch.zeros_like(mean_in), torch.zeros_like(mean_in)
        for k, (mean_k, var_k) in enumerate(moments):
            mean = mean + p[k] * mean_k
            if undefined:  # 0/0 over one position must not poison a layer that does not use it
                var_k = torch.where(q[k] == 0, torch.zeros_like(var_k), var_k)
            var = var + q[k] * var_k
        scale = self.weight.view(-1, 1, 1) * (var + self.eps).rsqrt()
        y: Tensor = _Standardize.apply(x, mean, scale)
        return y + self.bias.view(-1, 1, 1)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        for running, batch in ((self.running_mean, mean), (self.running_var, var)):
            if running is not None:
                running.lerp_(batch.detach().flatten().to(running.dtype), self.momentum)

    def get_extra_state(self) -> Tensor:
        """What the tensors cannot tell: the kind of variance they were trained with."""
        return torch.tensor([self.correction], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the kind of variance that a state dict was trained with."""
        self.correction = int(state[0])

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # torch hands every module its own working copy of the dict, so editing it is allowed.
        for name in _PER_CHANNEL:
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and value.numel() == self.num_features:
                state_dict[prefix + name] = value.reshape(self.num_features)
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Show the settings as torch's layers do."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"using_bn={self.using_bn}, correction={self.correction}"
        )


class SSN2d(SwitchableNorm2d):
    """Sparse Switchable Normalization over (N, C, H, W); see the module's formula.

    The gates are SparsestMax(``mean_weight``; ``radius``) and SparsestMax(``var_weight``;
    ``radius``). Grow the radius from 0 to sqrt((K-1)/K) with :func:`set_radius` during training and
    call :meth:`freeze_one_hot_gates` after each change: a gate that has become one-hot is stored as
    such, is flagged in ``mean_fixed`` or ``var_fixed``, and gets no gradient any more.

    Args: see :class:`SwitchableNorm2d`.
    """

    mean_fixed: Tensor
    var_fixed: Tensor
    radius: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, **kwargs: Any):
        super().__init__(num_features, eps, momentum, **kwargs)
        device = self.weight.device
        self.register_buffer("mean_fixed", torch.zeros(1, dtype=torch.int64, device=device))
        self.register_buffer("var_fixed", torch.zeros(1, dtype=torch.int64, device=device))
        self.register_buffer("radius", torch.zeros_like(self.weight[:1]).detach())

    def gates(self) -> tuple[Tensor, Tensor]:
        """The ratios (p, q); a frozen gate is its stored one-hot, without gradient."""
        return (
            self._gate(self.mean_weight, self.mean_fixed),
            self._gate(self.var_weight, self.var_fixed),
        )

    def _gate(self, logits: Tensor, fixed: Tensor) -> Tensor:
        return torch.where(fixed != 0, logits.detach(), sparsestmax(logits, self.radius[0]))

    @torch.no_grad()
    def freeze_one_hot_gates(self) -> None:
        """Store and flag the gates that are one-hot, and release them from the optimizer."""
        for logits, fixed in (
            (self.mean_weight, self.mean_fixed),
            (self.var_weight, self.var_fixed),
        ):
            ratios = self._gate(logits, fixed)
            done = ratios.max() - ratios.min() >= 1
            logits.copy_(torch.where(done, ratios, logits))
            fixed.logical_or_(done)
        self.release_frozen_gates()

    def release_frozen_gates(self) -> None:
        """Take the gradient of frozen gates away, so that an optimizer skips them.

        A zero gradient would not do: momentum and weight decay would move them off the vertex.
        """
        for logits, fixed in (
            (self.mean_weight, self.mean_fixed),
            (self.var_weight, self.var_fixed),
        ):
            if not fixed.is_meta and bool(fixed):
                logits.grad = None
                logits.requires_grad_(False)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Older files of the authors lack the flags: weights that are already one-hot are final.
        for gate in ("mean", "var"):
            weight = state_dict.get(f"{prefix}{gate}_weight")
            if isinstance(weight, Tensor):
                final = torch.tensor([int(is_one_hot(weight))])
                state_dict.setdefault(f"{prefix}{gate}_fixed", final)
        state_dict.setdefault(f"{prefix}radius", torch.zeros(1))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.release_frozen_gates()


class SwitchNorm2d(SwitchableNorm2d):
    """Switchable Normalization over (N, C, H, W) with softmax gates, which are never one-hot.

    Args: see :class:`SwitchableNorm2d`.
    """

    def gates(self) -> tuple[Tensor, Tensor]:
        """The softmax ratios (p, q)."""
        return self.mean_weight.softmax(dim=0), self.var_weight.softmax(dim=0)


def is_one_hot(ratios: Tensor) -> bool:
    """Whether a vector is exactly one 1 and otherwise 0."""
    return bool((ratios.max() == 1) and (ratios != 0).sum() == 1)


def set_radius(model: nn.Module, radius: float) -> None:
    """Set the radius of every SSN layer of ``model``, in place, and freeze one-hot gates.

    Args:
        model: A network with :class:`SSN2d` layers.
        radius: The new radius; from sqrt((K-1)/K) on every gate is one-hot.
    """
    for module in model.modules():
        if isinstance(module, SSN2d):
            module.radius.fill_(radius)
            module.freeze_one_hot_gates()
