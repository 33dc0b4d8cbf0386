"""What networks do with views, writes and sizes comes out of the file as from the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import ExportOptions, export_onnx, prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import tensor_leaves

Forward = Callable[[nn.Module, Tensor], Any]


def activations(m: nn.Module, x: Tensor) -> Tensor:
    y = F.relu(m.c(x), inplace=True)
    y = F.silu(y + 1, inplace=True) + F.hardswish(y - 1, inplace=True)
    y = F.elu(F.leaky_relu(y * 2, 0.2, inplace=True) / 3, inplace=True)
    y = F.relu6(F.hardsigmoid(y * 2, inplace=True) - 0.3, inplace=True) + m.relu6(y)
    y = F.relu6(y).sigmoid_() + F.gelu(y) + torch.tanh(y) + F.hardsigmoid(y) + torch.sigmoid(y)
    y = y + F.hardtanh(y, 0.0, 0.5)
    return F.elu(y) + F.leaky_relu(-y) + F.silu(y) + F.hardswish(y) + torch.relu(y)


def arithmetic(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x)
    y += x[:, :1]
    y *= 2
    y -= 0.5
    y /= (y**2).mean().sqrt() + (y * y).mean((2, 3), keepdim=True).rsqrt()
    return y**2 + y.sum((2, 3), keepdim=True)


def modules(m: nn.Module, x: Tensor) -> Tensor:
    y = F.dropout(m.n(m.c(x)), 0.3, m.training)
    y = F.max_pool2d(y, 2) + F.avg_pool2d(y, 2)
    y = torch.cat([y.to(torch.float32), F.pad(y, (1, 0, 0, 1))[:, :, 1:, 1:]], 1)
    y = F.group_norm(y, 2) + F.layer_norm(y, [4]) + F.instance_norm(y)
    y = F.interpolate(y, scale_factor=2.0) + F.interpolate(y, scale_factor=2, mode="bilinear")
    y = F.dropout(F.adaptive_avg_pool2d(y, 1), 0.3, m.training, inplace=True)
    return m.head(y.flatten(1).relu_())


def views(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x)
    left, right = y.chunk(2, 1)
    rows, columns = y.split(4, 2)[0], y.split([2, 6], 3)[0].contiguous().transpose(2, 3)
    y = torch.stack([left, right], 2).flatten(1, 2).detach()
    y = y.view(y.size(0), 4, -1).permute(0, 2, 1).softmax(2)
    rows = rows.reshape(x.shape[0], 2 * 2, -1).transpose(1, 2)[:, :, 1:].expand(-1, -1, 3)
    first = rows.unsqueeze(1).squeeze(1).select(2, 0)
    return torch.matmul(y.transpose(1, 2), y) + first.mean() + columns.unbind(1)[0].mean()


def other_dimensions(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    line = F.avg_pool1d(F.max_pool1d(m.line(x.flatten(2)), 2), 2)
    cube = F.avg_pool3d(F.max_pool3d(m.cube(x.unsqueeze(2)), (1, 2, 2)), (1, 2, 2))
    return line, F.adaptive_avg_pool3d(cube, 1)


def whole_chunk(m: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([part.relu() for part in m.c(x).chunk(1, 1)], 1)


def uneven_chunks(m: nn.Module, x: Tensor) -> Tensor:
    parts = torch.cat([m.c(x), x, x], 1).chunk(4, 1)  # 10 channels: 3, 3, 3 and 1
    return torch.cat([*parts, *m.c(x).chunk(3, -3)], 1)  # torch makes 2 of them


def flattened_twice(m: nn.Module, x: Tensor) -> Tensor:
    y = F.adaptive_avg_pool2d(m.c(x), 1).flatten(1)
    return (y.flatten(1) * 2).flatten(1, 1)


def empty(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :0].reshape(8, 0), m.c(x)


def shuffled(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x).reshape(x.shape[0], 2, 2, 8, 8).transpose(1, 2).reshape(x.shape[0], 4, 8, 8)
    return y + 1


def returned_dropout(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return F.dropout(m.c(x), 0.5, m.training), x.to(torch.float32), x + 1


def sizes(m: nn.Module, x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    y = m.c(x).chunk(2, 1)[0].view(n, 2, h * w)[:, :, 1 : h - 1].flatten(1)
    z = F.interpolate(m.c(x), size=(h * 2 + 1, w // 2), mode="bilinear").flatten(2)
    return y.mean(1).view(n, 1, 1) + z.flatten(2, 2)


def pruned(m: nn.Module, x: Tensor) -> Tensor:
    y = m.b(torch.relu(m.a(m.c(x))))
    y += m.d(x)
    return F.relu(y, inplace=True)


def written_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.relu_()


def written_view_of_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1).relu_() + 1


def seen_in_a_view(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    view = y.flatten(1)
    y.relu_()
    return view + 1


def seen_in_an_output(_: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    y = x * 2
    return y.flatten(1), y.relu_()


def narrowed(_: nn.Module, x: Tensor) -> Tensor:
    y = (x > 0) * torch.ones(1, dtype=torch.half)  # float16
    y += x
    return y + 1


def cast(_: nn.Module, x: Tensor) -> Tensor:
    return x.to(torch.half) * 2


def pooled_to_two(_: nn.Module, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, (1, 2))


def rolled(_: nn.Module, x: Tensor) -> Tensor:
    return x.roll(1, 2)


def divided_size(_: nn.Module, x: Tensor) -> Tensor:
    return x * (x.shape[0] * 0.5)


def in_a_region(m: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return m.c(x)


FORWARDS: tuple[Forward, ...] = (
    activations,
    arithmetic,
    modules,
    views,
    other_dimensions,
    whole_chunk,
    uneven_chunks,
    flattened_twice,
    empty,
    shuffled,
    returned_dropout,
    sizes,
    pruned,
    written_input,
    written_view_of_input,
    seen_in_a_view,
    seen_in_an_output,
    narrowed,
    cast,
    pooled_to_two,
    rolled,
    divided_size,
    in_a_region,
)


DYNAMIC: dict[Forward, Dynamic] = {empty: "none", sizes: "spatial"}


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_file_computes_what_the_network_does(forward: Forward, tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {"c": nn.Conv2d(3, 4, 3, padding=1)}
    if forward is activations:
        parts["relu6"] = nn.ReLU6(inplace=True)
    if forward is modules:
        parts |= {"n": nn.BatchNorm2d(4), "head": nn.Linear(8, 5)}
        parts["n"].running_mean.normal_()
    if forward is other_dimensions:
        parts = {"line": nn.Conv1d(3, 4, 3), "cube": nn.Conv3d(3, 4, 1)}
    if forward is pruned:
        parts |= {
            "a": trained_layer(4, NormalizerPair(IN, LN)),
            "b": trained_layer(4, NormalizerPair(BN, IN)),
            "d": nn.Sequential(nn.Conv2d(3, 4, 1), trained_layer(4, NormalizerPair(LN, BN))),
        }
    network: nn.Module = Lambda(forward, **parts).eval()
    original = network
    x = torch.randn(2, 3, 8, 8)
    if forward is pruned:
        network = prune(network, x).model
    options = ExportOptions(dynamic=DYNAMIC.get(forward, "batch"))
    path = tmp_path / "m.onnx"
    export_onnx(network, x.clone(), path, options=options)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (8, 11) if forward is sizes else (8,):
        x = torch.randn(2 if options.dynamic == "none" else 3, 3, size, 8)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            single = tensor_leaves(original(x.clone()))
            wide = tensor_leaves(float64_copy(original)(x.double()))
        assert len(found) == len(single)
        for value, own, exact in zip(found, single, wide, strict=True):
            assert value.shape == tuple(exact.shape)
            scale = float(exact.abs().max()) if exact.numel() else 0.0
            unit = 2.0**-9 if value.dtype == np.float16 else 1e-6  # half: rounded twice or once
            error = np.abs(value - exact.double().numpy()).max(initial=0.0)
            own_error = float((own.double() - exact).abs().max()) if exact.numel() else 0.0
            assert error <= 4 * own_error + unit * scale
