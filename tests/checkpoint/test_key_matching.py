"""Keys of the file and keys of the network: prefixes, strict matching, the reference layout."""

import pytest
import torch
from helpers import TinyNetwork, reference_layout, tiny_network
from torch import nn

from ssn_prune import SSN2d, SwitchNorm1d, load_checkpoint
from ssn_prune.checkpoint.key_matching import load_weights, take_reference_kind
from ssn_prune.checkpoint.prefixes import strip_prefix
from ssn_prune.errors import ArgumentError, CheckpointError, KeyMismatchError

ARCH = "helpers:TinyNetwork"


def assert_same_state(model, expected):
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


def mismatch(tensors):
    with pytest.raises(KeyMismatchError) as caught:
        load_weights(TinyNetwork(), tensors, "tiny")
    error = caught.value
    assert error.expected
    assert error.found
    assert "`arch=`" in error.hint
    return error


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "backbone.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.model.",
        "model.module._orig_mod.",
    ],
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path, prefix):
    original = tiny_network()
    path = tmp_path / "net.pth"
    state = {prefix + key: value for key, value in original.state_dict().items()}
    torch.save({"state_dict": state}, path)
    loaded = load_checkpoint(path, arch=ARCH)
    assert loaded.source.prefix == prefix
    assert loaded.source.ignored_keys == 0
    assert_same_state(loaded.model, original.state_dict())


def test_a_prefix_that_belongs_to_the_network_stays():
    tensors = {"module.model.a": torch.ones(1), "module.model.b": torch.ones(1)}
    stripped = strip_prefix(tensors, {"model.a": 0, "model.b": 0}, None)
    assert stripped.prefix == "module."
    assert stripped.tensors.keys() == {"model.a", "model.b"}


def test_a_prefix_that_only_some_keys_carry_stays():
    tensors = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert strip_prefix(tensors, None, None).tensors.keys() == tensors.keys()


def test_the_counter_of_an_averaged_model_is_left_out():
    tensors = {"n_averaged": torch.tensor(3), "module.a": torch.ones(1)}
    stripped = strip_prefix(tensors, {"a": 0}, None)
    assert (stripped.prefix, set(stripped.tensors)) == ("module.", {"a"})


@pytest.mark.parametrize("prefix", ["encoder.", "encoder"])
def test_an_explicit_prefix_leaves_other_keys_out(tmp_path, prefix):
    original = tiny_network()
    state = {f"encoder.{key}": value for key, value in original.state_dict().items()}
    state |= {"head.weight": torch.ones(2), "head.bias": torch.ones(2), "encoders": torch.ones(1)}
    torch.save(state, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=ARCH, prefix=prefix)
    assert loaded.source.prefix == "encoder."
    assert loaded.source.ignored_keys == 3
    assert_same_state(loaded.model, original.state_dict())


def test_a_wrong_prefix_is_refused(tmp_path):
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    with pytest.raises(ArgumentError) as caught:
        load_checkpoint(tmp_path / "net.pth", arch=ARCH, prefix="encoder")
    assert "'encoder.'" in caught.value.problem
    assert "conv1.weight" in caught.value.expected
    assert caught.value.found
    assert "`prefix=`" in caught.value.hint


def test_missing_keys_are_listed():
    state = tiny_network().state_dict()
    del state["conv2.weight"], state["sn1.running_mean"]
    error = mismatch(state)
    assert set(error.missing) == {"conv2.weight", "sn1.running_mean"}
    assert error.unexpected == error.misshaped == ()
    assert "2 missing" in error.found


def test_unexpected_keys_are_listed():
    error = mismatch({**tiny_network().state_dict(), "conv3.weight": torch.ones(1)})
    assert error.unexpected == ("conv3.weight",)
    assert error.missing == error.misshaped == ()
    assert "1 unexpected (conv3.weight)" in error.found


def test_misshaped_keys_are_listed_with_both_shapes():
    state = {**tiny_network().state_dict(), "conv1.weight": torch.ones(4, 1, 5, 5)}
    state["sn1.weight"] = torch.ones(1, 3, 1, 1)
    error = mismatch(state)
    assert error.missing == error.unexpected == ()
    assert set(error.misshaped) == {
        "conv1.weight: (4, 1, 5, 5) in the checkpoint, (4, 1, 3, 3) in the network",
        "sn1.weight: (1, 3, 1, 1) in the checkpoint, (4,) in the network",
    }
    assert "2 of another shape" in error.found


def test_gates_with_another_number_of_choices_are_misshaped():
    state = {**tiny_network().state_dict(), "sn2.mean_weight": torch.tensor([1.0, 0.0])}
    assert "sn2.mean_weight: (2,)" in mismatch(state).misshaped[0]


def test_near_matches_of_missing_keys_are_suggested():
    state = tiny_network().state_dict()
    state["bn1.running_mean"] = state.pop("sn1.running_mean")
    error = mismatch(state)
    assert (error.missing, error.unexpected) == (("sn1.running_mean",), ("bn1.running_mean",))
    assert "bn1.running_mean -> sn1.running_mean" in error.hint


@pytest.mark.parametrize("outer", ["", "net."])
@pytest.mark.parametrize("others", [("student.", "teacher."), ("G.",)], ids=str)
def test_the_prefix_of_a_network_beside_other_keys_is_named(tmp_path, outer, others):
    state = {"loss.weight": torch.ones(2)}
    for name in others:
        state |= {name + key: value for key, value in tiny_network().state_dict().items()}
    torch.save({outer + key: value for key, value in state.items()}, tmp_path / "net.pth")
    with pytest.raises(KeyMismatchError) as caught:
        load_checkpoint(tmp_path / "net.pth", arch=ARCH)
    options = " or ".join(f"`prefix={outer + name!r}`" for name in others)
    assert f"pass {options}. " in caught.value.hint
    for name in others:  # the hint works
        loaded = load_checkpoint(tmp_path / "net.pth", arch=ARCH, prefix=outer + name).model
        assert_same_state(loaded, tiny_network().state_dict())


def test_no_prefix_is_named_under_which_keys_are_missing():
    state = {"G." + key: value for key, value in tiny_network().state_dict().items()}
    del state[next(key for key in state if key.endswith("mean_weight"))]
    assert "pass `prefix=" not in mismatch(state).hint


def test_a_checkpoint_without_gates_is_recognised():
    gates = ("mean_weight", "var_weight")
    state = {k: v for k, v in tiny_network().state_dict().items() if not k.endswith(gates)}
    assert "was not trained with SSN" in mismatch(state).hint


def test_a_mismatch_leaves_the_network_untouched():
    model = tiny_network(1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = tiny_network(2).state_dict()
    del state["fc.bias"]
    with pytest.raises(KeyMismatchError):
        load_weights(model, state, "tiny")
    assert_same_state(model, before)


def test_the_reference_layout_is_taken_over_bit_for_bit(tmp_path):
    original = tiny_network()
    original.sn1.gate_definition = original.sn2.gate_definition = "reference"
    state = reference_layout(original)
    assert state["sn1.weight"].shape == state["sn1.bias"].shape == (1, 4, 1, 1)
    assert state["sn1.running_mean"].shape == state["sn1.running_var"].shape == (1, 4, 1)
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=ARCH, correction=0).model
    assert_same_state(loaded, original.state_dict())


@pytest.mark.parametrize(("correction", "kind"), [(None, 1), (0, 0), (2, 2)])
def test_the_reference_layout_says_the_kind_of_variance(tmp_path, correction, kind):
    torch.save(reference_layout(tiny_network()), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=ARCH, correction=correction).model
    assert (loaded.sn1.correction, loaded.sn2.correction) == (kind, kind)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = tiny_network()
    expected.sn1.correction = expected.sn2.correction = kind
    assert torch.equal(loaded(x), expected(x))


def test_a_layout_of_vectors_says_that_each_variance_has_its_own_count():
    layer = SwitchNorm1d(4, normalizers=("LN", "BN"))
    take_reference_kind(nn.Sequential(layer), {"0.weight": torch.ones(1, 4)})
    assert layer.correction == 2


def test_files_of_our_own_layout_keep_the_kind_of_the_network(tmp_path):
    state = tiny_network().state_dict()
    older = {key: value for key, value in state.items() if not key.endswith("_extra_state")}
    for tensors in (state, older):
        torch.save(tensors, tmp_path / "net.pth")
        assert load_checkpoint(tmp_path / "net.pth", arch=ARCH).model.sn1.correction == 0


def test_num_batches_tracked_is_tolerated():
    state = {**tiny_network().state_dict(), "sn1.num_batches_tracked": torch.tensor(5)}
    load_weights(TinyNetwork(), state, "tiny")


def test_files_without_flags_and_radius_load_with_final_one_hot_gates(tmp_path):
    original = tiny_network()
    torch.save(reference_layout(original, flags=False), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=ARCH, correction=0).model
    assert torch.equal(loaded.sn1.mean_fixed, torch.tensor([1]))
    assert torch.equal(loaded.sn2.var_fixed, torch.tensor([1]))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x), original(x))


def test_files_without_flags_keep_other_weights_as_logits(tmp_path):
    original = tiny_network()
    state = reference_layout(original, flags=False)
    state["sn1.mean_weight"] = torch.tensor([1.2, 0.9, 0.3])
    torch.save(state, tmp_path / "net.pth")
    layer = load_checkpoint(tmp_path / "net.pth", arch=ARCH).model.sn1
    assert int(layer.mean_fixed) == 0
    assert int(layer.var_fixed) == 1
    torch.testing.assert_close(layer.gates()[0], torch.tensor([0.65, 0.35, 0.0]))


def test_loading_does_not_edit_the_given_state():
    layer = SSN2d(4)
    state = reference_layout(torch.nn.Sequential(layer), flags=False)
    keys, shape = set(state), state["0.weight"].shape
    load_weights(torch.nn.Sequential(SSN2d(4)), state, "tiny")
    assert set(state) == keys
    assert state["0.weight"].shape == shape


def mismatch_of(network: nn.Module, state: dict[str, torch.Tensor]) -> KeyMismatchError:
    with pytest.raises(KeyMismatchError) as caught:
        load_weights(network, state, "the network")
    return caught.value


@pytest.mark.parametrize("counts", [(7, 3), (3, 7)])
def test_another_number_of_classes_is_named(counts):
    theirs, ours = counts
    error = mismatch_of(TinyNetwork(ours), TinyNetwork(theirs).state_dict())
    assert f"fc has {theirs} outputs in the checkpoint and {ours} in the network" in error.hint
    assert f"`arch_args={{'num_classes': {theirs}}}`" in error.hint


def test_another_width_is_named():
    error = mismatch_of(TinyNetwork(channels=4), TinyNetwork(channels=6).state_dict())
    assert "another width" in error.hint
    assert "classes" not in error.hint


def test_a_checkpoint_is_without_gates_only_if_it_has_none():
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    switchable = nn.Sequential(nn.Conv2d(1, 4, 3), SSN2d(4))
    assert "has no gates" in mismatch_of(switchable, plain.state_dict()).hint
    more = nn.Sequential(*switchable, nn.Conv2d(4, 4, 3), SSN2d(4))
    assert "has no gates" not in mismatch_of(more, switchable.state_dict()).hint
    assert "has no gates" not in mismatch_of(plain, switchable.state_dict()).hint


def resized(name, shape):
    """The cause that is given for one tensor of another size."""
    return mismatch({**tiny_network().state_dict(), name: torch.ones(shape)}).hint


def test_only_the_last_layer_gives_another_number_of_classes():
    state = tiny_network().state_dict()
    classes, features = state["fc.weight"].shape
    state |= {"fc.weight": torch.ones(classes + 3, features), "fc.bias": torch.ones(classes + 3)}
    assert f"`arch_args={{'num_classes': {classes + 3}}}`" in mismatch(state).hint
    for name, shape in (
        ("conv1.weight", (9, 1, 3, 3)),
        ("sn1.weight", (9,)),
        ("sn1.radius", (3,)),
        ("fc.bias", (classes + 3,)),
        ("sn2.mean_weight", (2,)),
    ):
        assert "number of classes" not in resized(name, shape), name


def test_gates_of_another_size_are_of_other_normalizers():
    assert "normalizers that it was trained with" in resized("sn2.mean_weight", (2,))
    assert "width" not in resized("sn1.radius", (3,))
    network = TinyNetwork()
    network.sn2 = SSN2d(network.sn2.num_features, normalizers=("LN", "BN"))
    with pytest.raises(CheckpointError, match="other normalizers") as caught:
        load_weights(TinyNetwork(), network.state_dict(), "tiny")
    assert "normalizers=('LN', 'BN')" in caught.value.hint
