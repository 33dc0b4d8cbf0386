"""SelectedNorm as a module: copies, pickles, the compiler, and what it refuses."""

import copy
import itertools
import pickle

import pytest
import torch
from layer_reference import assert_agree, measured
from selected_samples import EXACT, frozen_layer, maps

from ssn_prune import SSN2d
from ssn_prune.nn.selected import SelectedNorm
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.surgery.freeze import freeze_selected

IN, LN, BN = Normalizer


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_a_selected_norm_can_be_copied_pickled_and_compiled(pair):
    layer = frozen_layer(SSN2d, 3, pair, correction=1)
    swapped = freeze_selected(copy.deepcopy(layer)).model
    x = maps((4, 3, 5, 5))
    wanted = measured(copy.deepcopy(swapped), x)
    assert_agree(measured(pickle.loads(pickle.dumps(swapped)), x), wanted, 0.0)
    assert str(pair) in repr(swapped)
    assert not {"mean_ratios", "var_ratios"} & swapped.state_dict().keys()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    ("pair", "training"), [(NormalizerPair(IN, BN), True), (NormalizerPair(BN, LN), False)]
)
def test_a_selected_norm_compiles_without_a_graph_break(pair, training):
    torch.compiler.reset()
    swapped = freeze_selected(frozen_layer(SSN2d, 3, pair)).model.train(training)
    compiled = torch.compile(copy.deepcopy(swapped), fullgraph=True, backend="aot_eager")
    x = maps((4, 3, 5, 5)).requires_grad_()
    y, z = swapped(x), compiled(x)
    torch.testing.assert_close(z, y, rtol=EXACT, atol=EXACT)
    wanted = torch.autograd.grad(y.pow(3).sum(), x)[0]
    found = torch.autograd.grad(z.pow(3).sum(), x)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    for name, value in swapped.named_buffers():
        torch.testing.assert_close(compiled._orig_mod.get_buffer(name), value, rtol=EXACT, atol=0)


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_it_keeps_the_statistics_of_its_pair_only(pair):
    layer = SelectedNorm(3, pair, (4,))
    used = BN in (pair.mean, pair.var)
    assert layer.using_bn == (layer.running_mean is not None) == used
    assert ("running_var" in layer.state_dict()) == used
    assert set(layer.normalizers) == {pair.mean, pair.var}
    assert not list(SelectedNorm(3, pair, (4,), affine=False).parameters())


def test_double_backward_is_that_of_the_ssn_layer():
    for pair, training in itertools.product(ALL_PAIRS, (True, False)):
        layer = frozen_layer(SSN2d, 3, pair, correction=1).train(training)
        found = []
        for module in (layer, freeze_selected(copy.deepcopy(layer)).model):
            x = maps((2, 3, 3, 3)).requires_grad_()
            (slope,) = torch.autograd.grad(module(x).pow(3).sum(), x, create_graph=True)
            (curve,) = torch.autograd.grad(slope.pow(2).sum(), x)
            found.append({"curvature": curve})
        assert_agree(*found, 1e-10)


@pytest.mark.parametrize("shape", [(4, 2, 5, 5), (4, 3, 5), (3,), (0, 3, 5, 5)])
def test_inputs_of_other_shapes_are_refused(shape):
    layer = SelectedNorm(3, NormalizerPair(IN, BN), (4,))
    with pytest.raises(ValueError, match=r"expected an input of shape|nothing to normalize"):
        layer(torch.zeros(shape))


def test_an_empty_batch_passes_in_evaluation():
    layer = SelectedNorm(3, NormalizerPair(IN, BN), (4,)).eval()
    assert layer(torch.zeros(0, 3, 5, 5)).shape == (0, 3, 5, 5)


def test_half_precision_is_computed_in_single():
    layer = frozen_layer(SSN2d, 3, NormalizerPair(LN, BN)).bfloat16().eval()
    x = maps((4, 3, 5, 5)).bfloat16()
    wanted = copy.deepcopy(layer).float()(x.float())
    y = freeze_selected(layer).model(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), wanted, rtol=2.0**-8, atol=2.0**-8)
