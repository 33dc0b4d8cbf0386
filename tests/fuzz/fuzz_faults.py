"""Deliberate mistakes, to check that the fuzzer finds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from unittest import mock

import torch
from torch import Tensor

from ssn_prune.nn.inference import moment_norm
from ssn_prune.pruning import static_norm
from ssn_prune.pruning.capture import graph_reader
from ssn_prune.pruning.folds import edited_kernel, running_mean, scale, scale_and_shift
from ssn_prune.pruning.folds.kernel_arithmetic import folded_bias, scale_output_channels


@contextlib.contextmanager
def eps_forgotten() -> Iterator[None]:
    """The folded scale is weight / sqrt(running_var), without eps."""

    def faulty(weight: Tensor, running_var: Tensor, eps: float) -> Tensor:
        return weight.double() / running_var.double().sqrt()

    with mock.patch.object(static_norm, "static_scale", faulty):
        yield


@contextlib.contextmanager
def bessel_forgotten() -> Iterator[None]:
    """Variances are not Bessel-corrected."""
    with mock.patch.object(moment_norm, "bessel_factors", return_value=(1.0, 1.0)):
        yield


@contextlib.contextmanager
def group_order_wrong() -> Iterator[None]:
    """The kernel of a transposed convolution is scaled as if it had one group."""

    def faulty(
        kernel: Tensor,
        scale: Tensor,
        *,
        transposed: bool = False,
        groups: int = 1,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        if not transposed or groups == 1:
            return scale_output_channels(
                kernel, scale, transposed=transposed, groups=groups, dtype=dtype
            )
        rows = torch.arange(kernel.shape[0]) % groups
        table = scale.double().view(groups, -1)[rows]
        scaled = kernel.double() * table.view(*table.shape, *[1] * (kernel.dim() - 2))
        return scaled.to(dtype)

    with mock.patch.object(edited_kernel, "scale_output_channels", faulty):
        yield


@contextlib.contextmanager
def mean_sign_wrong() -> Iterator[None]:
    """The running mean is added to a convolution's bias instead of subtracted."""

    def faulty(
        bias: Tensor | None,
        *,
        scale: Tensor | None = None,
        mean: Tensor | None,
        shift: Tensor | None,
    ) -> Tensor | None:
        return folded_bias(bias, scale=scale, mean=None if mean is None else -mean, shift=shift)

    with contextlib.ExitStack() as stack:
        for rule in (running_mean, scale, scale_and_shift):
            stack.enter_context(mock.patch.object(rule, "folded_bias", faulty))
        yield


@contextlib.contextmanager
def uses_not_counted() -> Iterator[None]:
    """A convolution whose output has other users counts as foldable."""
    with mock.patch.object(graph_reader, "use_count", return_value=1):
        yield


FAULTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    fault.__name__: fault
    for fault in (
        eps_forgotten,
        bessel_forgotten,
        group_order_wrong,
        mean_sign_wrong,
        uses_not_counted,
    )
}
