"""select: from gates to normalizers, for modules and for files in the reference layout."""

import math

import pytest
import torch
from helpers import one_hot_gates, reference_layout
from layer_formula import OFFERED
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d, select
from ssn_prune.errors import (
    NoSwitchableLayerError,
    UnconvergedGatesError,
    UnsupportedLayerError,
)
from ssn_prune.nn.sparsestmax import sparsestmax
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.selection import Selection

AS_MODULE_AND_FILE = pytest.mark.parametrize("form", ["module", "state dict", "reference layout"])


class Refuses(nn.Module):
    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, _x):
        raise AssertionError("select must not run the network")


class RefusingLayer(SSN2d):
    def forward(self, _x):
        raise AssertionError("select must not run the layer")


def view(model, form):
    if form == "module":
        return model
    return model.state_dict() if form == "state dict" else reference_layout(model)


def soft_layer(mean, var=None, radius=0.0, kind=SSN2d):
    layer = kind(5, normalizers=OFFERED[len(mean) == 3])
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor(mean))
        layer.var_weight.copy_(torch.tensor(mean if var is None else var))
        if kind is SSN2d:
            layer.radius.fill_(radius)
    return layer


def only(source):
    (layer,) = select(source).layers
    return layer


@AS_MODULE_AND_FILE
@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_frozen_gates_select_their_pair(form, pair):
    layer = RefusingLayer(5)
    one_hot_gates(layer, pair.mean, pair.var)
    found = only(view(Refuses(sn1=layer), form))
    assert found.pair == pair
    assert found.converged
    assert (found.name, found.kind, found.num_features) == ("sn1", "SSN", 5)
    assert (found.mean.margin, found.var.margin) == (1.0, 1.0)
    assert found.mean.ratios[pair.mean] == 1.0
    assert sum(found.var.ratios) == 1.0


@AS_MODULE_AND_FILE
def test_a_logit_below_the_vertex_radius_is_not_converged(form):
    layer = soft_layer([1.0, 0.9, 0.7], [0.2, 0.4, 0.6], radius=0.5)
    found = only(view(Refuses(sn1=layer), form))
    for gate, logits in ((found.mean, layer.mean_weight), (found.var, layer.var_weight)):
        expected = sparsestmax(logits.detach().double(), 0.5)  # both definitions agree here
        rounding = 1e-6 if form == "reference layout" else 1e-15
        assert gate.ratios == pytest.approx(expected.tolist(), abs=rounding)
        assert math.dist(gate.ratios, (1 / 3, 1 / 3, 1 / 3)) >= 0.5 - rounding
        ordered = sorted(gate.ratios)
        assert gate.margin == ordered[-1] - ordered[-2]
        assert 0 < gate.margin < 1
    assert (found.mean.choice, found.var.choice) == (Normalizer.IN, Normalizer.BN)
    assert not found.converged
    assert found.radius == 0.5


@AS_MODULE_AND_FILE
def test_a_logit_at_the_vertex_radius_is_converged_without_its_flag(form):
    layer = soft_layer([1.0, 1.01, 0.7], [0.2, 0.1, 0.0], radius=math.sqrt(2 / 3))
    found = only(view(Refuses(sn1=layer), form))
    assert found.converged
    assert found.mean.ratios == (0.0, 1.0, 0.0)
    assert found.pair == NormalizerPair(Normalizer.LN, Normalizer.IN)


@AS_MODULE_AND_FILE
def test_sparsemax_alone_can_be_one_hot(form):
    found = only(view(Refuses(sn1=soft_layer([3.0, 0.0, 1.0])), form))
    assert found.converged
    assert found.pair == NormalizerPair(Normalizer.IN, Normalizer.IN)


@AS_MODULE_AND_FILE
def test_a_layer_with_one_soft_gate_has_not_converged(form):
    layer = soft_layer([1.0, 0.9, 0.7], radius=0.3)
    with torch.no_grad():
        layer.var_weight.copy_(torch.tensor([0.0, 1.0, 0.0]))
        layer.var_fixed.fill_(1)
    found = only(view(Refuses(sn1=layer), form))
    assert found.var.one_hot
    assert not found.mean.one_hot
    assert not found.converged


@AS_MODULE_AND_FILE
@pytest.mark.parametrize("logits", [[0.3, 0.1, 2.0], [1.0, 0.0, 0.5], [200.0, 0.0, 0.0]])
def test_sn_is_softmax_and_never_converged(form, logits):
    found = only(view(Refuses(sn1=soft_layer(logits, kind=SwitchNorm2d)), form))
    assert found.kind == "SN"
    assert found.radius is None
    expected = torch.tensor(logits).double().softmax(0)
    assert found.mean.ratios == pytest.approx(expected.tolist(), rel=1e-12)
    assert found.mean.choice == Normalizer(int(expected.argmax()))
    assert not found.converged


def test_older_files_without_flags_are_final_if_one_hot():
    layer = SSN2d(5)
    one_hot_gates(layer, 1, 2)
    state = reference_layout(Refuses(sn1=layer), flags=False)
    assert not any("fixed" in key or "radius" in key for key in state)
    found = only(state)
    assert (found.kind, found.radius, found.converged) == ("SSN", None, True)
    assert found.pair == NormalizerPair(Normalizer.LN, Normalizer.BN)


def test_older_files_with_a_radius_but_without_flags_hold_logits():
    layer = soft_layer([0.5, 0.2, 0.4], [0.0, 1.0, 0.0], radius=0.6)
    state = reference_layout(Refuses(sn1=layer))
    del state["sn1.mean_fixed"], state["sn1.var_fixed"]
    found = only(state)
    expected = sparsestmax(layer.mean_weight.detach().double(), float(layer.radius))
    assert found.mean.ratios == pytest.approx(expected.tolist(), abs=1e-6)
    assert not found.mean.one_hot
    assert found.var.ratios == (0.0, 1.0, 0.0)


@AS_MODULE_AND_FILE
def test_two_normalizers_without_batch_norm(form):
    layer = SSN2d(5, normalizers=("IN", "LN"))
    one_hot_gates(layer, 1, 0)
    found = only(view(Refuses(sn1=layer), form))
    assert found.pair == NormalizerPair(Normalizer.LN, Normalizer.IN)
    assert found.mean.ratios == (0.0, 1.0)
    at_vertex = soft_layer([0.1, 0.2], radius=math.sqrt(1 / 2))
    assert only(view(Refuses(sn1=at_vertex), form)).converged
    below = soft_layer([0.1, 0.2], radius=0.4)
    assert not only(view(Refuses(sn1=below), form)).converged


@AS_MODULE_AND_FILE
@pytest.mark.parametrize("logits", [[1.0, 1.0, 1.0], [0.5, 2.0, 2.0], [2.0, 0.5, 2.0]])
def test_ties_go_to_the_lowest_index(form, logits):
    found = only(view(Refuses(sn1=soft_layer(logits)), form))
    assert found.mean.choice == logits.index(max(logits))
    assert found.mean.margin == pytest.approx(0.0, abs=1e-12)
    assert not found.converged
    one_hot = soft_layer(logits, radius=math.sqrt(2 / 3))
    assert only(view(Refuses(sn1=one_hot), form)).mean.choice == logits.index(max(logits))


@AS_MODULE_AND_FILE
def test_layers_come_in_the_order_of_the_network(form):
    layers = {name: SSN2d(2) for name in ("stem", "layer10", "layer2")}
    for index, layer in enumerate(layers.values()):
        one_hot_gates(layer, index, index)
    found = select(view(Refuses(**layers), form)).layers
    assert [layer.name for layer in found] == list(layers)
    assert [layer.mean.choice for layer in found] == [0, 1, 2]


def test_a_shared_layer_appears_once():
    layer = SSN2d(2)
    assert [found.name for found in select(Refuses(a=layer, b=layer)).layers] == ["a"]


def test_a_layer_alone_has_an_empty_name():
    layer = SSN2d(2)
    assert only(layer).name == only(layer.state_dict()).name == ""


@pytest.mark.parametrize("source", [nn.BatchNorm2d(3), nn.BatchNorm2d(3).state_dict(), {}])
def test_no_switchable_layer_is_an_error(source):
    with pytest.raises(NoSwitchableLayerError) as caught:
        select(source)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint


def test_a_key_that_only_ends_alike_is_no_gate():
    state = {"fc.kmean_weight": torch.ones(3), "fc.kvar_weight": torch.ones(3)}
    with pytest.raises(NoSwitchableLayerError):
        select(state)


def test_require_converged_lists_the_layers_with_soft_gates():
    done, soft = SSN2d(2), soft_layer([0.5, 0.4, 0.3], radius=0.2)
    one_hot_gates(done, 0, 0)
    selection = select(Refuses(a=done, b=soft))
    assert [layer.name for layer in selection.unconverged] == ["b"]
    with pytest.raises(UnconvergedGatesError, match="1 of 2 layers") as caught:
        selection.require_converged()
    assert [layer.name for layer in caught.value.layers] == ["b"]
    select(Refuses(a=done)).require_converged()


def test_select_changes_nothing():
    model = Refuses(sn1=soft_layer([0.5, 0.4, 0.3], radius=0.9)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    select(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def require_gates(selection: Selection) -> None:
    selection.require_on_simplex(own_layers=True)
    selection.require_converged()


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
def test_a_frozen_gate_that_is_not_one_hot_is_named(values: list[float]) -> None:
    layer = SSN2d(4)
    layer.fix(Normalizer.IN, Normalizer.BN)
    state = {**layer.state_dict(), "mean_weight": torch.tensor(values)}
    selection = select(state)
    with pytest.raises(UnsupportedLayerError, match="marked as frozen") as caught:
        require_gates(selection)
    assert "mean_fixed" in str(caught.value.found)
    assert "mean_fixed to 0" in str(caught.value.hint)
    thawed = state | {"mean_fixed": torch.zeros_like(state["mean_fixed"])}
    select(thawed).require_on_simplex(own_layers=True)  # as logits at radius 0


def test_a_negative_radius_is_refused() -> None:
    state = {**SSN2d(4).state_dict(), "radius": torch.tensor([-1.0])}
    with pytest.raises(UnsupportedLayerError, match="negative radius"):
        select(state)


def test_gates_without_values_are_refused() -> None:
    with pytest.raises(UnsupportedLayerError, match="has no values"):
        select(SSN2d(4, device="meta"))
    layer = SSN2d(4)
    layer.radius = None
    with pytest.raises(UnsupportedLayerError, match="radius has no values"):
        select(layer)
    with pytest.raises(TypeError, match="radius must be a number"):
        sparsestmax(torch.zeros(3), None)  # type: ignore[arg-type]
