"""Precision where the statistics stay tensors, as on devices that the host must not wait for."""

import pytest
import torch
from host_waits import NoTransfers, pretended_gpu
from layer_samples import maps, trained
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssn_prune.nn.planes import backward_passes, sums_by_rows
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d

SHAPE = (8, 32, 24, 24)


class NoWideMaps(TorchDispatchMode):
    """Refuses operators from a map of ``size`` entries to float64: a sum makes a copy inside."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs, outputs = (
            [t for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]
            for tree in ((args, kwargs), result)
        )
        big = any(t.numel() == self.size for t in inputs)
        wide = any(t.dtype == torch.float64 for t in outputs)
        assert not (big and wide), func
        return result


def gate_gradients(layer, x):
    """With a large mean of the output's gradient, which cancels in the gates."""
    y = layer(x)
    y.backward(maps(SHAPE, seed=1).to(y.dtype) + 2)
    return torch.stack((layer.mean_weight.grad, layer.var_weight.grad)).double()


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
@pytest.mark.parametrize("training", [True, False])
def test_gate_gradients_are_not_rounded_before_they_cancel(layer_class, training):
    exact = trained(layer_class, SHAPE[1]).float().double().train(training)
    layer = trained(layer_class, SHAPE[1]).float().train(training)
    x = maps(SHAPE).float()
    wanted = gate_gradients(exact, x.double())
    with NoTransfers():  # values of tensors cannot be read inside
        found = gate_gradients(layer, x)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_gates_of_a_layer_on_a_gpu_are_solved_in_float64(layer_class):
    with pretended_gpu():
        layer, x = layer_class(3), torch.zeros(2, 3, 4, 4)
        (p, q), solved = layer._ratios_for(x)
    assert solved is None
    assert p.dtype == q.dtype == torch.float64
    assert p.device.type == "cuda"


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_gate_gradients_of_compiled_layers(layer_class):
    exact = trained(layer_class, SHAPE[1]).float().double().train()
    layer = trained(layer_class, SHAPE[1]).float().train()
    layer.forward = torch.compile(layer.forward, backend="aot_eager", fullgraph=True)
    x = maps(SHAPE).float()
    wanted, found = gate_gradients(exact, x.double()), gate_gradients(layer, x)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize("shape", [(3, 2, 700), (2, 3, 40, 50), (2, 2, 7, 8, 9)])
def test_sums_by_rows_are_nearly_those_of_float64(shape):
    x = maps(shape).float()
    found, wanted = sums_by_rows(x), x.double().flatten(2).sum(2)
    assert found.dtype == torch.float64
    assert found.shape == wanted.shape
    scale = x.double().abs().flatten(2).sum(2)
    assert bool(((found - wanted).abs() <= 2.0**-24 * scale).all())


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_a_gpu_makes_no_copy_in_float64(layout):
    with pretended_gpu():
        layer = SSN2d(8)
        x = torch.zeros(4, 8, 9, 10).to(memory_format=getattr(torch, layout))
        with NoWideMaps(x.numel()):
            assert layer(x).dtype == torch.float32
            total, with_x, _ = backward_passes(x, x, torch.zeros(4, 8))
    assert total.dtype == with_x.dtype == torch.float64
