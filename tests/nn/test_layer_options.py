"""Layers with other normalizers, shared gates, without affine parameters or statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dimension_networks import Branches, Parallel, formula, one_hot_layer, sample
from layer_option_checks import (
    EVERY_SET,
    assert_equal,
    exported,
    formulas,
    outputs,
    pairs_of,
    soft,
)
from networks import BN, IN, LN
from torch import Tensor, nn

from ssn_prune import prune, select
from ssn_prune.checkpoint.key_matching import load_weights
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.training.recalibrate import recalibrate


@EVERY_SET
@pytest.mark.parametrize("correction", [0, 1])
def test_every_set_of_normalizers_prunes(offered: tuple[Normalizer, ...], correction: int) -> None:
    pairs = pairs_of(offered)
    options = {"normalizers": offered, "correction": correction}
    layers = [one_hot_layer("2d", pair, i, **options) for i, pair in enumerate(pairs)]
    network = Branches("2d", layers, adjacent=True).double().eval()
    x = sample("2d")
    result = prune(network, x)
    assert [layer.pair for layer in result.plan.layers] == pairs
    assert_equal(result.model, outputs(network, x), x)
    alone = Parallel(layers).double().eval()
    y = torch.randn(3, 6, 4, 3, dtype=torch.float64)
    assert_equal(prune(alone, y).model, formulas(alone, pairs, y), y)


@EVERY_SET
def test_ratios_stand_in_the_order_of_the_normalizers(offered: tuple[Normalizer, ...]) -> None:
    logits = [2.0, -1.0, 0.5][: len(offered)]
    layer = soft(SwitchNorm2d(6, normalizers=offered), *logits)
    exact = torch.tensor(logits).double().softmax(0).tolist()
    expected = dict(zip(offered, exact, strict=True))
    listed = offered if offered == (IN, LN) else (IN, LN, BN)
    for source in (nn.Sequential(layer), nn.Sequential(layer).state_dict()):
        (found,) = select(source).layers
        assert found.mean.ratios == pytest.approx([expected.get(n, 0.0) for n in listed])
        assert found.mean.choice is offered[0]
        assert found.var.choice is offered[-1]
        ordered = sorted(exact)
        assert found.mean.margin == pytest.approx(ordered[-1] - ordered[-2])
        assert not found.converged
    network = nn.Sequential(layer).double().eval()
    x = torch.randn(3, 6, 4, 3, dtype=torch.float64)
    assert_equal(prune(network, x, on_unconverged="exact").model, outputs(network, x), x)
    rounded = prune(network, x, on_unconverged="argmax").model
    pair = NormalizerPair(offered[0], offered[-1])
    with torch.no_grad():
        assert_equal(rounded, [formula(x, layer, pair)], x)


@EVERY_SET
def test_a_state_dict_selects_what_its_layer_selects(offered: tuple[Normalizer, ...]) -> None:
    for pair in pairs_of(offered):
        model = nn.Sequential(one_hot_layer("2d", pair, normalizers=offered))
        assert select(model.state_dict()) == select(model)
        assert select(model).layers[0].pair == pair


def test_files_without_a_record_of_their_normalizers() -> None:
    def state(*offered: Normalizer) -> dict[str, Tensor]:
        pair = NormalizerPair(offered[0], offered[-1])
        found = dict(nn.Sequential(one_hot_layer("2d", pair, normalizers=offered)).state_dict())
        del found["0._extra_state"]
        return found

    assert select(state(IN, LN)).layers[0].pair == NormalizerPair(IN, LN)
    assert select(state(IN, LN, BN)).layers[0].pair == NormalizerPair(IN, BN)
    for ambiguous in ((IN, BN), (LN, BN)):
        with pytest.raises(UnsupportedLayerError, match="which two normalizers") as caught:
            select(state(*ambiguous))
        assert caught.value.expected
        assert caught.value.found
        assert caught.value.hint
    contradicting = state(IN, LN, BN) | {"0._extra_state": torch.tensor([0, 1, 0, 1])}
    with pytest.raises(UnsupportedLayerError, match="contradicts itself"):
        select(contradicting)


def test_the_extra_state_of_older_files_has_one_entry() -> None:
    model = nn.Sequential(one_hot_layer("2d", NormalizerPair(LN, BN), correction=1))
    state = model.state_dict() | {"0._extra_state": torch.tensor([1])}
    assert select(state) == select(model)
    loaded = nn.Sequential(SSN2d(6))
    load_weights(loaded, state, "network")
    assert loaded[0].correction == 1
    assert select(loaded) == select(model)


def test_running_sums_are_recognised_whatever_is_offered() -> None:
    for offered in ((IN, BN), (LN, BN), (IN, LN, BN)):
        layer = one_hot_layer("2d", NormalizerPair(BN, BN), normalizers=offered)
        network = Branches("2d", [layer], adjacent=True).eval()
        x = sample("2d", dtype=torch.float32)
        require_averages(network, (x,))
        with torch.no_grad():
            layer.running_mean.mul_(10000)
            layer.running_var.mul_(10000)
        with pytest.raises(UnsupportedLayerError, match="sums"):
            require_averages(network, (x,))
        layer.fix(offered[0], offered[0])  # BN is unused from here on, or still used
        if offered[0] is not BN:
            require_averages(network, (x,))


# Without affine parameters.


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("kind", ["2d", "1d"])
def test_without_affine_parameters_they_count_as_ones_and_zeros(kind: str, correction: int) -> None:
    options = {"affine": False, "correction": correction}
    layers = [one_hot_layer(kind, pair, i, **options) for i, pair in enumerate(ALL_PAIRS)]
    network = Branches(kind, layers, adjacent=True).double().eval()
    x = sample(kind)
    result = prune(network, x)
    assert sum(layer.fold is not None for layer in result.plan.layers) == 6
    assert_equal(result.model, outputs(network, x), x)
    alone = Parallel(layers).double().eval()
    y = torch.randn(3, 6, *x.shape[2:], dtype=torch.float64)
    pruned = prune(alone, y, fold=False).model
    assert_equal(pruned, formulas(alone, list(ALL_PAIRS), y), y)
    assert not any(parameter.requires_grad for parameter in pruned.parameters())
    assert select(alone.state_dict()).layers[0].num_features == 6  # from the running statistics


def test_a_state_without_anything_per_channel_can_be_inspected() -> None:
    layer = one_hot_layer("2d", NormalizerPair(LN, IN), normalizers=(IN, LN), affine=False)
    (found,) = select(layer.state_dict()).layers
    assert (found.num_features, found.pair) == (None, NormalizerPair(LN, IN))
    assert select(layer).layers[0].num_features == 6


def test_layers_of_all_options_export_and_verify(tmp_path: Path) -> None:
    options = [{"affine": False, "correction": c} for c in (0, 1)]
    layers = [one_hot_layer("2d", pair, **options[i % 2]) for i, pair in enumerate(ALL_PAIRS)]
    layers += [
        one_hot_layer("2d", NormalizerPair(LN, BN), normalizers=(LN, BN)),
        one_hot_layer("2d", NormalizerPair(BN, IN), normalizers=(IN, BN), affine=False),
        one_hot_layer("2d", NormalizerPair(IN, IN), shared_gate=True, momentum=None),
        one_hot_layer("2d", NormalizerPair(LN, IN), track_running_stats=False),
        soft(SwitchNorm2d(6, normalizers=(LN, BN)), 0.3, -0.4),
        soft(SwitchNorm2d(6, affine=False), 0.3, -0.4, 0.1),
    ]
    network = Branches("2d", layers, adjacent=True, bias=False).eval()
    x = sample("2d", dtype=torch.float32)
    exported(prune(network, x, on_unconverged="exact"), x, tmp_path / "m.onnx")


# Without running statistics.


def test_bn_without_running_statistics_is_refused_by_name_until_it_has_some() -> None:
    torch.manual_seed(0)
    model = nn.Sequential()
    for name, pair in (
        ("a", NormalizerPair(BN, IN)),
        ("b", NormalizerPair(LN, IN)),
        ("c", NormalizerPair(IN, BN)),
    ):
        model.add_module(f"conv_{name}", nn.Conv2d(3 if name == "a" else 6, 6, 1))
        model.add_module(name, one_hot_layer("2d", pair, track_running_stats=False))
    x = sample("2d")
    model.double()
    with pytest.raises(UnsupportedLayerError, match="no running statistics") as caught:
        prune(model, x)
    assert caught.value.problem.startswith("a, c: ")
    assert "ssn_prune.recalibrate" in str(caught.value.hint)
    assert caught.value.expected
    assert "track_running_stats=False" in str(caught.value.found)
    recalibrate(model, [sample("2d", seed=seed) for seed in range(3)])
    model.eval()
    assert_equal(prune(model, x).model, outputs(model, x), x)


def test_bn_that_is_mixed_in_without_running_statistics_is_refused() -> None:
    model = nn.Sequential(soft(SwitchNorm2d(6, track_running_stats=False), 0.5, 0.1, 0.2))
    x = torch.randn(2, 6, 4, 3)
    for mode in ("exact", "argmax"):  # the rounded variance is BN's
        with pytest.raises(UnsupportedLayerError, match="0: BN is selected or mixed in"):
            prune(model, x, on_unconverged=mode)


def test_bn_that_is_offered_but_not_selected_needs_no_running_statistics() -> None:
    pairs = [NormalizerPair(mean, var) for mean in (IN, LN) for var in (IN, LN)]
    layers = [one_hot_layer("2d", pair, track_running_stats=False) for pair in pairs]
    network = Branches("2d", layers, adjacent=True).double().eval()
    x = sample("2d")
    result = prune(network, x)
    assert_equal(result.model, outputs(network, x), x)
    assert result.report.before.operators is not None


# One gate for both.
