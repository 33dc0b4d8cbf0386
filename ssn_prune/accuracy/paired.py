"""The difference of two networks' accuracy on the same images, with a confidence interval.

Both networks see every image, so the difference has far less noise than either accuracy. For
classes: the score interval of R. G. Newcombe, Improved confidence intervals for the difference
between binomial proportions based on paired data, Statistics in Medicine 17 (1998), method 10. For
mean intersection over union, which is not a mean over images: the percentile bootstrap over images.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from ssn_prune.accuracy.metrics import mean_iou
from ssn_prune.accuracy.per_image import PerImage
from ssn_prune.accuracy.results import PairedDifference
from ssn_prune.errors import ArgumentError

_RESAMPLES = 2000
_AT_ONCE = 100  # resamples, to bound the memory


def paired(
    before: PerImage, after: PerImage, *, confidence: float = 0.95, seed: int = 0
) -> PairedDifference | None:
    """The difference of top-1 accuracy, or of mean intersection over union.

    Args:
        before: The results of one network.
        after: Those of another one, on the same images in the same order.
        confidence: The confidence level of the interval.
        seed: The seed of the bootstrap.

    Returns:
        The second network's accuracy minus the first's; None if the images have no labels.

    Raises:
        ArgumentError: The results are of other images.
    """
    if (before.kind, len(before)) != (after.kind, len(after)):
        raise ArgumentError(
            "the results are not those of the same images",
            expected=f"{len(before)} images with {before.kind.value}",
            found=f"{len(after)} images with {after.kind.value}",
            hint="score both networks on the same images",
        )
    if before.right is not None and after.right is not None:
        return _score_interval(before.right, after.right, confidence)
    if before.counts is not None and after.counts is not None:
        return _bootstrap(before.counts, after.counts, confidence, seed)
    return None


def _score_interval(before: Tensor, after: Tensor, confidence: float) -> PairedDifference:
    total = len(before)
    both = int((before & after).sum())
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    neither = total - both - gained - lost
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    first, second = (both + gained) / total, (both + lost) / total  # after, before
    low1, high1 = (abs(first - limit) for limit in _wilson(first, total, z))
    low2, high2 = (abs(second - limit) for limit in _wilson(second, total, z))
    phi = _correlation(both, gained, lost, neither)
    mean = (gained - lost) / total
    lower = mean - _joint(low1, high2, phi)
    upper = mean + _joint(high1, low2, phi)
    return PairedDifference(mean, max(lower, -1.0), min(upper, 1.0), confidence)


def _wilson(share: float, total: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion."""
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def _correlation(both: int, gained: int, lost: int, neither: int) -> float:
    """Phi of the four counts, with Newcombe's continuity correction."""
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if margins == 0:
        return 0.0
    total = both + gained + lost + neither
    product = both * neither - gained * lost
    corrected = max(product - total / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(margins)


def _joint(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def _bootstrap(before: Tensor, after: Tensor, confidence: float, seed: int) -> PairedDifference:
    counts = torch.stack([before, after]).double().flatten(2)  # network, image, 3 x classes
    total = counts.shape[1]
    generator = np.random.default_rng(seed)

    def difference(weights: Tensor) -> Tensor:
        values = mean_iou((weights @ counts).unflatten(2, (3, -1)))
        return values[1] - values[0]

    found = []
    for _ in range(_RESAMPLES // _AT_ONCE):
        drawn = generator.multinomial(total, np.full(total, 1 / total), size=_AT_ONCE)
        found.append(difference(torch.from_numpy(drawn).double()))
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(torch.cat(found).numpy(), [tail, 1 - tail])
    mean = float(difference(torch.ones(1, total, dtype=torch.float64))[0])
    return PairedDifference(mean, float(lower), float(upper), confidence)
