"""(N, C), 1-d and 3-d layers: exact in float64, folded, exported and verified like 2-d ones."""

from __future__ import annotations

import pytest
import torch
from dimension_networks import (
    CHANNELS,
    KINDS,
    Branches,
    Parallel,
    all_pairs,
    formula,
    one_hot_layer,
    randomize_layer,
    sample,
)
from layer_option_checks import TOLERANCE, assert_equal, outputs
from networks import BN, IN, LN, relative_error
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import prune
from ssn_prune.errors import (
    UndefinedVarianceError,
)
from ssn_prune.nn.inference import InstanceCentre3d, InstanceNorm1d, LayerCentre1d, MomentNorm1d
from ssn_prune.nn.switch_norm import SwitchNorm1d, SwitchNorm3d
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

EVERY_KIND = pytest.mark.parametrize("kind", list(KINDS))
NEW_KINDS = pytest.mark.parametrize("kind", ["vectors", "1d", "3d"])
FOLDS = {"IN/IN", "IN/BN", "LN/BN", "BN/IN", "BN/LN", "BN/BN"}


@NEW_KINDS
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize(("adjacent", "bias"), [(False, True), (True, False)])
def test_every_pair_is_exact_in_float64(
    kind: str, correction: int, adjacent: bool, bias: bool
) -> None:
    pairs = all_pairs(kind, correction)
    layers = [one_hot_layer(kind, p, i, correction=correction) for i, p in enumerate(pairs)]
    network = Branches(kind, layers, adjacent, bias).double().eval()
    x = sample(kind)
    reference = outputs(network, x)
    result = prune(network, x)
    assert_equal(result.model, reference, x)
    assert_equal(prune(network, x, fold=False).model, reference, x)
    folded = {str(layer.pair) for layer in result.plan.layers if layer.fold is not None}
    assert folded == (FOLDS & {str(pair) for pair in pairs} if adjacent else set())
    # Other values and another batch size, so that nothing of the example got baked in.
    other = sample(kind, batch=5, seed=9)
    assert_equal(result.model, outputs(network, other), other)


@EVERY_KIND
@pytest.mark.parametrize("correction", [0, 1])
def test_a_pruned_layer_is_the_papers_formula(kind: str, correction: int) -> None:
    shape = KINDS[kind][2][1:]
    x = torch.randn(4, CHANNELS, *shape, dtype=torch.float64) * 2 + 1
    pairs = all_pairs(kind, correction)
    options = {"correction": correction, "eps": 1e-3}
    network = Parallel([one_hot_layer(kind, pair, i, **options) for i, pair in enumerate(pairs)])
    network.double().eval()
    with torch.no_grad():
        expected = [formula(x, *case) for case in zip(network.layers, pairs, strict=True)]
    assert_equal(prune(network, x).model, expected, x)


@EVERY_KIND
def test_equal_pairs_are_torchs_functions(kind: str) -> None:
    x = torch.randn(4, CHANNELS, *KINDS[kind][2][1:], dtype=torch.float64)
    layers = [one_hot_layer(kind, NormalizerPair(n, n)) for n in (BN, LN, IN)]
    network = Parallel(layers).double().eval()
    weight, bias = layers[0].weight.detach(), layers[0].bias.detach()
    running = layers[0].running_mean, layers[0].running_var
    expected = [F.batch_norm(x, *running, weight, bias), F.group_norm(x, 1, weight, bias)]
    if kind == "vectors":  # an (N, C) input is one unbatched sample to F.instance_norm
        expected.append(bias.expand_as(x))
    else:
        expected.append(F.instance_norm(x, weight=weight, bias=bias))
    assert_equal(prune(network, x).model, expected, x)


@pytest.mark.parametrize(("kind", "suffix"), [("vectors", "1d"), ("3d", "3d")])
def test_modules_and_report_carry_the_dimension_in_their_names(kind: str, suffix: str) -> None:
    layers = [one_hot_layer(kind, pair) for pair in ALL_PAIRS]
    result = prune(Branches(kind, layers, adjacent=True), sample(kind, dtype=torch.float32))
    forms = {f"{r.mean.choice}/{r.var.choice}": r.form for r in result.report.layers}
    assert forms["IN/IN"] == f"InstanceNorm{suffix}"
    assert forms["IN/BN"] == f"InstanceCentre{suffix}"
    assert forms["LN/BN"] == f"LayerCentre{suffix}"
    assert forms["LN/IN"] == f"MomentNorm{suffix}"
    assert (forms["LN/LN"], forms["BN/BN"]) == ("GroupNorm", "Identity")
    for module, layer in zip(result.model.layers, result.report.layers, strict=True):
        assert type(module).__name__ == layer.form
    unfolded = prune(Parallel(layers[-1:]), torch.randn(2, CHANNELS, *KINDS[kind][2][1:]))
    assert unfolded.report.layers[0].form == f"BatchNorm{suffix}"


@pytest.mark.parametrize(
    "producer",
    [
        nn.Conv1d(3, CHANNELS, 3, padding="same", dilation=2),
        nn.Conv1d(3, CHANNELS, 3, groups=3, stride=2),
        nn.Conv1d(3, CHANNELS, 3, padding=1, padding_mode="circular", bias=False),
        nn.ConvTranspose1d(3, CHANNELS, 3, groups=3, stride=2),
        nn.Conv3d(3, CHANNELS, (1, 3, 3), padding="same"),
        nn.Conv3d(3, CHANNELS, 2, groups=3, bias=False),
        nn.ConvTranspose3d(3, CHANNELS, 2, groups=3, bias=False),
    ],
    ids=repr,
)
def test_all_kinds_of_convolutions_fold(producer: nn.Module) -> None:
    kind = "1d" if "1d" in type(producer).__name__ else "3d"
    x = sample(kind)
    for pair in (NormalizerPair(BN, BN), NormalizerPair(LN, BN), NormalizerPair(BN, LN)):
        network = nn.Sequential(producer, one_hot_layer(kind, pair)).double().eval()
        result = prune(network, x)
        assert result.report.layers[0].folded_into == "0"
        assert_equal(result.model, outputs(network, x), x)


def test_a_linear_layer_whose_outputs_are_not_the_channels_is_not_folded() -> None:
    layer = one_hot_layer("1d", NormalizerPair(BN, BN))
    network = nn.Sequential(nn.Linear(5, 7), layer).double().eval()
    x = torch.randn(2, CHANNELS, 5, dtype=torch.float64)
    result = prune(network, x)
    assert result.report.layers[0].reason_code == "no_conv_in_front"
    assert "linear" in str(result.report.layers[0].reason)
    assert_equal(result.model, outputs(network, x), x)


def test_reasons_name_the_linear_layer() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, CHANNELS)
            self.norm = one_hot_layer("vectors", NormalizerPair(BN, BN))

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            return self.norm(y) + y

    network, x = Residual().double().eval(), sample("vectors")
    result = prune(network, x)
    reason = result.report.layers[0].reason
    assert (
        reason
        == "the output of the linear layer has 2 consumers; it is followed by aten.add.Tensor"
    )
    assert_equal(result.model, outputs(network, x), x)


def test_one_layer_may_take_vectors_and_sequences() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(one_hot_layer("1d", pair) for pair in ALL_PAIRS)

        def forward(self, x: Tensor) -> list[Tensor]:
            calls = [[norm(input=x), norm(x.mean(2))] for norm in self.norms]
            return [y for call in calls for y in call]

    x = torch.randn(3, CHANNELS, 8, dtype=torch.float64)
    network = Two().double().eval()
    result = prune(network, x)
    assert result.report.capture_error is None
    assert {layer.positions for layer in result.report.layers} == {None}
    assert_equal(result.model, outputs(network, x), x)


@pytest.mark.parametrize("variance", [IN, LN])
def test_a_corrected_variance_of_vectors_is_refused_by_name(variance: int) -> None:
    layer = one_hot_layer("vectors", NormalizerPair(BN, variance), correction=1)
    with pytest.raises(UndefinedVarianceError) as caught:
        prune(nn.Sequential(nn.Linear(3, CHANNELS), layer), sample("vectors", dtype=torch.float32))
    assert caught.value.layers == ("1",)


def test_a_corrected_instance_norm_is_tied_to_its_length() -> None:
    layer = one_hot_layer("1d", NormalizerPair(IN, IN), correction=1)
    pruned = prune(nn.Sequential(layer), torch.randn(2, CHANNELS, 8)).model
    assert pruned(torch.randn(1, CHANNELS, 8)).shape == (1, CHANNELS, 8)
    with pytest.raises(ValueError, match="exact for 8 positions only"):
        pruned(torch.randn(2, CHANNELS, 9))


def test_concrete_layers_refuse_other_dimensions() -> None:
    ones = torch.ones(CHANNELS)
    ratios = {"mean_ratios": (1.0, 0.0, 0.0), "var_ratios": (0.0, 1.0, 0.0)}
    options = {"eps": 1e-5, "momentum": 0.1, "correction": 0}
    for layer, dims in (
        (InstanceNorm1d(CHANNELS, 1e-5), 4),
        (LayerCentre1d(ones, ones, None), 4),
        (MomentNorm1d(CHANNELS, ones, ones, None, **options, **ratios), 4),
        (InstanceCentre3d(ones), 4),
    ):
        with pytest.raises(ValueError, match="expected an input of shape"):
            layer(torch.zeros([CHANNELS] * dims))


@NEW_KINDS
@pytest.mark.parametrize("sparse", [False, True])
def test_soft_gates_keep_their_weighted_form_or_are_rounded(kind: str, sparse: bool) -> None:
    sn = SwitchNorm3d if kind == "3d" else SwitchNorm1d
    layer = KINDS[kind][0](CHANNELS) if sparse else sn(CHANNELS)
    randomize_layer(layer)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.3, -0.2, 0.5]))
        layer.var_weight.copy_(torch.tensor([0.4, 0.1, 0.2]))
        if sparse:
            layer.radius.fill_(0.3)
    network = Branches(kind, [layer], adjacent=True).double().eval()
    x = sample(kind)
    exact = prune(network, x, on_unconverged="exact")
    assert_equal(exact.model, outputs(network, x), x)
    rounded = prune(network, x, on_unconverged="argmax")
    assert str(rounded.plan.layers[0].pair) == "BN/IN"
    with torch.no_grad():
        expected = formula(network.producers[0](x), layer, NormalizerPair(BN, IN))
    assert_equal(rounded.model, [expected], x)
    assert rounded.report.rounded is not None
    assert rounded.report.rounded.max_error > 1e-3


@NEW_KINDS
def test_without_folding_the_result_trains_like_the_original(kind: str) -> None:
    layers = [one_hot_layer(kind, pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
    model = Branches(kind, layers, adjacent=True).double().train()
    x = sample(kind, batch=4)
    concrete = prune(model, x, fold=False).model
    assert concrete.training
    found = [net(x) for net in (model, concrete)]
    for index, pair in enumerate(ALL_PAIRS):
        pair_of_outputs = [net[index] for net in found]
        assert relative_error(pair_of_outputs[1], pair_of_outputs[0]) < TOLERANCE
        weights = torch.randn_like(found[0][index])
        grads = [
            torch.autograd.grad((net[index] * weights).sum(), module.producers[index].weight)[0]
            for net, module in zip(found, (model, concrete), strict=True)
        ]
        # IN/IN of vectors is constant: both gradients are zero up to rounding.
        scale = max(float(grads[0].abs().max()), 1e-2)
        assert float((grads[1] - grads[0]).abs().max()) < 1e-10 * scale
        if BN in (pair.mean, pair.var):
            trained, original = concrete.layers[index], model.layers[index]
            assert relative_error(trained.running_mean, original.running_mean) < TOLERANCE
            assert int(trained.num_batches_tracked) == int(original.num_batches_tracked) == 1
