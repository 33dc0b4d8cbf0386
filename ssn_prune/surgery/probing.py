"""Probing: what a foreign layer computes on noise, as a hint on how to build ours.

A probe that the layer refuses says nothing, and one that agrees proves nothing: the comparison on
real activations decides (:mod:`ssn_prune.surgery.adoption`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.checkpoint.reference_format import VECTORS
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import KINDS
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.adoption_errors import cure
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.float64 import (
    as_reference_in_float64,
    float64_arithmetic,
    float64_copy,
)
from ssn_prune.surgery.nested import relative_error
from ssn_prune.surgery.other_formulas import Sample, explanation

# A foreign implementation may round its statistics to float32; that error is a hundred times
# smaller.
PROBE_TOLERANCE = 1e-4
USUAL_EPS, LARGEST_EPS = (1e-5, 1e-3, 1e-6, 1e-8), 0.1
SMALL_SCALE = 1e-3  # variances of 1e-6, compared with which an eps of 1e-5 matters
TINY_SCALE = 1e-10
ROUNDING = 1e-12  # of a float64 computation, relative to scale


def eps_candidates(module: nn.Module) -> list[float]:
    """Candidates for its eps, the likeliest first: ``eps``, names with eps, any small number."""
    numbers = {
        name: float(value)
        for name, value in vars(module).items()
        if isinstance(value, float) and 0 < value <= LARGEST_EPS
    }
    try:
        own = getattr(module, "eps", None)
    # It may be a property, which is somebody else's code.
    except Exception:  # noqa: BLE001
        own = None
    named: list[float] = []
    if isinstance(own, int | float) or (isinstance(own, Tensor) and own.numel() == 1):
        named.append(float(own))
    called = [value for name, value in numbers.items() if "eps" in name.lower()]
    return list(dict.fromkeys([*named, *called, *numbers.values(), *USUAL_EPS]))


@dataclass(frozen=True)
class Found:
    """The settings that fit a foreign layer best.

    Attributes:
        correction: The kind of its variances.
        eps: What it adds to a variance.
    """

    correction: int
    eps: float


def probed(kind: str, foreign: nn.Module, layer: SwitchableNorm, named_eps: list[float]) -> Found:
    """Run copies of both layers on noise: does ours compute what the foreign one does?

    Every statistic takes part in one of the compared selections. They run in float64, at several
    sizes and on values so small that eps matters. Probes that the layer refuses are left out. A
    layer that refuses all is assumed to be the reference implementation's, with the likeliest eps.

    Raises:
        UnsupportedLayerError: The foreign layer computes something else.
    """
    samples = _samples(foreign, layer)
    measured = _measured_eps(foreign, layer) if samples else []
    kinds = [layer.correction, *(kind for kind in KINDS if kind != layer.correction)]
    listed = list(dict.fromkeys([*named_eps, *measured]))
    errors: dict[Found, float] = {}
    for candidate in (Found(correction, eps) for eps in listed for correction in kinds):
        errors[candidate] = _error(candidate, samples)
        if errors[candidate] <= ROUNDING:
            break
    # Of those that fit equally well, up to rounding, the likeliest.
    bound = 2 * min(errors.values()) + ROUNDING
    best = next(candidate for candidate, error in errors.items() if error <= bound)
    if not errors[best] <= PROBE_TOLERANCE:
        raise UnsupportedLayerError(
            f"{kind} has the tensors of a switchable normalization layer but computes something "
            "else",
            expected="the formula of SSN or SN, with biased or Bessel-corrected variances",
            found=f"an output that differs by {errors[best]:.2g} of scale on noise",
            hint=cure(explanation(samples, [*listed, *(eps**0.5 for eps in measured)])),
        )
    return best


def _error(candidate: Found, samples: list[Sample]) -> float:
    """The largest error relative to scale of our layer with these settings."""
    largest = 0.0
    for sample in samples:
        ours: Any = sample.layer
        ours.correction, ours.eps = candidate.correction, candidate.eps
        with torch.no_grad():
            largest = max(largest, relative_error([ours(sample.x)], [sample.expected]))
    return largest


def _samples(foreign: nn.Module, layer: SwitchableNorm) -> list[Sample]:
    found = []
    for mean, var in _probed_pairs(layer):
        for noise in _noise(foreign, layer):
            expected = _foreign_output(foreign, mean, var, noise)
            if expected is not None:
                ours: Any = _prepared(layer, mean, var, noise)
                found.append(Sample(ours, noise.x, expected))
    return found


def _measured_eps(foreign: nn.Module, layer: SwitchableNorm) -> list[float]:
    """The eps that the foreign layer adds, whatever it is called, to six digits.

    With variances of 1e-20, eps alone makes up the divisor. The squared ratio of our output with
    eps = 1 to the foreign layer's output is therefore the unknown eps.
    """
    noise = _noise(foreign, layer, TINY_SCALE)[0]
    expected = _foreign_output(foreign, 0, 0, noise, bias=0.0)
    if expected is None:
        return []
    ours: Any = _prepared(layer, 0, 0, noise, bias=0.0)
    ours.eps = 1.0
    with torch.no_grad():
        eps = float((ours(noise.x) / expected).square().median())
    return [float(f"{eps:.6g}")] if 0 < eps < float("inf") else []


def error_on_noise(foreign: nn.Module, layer: SwitchableNorm) -> float | None:
    """How far apart the outputs of two layers are on noise, with their own gates, in float64.

    Returns:
        The largest error relative to scale; None if the foreign layer runs on none of the probes,
        or not in float64.
    """
    errors = []
    for noise in _noise(foreign, layer):
        expected, own = (_output_as_is(module, noise.x) for module in (foreign, layer))
        if expected is not None and bool(torch.isfinite(expected).all()):
            errors.append(float("inf") if own is None else relative_error([own], [expected]))
    return max(errors, default=None)


def _output_as_is(module: nn.Module, x: Tensor) -> Tensor | None:
    try:
        copied = as_reference_in_float64(float64_copy(module))
        _forget_hooks(copied)
        with torch.no_grad(), float64_arithmetic() as precision:
            value = copied(x.clone())
    # This is somebody else's code, which may not take noise.
    except Exception:  # noqa: BLE001
        return None
    usable = isinstance(value, Tensor) and precision.narrow_operator is None
    return value if usable else None


def _probed_pairs(layer: SwitchableNorm) -> tuple[tuple[int, int], ...]:
    count = len(layer.normalizers)
    if layer.shared_gate:
        return tuple((choice, choice) for choice in range(count))
    return ((0, 1), (2, 0), (1, 2)) if count == len(Normalizer) else ((0, 1), (1, 0))


@dataclass(frozen=True)
class _Noise:
    """An input of one probe, and the factor by which it and the running statistics are scaled."""

    x: Tensor
    scale: float


def _noise(foreign: nn.Module, layer: SwitchableNorm, factor: float = 1.0) -> list[_Noise]:
    axes = max(layer.dims) - 2
    if getattr(foreign, "weight", torch.empty(())).dim() == VECTORS:
        axes = 0
    generator = torch.Generator().manual_seed(0)
    probes = []
    # A layer that treats large batches in another way must be found: checks use a few samples.
    for batch, first, last, scale in ((33, 2, 3, 1.0), (2, 8, 8, 1.0), (1, 5, 7, SMALL_SCALE)):
        sizes = (batch, layer.num_features, *[first] * (axes - 1), *[last] * min(axes, 1))
        x = (torch.randn(sizes, generator=generator) * 2 + 0.5) * scale * factor
        probes.append(_Noise(x.to(layer.mean_weight.device).double(), scale * factor))
    return probes


def _foreign_output(
    foreign: nn.Module, mean: int, var: int, noise: _Noise, bias: float = 1.0
) -> Tensor | None:
    try:
        with torch.no_grad():
            probe = _prepared(foreign, mean, var, noise, bias)
            value: Tensor = probe(noise.x.clone()).double()
    # This is somebody else's code, which may not take noise. The comparison on real activations
    # decides.
    except Exception:  # noqa: BLE001
        return None
    fits = value.shape == noise.x.shape and bool(torch.isfinite(value).all())
    return value if fits and bool(value.any()) else None


def _prepared(
    original: nn.Module, mean: int, var: int, noise: _Noise, bias: float = 1.0
) -> nn.Module:
    probe = copy_model(original).double()
    _forget_hooks(probe)
    probe.eval()
    _prepare_probe(probe, mean, var, noise.scale, bias)
    return probe


def _forget_hooks(module: nn.Module) -> None:
    module._forward_hooks.clear()
    module._forward_pre_hooks.clear()


def _prepare_probe(probe: nn.Module, mean: int, var: int, scale: float, bias: float) -> None:
    """Give a probe one-hot gates (frozen for SSN), and statistics and affine parameters."""
    generator = torch.Generator().manual_seed(1)
    factors = {"weight": 1.0, "bias": bias, "running_mean": scale, "running_var": scale**2}
    with torch.no_grad():
        for name, factor in factors.items():
            value = getattr(probe, name, None)
            if isinstance(value, Tensor):
                noise = 0.5 + torch.rand(value.numel(), generator=generator).view_as(value)
                value.copy_(noise * factor)
        for gate, choice in (("mean", mean), ("var", var)):
            weight = getattr(probe, f"{gate}_weight")
            weight.zero_()
            weight[choice] = 1
            fixed = getattr(probe, f"{gate}_fixed", None)
            if isinstance(fixed, Tensor):
                fixed.fill_(1)
