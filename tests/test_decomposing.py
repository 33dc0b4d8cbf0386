"""Programs that are decomposed without a second trace are those that torch makes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import prune
from ssn_prune.graph.quiet import quiet_tracer
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.decomposing import decompose
from ssn_prune.onnx_export.optimizing import optimize

Forward = Callable[[nn.Module, Tensor], Any]


def captured(model: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    with quiet_tracer():
        shapes = ({0: torch.export.Dim("batch")},)
        return torch.export.export(model.eval(), (x,), dynamic_shapes=shapes)


def translated(program: torch.export.ExportedProgram) -> ir.Model:
    with quiet_tracer():
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    assert exported is not None
    optimize(exported.model)
    return exported.model


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.all_nodes())


def answers(model: ir.Model, x: Tensor) -> list[np.ndarray]:
    file = io.BytesIO(ir.to_proto(model).SerializeToString())
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


def activations(m: nn.Module, x: Tensor) -> Tensor:
    y = F.relu(m.c(x), inplace=True)
    y = F.silu(y + 1, inplace=True) + F.hardswish(y - 1, inplace=True)
    y = F.elu(F.leaky_relu(y * 2, 0.2, inplace=True) / 3, inplace=True)
    y = F.relu6(y).sigmoid_() + F.gelu(y) + torch.tanh(y) + F.hardsigmoid(y)
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
    y = torch.cat([y.float(), F.pad(y, (1, 0, 0, 1))[:, :, 1:, 1:]], 1)
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


def pruned(m: nn.Module, x: Tensor) -> Tensor:
    y = m.b(torch.relu(m.a(m.c(x))))
    y += m.d(x)
    return F.relu(y, inplace=True)


FORWARDS = (activations, arithmetic, modules, views, other_dimensions, pruned)


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_file_is_that_of_torchs_decomposition(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    parts: dict[str, nn.Module] = {"c": nn.Conv2d(3, 4, 3, padding=1)}
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
    if forward is pruned:
        network = prune(network, x).model
    reference = translated(captured(network, x))
    program = captured(network, x)
    assert decompose(program)
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    ours = translated(program)
    assert operators(ours) <= operators(reference)
    x = torch.randn(3, 3, 8, 8)
    for value, expected in zip(answers(ours, x), answers(reference, x), strict=True):
        np.testing.assert_array_equal(value, expected)


def written_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.relu_()


def written_view_of_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1).relu_() + 1


def written_weight(m: nn.Module, x: Tensor) -> Tensor:
    return x + m.c.weight.detach().mul_(0.5).sum()


def seen_in_a_view(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    view = y.flatten(1)
    y.relu_()
    return view + 1


def seen_behind_a_view(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y[:, :1].relu_()
    return y


def seen_behind_a_part(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    left, right = y.chunk(2, 3)
    left += 1
    return y + right.sum()


def seen_behind_dropout(m: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    F.dropout(y.flatten(1), 0.5, m.training).relu_()
    return y + 0


def narrowed(_: nn.Module, x: Tensor) -> Tensor:
    y = x.half() * 2
    y += x
    return y.float()


def batch_statistics(_: nn.Module, x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def random_dropout(_: nn.Module, x: Tensor) -> Tensor:
    return F.dropout(x, 0.5, True)


def returned_dropout(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return F.dropout(x, 0.5, m.training), x + 1


def pooled_to_two(_: nn.Module, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 2)


def rolled(_: nn.Module, x: Tensor) -> Tensor:
    return x.roll(1, 2)


def in_a_region(m: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return m.c(x)


REFUSED = (
    written_input,
    written_view_of_input,
    written_weight,
    seen_in_a_view,
    seen_behind_a_view,
    seen_behind_a_part,
    seen_behind_dropout,
    narrowed,
    batch_statistics,
    random_dropout,
    returned_dropout,
    pooled_to_two,
    rolled,
    in_a_region,
)


@pytest.mark.parametrize("forward", REFUSED)
def test_what_torch_must_decompose_stays_as_it_is(forward: Forward) -> None:
    network = Lambda(forward, c=nn.Conv2d(3, 4, 1))
    program = captured(network, torch.randn(2, 3, 8, 8))
    before = str(program.graph)
    assert not decompose(program)
    assert str(program.graph) == before
    assert "run_decompositions" not in vars(program)


def _grown(values: list[Tensor], kind: int, first: int, second: int) -> None:
    """Append what one operator makes of earlier values."""
    a, b = values[first % len(values)], values[second % len(values)]
    made = (
        lambda: a + b,
        lambda: a * 2,
        lambda: a.relu_(),
        lambda: a.add_(b),
        lambda: a.mul_(0.5),
        lambda: a.view(2, 4, 4).transpose(1, 2).view(2, 4, 4),
        lambda: a.flatten(1).view(2, 4, 4),
        lambda: a.chunk(2, 1)[0].sigmoid_(),
        lambda: F.dropout(a, 0.5, False),
        lambda: a.transpose(1, 2),
        lambda: torch.stack(a.unbind(0)),
        lambda: a[:, :2],
    )[kind]()
    values.append(made if made.shape == (2, 4, 4) else torch.cat([made, made], 1))


steps = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_random_views_and_writes(steps: list[tuple[int, int, int]]) -> None:
    """Whatever is decomposed gives the same values, and writes to nothing."""

    def forward(_: nn.Module, x: Tensor) -> list[Tensor]:
        values = [x * 1]
        for step in steps:
            _grown(values, *step)
        return values

    x = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    network = Lambda(forward)
    try:
        expected = network(x.clone())
        with quiet_tracer():
            program = torch.export.export(network, (x,))
    except RuntimeError:  # views that torch refuses, or writing to parts of itself
        return
    if decompose(program):
        program.graph.lint()
        assert not any(
            node.target._schema.is_mutable
            for node in program.graph.nodes
            if isinstance(node.target, torch._ops.OpOverload)
        )
        program.graph_module.recompile()
        for value, wanted in zip(program.graph_module(x), expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=0, atol=0)
