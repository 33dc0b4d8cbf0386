"""freeze_selected: the swapped layers compute and train like SSN layers with one-hot gates."""

import copy
import itertools
import random

import pytest
import torch
from layer_reference import assert_agree, measured
from selected_samples import EXACT, frozen_layer, maps
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d
from ssn_prune.nn.selected import SelectedNorm
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.surgery.freeze import freeze_selected

SINGLE = 1e-6  # the same for float32
IN, LN, BN = Normalizer
SHAPES = {
    SSN1d: [(6, 5), (4, 5, 7), (4, 3, 80)],
    SSN2d: [(4, 5, 3, 3), (2, 3, 9, 8), (6, 4, 1, 1)],
    SSN3d: [(4, 3, 2, 3, 2), (2, 3, 5, 4, 4)],
}
SETS = [("IN", "LN", "BN"), ("IN", "LN"), ("IN", "BN"), ("LN", "BN")]


def offered_pairs(offered):
    return [p for p in ALL_PAIRS if p.mean.name in offered and p.var.name in offered]


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
@pytest.mark.parametrize("layer_class", SHAPES)
def test_outputs_and_gradients_are_those_of_the_ssn_layer(layer_class, pair):
    draw = random.Random(str(pair))
    for shape, training, _ in itertools.product(SHAPES[layer_class], (True, False), range(4)):
        single = torch.Size(shape[2:]).numel() == 1
        correction = 0 if single else draw.randrange(2)
        affine, tracked = draw.random() < 0.7, draw.random() < 0.7
        momentum = draw.choice((0.3, None))
        layer = frozen_layer(
            layer_class,
            shape[1],
            pair,
            correction=correction,
            affine=affine,
            track_running_stats=tracked,
            momentum=momentum,
        ).train(training)
        old_var = layer.running_var.clone() if tracked else None
        # The copy keeps statistics of its own for the comparison.
        swapped = freeze_selected(copy.deepcopy(layer)).model
        assert swapped.training == training
        for seed in range(2):  # the second pass continues the running statistics
            wanted = measured(layer, maps(shape, seed), "random")
            found = measured(swapped, maps(shape, seed), "random")
            if isinstance(swapped, nn.modules.batchnorm._BatchNorm) and training and tracked:
                # torch stores the unbiased estimate, n / (n - 1) times SSN's variance.
                values = wanted["output"].numel() // shape[1]
                past = old_var * kept(layer)
                unbiased = past + (layer.running_var - past) * values / (values - 1)
                wanted["running_var"] = unbiased
            assert_agree(found, {name: wanted[name] for name in found}, EXACT)
        uses_bn = BN in (pair.mean, pair.var)
        assert (swapped._buffers.get("running_mean") is not None) == (tracked and uses_bn)


def kept(layer):
    """The share of the old running statistics after so many steps."""
    steps = int(layer.num_batches_tracked)
    return 0.0 if layer.momentum is None else (1 - layer.momentum) ** steps


@pytest.mark.parametrize("offered", SETS, ids="+".join)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_set_of_normalizers_in_both_precisions(offered, dtype):
    for pair, training in itertools.product(offered_pairs(offered), (True, False)):
        layer = frozen_layer(SSN2d, 3, pair, normalizers=offered).to(dtype).train(training)
        x = maps((4, 3, 5, 5)).to(dtype)
        swapped = freeze_selected(copy.deepcopy(layer)).model
        found, wanted = measured(swapped, x), measured(layer, x)
        found.pop("running_var", None)
        bound = EXACT if dtype == torch.float64 else SINGLE
        assert_agree(found, {name: wanted[name] for name in found}, bound)


def test_the_comparison_would_notice_another_pair():
    x = maps((4, 3, 5, 5))
    for pair, other in itertools.permutations(ALL_PAIRS, 2):
        swapped = freeze_selected(frozen_layer(SSN2d, 3, pair)).model
        wanted = measured(frozen_layer(SSN2d, 3, other), x)
        with pytest.raises(AssertionError, match="of its scale"):
            assert_agree({"output": swapped(x).detach()}, {"output": wanted["output"]}, EXACT)


NATIVE = {
    SSN1d: {BN: nn.BatchNorm1d, LN: nn.GroupNorm, IN: SelectedNorm},
    SSN2d: {BN: nn.BatchNorm2d, LN: nn.GroupNorm, IN: nn.InstanceNorm2d},
    SSN3d: {BN: nn.BatchNorm3d, LN: nn.GroupNorm, IN: nn.InstanceNorm3d},
}


def without_gates(values):
    return {name: value for name, value in values.items() if "_weight" not in name}


@pytest.mark.parametrize("layer_class", NATIVE)
def test_equal_pairs_are_torch_s_modules_unless_they_differ(layer_class):
    for pair in ALL_PAIRS:
        kind = NATIVE[layer_class][pair.mean] if pair.mean == pair.var else SelectedNorm
        assert isinstance(freeze_selected(frozen_layer(layer_class, 3, pair)).model, kind)
        corrected = frozen_layer(layer_class, 3, pair, correction=1)
        assert isinstance(freeze_selected(corrected).model, SelectedNorm)
    grouped = frozen_layer(layer_class, 3, NormalizerPair(BN, BN))
    grouped.batch_groups = 2
    swapped = freeze_selected(copy.deepcopy(grouped)).model
    assert (type(swapped), swapped.batch_groups) == (SelectedNorm, 2)
    x = maps((4, 3, *[5] * (max(layer_class.dims) - 2)))
    assert_agree(measured(swapped, x), without_gates(measured(grouped, x)), EXACT)


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_one_position_works_after_the_swap(pair):
    """torch's InstanceNorm2d itself refuses 1x1 maps, as after a global pooling."""
    for training in (True, False):
        layer = frozen_layer(SSN2d, 3, pair).train(training)
        swapped = freeze_selected(copy.deepcopy(layer)).model
        x = maps((5, 3, 1, 1))
        assert_agree({"output": swapped(x).detach()}, {"output": layer(x).detach()}, EXACT)
