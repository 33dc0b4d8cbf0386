"""The layer's formula from the paper, independent of the package, for any dtype."""

import torch

OFFERED = {True: ("IN", "LN", "BN"), False: ("IN", "LN")}
ONE_HOT = {"IN": (1.0, 0.0, 0.0), "LN": (0.0, 1.0, 0.0), "BN": (0.0, 0.0, 1.0)}
PAIRS = [(mean, var) for mean in ONE_HOT for var in ONE_HOT]


def total_variance(mean_in, var_in, dim):
    """mean(var + mean^2) - mean^2, the reference form; accurate enough in float64."""
    pooled = mean_in.mean(dim, keepdim=True)
    return pooled, (var_in + mean_in**2).mean(dim, keepdim=True) - pooled**2


def batch_moments(x, correction):
    """BN's mean and variance over a batch, each (C,)."""
    n = x.shape[2] * x.shape[3]
    mean_in = x.sum((2, 3)) / n
    var_in = ((x - mean_in[:, :, None, None]) ** 2).sum((2, 3)) / (n - correction)
    mean, var = total_variance(mean_in, var_in, 0)
    return mean.flatten(), var.flatten()


def switchable_norm(x, weight, bias, p, q, running, *, training, correction, eps=1e-5):
    """y = weight (x - sum p mean) / sqrt(sum q var + eps) + bias, with p, q over IN, LN, BN.

    ``running`` is (mean, var), both (C,), or None where the gates have two entries.
    """
    n = x.shape[2] * x.shape[3]
    mean_in = x.sum((2, 3)) / n
    var_in = ((x - mean_in[:, :, None, None]) ** 2).sum((2, 3)) / (n - correction)
    moments = [(mean_in, var_in), total_variance(mean_in, var_in, 1)]
    if running is not None:
        stats = batch_moments(x, correction) if training else running
        moments.append(tuple(s[None, :] for s in stats))
    mean = sum(p[k] * m for k, (m, _) in enumerate(moments))
    var = sum(q[k] * v for k, (_, v) in enumerate(moments))
    centred = x - mean[:, :, None, None]
    deviation = torch.sqrt(var + eps)[:, :, None, None]
    return weight.reshape(1, -1, 1, 1) * centred / deviation + bias.reshape(1, -1, 1, 1)
