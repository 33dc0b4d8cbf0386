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
