"""State dicts in the reference layout: shapes, values, the way back, and what does not fit."""

import copy

import pytest
import torch
from helpers import reference_layout
from residual import residual
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d, load_checkpoint, select
from ssn_prune.checkpoint.authors_state import authors_state_dict
from ssn_prune.checkpoint.source import open_weights
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.normalizer import Normalizer

IN, LN, BN = Normalizer
OURS = {"correction": 1}
TWO = {"correction": 1, "soft": True, "second": ("IN", "LN")}
SHAPES = {
    "weight": (1, 3, 1, 1),
    "bias": (1, 3, 1, 1),
    "running_mean": (1, 3, 1),
    "running_var": (1, 3, 1),
    "mean_weight": (3,),
    "var_weight": (3,),
    "mean_fixed": (1,),
    "var_fixed": (1,),
    "radius": (1,),
}


def trained(layer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*layer.parameters(), layer.running_mean, layer.running_var]:
            if tensor is not None:
                tensor.uniform_(0.2, 1.5, generator=generator)
    return layer


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_shapes_and_keys_are_those_of_the_reference(layer_class):
    state = authors_state_dict(nn.Sequential(nn.Conv2d(1, 3, 1), trained(layer_class(3, **OURS))))
    own = {k[2:]: tuple(v.shape) for k, v in state.items() if k.startswith("1.")}
    without = {} if layer_class is SSN2d else {"mean_fixed", "var_fixed", "radius"}
    assert own == {key: shape for key, shape in SHAPES.items() if key not in without}
    assert set(state) - {f"1.{key}" for key in own} == {"0.weight", "0.bias"}
    if layer_class is SSN2d:
        assert state["1.mean_fixed"].dtype == torch.int64


def test_without_bn_there_are_two_entries_and_no_statistics():
    layer = trained(SSN2d(3, normalizers=("IN", "LN"), **OURS))
    state = authors_state_dict(layer)
    assert state["mean_weight"].shape == (2,)
    assert not any(key.startswith("running") for key in state)
    target = SSN2d(3, normalizers=("IN", "LN"), **OURS)
    target.load_state_dict(state)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(target(x), layer(x))


def network():
    model = residual(**TWO)
    for index, name in enumerate(("norm", "norm1", "norm2", "soft")):
        trained(model.get_submodule(name), index)
    model.down[1] = trained(SSN2d(4, shared_gate=True, **OURS).double(), 5)
    model.norm.fix(IN, BN)
    for layer in model.modules():
        if isinstance(layer, SSN2d):
            layer.gate_definition = "reference"
    return model.eval()


def test_a_network_comes_back_bit_for_bit():
    model, fresh = network(), network()
    with torch.no_grad():
        for tensor in [*fresh.parameters(), *fresh.buffers()]:
            tensor.zero_()
        model.norm.mean_weight.add_(0.1)  # an optimizer pushed a frozen gate
    state = copy.deepcopy(authors_state_dict(model))
    assert state["norm.mean_weight"].tolist() == [1, 0, 0]
    fresh.load_state_dict(state, strict=True)
    assert fresh.norm.correction == 1
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fresh(x), model(x))
    ours, theirs = model.state_dict(), fresh.state_dict()
    counts = [key for key in ours if key.endswith("num_batches_tracked")]  # they do not count
    assert all(torch.equal(theirs[key], ours[key]) for key in ours.keys() - set(counts))
    wanted = reference_layout(model)
    single = {key for key in wanted if not key.startswith("again.")}  # the helper skips aliases
    assert all(torch.equal(state[key], wanted[key]) for key in single - set(counts))
    assert state.keys() == {k for k in ours if "_extra_state" not in k} - set(counts)
    kinds = {layer.name: layer.kind for layer in select(state).layers}
    assert kinds == dict.fromkeys(("norm", "norm1", "norm2", "again", "down.1"), "SSN") | {
        "soft": "SN"
    }


def test_the_model_is_not_changed_and_aliases_are_written():
    model = network()
    before = {key: (id(value), value.shape) for key, value in model.named_parameters()}
    state = authors_state_dict(model)
    assert {k: (id(v), v.shape) for k, v in model.named_parameters()} == before
    assert torch.equal(state["again.weight"], state["norm2.weight"])
    assert state["again.running_var"].shape == (1, 4, 1)
    assert state._metadata == model.state_dict()._metadata


def test_a_file_is_read_as_a_checkpoint_of_the_reference(tmp_path):
    model = network()
    torch.save({"epoch": 3, "state_dict": authors_state_dict(model)}, tmp_path / "model.pth-3")
    with open_weights(tmp_path / "model.pth-3") as opened:
        tensors = to_torch(opened.tensors)
    assert opened.source.facts["epoch"] == 3
    assert select(tensors).layers == select(authors_state_dict(model)).layers
    loaded = load_checkpoint(
        tmp_path / "model.pth-3", arch="residual:Residual", arch_args=TWO
    ).model
    x = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(x), model.float()(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (SSN2d(3), "not Bessel-corrected"),
        (SSN1d(3, correction=1), "it is a SSN1d"),
        (SSN3d(3, correction=1), "it is a SSN3d"),
        (SSN2d(3, affine=False, correction=1), "no affine parameters"),
        (SSN2d(3, normalizers=("IN", "BN"), correction=1), "both IN and LN"),
        (SSN2d(3, normalizers=("LN", "BN"), correction=1), "both IN and LN"),
        (SwitchNorm2d(3, track_running_stats=False, correction=1), "no running statistics"),
    ],
)
def test_what_their_code_cannot_compute_is_refused(layer, reason):
    model = nn.ModuleDict({"first": SSN2d(3, correction=1), "odd": layer})
    with pytest.raises(UnsupportedLayerError, match="odd cannot be written") as caught:
        authors_state_dict(model)
    assert reason in caught.value.problem
    assert caught.value.hint
