"""A network that the file names takes no memory before it is known to fit the file."""

import pytest
import torch
from helpers import tiny_network

from ssn_prune import load_checkpoint
from ssn_prune.architectures.registry import find_architecture
from ssn_prune.errors import ArchitectureError, KeyMismatchError


class Counted(torch.utils._python_dispatch.TorchDispatchMode):
    """Adds up the memory of the tensors that are made within."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta":
            self.largest = max(self.largest, result.numel() * result.element_size())
        return result


@pytest.mark.parametrize("name", ["resnetv1ssn152", "torchvision:vgg19_bn", "timm:resnet50"])
def test_a_network_that_is_larger_than_the_file_is_not_built(tmp_path, name):
    torch.save({"arch": name, "state_dict": tiny_network().state_dict()}, tmp_path / "net.pth")
    with Counted() as counted, pytest.raises(KeyMismatchError) as caught:
        load_checkpoint(tmp_path / "net.pth")
    assert counted.largest < 1 << 16
    assert name in caught.value.problem


def test_a_file_with_more_classes_is_not_built_for_them_but_for_its_weights(tmp_path):
    state = {"fc.weight": torch.ones(1, 1).expand(10**6, 2048), "fc.bias": torch.ones(10**6)}
    torch.save({"arch": "resnetv1ssn50", "state_dict": state}, tmp_path / "net.pth")
    with Counted() as counted, pytest.raises(Exception, match=r"fc\.weight|does not fit"):
        load_checkpoint(tmp_path / "net.pth")
    assert counted.largest < 1 << 24


@pytest.mark.parametrize("classes", [1000, 7])
@pytest.mark.parametrize("name", ["resnetv1ssn18", "torchvision:mobilenet_v3_small"])
def test_a_network_that_fits_is_built_and_loaded(tmp_path, name, classes):
    model = find_architecture(name, trusted=False).build(num_classes=classes)
    torch.save({"arch": name, "state_dict": model.state_dict()}, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth").model
    assert not any(value.is_meta for value in loaded.state_dict().values())
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_a_network_that_needs_memory_to_be_built_is_refused_with_a_cure(tmp_path):
    name = "torchvision:regnet_x_400mf"
    model = find_architecture(name, trusted=True).build()
    torch.save({"arch": name, "state_dict": model.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(ArchitectureError, match="cannot be built without memory") as caught:
        load_checkpoint(tmp_path / "net.pth")
    assert f"`arch='{name}'`" in caught.value.hint
    assert load_checkpoint(tmp_path / "net.pth", arch=name).source.arch == name
