"""Layers and maps with values as after training."""

import torch

from ssn_prune.nn.ssn import SSN1d, SSN2d, SSN3d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm2d, SwitchNorm3d

EXACT = 1e-12  # of the scale that assert_agree documents, float64
LAYERS = {1: (SSN1d, SwitchNorm1d), 2: (SSN2d, SwitchNorm2d), 3: (SSN3d, SwitchNorm3d)}


def trained(layer_class, channels, seed=0, **options):
    """A layer with parameters and running statistics as after training, in float64."""
    groups, frozen = options.pop("groups", 1), options.pop("frozen", False)
    radius = options.pop("radius", 0.25)
    layer = layer_class(channels, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.3, 0.3, generator=generator)
        if layer.affine:
            layer.weight.add_(1.0)
        if layer.running_mean is not None:
            layer.running_mean.normal_(1.0, generator=generator)
            layer.running_var.uniform_(0.3, 3, generator=generator)
        if hasattr(layer, "radius"):
            layer.radius.fill_(radius)
    if frozen and hasattr(layer, "fix"):
        mean, var = layer.normalizers[-1], layer.normalizers[0]
        layer.fix(mean, mean if layer.shared_gate else var)
    layer.batch_groups = groups
    return layer


def maps(shape, layout="contiguous", seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.5, 2, shape[1], dtype=torch.float64)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    x = x * spread.view(-1, *[1] * (len(shape) - 2)) + 1
    if layout == "channels_last" and len(shape) in (4, 5):
        return x.to(
            memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        )
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced":
        return torch.stack((x, x + 7), -1)[..., 0]
    return x[:1].expand(shape) if layout == "expanded" else x
