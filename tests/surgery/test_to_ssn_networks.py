"""convert_to_ssn on whole networks: sharing, ties, names, and placement."""

import copy
from functools import partial

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torchvision import models
from torchvision.models.video import resnet as video

from ssn_prune import SSN2d, SSN3d, SwitchNorm2d, convert_to_ssn
from ssn_prune.errors import ArgumentError, NoSwitchableLayerError
from ssn_prune.nn.ssn import SSN


def randomized(model):
    """In float64 and evaluation mode, with statistics as after training."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.double().state_dict().items():
        if name.endswith("running_mean"):
            value.uniform_(-0.2, 0.2, generator=generator)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
    return model.eval()


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3, momentum=None), nn.ReLU())
    model.append(nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5, momentum=0.2)))
    for norm in (model[1], model[3][1]):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data.uniform_(0.2, 2)
        norm.num_batches_tracked.fill_(7)
    return model


def select(result):
    """Every new layer at the normalizer that the old one was."""
    choices = {name: record.choice for record in result.layers for name in record.names}
    for name, layer in result.model.named_modules():
        if isinstance(layer, SSN):
            choice = choices[name.removesuffix(".norm")]
            layer.fix(choice, choice)
    return result.model


TINY_VIDEO = ([video.Conv3DSimple] * 4, [1, 1, 1, 1], video.BasicStem)
NETWORKS = {
    "mobilenet_v2": (lambda: models.mobilenet_v2(width_mult=0.25), (2, 3, 32, 32), 52),
    "resnet18": (models.resnet18, (2, 3, 32, 32), 20),
    "group norm": (
        lambda: models.mobilenet_v2(width_mult=0.1, norm_layer=partial(nn.GroupNorm, 1)),
        (2, 3, 32, 32),
        52,
    ),
    "video": (lambda: video.VideoResNet(video.BasicBlock, *TINY_VIDEO), (1, 3, 2, 16, 16), 12),
    "timm": (lambda: timm.create_model("test_efficientnet"), (2, 3, 32, 32), 13),
    "timm mixed": (lambda: timm.create_model("test_coatnet"), (2, 3, 160, 160), 7),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_network_gives_the_same_outputs(name):
    make, shape, count = NETWORKS[name]
    torch.manual_seed(0)
    model, x = randomized(make()), torch.randn(shape, dtype=torch.float64)
    result = convert_to_ssn(model)
    swapped = [record for record in result.layers if record.new]
    assert len(swapped) == sum(isinstance(m, SSN) for m in result.model.modules()) == count
    assert all(record.equivalent for record in swapped)
    with torch.no_grad():
        before = model(x)
        assert (result.model(x) - before).abs().max() > 1e-3 * before.abs().max()  # soft gates
        converted = select(result)
        scale = before.abs().max()
        assert (converted(x) - before).abs().max() < 1e-12 * scale


def test_a_converted_network_can_be_copied_saved_and_loaded():
    model = randomized(timm.create_model("test_efficientnet"))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    converted = convert_to_ssn(model, keep_choice=0.7).model
    with torch.no_grad():
        for parameter in converted.parameters():
            parameter.mul_(1.1)
        expected = converted(x)
        again = convert_to_ssn(model).model
        assert not torch.equal(again(x), expected)
        again.load_state_dict(converted.state_dict())
        assert torch.equal(again(x), expected)
        assert torch.equal(copy.deepcopy(converted)(x), expected)


def test_layer_norm_networks_are_refused_with_the_reason():
    model = models.convnext_tiny()
    with pytest.raises(NoSwitchableLayerError) as info:
        convert_to_ssn(model)
    assert info.value.found.startswith("5 LayerNorm2d, 18 LayerNorm; LayerNorm2d: ")
    assert "approximate=True" in info.value.found
    assert "transformers" in info.value.hint
    result = convert_to_ssn(model, approximate=True, inplace=True)
    assert [record.new for record in result.layers].count("SSN2d") == 5
    assert not any(record.equivalent for record in result.layers)
    assert model.eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_a_network_without_norms_is_refused():
    scaled = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))  # of no norm's family
    with pytest.raises(NoSwitchableLayerError, match="no norm at all"):
        convert_to_ssn(nn.Sequential(nn.Conv2d(3, 3, 1), scaled))


def test_everything_of_the_old_layer_is_kept():
    model = network().eval()
    model[1].train()
    model[1].bias.requires_grad_(False)
    tensors = {key: id(value) for key, value in model.state_dict(keep_vars=True).items()}
    calls = []
    model[1].register_forward_pre_hook(lambda *_: calls.append("before"))
    model[1].register_forward_hook(lambda *_: calls.append("after"))
    copied = convert_to_ssn(model, correction=1)
    assert not {p.data_ptr() for p in model.parameters()} & {
        p.data_ptr() for p in copied.model.parameters()
    }
    assert type(model[1]) is nn.BatchNorm2d
    old = [model[1], model[3][1]]
    assert convert_to_ssn(model, correction=1, inplace=True).model is model
    for name, value in model.state_dict(keep_vars=True).items():
        assert name not in tensors or id(value) == tensors[name]  # the very same tensors
    for converted in (copied.model, model):
        for before, after in zip(old, (converted[1], converted[3][1]), strict=True):
            assert type(after) is SSN2d
            assert after.correction == 1
            for name in ("eps", "momentum", "training", "affine", "track_running_stats"):
                assert getattr(after, name) == getattr(before, name)
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                assert torch.equal(getattr(after, name), getattr(before, name))
                assert getattr(after, name).requires_grad == getattr(before, name).requires_grad
        calls.clear()
        converted(torch.randn(2, 3, 4, 4))
        assert calls == ["before", "after"]


@pytest.mark.parametrize("inplace", [False, True])
def test_shared_modules_stay_shared_and_tied_tensors_tied(inplace):
    norm, tied, conv = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
    tied.weight = norm.weight
    tied.running_mean = norm.running_mean
    shared = nn.ModuleDict({"a": nn.Sequential(conv, norm), "b": nn.Sequential(norm), "c": tied})
    shared.gain = norm.weight  # registered as a parameter of the parent, too
    result = convert_to_ssn(shared, inplace=inplace)
    converted = result.model
    assert [record.names for record in result.layers] == [("a.1", "b.0"), ("c",)]
    assert converted["a"][1] is converted["b"][0]
    assert type(converted["c"]) is SSN2d
    assert converted["c"].weight is converted["a"][1].weight is converted.gain
    assert converted["c"].running_mean is converted["a"][1].running_mean
    assert (converted.gain is norm.weight) == inplace
    assert converted["a"][0].weight is not conv.weight or inplace


@pytest.mark.parametrize("inplace", [False, True])
def test_the_network_may_be_a_norm_itself(inplace):
    result = convert_to_ssn(nn.BatchNorm3d(3), kind="ssn", inplace=inplace)
    assert type(result.model) is SSN3d
    assert result.layers[0].names == ("",)
    assert type(convert_to_ssn(nn.BatchNorm2d(3), include="", kind="sn").model) is SwitchNorm2d


def test_timm_activation_keeps_its_mode_and_its_hooks_see_the_same():
    norm = BatchNormAct2d(3, act_layer=nn.SiLU, drop_layer=nn.Dropout).train()
    norm.drop.eval()
    seen = []
    norm.register_forward_hook(lambda *of: seen.append(of[-1]))
    block = select(convert_to_ssn(nn.Sequential(norm)))[0]
    assert list(dict(block.named_children())) == ["norm", "drop", "act"]
    assert (block.training, block.norm.training, block.drop.training) == (True, True, False)
    x = torch.randn(2, 3, 4, 4)
    block(x), norm(x)
    torch.testing.assert_close(seen[0], seen[1])


def test_names_patterns_and_types_choose_layers():
    model = models.resnet18()
    shared = nn.ModuleDict({"net": model, "alias": model.bn1})

    def swapped(**options):
        records = convert_to_ssn(shared, **options).layers
        assert len(records) == 20
        assert all(record.reason or record.new for record in records)
        return [record.names for record in records if record.new]

    assert swapped(include="alias") == [("net.bn1", "alias")]
    assert swapped(exclude=["net.layer*"]) == [("net.bn1", "alias")]
    assert len(swapped(include=["net.layer1.*", "net.bn1"])) == 5
    assert len(swapped(include="*", exclude=("*.downsample.1", "*.bn2"))) == 9
    assert len(swapped(include=[nn.BatchNorm2d], exclude="net.bn1")) == 19
    records = convert_to_ssn(shared, exclude="alias", include="net.*1").layers
    reasons = [record.reason for record in records if not record.new]
    assert reasons == ["excluded by alias"] + ["it is not among those to include"] * 8


def test_a_choice_that_matches_no_layer_is_an_error():
    with pytest.raises(NoSwitchableLayerError, match="excluded by BatchNorm2d") as none_left:
        convert_to_ssn(network(), exclude=nn.BatchNorm2d)
    assert "include and exclude" in none_left.value.hint
    for wrong in ("layer1", "3", "1.*"):
        with pytest.raises(ArgumentError) as info:
            convert_to_ssn(network(), exclude=["1", wrong])
        assert wrong in info.value.problem
        assert info.value.found == "1, 3.1"
