"""What a foreign layer computes instead: formulas that other implementations use.

None of them is supported. The formula that fits a refused layer tells its user what to change.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssn_prune.nn.axes import per_channel
from ssn_prune.nn.statistics import instance_moments, pooled_moments
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import FROM_PLANES, KINDS, OWN_COUNT, bessel
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.nested import relative_error

FITS = 1e-10
"""Largest error, relative to scale, of a formula that fits; what does not fit is far off."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": F.relu,
    "LeakyReLU": F.leaky_relu,
    "ReLU6": F.relu6,
    "ELU": F.elu,
    "SiLU": F.silu,
    "GELU": F.gelu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Sample:
    """One call of a foreign layer.

    Attributes:
        layer: Our layer with its tensors, in float64.
        x: The input.
        expected: The output of the foreign layer.
    """

    layer: SwitchableNorm
    x: Tensor
    expected: Tensor


@dataclass(frozen=True)
class _Formula:
    """A difference from our formula.

    Attributes:
        text: The difference in words.
        order: The normalizers in the order of the gates' entries; None for the layer's own.
        scale: From variances, their ratios and eps to the divisor; None for ours.
        variance_kinds: The kinds of IN's and of LN's variance; None if all are of one kind.
        mean_of_variances: Whether LN's variance lacks the variance of the means.
        output: A function that is applied to the output.
    """

    text: str
    order: tuple[Normalizer, ...] | None = None
    scale: Callable[[list[Tensor], Tensor, float], Tensor] | None = None
    variance_kinds: tuple[int, int] | None = None
    mean_of_variances: bool = False
    output: Callable[[Tensor], Tensor] | None = None


def explanation(samples: list[Sample], eps: Iterable[float]) -> str | None:
    """What is different in a layer whose outputs differ from ours.

    Args:
        samples: Calls of the layer.
        eps: Possible values of its eps.

    Returns:
        A clause such as "the gates' order is (BN, IN, LN)"; None if no formula fits.
    """
    if not samples:
        return None
    offered = samples[0].layer.normalizers
    for value in dict.fromkeys(eps):
        for formula in _formulas(offered):
            kinds = KINDS if formula.variance_kinds is None else (0,)
            for kind in kinds:
                if _fits(formula, kind, value, samples):
                    return formula.text
    for kind in KINDS:  # last: with some eps, ours comes close to many other formulas
        solved = _solved_eps(kind, samples[0])
        if solved is not None and _fits(_Formula("eps"), kind, solved, samples):
            return f"eps is {solved:g}"
    return None


def _formulas(offered: tuple[Normalizer, ...]) -> Iterator[_Formula]:
    for order in permutations(offered):
        if order != offered:
            listed = ", ".join(normalizer.name for normalizer in order)
            yield _Formula(f"the gates' order is ({listed})", order=order)
    yield _Formula("eps is added to the standard deviation", scale=_eps_outside)
    yield _Formula("standard deviations are mixed, not variances", scale=_mixed_deviations)
    if Normalizer.IN in offered and Normalizer.LN in offered:
        yield _Formula("LN's variance is the mean of IN's", mean_of_variances=True)
        for kinds, text in _OTHER_KINDS.items():
            yield _Formula(text, variance_kinds=kinds)
    for name, activation in _ACTIVATIONS.items():
        yield _Formula(f"an activation inside the layer: {name}", output=activation)


_OTHER_KINDS = {
    (FROM_PLANES, 0): "IN's variance divides by n - 1, LN's by C n (n: positions of a plane)",
    (0, OWN_COUNT): "IN's variance divides by n, LN's by C n - 1 (n: positions of a plane)",
    (0, FROM_PLANES): "IN's variance divides by n, LN's is built from one that divides by n - 1",
}


def _eps_outside(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    return _mixed(variances, ratios).sqrt() + eps


def _mixed_deviations(variances: list[Tensor], ratios: Tensor, eps: float) -> Tensor:
    return _mixed([(variance + eps).sqrt() for variance in variances], ratios)


def _mixed(values: list[Tensor], ratios: Tensor) -> Tensor:
    terms: list[Tensor] = [ratio * value for ratio, value in zip(ratios, values, strict=True)]
    return functools.reduce(torch.add, terms)


@torch.no_grad()
def _solved_eps(kind: int, sample: Sample) -> float | None:
    """The eps that explains an output, to six digits; None if it is not between 0 and 1."""
    means, variances = _in_order(_Formula("eps"), kind, sample)
    p, q = sample.layer.gates()
    y = sample.expected
    centred = sample.x - _mixed(means, p)
    if sample.layer.affine:
        y = y - per_channel(sample.layer.bias, y)
        centred = centred * per_channel(sample.layer.weight, y)
    eps = float(((centred / y).square() - _mixed(variances, q)).nanmedian())
    return float(f"{max(eps, 0.0):.6g}") if -1e-12 < eps < 1 else None


def _fits(formula: _Formula, kind: int, eps: float, samples: list[Sample]) -> bool:
    return all(
        relative_error([_computed(formula, kind, eps, s)], [s.expected]) <= FITS for s in samples
    )


@torch.no_grad()
def _computed(formula: _Formula, kind: int, eps: float, sample: Sample) -> Tensor:
    layer, x = sample.layer, sample.x
    means, variances = _in_order(formula, kind, sample)
    p, q = layer.gates()
    if formula.scale is None:
        scale = (_mixed(variances, q) + eps).sqrt()
    else:
        scale = formula.scale(variances, q, eps)
    y = (x - _mixed(means, p)) / scale
    if layer.affine:
        y = y * per_channel(layer.weight, x) + per_channel(layer.bias, x)
    return y if formula.output is None else formula.output(y)


def _in_order(formula: _Formula, kind: int, sample: Sample) -> tuple[list[Tensor], list[Tensor]]:
    """Means and variances in the order of the gates' entries."""
    layer, x = sample.layer, sample.x
    in_kind, ln_kind = formula.variance_kinds or (kind, kind)
    order = formula.order or layer.normalizers
    moments = [_moments(n, layer, x, ln_kind if n is Normalizer.LN else in_kind) for n in order]
    means, variances = ([pair[i] for pair in moments] for i in (0, 1))
    if formula.mean_of_variances:
        plane = _moments(Normalizer.IN, layer, x, in_kind)[1].mean(1, keepdim=True)
        variances = [
            plane if n is Normalizer.LN else v for n, v in zip(order, variances, strict=True)
        ]
    return means, variances


def _moments(
    normalizer: Normalizer, layer: SwitchableNorm, x: Tensor, kind: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance that broadcast over x."""
    running = layer.running_mean, layer.running_var
    if normalizer is Normalizer.BN and running[0] is not None and running[1] is not None:
        return per_channel(running[0], x), per_channel(running[1], x)
    planes = x.unsqueeze(-1) if x.dim() == 2 else x
    positions = planes[0, 0].numel()
    mean, var = instance_moments(planes)
    corrected = var * bessel(positions)
    if normalizer is Normalizer.IN:
        var = corrected if kind else var
    else:
        mean, var = pooled_moments(mean, corrected if kind == FROM_PLANES else var, dim=1)
        var = var * bessel(positions * x.shape[1]) if kind == OWN_COUNT else var
    shape = (*mean.shape[:2], *[1] * (x.dim() - 2))
    return mean.reshape(shape), var.reshape(shape)
