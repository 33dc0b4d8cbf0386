"""Names of architectures: what a file may ask for, what the user may, and what is inferred."""

import sys
import weakref

import pytest
import torch
from helpers import TinyNetwork, tiny_network
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d, load_checkpoint
from ssn_prune.architectures.registry import REFERENCE_NETWORKS, find_architecture
from ssn_prune.checkpoint import loading as assemble
from ssn_prune.errors import ArchitectureError, KeyMismatchError
from ssn_prune.nn.switchable import SwitchableNorm

TINY = "helpers:TinyNetwork"


def refusal(name, *, trusted=True):
    with pytest.raises(ArchitectureError) as caught:
        find_architecture(name, trusted=trusted)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


def save(path, network, **entries):
    torch.save({"state_dict": network.state_dict(), **entries}, path)
    return path


@pytest.fixture
def canary_module(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported."""
    canary = tmp_path / "canary"
    source = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    source += "from helpers import TinyNetwork as build\n"
    (tmp_path / "someones_code.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield canary
    sys.modules.pop("someones_code", None)


@pytest.mark.parametrize("key", ["model", "arch"])
def test_a_file_cannot_make_its_code_be_imported(tmp_path, canary_module, key):
    path = save(tmp_path / "net.pth", tiny_network(), **{key: "someones_code:build"})
    with pytest.raises(ArchitectureError, match="would import code") as caught:
        load_checkpoint(path)
    assert not canary_module.exists()
    assert "someones_code" not in sys.modules
    assert "resnetv1ssn18" in caught.value.expected
    assert "`arch='someones_code:build'`" in caught.value.hint


def test_the_user_can_name_the_same_factory(tmp_path, canary_module):
    path = save(tmp_path / "net.pth", tiny_network(), model="someones_code:build")
    loaded = load_checkpoint(path, arch="someones_code:build")
    assert canary_module.exists()
    assert type(loaded.model) is TinyNetwork
    assert loaded.source.arch == "someones_code:build"
    assert loaded.input_size == (1, 8, 8)


def test_the_users_architecture_wins_over_that_of_the_file(tmp_path):
    path = save(tmp_path / "net.pth", tiny_network(), model="resnetv1ssn18")
    assert type(load_checkpoint(path, arch=TINY).model) is TinyNetwork


def test_a_file_without_architecture_needs_one(tmp_path):
    path = save(tmp_path / "net.pth", tiny_network())
    with pytest.raises(ArchitectureError, match="does not name its architecture") as caught:
        load_checkpoint(path)
    assert "torchvision:NAME" in caught.value.expected
    assert "conv1.weight" in caught.value.found


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnetv1ssn51", "resnetv1ssn50"),
        ("resnet50ssn", "resnetv1ssn50"),
        ("torchvision:resnet81", "torchvision:resnet18"),
        ("timm:resnet81", "timm:resnet18"),
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_near_matches_of_unknown_names_are_suggested(name, suggestion, trusted):
    error = refusal(name, trusted=trusted)
    assert repr(name) in error.problem
    assert suggestion in error.hint


@pytest.mark.parametrize(
    "name", ["", "zzzz", "torchvision:", "timm:", "torchvision:zzzzzz", "timm:resnet18.no_such_tag"]
)
def test_names_like_nothing_are_refused(name):
    assert "did you mean" not in refusal(name).hint


@pytest.mark.parametrize(
    "name", ["no_such_module_at_all:build", "helpers:no_such_factory", "a..b:c"]
)
def test_factories_that_cannot_be_imported_are_refused(name):
    assert "cannot import the factory" in refusal(name).problem


@pytest.mark.parametrize("name", [":", "a:", ":b"])
def test_half_a_factory_is_no_architecture(name):
    assert "unknown architecture" in refusal(name).problem


def test_a_module_without_a_factory_names_those_that_it_has():
    assert "`arch='helpers:TinyNetwork'`" in refusal("helpers:").hint


def test_a_factory_that_builds_no_network_is_refused(tmp_path):
    path = save(tmp_path / "net.pth", tiny_network())
    with pytest.raises(ArchitectureError, match="did not build a network"):
        load_checkpoint(path, arch="collections:OrderedDict")


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('broken')", "assert False, 'broken'", "broken = = 1", "1 / 0"]
)
def test_a_module_that_fails_while_it_is_imported_is_explained(tmp_path, monkeypatch, source):
    (tmp_path / "broken_code.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "broken_code:build" in refusal("broken_code:build").problem


@pytest.mark.parametrize("error", ["RuntimeError", "AssertionError", "ImportError", "OSError"])
def test_a_factory_that_fails_is_explained(tmp_path, monkeypatch, error):
    name = f"failing_with_{error.lower()}"
    source = f"def build():\n    raise {error}('Torch not compiled with CUDA enabled')\n"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    path = save(tmp_path / "net.pth", tiny_network())
    with pytest.raises(ArchitectureError) as caught:
        load_checkpoint(path, arch=f"{name}:build")
    assert "Torch not compiled with CUDA enabled" in caught.value.found


@pytest.mark.parametrize(
    "arguments", [{"no_such_option": 1}, {"channels": "four"}, {"channels": -1}]
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, arguments):
    path = save(tmp_path / "net.pth", tiny_network())
    with pytest.raises(ArchitectureError, match="cannot be built") as caught:
        load_checkpoint(path, arch=TINY, arch_args=arguments)
    assert str(arguments) in caught.value.problem
    assert "`arch_args=" in caught.value.hint


def test_architecture_arguments_reach_the_builder(tmp_path):
    path = save(tmp_path / "net.pth", TinyNetwork(num_classes=7, channels=6))
    arguments = {"num_classes": 7, "channels": 6}
    loaded = load_checkpoint(path, arch=TINY, arch_args=arguments)
    assert loaded.model.conv1.out_channels == 6
    assert loaded.source.arch_args == arguments


def test_the_number_of_classes_is_inferred(tmp_path):
    path = save(tmp_path / "net.pth", TinyNetwork(num_classes=7))
    loaded = load_checkpoint(path, arch=TINY)
    assert loaded.model.fc.out_features == 7
    assert loaded.source.arch_args == {"num_classes": 7}


def test_the_network_with_other_classes_is_gone_before_the_right_one_is_built(
    tmp_path, monkeypatch
):
    """Two networks beside the file's weights would be the peak of a conversion."""
    build, built = assemble._build, []

    def watched(*arguments):
        assert all(network() is None for network in built)
        network = build(*arguments)
        built.append(weakref.ref(network))
        return network

    monkeypatch.setattr(assemble, "_build", watched)
    load_checkpoint(save(tmp_path / "net.pth", TinyNetwork(num_classes=7)), arch=TINY)
    assert len(built) == 2


def test_a_given_number_of_classes_is_not_overridden(tmp_path):
    path = save(tmp_path / "net.pth", TinyNetwork(num_classes=7))
    with pytest.raises(KeyMismatchError, match=r"fc\.weight"):
        load_checkpoint(path, arch=TINY, arch_args={"num_classes": 5})


def test_other_shape_differences_are_not_taken_for_classes(tmp_path):
    path = save(tmp_path / "net.pth", TinyNetwork(channels=6))
    with pytest.raises(KeyMismatchError) as caught:
        load_checkpoint(path, arch=TINY)
    assert any(line.startswith("conv2.weight") for line in caught.value.misshaped)


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, (1, 8, 8)), ((6, 4), (1, 6, 4)), ((6,), (1, 6, 6)), ((1, 5, 9), (1, 5, 9))],
)
def test_input_size(tmp_path, given, found):
    path = save(tmp_path / "net.pth", tiny_network())
    assert load_checkpoint(path, arch=TINY, input_size=given).input_size == found


@pytest.mark.parametrize("name", REFERENCE_NETWORKS)
def test_the_reference_networks_have_their_usual_input_size(name):
    found = find_architecture(name, trusted=False)
    assert (found.input_size, found.named_correction) == ((3, 224, 224), 1)


@pytest.mark.parametrize(("kind", "layer"), [("ssn", SSN2d), ("sn", SwitchNorm2d)])
def test_the_reference_resnet_is_rebuilt_from_its_name_alone(tmp_path, kind, layer):
    name = f"resnetv1{kind}18"
    original = find_architecture(name, trusted=False).build(num_classes=3)
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    torch.save({"model": name, "epoch": 1, "state_dict": state}, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth")
    assert (loaded.source.arch, loaded.source.arch_args) == (name, {"num_classes": 3})
    norms = [m for m in loaded.model.modules() if isinstance(m, SwitchableNorm)]
    assert {type(norm) for norm in norms} == {layer}
    assert (len(norms), {norm.correction for norm in norms}) == (20, {1})
    assert loaded.model.fc.out_features == 3


def test_how_the_statistics_were_made_does_not_matter(tmp_path):
    original = find_architecture("resnetv1ssn18", trusted=False).build(num_classes=3)
    path = save(tmp_path / "net.pth", original, model="resnetv1ssn18")
    loaded = load_checkpoint(path, arch_args={"using_moving_average": False})
    assert loaded.source.arch_args == {"using_moving_average": False, "num_classes": 3}


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_library_networks_are_built_with_ssn_layers(tmp_path, name):
    original = find_architecture(name, trusted=False).build(num_classes=4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in original.modules())
    path = save(tmp_path / "net.pth", original, arch=name)
    loaded = load_checkpoint(path)
    assert loaded.source.arch_args == {"num_classes": 4}
    assert loaded.input_size == (3, 224, 224)
    norms = [m for m in loaded.model.modules() if isinstance(m, SSN2d)]
    assert (len(norms), {norm.correction for norm in norms}) == (20, {0})
    for key, value in original.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)
