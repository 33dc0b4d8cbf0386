"""Make a network hard to convert: random selections, hostile affine parameters, live statistics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from sweep_models import Inputs
from sweep_twins import distance, first_half, floating_outputs, has_twins, nudged, removing, twinned
from torch import Tensor, nn

from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair

NEGATIVE, ZERO, PERTURBATION = 0.1, 0.03, 0.3

ATTEMPTS, SIZES = 3, 3
STEADY, JUMP = 1e4, 5


class SetupError(Exception):
    """The network gives nothing that a check could compare."""


@dataclass(frozen=True)
class Draw:
    """What a network was set up with.

    Attributes:
        inputs: They gave the statistics.
        seed: Of everything random.
        growth: How much larger noise in the last digits is after the worst layer; float64 leaves
            1e-16 times that, and above :data:`STEADY` the checks may fail for this reason alone.
    """

    inputs: Inputs
    seed: int
    growth: float


def prepare(network: nn.Module, sizes: Iterable[Inputs], seed: int) -> Draw:
    """Random one-hot pairs, random affine parameters, perturbed statistics; in place.

    Draws that give a constant output are dropped (the mean of an IN over all positions is
    constant), and those in which noise grows little are preferred: LN/IN divides planes that hardly
    vary by their own deviation, and some networks do that until the last bit of a number is all
    that is left of it.

    Args:
        network: A network with SSN layers, in evaluation mode.
        sizes: Inputs to try in this order, after :data:`ATTEMPTS` draws the next.
        seed: The first one tried.

    Returns:
        The first draw that is steady, else the one that is nearest to it.

    Raises:
        SetupError: All draws gave a constant or an output that is not finite.
    """
    problem, best = SetupError("there are no inputs"), None
    for inputs, attempt in itertools.product(itertools.islice(sizes, SIZES), range(ATTEMPTS)):
        try:
            draw = Draw(inputs, seed + attempt, _prepare_once(network, inputs, seed + attempt))
        except SetupError as error:
            problem = error
            continue
        if draw.growth <= STEADY:
            return draw
        if best is None or draw.growth < best.growth:
            best = draw
    if best is None:
        raise problem
    _prepare_once(network, best.inputs, best.seed)
    return best


def _prepare_once(network: nn.Module, inputs: Inputs, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    revive(network, generator)
    pairs: list[NormalizerPair] = []
    for layer in _layers(network):
        if not pairs:
            pairs = [ALL_PAIRS[i] for i in torch.randperm(len(ALL_PAIRS), generator=generator)]
        pair = pairs.pop()
        layer.fix(pair.mean, pair.var)
        _randomize(layer, generator)
    network.double()
    try:
        _require_alive(_settle(network, inputs, generator))
        return _growth(network, inputs, generator)
    finally:
        network.float()


def revive(network: nn.Module, generator: torch.Generator) -> None:
    """Redraw the weights that an architecture starts at zero: all after them is constant."""
    for module in network.modules():
        weight = getattr(module, "weight", None)
        linear = isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        if linear and isinstance(weight, Tensor) and not bool(weight.any()):
            with torch.no_grad():
                weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)


def _layers(network: nn.Module) -> list[SSN]:
    return [module for module in network.modules() if isinstance(module, SSN)]


def _randomize(layer: SSN, generator: torch.Generator) -> None:
    """A zero scale forbids the fold of LN/BN, so half of the layers get none."""
    if layer.weight is None or layer.bias is None:
        return
    with torch.no_grad():
        layer.weight.normal_(1.0, 0.5, generator=generator)
        draw = torch.rand(layer.num_features, generator=generator)
        layer.weight[draw < NEGATIVE] *= -1
        if torch.rand(1, generator=generator) < 0.5:
            layer.weight[draw > 1 - ZERO] = 0
            layer.weight[int(draw.argmax())] = 0
        layer.bias.normal_(0.0, 0.3, generator=generator)


class _Settling:
    """One float64 pass in which every layer takes its statistics, with noise, before it runs.

    After a layer that blows up noise, the pair is drawn again.
    """

    def __init__(self, inputs: Inputs, generator: torch.Generator) -> None:
        self.generator, self.twins = generator, has_twins(inputs)
        self.settled: set[int] = set()

    def before(self, layer: SSN, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = (*arguments, *named.values())[0]
        if math.prod(x.shape[2:]) == 1:
            _avoid_degenerate(layer)
        if id(layer) in self.settled or layer.running_mean is None or layer.running_var is None:
            return  # a layer that is called again keeps the statistics of its first call
        self.settled.add(id(layer))
        samples = first_half(x) if self.twins else x
        axes = [0, *range(2, x.dim())]
        var, mean = torch.var_mean(samples, dim=axes, correction=0)
        for target, value in ((layer.running_mean, mean), (layer.running_var, var)):
            noise = 2 * torch.rand(value.numel(), generator=self.generator).double() - 1
            target.copy_(value * (1 + PERTURBATION * noise))

    def after_layer(
        self, layer: SSN, arguments: tuple[Any, ...], named: dict[str, Any], y: Tensor
    ) -> Tensor:
        if not self.twins:
            return y
        x = (*arguments, *named.values())[0]
        allowed = JUMP * max(distance(x), 1.0)
        if distance(y) > allowed:
            y = self._drawn_again(layer, x, allowed)
        return nudged(y, self.generator)

    def _drawn_again(self, layer: SSN, x: Tensor, allowed: float) -> Tensor:
        tried: list[tuple[float, NormalizerPair]] = []
        for index in torch.randperm(len(ALL_PAIRS), generator=self.generator).tolist():
            tried.append((distance(_with_pair(layer, ALL_PAIRS[index], x)), ALL_PAIRS[index]))
            if tried[-1][0] <= allowed:
                break
        return _with_pair(layer, min(tried)[1], x)


def _with_pair(layer: SSN, pair: NormalizerPair, x: Tensor) -> Tensor:
    layer.fix(pair.mean, pair.var)
    if math.prod(x.shape[2:]) == 1:
        _avoid_degenerate(layer)
    return layer.forward(x)


def _settle(network: nn.Module, inputs: Inputs, generator: torch.Generator) -> list[Tensor]:
    settling = _Settling(inputs, generator)
    layers = _layers(network)
    handles = [x.register_forward_pre_hook(settling.before, with_kwargs=True) for x in layers]
    handles += [x.register_forward_hook(settling.after_layer, with_kwargs=True) for x in layers]
    with removing(handles):
        return floating_outputs(network, twinned(inputs, inputs.settling(), generator))


def _avoid_degenerate(layer: SSN) -> None:
    """On one position IN is no choice: its mean is the value itself, and its variance 0.

    Layers there would give constants, or 300 times their input; corrected, IN and LN are 0/0.
    """
    mean, var = (Normalizer(int(g.argmax())) for g in (layer.mean_weight, layer.var_weight))
    mean = Normalizer.BN if mean is Normalizer.IN else mean
    var = Normalizer.BN if var is Normalizer.IN or layer.correction else var
    layer.fix(mean, var)


def _require_alive(outputs: list[Tensor]) -> None:
    """Every floating output must be finite, and one must differ inside and between samples."""
    if not outputs:
        raise SetupError("the output has nothing to compare")
    if not all(bool(torch.isfinite(leaf).all()) for leaf in outputs):
        raise SetupError("the output is not finite")
    if not any(_varies(leaf) for leaf in outputs):
        raise SetupError("the output is constant")


def _growth(network: nn.Module, inputs: Inputs, generator: torch.Generator) -> float:
    """How much larger noise is after the worst layer, on inputs that will be compared."""
    if not has_twins(inputs):
        return 0.0
    grown: list[float] = []

    def measure(_: nn.Module, __: Any, y: Tensor) -> Tensor:
        grown.append(distance(y))
        return nudged(y, generator)

    batch = twinned(inputs, inputs.verification(False)[-1], generator)
    with removing([layer.register_forward_hook(measure) for layer in _layers(network)]):
        grown += [distance(leaf) for leaf in floating_outputs(network, batch)]
    return max(grown)


def _varies(leaf: Tensor) -> bool:
    scale = float(leaf.abs().max())
    samples = float((leaf - leaf[:1]).abs().max())  # twins are nearer than that
    return scale > 0 and float(leaf.std()) > 1e-6 * scale and samples > 1e-6 * scale
