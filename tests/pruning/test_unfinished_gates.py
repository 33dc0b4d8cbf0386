"""Conversion with gates that are not one-hot yet, as the reference code solves them."""

import math

import pytest
import torch
from foreign_gates import UnfinishedNetwork
from helpers import TinyNetwork, randomize, reference_layout
from torch import nn

from ssn_prune import ConvertOptions, convert, load_checkpoint, prune, select, verify
from ssn_prune.errors import UnconvergedGatesError, UnsupportedLayerError
from ssn_prune.nn.reference_gate import reference_gate
from ssn_prune.nn.single_gate import solve_gate

ARCH = "helpers:TinyNetwork"
LOGITS = ([0.2, 0.45, -0.3], [0.9, 0.1, 0.6])
RADIUS = 0.55
LEFT = [0.4, 0.4, 0.4]
X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def set_gates(model, names, mean, var, radius=RADIUS):
    with torch.no_grad():
        for name in names:
            layer = model.get_submodule(name)
            layer.mean_weight.copy_(torch.tensor(mean))
            layer.var_weight.copy_(torch.tensor(var))
            layer.radius.fill_(radius)


def unfinished(mean=LOGITS[0], var=LOGITS[1]):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TinyNetwork()
    randomize(model)
    set_gates(model, ("sn1", "sn2"), mean, var)
    return model.eval()


def saved(tmp_path, model):
    """As the reference implementation saves it."""
    torch.save({"state_dict": reference_layout(model)}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def stored(logits):
    return [float(torch.tensor(z)) for z in logits]


def gates(selection):
    return [(list(layer.mean.ratios), list(layer.var.ratios)) for layer in selection.layers]


EXPECTED = tuple(reference_gate(stored(z), float(torch.tensor(RADIUS))) for z in LOGITS)


def test_a_file_of_the_reference_code_converts_with_its_gates(tmp_path):
    path = saved(tmp_path, unfinished())
    loaded = load_checkpoint(path, arch=ARCH, correction=1)
    assert gates(select(loaded.model)) == gates(select(torch.load(path)["state_dict"]))
    pruned = prune(loaded.model, X, on_unconverged="exact")
    assert gates(pruned.selection) == [EXPECTED] * 2
    assert {layer.gate_definition for layer in pruned.report.layers} == {"reference"}
    assert verify(pruned, None, [(X,)], rounding=False).algebra.passed
    paper = unfinished()
    paper.sn1.correction = paper.sn2.correction = 1
    with torch.no_grad():
        apart = (paper(X) - pruned.model(X)).abs().max()
        assert apart > 1e-3 * pruned.model(X).abs().max()


def test_a_file_of_ours_keeps_the_paper_s(tmp_path):
    model = unfinished()
    (first, _) = select(model.state_dict()).layers
    assert first.gate_definition == "paper"
    assert list(first.mean.ratios) == solve_gate(stored(LOGITS[0]), first.radius).ratios


def test_the_file_is_verified(tmp_path):
    path = saved(tmp_path, unfinished())
    loaded = load_checkpoint(path, arch=ARCH)
    report = convert(loaded, tmp_path / "net.onnx", ConvertOptions(on_unconverged="exact"))
    assert report.verification.algebra.passed
    assert report.verification.rounding.passed


@pytest.mark.parametrize("mode", ["error", "exact"])
def test_a_gate_that_left_the_simplex_is_refused_by_name(tmp_path, mode):
    model = unfinished(mean=LOGITS[0], var=LEFT)
    set_gates(model, ("sn1",), *LOGITS)
    loaded = load_checkpoint(saved(tmp_path, model), arch=ARCH).model
    with pytest.raises(
        UnsupportedLayerError, match=r"leaves the simplex at sn2\.var_weight\n"
    ) as e:
        prune(loaded, X, on_unconverged=mode)
    assert "on_unconverged='argmax'" in e.value.hint


@pytest.mark.parametrize("logits", [LEFT, [0.5, 0.5, -3.0], [-3.0, 0.4, 0.4]])
def test_rounding_is_the_cure(tmp_path, logits):
    path = saved(tmp_path, unfinished(mean=logits))
    loaded = load_checkpoint(path, arch=ARCH)
    report = convert(loaded, tmp_path / "net.onnx", ConvertOptions(on_unconverged="argmax"))
    assert report.verification.algebra.passed
    assert report.verification.rounding.passed
    chosen = ("IN", "LN", "BN")[logits.index(max(logits))]
    assert [layer.mean.choice for layer in report.layers] == [chosen] * 2
    assert not report.layers[0].mean.on_simplex
    assert report.layers[0].var.on_simplex


def test_gates_on_the_simplex_are_refused_as_unfinished(tmp_path):
    loaded = load_checkpoint(saved(tmp_path, unfinished()), arch=ARCH).model
    with pytest.raises(UnconvergedGatesError):
        prune(loaded, X)


def test_a_radius_at_its_end_is_converged(tmp_path):
    model = unfinished()
    set_gates(model, ("sn1", "sn2"), *LOGITS, radius=math.sqrt(2 / 3))
    loaded = load_checkpoint(saved(tmp_path, model), arch=ARCH).model
    pruned = prune(loaded, X)
    assert [str(layer.pair) for layer in pruned.selection.layers] == ["LN/IN"] * 2


@pytest.fixture
def foreign(monkeypatch):
    with monkeypatch.context() as patch, torch.random.fork_rng():
        patch.setattr(torch.cuda, "FloatTensor", torch.FloatTensor)
        patch.setattr(torch.cuda, "LongTensor", torch.LongTensor)
        torch.manual_seed(2)
        model = UnfinishedNetwork()
    with torch.no_grad():
        for layer in (model.norm1, model.norm2):
            layer.weight.uniform_(0.5, 1.5)
            layer.running_mean.uniform_(-0.3, 0.3)
            layer.running_var.uniform_(0.2, 0.8)
    return model.eval()


@pytest.mark.parametrize(
    "logits",
    [LOGITS, LOGITS[::-1], ([0.1, 0.3, 0.2], [0.4, 0.35, 0.3]), ([3.0, 0.1, 0.2], [0.2, 0.9, 0.1])],
)
@pytest.mark.parametrize("radius", [0.0, 0.3, RADIUS, 0.75])
def test_layers_of_another_implementation_are_compared_with_their_gates(foreign, logits, radius):
    set_gates(foreign, ("norm1", "norm2"), *logits, radius=radius)
    pruned = prune(foreign, X, on_unconverged="exact")
    adoption = pruned.report.adoption
    assert (adoption.compared, adoption.precision) == (True, "float64")
    expected = [reference_gate(stored(z), float(torch.tensor(radius))) for z in logits]
    assert gates(pruned.selection) == [tuple(expected)] * 2
    assert verify(pruned, None, [(X,)], rounding=False).algebra.passed


def test_gates_of_another_kind_are_refused(foreign, monkeypatch):
    """They follow the paper, and the layer says nothing of it."""
    set_gates(foreign, ("norm1", "norm2"), *LOGITS)

    def ratios(layer):
        gates = layer.mean_weight, layer.var_weight
        radius = float(layer.radius)
        return [g.new_tensor(solve_gate(g.tolist(), radius).ratios) for g in gates]

    monkeypatch.setattr(type(foreign.norm1), "ratios", ratios)
    with pytest.raises(UnsupportedLayerError, match="norm1"):
        prune(foreign, X, on_unconverged="exact")


def test_freezing_keeps_the_definition_of_what_is_saved():
    from ssn_prune import freeze_selected

    model = nn.Sequential(unfinished().sn1)
    set_gates(model, ("0",), *LOGITS, radius=math.sqrt(2 / 3))
    model[0].gate_definition = "reference"
    state = freeze_selected(model).switchable_state_dict()
    assert state["0._extra_state"].tolist()[-1:] == [1]
    assert select(state).layers[0].gate_definition == "reference"


@pytest.mark.parametrize("mode", ["error", "exact", "argmax"])
def test_other_implementations_with_such_gates_are_refused(foreign, mode):
    set_gates(foreign, ("norm1", "norm2"), LEFT, LOGITS[1])
    with pytest.raises(UnsupportedLayerError, match=r"simplex at norm1\.mean_weight, norm2\.") as e:
        prune(foreign, X, on_unconverged=mode)
    assert e.value.hint.startswith("build the network with SSN layers of ssn_prune")
