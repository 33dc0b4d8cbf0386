"""Random convolutions and normalizers that fit a shape."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fuzz_graphs import BN, IN, LN, Conv, Norm, Ratios

_SOFT_CHANCE = 0.1
_UNDEFINED_CHANCE = 0.02


def random_conv(rng: random.Random, shape: Sequence[int]) -> Conv | None:
    """A convolution, transposed convolution or linear layer for inputs of ``shape``."""
    dim, inputs = len(shape) - 2, shape[1]
    groups, multiple = 1, rng.randint(1, 8)
    kind = rng.random()
    outputs = multiple
    if dim and kind < 0.2:  # depthwise
        groups, outputs = inputs, inputs * rng.choice((1, 1, 2))
    elif dim and kind < 0.4:
        divisors = [g for g in range(2, inputs + 1) if inputs % g == 0]
        if divisors:
            groups = rng.choice(divisors)
            outputs = groups * rng.randint(1, max(1, 8 // groups))
    if outputs > 8:
        return None
    conv = {
        "dim": dim,
        "inputs": inputs,
        "outputs": outputs,
        "bias": rng.random() < 0.6,
        "gain": rng.choice(((0.0, 0.0), (0.0, 0.0), (-0.5, 0.5), (-2.0, 1.0))),
        "offset": rng.choice((0.5, 0.5, 0.5, 10.0, 1e3, 1e4) if rng.random() < 0.3 else (0.5,)),
    }
    if not dim:
        return Conv(**conv)
    kernel = rng.choice((1, 2, 3) if dim < 3 else (1, 2, 2, 3))
    stride = rng.choice((1, 1, 2))
    dilation = rng.choice((1, 1, 1, 2))
    conv |= {"groups": groups, "kernel": kernel, "stride": stride, "dilation": dilation}
    reach = dilation * (kernel - 1)
    if rng.random() < 0.2:
        extra = rng.randrange(stride)  # runtimes refuse more
        conv |= {"transposed": True, "padding": rng.randint(0, reach), "output_padding": extra}
        return Conv(**conv)
    small = min(shape[2:])
    if reach + 1 > small or rng.random() < 0.6:
        mode = rng.choice(("zeros", "zeros", "reflect", "replicate", "circular"))
        most = {"reflect": small - 1, "circular": small}.get(mode, reach)
        padding: int | str = min((reach + 1) // 2, most)
        if stride == 1 and kernel % 2 and mode == "zeros" and rng.random() < 0.3:
            padding = "same"
        conv |= {"padding": padding, "mode": mode if padding else "zeros"}
    return Conv(**conv)


def random_norm(
    rng: random.Random, shape: Sequence[int], follows: str = "", *, after_norm: bool = False
) -> Norm:
    """A normalizer for inputs of ``shape``, after the convolution ``follows`` if there is one."""
    positions = 1
    for size in shape[2:]:
        positions *= size
    dim, channels = max(1, len(shape) - 2), shape[1]
    norm = {
        "dim": dim,
        "channels": channels,
        "affine": rng.random() < 0.85,
        "eps": rng.choice((1e-5, 1e-5, 1e-3)),
        "spread": rng.choice(((-1.0, 0.5), (-1.0, 0.5), (-3.0, 2.0), (-12.0, 6.0))),
        "zeros": rng.random() < 0.12,
        "matched": rng.random() < 0.8,
        "follows": follows if rng.random() < 0.5 else "",
    }
    if rng.random() < (0.3 if after_norm else 0.04):
        return Norm(**norm, kind="batch")
    mean, var = rng.choice((IN, LN, BN)), rng.choice((IN, LN, BN))
    if rng.random() < 0.3:
        mean = var = BN
    kind = "simplex" if rng.random() < 0.1 else "frozen"
    tied = rng.random() < 0.1
    if rng.random() < _SOFT_CHANCE:
        kind = rng.choice(("simplex", "softmax"))
        zeros = kind == "simplex"
        mean, var = (
            _soft(rng, allow_zero=zeros) if rng.random() < 0.8 or kind == "softmax" else gate
            for gate in (mean, var)
        )
    norm |= {"mean": mean, "var": mean if tied else var, "kind": kind, "tied": tied}
    norm["offset"] = rng.choice((0.5, 0.5, 1e2, 1e4)) if rng.random() < 0.4 else 0.5
    correction = int(rng.random() < 0.3)
    undefined = positions == 1 and (norm["var"][0] or norm["var"][1])
    if undefined and rng.random() > _UNDEFINED_CHANCE:
        correction = 0
    return Norm(**norm, correction=correction)


def _soft(rng: random.Random, *, allow_zero: bool) -> Ratios:
    """Ratios in sixteenths, which float32 holds exactly."""
    low = 0 if allow_zero else 1
    first = rng.randint(low, 14)
    second = rng.randint(low, 15 - first)
    parts = [first, second, 16 - first - second]
    rng.shuffle(parts)
    a, b, c = (part / 16 for part in parts)
    return a, b, c
