"""The kernels read and write what is theirs, and write all of it."""

from __future__ import annotations

import pytest
import torch
from guard_bands import guarded_memory
from layer_reference import assert_agree, expected, output_gradient
from layer_samples import maps, trained

from ssn_prune.nn.ssn import SSN2d

SHAPES = [(3, 5, 7, 6), (2, 3, 1, 3), (5, 2, 9, 9)]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_outside_is_read_or_written_and_nothing_inside_is_left(shape, layout):
    layer = trained(SSN2d, shape[1]).float()
    x = maps(shape, layout).float()
    wanted = expected(layer, x)
    with guarded_memory() as guard:
        inner = guard.around(x)
        assert inner.stride() == x.stride()
        grad = guard.around(output_gradient(x, "random"))
        inner.requires_grad_()
        for parameter in layer.parameters():
            parameter.data = guard.around(parameter.data)
        for name, buffer in list(layer.named_buffers()):
            layer._buffers[name] = guard.around(buffer)
        y = layer(inner)
        y.backward(grad)
        assert len(guard.whole) > 15
        guard.assert_untouched()
    found = {"output": y.detach(), "d input": inner.grad}
    found |= {f"d {name}": value.grad for name, value in layer.named_parameters()}
    found |= {n: b for n, b in layer.named_buffers() if n.startswith("running")}
    assert_agree(found, wanted, 2e-6, x.numel() // x.shape[1])


def test_a_write_outside_would_be_noticed():
    with guarded_memory() as guard:
        values = torch.empty((3,))
        guard.whole[0][3] = 1.0
        with pytest.raises(AssertionError):
            guard.assert_untouched()
    assert values.isnan().all()
