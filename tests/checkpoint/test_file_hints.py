"""What a file says about its network beside the weights: the kind of swap, and the input size."""

import pytest
import torch

from ssn_prune import convert_to_ssn, load_checkpoint
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.nn.switch_norm import SwitchNorm2d

NETWORK = "timm:test_resnet"


def trained(**options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False)
    model = convert_to_ssn(network, **options).model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("mean_weight", "var_weight")):
                parameter.copy_(torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize(
    "options", [{"kind": "sn"}, {"kind": "ssn"}, {"normalizers": ("IN", "BN")}], ids=str
)
def test_a_known_network_is_swapped_as_it_was_for_the_training(tmp_path, options):
    model = trained(**options)
    torch.save({"model": NETWORK, "state_dict": model.state_dict()}, tmp_path / "c.pth")
    loaded = load_checkpoint(tmp_path / "c.pth").model
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    kinds = {isinstance(m, SwitchNorm2d) for m in loaded.modules() if hasattr(m, "mean_weight")}
    assert kinds == {options.get("kind") == "sn"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ([3, 96, 64], (3, 96, 64)),
        (None, find_architecture(NETWORK, trusted=False).input_size),
        ("224", find_architecture(NETWORK, trusted=False).input_size),
        ([3, -1, 64], find_architecture(NETWORK, trusted=False).input_size),
        ([3, 1e9, 64], find_architecture(NETWORK, trusted=False).input_size),
    ],
    ids=str,
)
def test_the_input_size_of_the_file_is_used_if_it_is_one(tmp_path, size, expected):
    content = {"model": NETWORK, "state_dict": trained().state_dict(), "input_size": size}
    torch.save(content, tmp_path / "c.pth")
    assert load_checkpoint(tmp_path / "c.pth").input_size == expected


def test_an_input_size_that_is_given_comes_first(tmp_path):
    content = {"model": NETWORK, "state_dict": trained().state_dict(), "input_size": [3, 96, 96]}
    torch.save(content, tmp_path / "c.pth")
    assert load_checkpoint(tmp_path / "c.pth", input_size=(64, 32)).input_size == (3, 64, 32)
