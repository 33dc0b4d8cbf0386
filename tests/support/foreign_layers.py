"""An independently written stand-in for the reference layers, from the formula in their papers.

Tests copy this file next to a checkpoint and load it as a user's own code. It knows nothing of
ssn_prune. Like the original it allocates on the GPU in the constructor, keeps ``momentum`` of the
running values, and divides variances by n - 1.
"""

import torch
from torch import nn


class ForeignSwitch(nn.Module):
    def __init__(self, features, eps=1e-5, momentum=0.9, using_moving_average=True, using_bn=True):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.using_moving_average, self.using_bn = using_moving_average, using_bn
        choices = 3 if using_bn else 2
        self.weight = nn.Parameter(torch.ones(1, features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, features, 1, 1))
        self.mean_weight = nn.Parameter(torch.ones(choices))
        self.var_weight = nn.Parameter(torch.ones(choices))
        if using_bn:
            self.register_buffer("running_mean", torch.cuda.FloatTensor(1, features, 1).zero_())
            self.register_buffer("running_var", torch.cuda.FloatTensor(1, features, 1).fill_(1))

    def ratios(self):
        return torch.softmax(self.mean_weight, 0), torch.softmax(self.var_weight, 0)

    def forward(self, x):
        batch, channels, height, width = x.shape
        flat = x.reshape(batch, channels, height * width)
        mean_in = flat.mean(-1, keepdim=True)
        var_in = flat.var(-1, keepdim=True)
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        means, variances = [mean_in, mean_ln], [var_in, var_ln]
        if self.using_bn:
            means.append(self.running_mean)
            variances.append(self.running_var)
        p, q = self.ratios()
        mean = sum(ratio * value for ratio, value in zip(p, means, strict=True))
        variance = sum(ratio * value for ratio, value in zip(q, variances, strict=True))
        flat = (flat - mean) / (variance + self.eps).sqrt()
        return flat.reshape(x.shape) * self.weight + self.bias


class ForeignSparseSwitch(ForeignSwitch):
    def __init__(self, features, **options):
        super().__init__(features, **options)
        self.register_buffer("mean_fixed", torch.cuda.LongTensor([0]))
        self.register_buffer("var_fixed", torch.cuda.LongTensor([0]))
        self.register_buffer("radius", torch.cuda.FloatTensor([0]))

    def ratios(self):
        assert bool(self.mean_fixed)
        assert bool(self.var_fixed)
        return self.mean_weight, self.var_weight


class ForeignNetwork(nn.Module):
    def __init__(self, using_moving_average=True, using_bn=True, num_classes=3):
        super().__init__()
        options = {"using_moving_average": using_moving_average, "using_bn": using_bn}
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm1 = ForeignSparseSwitch(6, eps=3e-3, momentum=0.97, **options)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2 = ForeignSwitch(6, eps=2e-4, momentum=0.8, **options)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class HabitualSwitch(nn.Module):
    """SN with the habits seen in public code.

    ``order`` of the gates' entries, ``eps`` under ``eps_name`` and inside of the root or after it,
    a fused ReLU, a ``guard`` that is called with the input, one gate for both, E[x^2] - mean^2
    (``centred=False``), and a float32 step inside.
    """

    def __init__(
        self,
        channels,
        eps=1e-5,
        eps_name="eps",
        eps_outside=False,
        order=(0, 1, 2),
        relu=False,
        guard=None,
        shared=False,
        centred=True,
        narrow=False,
        factor=1.0,
    ):
        super().__init__()
        setattr(self, eps_name, eps)
        self.eps_name, self.eps_outside, self.order, self.relu = eps_name, eps_outside, order, relu
        self.guard, self.centred, self.narrow, self.factor = guard, centred, narrow, factor
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, channels).view(1, -1, 1, 1))
        self.bias = nn.Parameter(torch.linspace(-0.3, 0.3, channels).view(1, -1, 1, 1))
        self.mean_weight = nn.Parameter(torch.tensor([0.5, 0.1, -0.3]))
        self.var_weight = nn.Parameter(torch.tensor([-0.2, 0.3, 0.4]))
        if shared:
            self.var_weight = self.mean_weight
        self.register_buffer("running_mean", torch.full((1, channels, 1), 0.1))
        self.register_buffer("running_var", torch.full((1, channels, 1), 0.9))

    def forward(self, x):
        if self.guard is not None:
            self.guard(x)
        planes = x.flatten(2)
        mean_in, var_in = planes.mean(2, keepdim=True), planes.var(2, keepdim=True)
        mean_ln = mean_in.mean(1, keepdim=True)
        if self.centred:
            var_ln = var_in.mean(1, keepdim=True) + mean_in.var(1, keepdim=True, unbiased=False)
        else:
            var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        means = [(mean_in, mean_ln, self.running_mean)[i] for i in self.order]
        variances = [(var_in, var_ln, self.running_var)[i] for i in self.order]
        mean = sum(p * m for p, m in zip(self.mean_weight.softmax(0), means, strict=True))
        var = sum(q * v for q, v in zip(self.var_weight.softmax(0), variances, strict=True))
        eps = getattr(self, self.eps_name) * self.factor
        scale = var.sqrt() + eps if self.eps_outside else (var + eps).sqrt()
        if self.narrow:
            scale = scale.half().to(scale.dtype)
        y = ((planes - mean) / scale).view_as(x) * self.weight + self.bias
        return y.relu() if self.relu else y


class TokenNorm(nn.Module):
    """Tokens are the features: scale per token, statistics over the features."""

    def __init__(self, tokens):
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, tokens).view(1, -1, 1))
        self.bias = nn.Parameter(torch.zeros(1, tokens, 1))
        self.mean_weight = nn.Parameter(torch.tensor([0.4, -0.2]))
        self.var_weight = nn.Parameter(torch.tensor([0.1, 0.3]))

    def forward(self, x):
        y = x.transpose(1, 2)
        mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True)
        mean_ln = mean.mean(1, keepdim=True)
        var_ln = (var + mean**2).mean(1, keepdim=True) - mean_ln**2
        p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        y = (y - p[0] * mean - p[1] * mean_ln) / (q[0] * var + q[1] * var_ln + self.eps).sqrt()
        return y.transpose(1, 2) * self.weight + self.bias


class GpuOnlySwitch(HabitualSwitch):
    """Its kernel is compiled for GPUs."""

    def forward(self, x):
        if x.device.type == "cpu":
            raise NotImplementedError("no kernel for the CPU")
        return super().forward(x)


class GpuOnlyNetwork(nn.Module):
    input_size = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), GpuOnlySwitch(4)

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3))
