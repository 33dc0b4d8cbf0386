"""Batches, and their population statistics, computed independently."""

import torch

EXACT = {"rtol": 1e-12, "atol": 1e-13}  # float64
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def batches(shape=(4, 3, 5, 6), count=5, dtype=torch.float64):
    """Batches that differ in mean, spread and size."""
    generator = torch.Generator().manual_seed(len(shape))
    sizes = [(shape[0] + index % 3, *shape[1:]) for index in range(count)]
    drawn = [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]
    return [x * (1 + i) + 3 * i - 2 for i, x in enumerate(drawn)]


def statistics(inputs, kind):
    """Mean over batches of the mean and the variance; ``kind`` is what the variance divides by."""
    means, variances = [], []
    for x in inputs:
        planes = x.transpose(0, 1).flatten(2) if x.dim() > 2 else x.t()[:, :, None]
        mean = planes.mean((1, 2))
        squares = (planes - mean[:, None, None]) ** 2
        count, positions = planes[0].numel(), planes.shape[2]
        if kind == "corrected":  # within planes n - 1, between them the population
            within = ((planes - planes.mean(2, keepdim=True)) ** 2).sum(2) / (positions - 1)
            between = ((planes.mean(2) - mean[:, None]) ** 2).mean(1)
            var = within.mean(1) + between
        else:
            var = squares.sum((1, 2)) / (count - (kind == "unbiased"))
        means.append(mean)
        variances.append(var)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)
