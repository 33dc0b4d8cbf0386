"""A layer whose gates are the reference code's: where the setting goes, and what training does."""

import copy
import warnings

import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d, authors_state_dict, recalibrate, set_radius
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.nn.gate_batches import gate_ratios
from ssn_prune.nn.reference_gate import reference_gate
from ssn_prune.nn.single_gate import solve_gate

MEAN, VAR, RADIUS = [0.2, 0.45, -0.3], [0.9, 0.1, 0.6], 0.55
X = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def unfinished(kind=SSN2d, **options):
    layer = kind(4, **{"gate_definition": "reference", "correction": 1, **options})
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor(MEAN))
        layer.var_weight.copy_(torch.tensor(VAR))
        layer.radius.fill_(RADIUS)
    return layer.eval()


def by(solve, radius):
    return [solve(torch.tensor(z).tolist(), float(torch.tensor(radius))) for z in (MEAN, VAR)]


def paper_gates(radius=RADIUS):
    ratios = [p for gate in by(solve_gate, radius) for p in gate.ratios]
    return pytest.approx(ratios, abs=1e-6)


REFERENCE = [p for gate in by(reference_gate, RADIUS) for p in gate]


def ratios(layer):
    """Of the mean gate, then of the variance gate."""
    return torch.cat(layer.gates()).tolist()


def warned(action):
    """What an action warns about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        action()
    return [str(warning.message) for warning in caught]


def test_the_two_definitions_differ_here():
    assert pytest.approx(paper_gates().expected, abs=0.1) != REFERENCE


@pytest.mark.parametrize("kind", [SSN1d, SSN2d, SSN3d])
def test_the_setting_decides_and_the_paper_s_is_the_default(kind):
    assert ratios(unfinished(kind)) == REFERENCE
    layer = unfinished(kind, gate_definition="paper")
    assert kind(4).gate_definition == "paper"
    assert ratios(layer) == paper_gates()
    assert "gate_definition=reference" in str(unfinished(kind))
    assert "gate_definition" not in str(layer)


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="'paper' or 'reference', got 'authors'"):
        SSN2d(4, gate_definition="authors")


def test_the_ratios_are_those_of_float32_in_every_precision():
    layer = unfinished().double()
    assert ratios(layer) == REFERENCE
    with torch.no_grad():
        y = layer(X.double())
    again = unfinished()
    again.gate_definition = "paper"
    for gate, row in (("mean", REFERENCE[:3]), ("var", REFERENCE[3:])):
        getattr(again, f"{gate}_weight").data = torch.tensor(row)
        getattr(again, f"{gate}_fixed").fill_(1)
    again.double()
    torch.testing.assert_close(y, again(X.double()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda layer: layer.double().float(),
        lambda layer: layer.to("cpu"),
        lambda layer: layer.train().eval(),
    ],
    ids=["deepcopy", "double and float", "to", "train and eval"],
)
def test_copies_and_moves_keep_it(copied):
    assert ratios(copied(unfinished())) == REFERENCE


def test_it_is_stored_and_loaded_like_the_kind_of_variance():
    state = unfinished().state_dict()
    fresh = SSN2d(4)
    fresh.load_state_dict(state)
    assert (fresh.gate_definition, fresh.correction) == ("reference", 1)
    assert ratios(fresh) == REFERENCE
    ours = SSN2d(4, correction=1).state_dict()
    assert ours["_extra_state"].tolist() == [1, 1, 1, 1]  # as before
    fresh.load_state_dict(ours)
    assert fresh.gate_definition == "paper"
    older = {**ours, "_extra_state": torch.tensor([0])}
    fresh.gate_definition = "reference"
    fresh.load_state_dict(older)
    assert fresh.gate_definition == "paper"


@pytest.mark.parametrize("stored", [[1, 1, 1, 1, 2], [1, 1, 1, 1, 1, 1], [3], [1, 1]])
def test_a_malformed_extra_state_is_refused(stored):
    state = {**SSN2d(4).state_dict(), "_extra_state": torch.tensor(stored)}
    with pytest.raises(ValueError, match="expected an extra state"):
        SSN2d(4).load_state_dict(state)


def test_a_state_in_the_reference_layout_has_the_reference_s_gates():
    fresh = SSN2d(4)
    fresh.load_state_dict(authors_state_dict(unfinished()))
    assert ratios(fresh) == REFERENCE
    flat = {key: value for key, value in unfinished().state_dict().items() if key != "_extra_state"}
    fresh = SSN2d(4)
    fresh.load_state_dict(flat)  # older files of ours
    assert fresh.gate_definition == "paper"


def test_the_file_for_the_reference_implementation_needs_its_gates():
    state = authors_state_dict(unfinished())
    assert state["mean_weight"].tolist() == torch.tensor(MEAN).tolist()
    with pytest.raises(UnsupportedLayerError, match="would mix in other ratios") as caught:
        authors_state_dict(unfinished(gate_definition="paper"))
    assert "until every gate is one-hot" in caught.value.hint
    alike = unfinished(gate_definition="paper")
    alike.radius.zero_()  # sparsemax is the same in both
    authors_state_dict(alike)


def test_gates_of_both_kinds_are_solved_together():
    layers = [unfinished(), unfinished(gate_definition="paper"), unfinished(SSN3d)]
    found = [pair.flatten().tolist() for pair in gate_ratios(layers)]
    assert found[0] == found[2] == REFERENCE
    assert found[1] == paper_gates()


def test_training_turns_to_the_paper_s_and_says_so_once():
    model = nn.Sequential(unfinished(), unfinished()).train()
    said = warned(lambda: (model(X), model(X)))
    assert len(said) == 1
    assert "SparsestMax as the paper defines it" in said[0]
    for layer in model:
        assert ratios(layer.eval()) == paper_gates()
        assert layer.state_dict()["_extra_state"].tolist() == [1, 1, 1, 1]


def test_a_schedule_turns_to_the_paper_s():
    layer = unfinished()
    assert len(warned(lambda: set_radius(layer, 0.6))) == 1
    assert ratios(layer) == paper_gates(0.6)


@pytest.mark.parametrize("frozen", [True, False])
def test_training_says_nothing_where_nothing_changes(frozen):
    layer = unfinished()
    if frozen:
        layer.fix(*layer.normalizers[:2])
    else:
        layer.radius.zero_()
    assert warned(lambda: layer.train()(X)) == []


def test_statistics_are_measured_with_the_reference_s_gates():
    model = nn.Sequential(unfinished())
    recalibrate(model, [X, X + 1])
    assert ratios(model[0]) == REFERENCE
    with torch.no_grad():
        model.train()(X)
    assert ratios(model[0]) == REFERENCE


def test_in_evaluation_the_gradient_is_the_paper_s():
    layer, twin = unfinished(), unfinished(gate_definition="paper")
    for each in (layer, twin):
        with torch.no_grad():
            each.mean_weight.copy_(torch.tensor([0.2, 0.45, 0.1]))
            each.var_weight.copy_(torch.tensor([0.5, 0.3, 0.4]))
            each.radius.fill_(0.3)  # both agree here
        each(X).square().sum().backward()
    torch.testing.assert_close(layer.mean_weight.grad, twin.mean_weight.grad, rtol=1e-4, atol=1e-5)
    assert layer.mean_weight.grad.abs().max() > 1e-3


def test_exported_layers_have_the_same_gates():
    layer = unfinished()
    program = torch.export.export(layer, (X,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(X), layer(X), rtol=1e-5, atol=1e-6)


def test_softmax_layers_do_not_have_the_setting():
    with pytest.raises(TypeError):
        SwitchNorm2d(4, gate_definition="reference")
    layer = SwitchNorm2d(4)
    layer.load_state_dict(authors_state_dict(SwitchNorm2d(4, correction=1)))
    assert layer.state_dict()["_extra_state"].numel() == 4
