"""Layers that have selected a pair, and maps."""

import torch

EXACT = 1e-12  # of the largest entry, float64


def frozen_layer(layer_class, channels, pair, seed=0, **options):
    """A float64 layer as after training that has selected ``pair``."""
    layer = layer_class(channels, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean"):
            if getattr(layer, name) is not None:
                getattr(layer, name).normal_(0.5, 1.0, generator=generator)
        if layer.running_var is not None:
            layer.running_var.uniform_(0.3, 3.0, generator=generator)
    layer.fix(pair.mean, pair.var)
    return layer


def maps(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 1.7 + 1
