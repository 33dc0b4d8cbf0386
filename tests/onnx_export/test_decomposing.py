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
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.decomposing import decompose, unknown_operators
from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.optimizing import optimize
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output

X = torch.randn(2, 3, 8, 8)
Forward = Callable[[nn.Module, Tensor], Any]


def captured(
    model: nn.Module, x: Tensor, *, open_sizes: bool = False
) -> torch.export.ExportedProgram:
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if open_sizes:
        axes |= dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    with suppress_tracer_output():
        return torch.export.export(model.eval(), (x,), dynamic_shapes=(axes,))


def translated(program: torch.export.ExportedProgram) -> ir.Model:
    with suppress_tracer_output():
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    assert exported is not None
    optimize(exported.model)
    return exported.model


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.all_nodes())


def places(model: ir.Model) -> set[tuple[str, str]]:
    """The modules that nodes come from, and their operators."""
    nodes = model.graph.all_nodes()
    return {(module_path(node), node.op_type) for node in nodes if module_path(node)}


def answers(model: ir.Model, x: Tensor) -> list[np.ndarray]:
    file = io.BytesIO(ir.to_proto(model).SerializeToString())
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


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


FORWARDS = (
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
)


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_file_is_that_of_torchs_decomposition(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
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
    if forward is pruned:
        network = prune(network, x).model
    open_sizes = forward is sizes
    reference = translated(captured(network, x, open_sizes=open_sizes))
    program = captured(network, x, open_sizes=open_sizes)
    assert unknown_operators(program) == ()
    assert decompose(program)
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    ours = translated(program)
    assert operators(ours).total() <= operators(reference).total()
    if not open_sizes:  # there it computes some sizes in another way
        assert operators(ours) <= operators(reference)
        assert places(ours) >= places(reference)
    for size in (8, 11) if open_sizes else (8,):
        x = torch.randn(3, 3, size, 8)
        for value, expected in zip(answers(ours, x), answers(reference, x), strict=True):
            np.testing.assert_array_equal(value, expected)


def written_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.relu_()


def written_view_of_input(_: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1).relu_() + 1


def written_weight(m: nn.Module, x: Tensor) -> Tensor:
    return x + m.c.weight.detach().mul_(0.5).mean()


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


def batch_statistics(m: nn.Module, x: Tensor) -> Tensor:
    return F.batch_norm(x, m.n.running_mean, m.n.running_var, training=True) * 2


def random_dropout(_: nn.Module, x: Tensor) -> Tensor:
    return F.dropout(x, 0.5, True) * 2


def pooled_to_two(_: nn.Module, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, (1, 2))


def rolled(_: nn.Module, x: Tensor) -> Tensor:
    return x.roll(1, 2)


def complex_numbers(_: nn.Module, x: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(x.view(-1, 2)) * 2)


def divided_size(_: nn.Module, x: Tensor) -> Tensor:
    return x * (x.shape[0] * 0.5)


def in_a_region(m: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return m.c(x)


REFUSED: dict[Forward, tuple[str, ...]] = {
    written_input: (),
    written_view_of_input: (),
    written_weight: (),
    seen_in_a_view: (),
    seen_in_an_output: (),
    narrowed: ("aten.add_.Tensor",),
    cast: ("aten.to.dtype",),
    batch_statistics: ("aten.batch_norm.default",),
    random_dropout: ("aten.dropout.default",),
    pooled_to_two: ("aten.adaptive_avg_pool2d.default",),
    rolled: ("aten.roll.default",),
    complex_numbers: ("aten.mul.Tensor",),
    divided_size: ("<built-in function mul>",),
    in_a_region: ("wrap_with_autocast",),
}


@pytest.mark.parametrize("forward", REFUSED)
def test_what_torch_must_decompose_stays_as_it_is(forward: Forward) -> None:
    network = Lambda(forward, c=nn.Conv2d(3, 4, 1), n=nn.BatchNorm2d(3))
    program = captured(network, torch.randn(2, 3, 8, 8))
    before = str(program.graph)
    unknown = unknown_operators(program)
    assert set(REFUSED[forward]) <= set(unknown)
    assert bool(REFUSED[forward]) == bool(unknown)
    assert not decompose(program)
    assert str(program.graph) == before
    assert "run_decompositions" not in vars(program)


# Of a tensor of shape (N, 3, 64).
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "cast": lambda b: b.to(torch.float32),
    "chunk": lambda b: b.chunk(2, 2)[0],
    "contiguous": lambda b: b.contiguous(),
    "detach": lambda b: b.detach(),
    "dropout": lambda b: F.dropout(b, 0.5, False),
    "expand": lambda b: b.expand(-1, -1, 64),
    "flatten": lambda b: b.flatten(1),
    "permute": lambda b: b.permute(0, 2, 1),
    "reshape": lambda b: b.reshape(b.shape[0], 64, 3),
    "select": lambda b: b.select(2, 0),
    "slice": lambda b: b[:, 1:],
    "split": lambda b: b.split(32, 2)[0],
    "split_with_sizes": lambda b: b.split([16, 48], 2)[1],
    "squeeze": lambda b: b.view(b.shape[0], 3, 64, 1).squeeze(3),
    "transpose": lambda b: b.transpose(1, 2),
    "unbind": lambda b: b.unbind(1)[0],
    "unsqueeze": lambda b: b.unsqueeze(1),
    "view": lambda b: b.view(b.shape[0], 64, 3),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_write_that_is_seen_behind_a_view_is_left_to_torch(
    view: Callable[[Tensor], Tensor],
) -> None:
    def forward(_: nn.Module, x: Tensor) -> Tensor:
        y = x.flatten(2) * 2
        # Not of y itself: what gives the very same tensor makes later uses those of the result.
        view(y[:, :]).relu_()
        return y + 0

    program = captured(Lambda(forward), torch.randn(2, 3, 8, 8))
    assert unknown_operators(program) == ()
    assert not decompose(program)


def _grown(values: list[Tensor], kind: int, first: int, second: int) -> None:
    """Append what one operator makes of earlier values."""
    a, b = values[first % len(values)], values[second % len(values)]
    made = KINDS[kind](a, b)
    values.append(made if made.shape == (2, 4, 4) else torch.cat([made, made], 1))


KINDS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda a, b: a + b,
    lambda a, _: a * 2,
    lambda a, _: a.relu_(),
    lambda a, b: a.add_(b),
    lambda a, _: a.mul_(0.5),
    lambda a, _: a.view(2, 4, 4).transpose(1, 2).view(2, 4, 4),
    lambda a, _: a.flatten(1).view(2, 4, 4),
    lambda a, _: a.chunk(2, 1)[0].sigmoid_(),
    lambda a, _: F.dropout(a, 0.5, False),
    lambda a, _: a.transpose(1, 2),
    lambda a, _: torch.stack(a.unbind(0)),
    lambda a, _: a[:, :2],
    lambda a, _: a.transpose(1, 2).reshape(2, 4, 4),
    lambda a, _: a.contiguous(),
    lambda a, _: a.unsqueeze(1).squeeze(1).to(torch.float32),
    lambda a, _: a.split([1, 2, 1], 2)[1].reshape(2, 2, 4),
    lambda a, _: a.permute(2, 0, 1).select(0, 1).unsqueeze(2).expand(-1, -1, 4).detach(),
)
steps = st.lists(
    st.tuples(st.integers(0, len(KINDS) - 1), st.integers(0, 50), st.integers(0, 50)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
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
        with suppress_tracer_output():
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


def test_a_decomposed_program_goes_with_its_last_reference() -> None:
    program = captured(Lambda(activations, c=nn.Conv2d(3, 4, 1), relu6=nn.ReLU6(True)), X)
    assert decompose(program)
    assert program.run_decompositions(decomp_table={}) is program
    handed_over = program.run_decompositions
    del program
    assert handed_over({}) is None
