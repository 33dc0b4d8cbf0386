"""From the content of a file to the weights: entries, EMA, finiteness, the named architecture."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weight_check import require_numbers
from ssn_prune.checkpoint.weights import extract_weights
from ssn_prune.errors import ArgumentError, CheckpointError


def state(value=1.0):
    return {"fc.weight": torch.full((2, 2), value), "fc.bias": torch.zeros(2)}


def extract(content, entry=None):
    """The weights of a file with this content, their tensors read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pth"
        torch.save(content, path)
        return extract_from(path, entry)


def extract_from(path, entry=None):
    with open_checkpoint(path) as file:
        weights = extract_weights(file, entry)
        return replace(weights, tensors=to_torch(weights.tensors))


def value_of(weights):
    return float(weights.tensors["fc.weight"][0, 0])


@pytest.mark.parametrize(
    "entry", ["state_dict", "model_state_dict", "model", "net", "network", "weights", "module"]
)
def test_weights_are_found_under_their_usual_entries(entry):
    weights = extract({"epoch": 3, entry: state(2.0)})
    assert weights.entry == entry
    assert value_of(weights) == 2.0
    assert weights.others == ()
    assert weights.facts == {"epoch": 3}


@pytest.mark.parametrize("entry", ["state_dict_ema", "model_ema", "ema"])
def test_an_ema_alone_is_taken(entry):
    weights = extract({entry: state(2.0)})
    assert (weights.entry, value_of(weights)) == (entry, 2.0)


@pytest.mark.parametrize("entry", ["state_dict_ema", "model_ema"])
def test_an_ema_beside_the_weights_is_reported_but_not_taken(entry):
    weights = extract({entry: state(2.0), "state_dict": state(1.0)})
    assert (weights.entry, value_of(weights)) == ("state_dict", 1.0)
    assert weights.others == (entry,)


@pytest.mark.parametrize("entry", ["state_dict_ema", "model_ema"])
def test_the_ema_can_be_chosen(entry):
    weights = extract({"state_dict": state(1.0), entry: state(2.0)}, entry)
    assert (weights.entry, value_of(weights)) == (entry, 2.0)
    assert weights.others == ("state_dict",)


def test_any_entry_with_tensors_can_be_chosen():
    weights = extract({"state_dict": state(1.0), "teacher": state(3.0)}, "teacher")
    assert (weights.entry, value_of(weights)) == ("teacher", 3.0)


def test_a_wrapped_ema_is_unwrapped():
    content = {"model": state(1.0), "model_ema": {"decay": 0.99, "module": state(2.0)}}
    assert value_of(extract(content, "model_ema")) == 2.0


def test_a_bare_state_dict_has_no_entry():
    weights = extract(state(2.0))
    assert weights.entry is None
    assert weights.tensors.keys() == {"fc.weight", "fc.bias"}
    assert weights.arch is None


def test_a_bare_state_dict_whose_layers_are_called_like_entries():
    bare = {"model.weight": torch.ones(2), "net.weight": torch.ones(2), "weights": torch.ones(1)}
    assert extract(bare).tensors.keys() == bare.keys()


def test_a_wrong_entry_names_those_that_hold_weights():
    with pytest.raises(ArgumentError) as caught:
        extract({"state_dict": state(), "model_ema": state(), "epoch": 1}, "ema_model")
    error = caught.value
    assert "'ema_model'" in error.problem
    assert "state_dict, model_ema" in error.expected
    assert "epoch" in error.found
    assert "`weights=`" in error.hint


def test_an_entry_of_a_bare_state_dict_is_refused():
    with pytest.raises(ArgumentError, match="bare state dict"):
        extract(state(), "state_dict")


def test_an_entry_without_tensors_is_refused():
    with pytest.raises(ArgumentError):
        extract({"state_dict": state(), "epoch": 1}, "epoch")


def test_not_finite_values_of_an_unused_entry_do_not_matter():
    ema = state(torch.nan)
    weights = extract({"state_dict": state(1.0), "state_dict_ema": ema})
    assert value_of(weights) == 1.0
    require_numbers(weights.tensors)


def test_integer_tensors_are_finite():
    assert extract({"count": torch.tensor([3]), "w": torch.ones(1)}).tensors["count"] == 3


@pytest.mark.parametrize("key", ["model", "arch", "architecture"])
def test_the_architecture_is_read_from_the_file(key):
    weights = extract({key: "resnetv1ssn50", "state_dict": state(), "best_prec1": 76.5})
    assert weights.arch == "resnetv1ssn50"
    assert weights.facts == {"best_prec1": 76.5}


def test_model_can_be_the_name_or_the_weights():
    named = extract({"model": "resnetv1sn18", "state_dict": state(2.0)})
    assert (named.arch, named.entry, value_of(named)) == ("resnetv1sn18", "state_dict", 2.0)
    held = extract({"model": state(2.0), "arch": "resnetv1sn18"})
    assert (held.arch, held.entry, value_of(held)) == ("resnetv1sn18", "model", 2.0)


def test_the_architecture_is_read_from_safetensors_metadata(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(state(), path, metadata={"arch": "resnetv1ssn18", "note": "x"})
    weights = extract_from(path)
    assert weights.arch == "resnetv1ssn18"
    assert weights.facts == {"note": "x"}


@pytest.mark.parametrize(
    "content",
    [[torch.ones(2)], torch.ones(2), "text", None, {}, {"epoch": 1}, {"state_dict": {}}],
    ids=["list", "tensor", "text", "None", "empty dict", "no weights", "empty state_dict"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_without_weights_is_refused(tmp_path, content, zipped):
    path = tmp_path / "net.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as caught:
        extract_from(path)
    error = caught.value
    assert "holds no weights" in error.problem
    assert error.expected
    assert error.found
    assert error.hint
