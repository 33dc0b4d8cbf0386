"""What torch promises of a function that it differentiates."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_reference import assert_agree, expected, measured
from layer_samples import maps, trained

from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d


def strided(shape, layout):
    x = maps(shape, layout)
    return torch.empty_strided(x.shape, x.stride()).copy_(x)


@pytest.mark.parametrize("pack", [torch.Tensor.contiguous, torch.Tensor.clone, "transposed"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_saved_tensors_may_come_back_in_another_layout(pack, layout):
    """As from ``save_on_cpu(pin_memory=True)``, which keeps no layout."""

    def packed(value):
        if pack != "transposed":
            return pack(value)
        return value.mT.contiguous().mT if value.dim() == 4 else value

    layer, x = trained(SSN2d, 3).float(), strided((4, 3, 5, 4), layout)
    wanted = expected(layer, x)
    with torch.autograd.graph.saved_tensors_hooks(packed, lambda value: value):
        found = measured(layer, x)
    assert_agree(found, wanted, 2e-6, 80)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced"])
def test_second_derivatives_in_every_layout(layout):
    layer, found = trained(SwitchNorm2d, 3), []
    for dtype in (torch.float32, torch.float64):
        leaf = strided((2, 3, 4, 3), layout).to(dtype).requires_grad_()
        (first,) = torch.autograd.grad(
            layer.to(dtype)(leaf).square().sum(), leaf, create_graph=True
        )
        found.append(torch.autograd.grad(first.square().sum(), leaf)[0])
    assert float((found[0] - found[1]).abs().max()) <= 1e-4 * float(found[1].abs().max())


def test_a_second_pass_through_a_kept_graph_is_the_first():
    layer = trained(SSN2d, 3, groups=2).float()
    y = layer(strided((4, 3, 5, 4), "channels_last")).square().sum()
    parameters = list(layer.parameters())
    first = torch.autograd.grad(y, parameters, retain_graph=True)
    second = torch.autograd.grad(y, parameters)
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("name", ["weight", "mean_weight", "input"])
def test_what_backward_needs_may_not_change_before(name):
    layer, x = trained(SSN2d, 3).float(), strided((4, 3, 5, 4), "contiguous")
    y = layer(x).square().sum()
    with torch.no_grad():
        (x if name == "input" else getattr(layer, name)).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_torch_sees_that_running_statistics_change(momentum):
    layer = trained(SSN2d, 3, momentum=momentum).float()
    buffers = layer.running_mean, layer.running_var, layer.num_batches_tracked
    before = [value._version for value in buffers]
    layer(strided((4, 3, 5, 4), "contiguous"))
    assert all(value._version > old for value, old in zip(buffers, before, strict=True))


def test_statistics_are_measured_in_inference_mode():
    layer = trained(SSN2d, 3).float()
    with torch.inference_mode():
        x = strided((4, 3, 5, 4), "contiguous")
        inner = copy.deepcopy(layer)  # its buffers have no versions
        assert torch.equal(inner(x), layer(x))
    assert torch.equal(inner.running_var, layer.running_var)


def test_checkpointed_activations_give_the_same_gradients():
    layer, x = trained(SSN2d, 3).float(), strided((4, 3, 5, 4), "channels_last")
    again = copy.deepcopy(layer)
    layer(x).square().sum().backward()
    torch.utils.checkpoint.checkpoint(again, x, use_reentrant=False).square().sum().backward()
    for one, other in zip(layer.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
