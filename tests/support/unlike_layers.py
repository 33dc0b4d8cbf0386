"""SN layers with other formulas, each found in public code; nothing here uses ssn_prune."""

import torch
from torch import nn


class UnlikeSwitch(nn.Module):
    """SN with one thing at a time changed.

    ``order`` of the gates' entries; ``divisors`` of the variances of IN and LN: ``n``, ``n-1``,
    ``cn-1`` or, for an LN variance from corrected planes, ``planes``; what is divided by, ``root``;
    and what becomes of the output, ``then``.
    """

    def __init__(
        self, channels, order="ILB", divisors=("n-1", "planes"), root=None, then=None, eps=1e-5
    ):
        super().__init__()
        self.eps, self.order, self.divisors, self.root, self.then = eps, order, divisors, root, then
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, channels).view(1, -1, 1, 1))
        self.bias = nn.Parameter(torch.linspace(-0.3, 0.3, channels).view(1, -1, 1, 1))
        self.mean_weight = nn.Parameter(torch.tensor([0.5, 0.1, -0.3][: len(order)]))
        self.var_weight = nn.Parameter(torch.tensor([-0.2, 0.3, 0.4][: len(order)]))
        if "B" in order:
            self.register_buffer("running_mean", torch.full((1, channels, 1), 0.1))
            self.register_buffer("running_var", torch.full((1, channels, 1), 0.9))

    def moments(self, x):
        planes = x.flatten(2)
        count = planes[0].numel()
        mean, biased = planes.mean(2, keepdim=True), planes.var(2, keepdim=True, unbiased=False)
        corrected = planes.var(2, keepdim=True)
        of_all = planes.flatten(1).var(1, unbiased=False).view(-1, 1, 1)
        of_means = mean.var(1, keepdim=True, unbiased=False)
        var_in = {"n": biased, "n-1": corrected}[self.divisors[0]]
        var_ln = {
            "n": of_all,
            "cn-1": of_all * count / (count - 1),
            "planes": corrected.mean(1, keepdim=True) + of_means,
            "mean": var_in.mean(1, keepdim=True),
        }[self.divisors[1]]
        found = {"I": (mean, var_in), "L": (mean.mean(1, keepdim=True), var_ln)}
        if "B" in self.order:
            found["B"] = self.running_mean, self.running_var
        return [found[letter] for letter in self.order]

    def forward(self, x):
        moments = self.moments(x)
        p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = sum(r * m for r, (m, _) in zip(p, moments, strict=True))
        if self.root is None:
            scale = (sum(r * v for r, (_, v) in zip(q, moments, strict=True)) + self.eps).sqrt()
        else:
            scale = self.root([v for _, v in moments], q, self.eps)
        y = ((x.flatten(2) - mean) / scale).view_as(x) * self.weight + self.bias
        return y if self.then is None else self.then(y)


class VectorSwitch(nn.Module):
    """SN over (N, C) with LN and BN, as copies of the reference code have it; it also trains."""

    def __init__(self, channels, eps=1e-5, momentum=0.9, one_hot=None, frozen=False):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, channels).view(1, -1))
        self.bias = nn.Parameter(torch.linspace(-0.3, 0.3, channels).view(1, -1))
        self.mean_weight = nn.Parameter(torch.tensor([0.6, 0.2]))
        self.var_weight = nn.Parameter(torch.tensor([0.1, 0.5]))
        self.register_buffer("running_mean", torch.linspace(-1, 1, channels).view(1, -1))
        self.register_buffer("running_var", torch.linspace(0.5, 2, channels).view(1, -1))
        if frozen:
            for gate, choice in zip(("mean", "var"), one_hot, strict=True):
                getattr(self, f"{gate}_weight").data = torch.eye(2)[choice]
                self.register_buffer(f"{gate}_fixed", torch.ones(1, dtype=torch.int64))

    def forward(self, x):
        mean_ln, var_ln = x.mean(1, keepdim=True), x.var(1, keepdim=True)
        if self.training:
            mean_bn, var_bn = x.mean(0, keepdim=True), x.var(0, keepdim=True)
            for running, value in ((self.running_mean, mean_bn), (self.running_var, var_bn)):
                running.mul_(self.momentum).add_(value.detach() * (1 - self.momentum))
        else:
            mean_bn, var_bn = self.running_mean, self.running_var
        if hasattr(self, "mean_fixed"):
            p, q = self.mean_weight, self.var_weight
        else:
            p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean, var = p[0] * mean_ln + p[1] * mean_bn, q[0] * var_ln + q[1] * var_bn
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
