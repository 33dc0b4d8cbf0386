"""A pruned network loads again from its weights alone, and gives the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dimension_networks import KINDS, Branches, Parallel, all_pairs, one_hot_layer, sample
from helpers import TinyNetwork, one_hot_gates, randomize, tiny_network
from networks import trained_layer
from safetensors import safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

import ssn_prune
from ssn_prune import SSN2d, load_pruned, prune, save_pruned
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.pruned_weights.checking import require_same_network
from ssn_prune.surgery.nested import tensor_leaves

IN, LN, BN = Normalizer.IN, Normalizer.LN, Normalizer.BN


def assert_loads(
    network: nn.Module, factory: Callable[[], nn.Module], x: Tensor, path: Path, **options: Any
) -> nn.Module:
    """Save, load and compare bit by bit; gives what was loaded."""
    pruned = prune(network, x, **options)
    save_pruned(pruned, path)
    loaded = load_pruned(path, lambda: scrambled(factory()))
    with torch.no_grad():
        found, expected = tensor_leaves(loaded(x)), tensor_leaves(pruned.model(x))
    for value, wanted in zip(found, expected, strict=True):
        assert torch.equal(value, wanted)
    assert loaded.state_dict().keys() == pruned.model.state_dict().keys()
    assert not any(tensor.is_meta for tensor in tensor_leaves(loaded.state_dict()))
    assert not any(module.training for module in loaded.modules())
    before = {name: p.requires_grad for name, p in pruned.model.named_parameters()}
    assert {name: p.requires_grad for name, p in loaded.named_parameters()} == before
    return loaded


def scrambled(network: nn.Module) -> nn.Module:
    """Other numbers everywhere: none of the network's own may be left."""
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.copy_(torch.rand(tensor.shape) + 2)
    return network


def branches(kind: str, adjacent: bool, bias: bool, correction: int = 0) -> nn.Module:
    layers = [
        one_hot_layer(kind, pair, seed, correction=correction)
        for seed, pair in enumerate(all_pairs(kind, correction))
    ]
    return Branches(kind, layers, adjacent, bias).eval()


@pytest.mark.parametrize("correction", [0, 1, 2])
@pytest.mark.parametrize(("adjacent", "bias"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_after_a_convolution_and_elsewhere(
    kind: str, adjacent: bool, bias: bool, correction: int, tmp_path: Path
) -> None:
    network = branches(kind, adjacent, bias, correction)
    x = sample(kind, dtype=torch.float32)
    options = {"any_size": correction == 2}
    path = tmp_path / "w.safetensors"
    assert_loads(network, lambda: branches(kind, adjacent, bias, correction), x, path, **options)


def test_networks_without_affine_parameters_and_without_folds(tmp_path: Path) -> None:
    def build() -> nn.Module:
        layers = [one_hot_layer("2d", pair, affine=False) for pair in ALL_PAIRS]
        return Branches("2d", layers, adjacent=True).eval()

    x = sample("2d", dtype=torch.float32)
    assert_loads(build(), build, x, tmp_path / "folded.safetensors")
    assert_loads(build(), build, x, tmp_path / "plain.safetensors", fold=False)


def test_weighted_forms(tmp_path: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), SSN2d(4)).eval()

    x = torch.randn(2, 1, 8, 8)
    assert_loads(build(), build, x, tmp_path / "w.safetensors", on_unconverged="exact")


class Absorbing(nn.Module):
    """IN/LN, then a BN/BN, a BatchNorm and a LayerScale that it absorbs; a norm before a conv."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = trained_layer(3, NormalizerPair(IN, LN))
        self.second = trained_layer(3, NormalizerPair(BN, BN), 1)
        self.third = nn.BatchNorm2d(3)
        self.third.running_mean.normal_()
        self.before = trained_layer(3, NormalizerPair(BN, BN), 2)
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.third(self.second(self.norm(x))))
        return self.conv(self.before(torch.tanh(y)))


def test_absorbed_norms_and_a_norm_that_moved_into_the_following_convolution(
    tmp_path: Path,
) -> None:
    x = torch.randn(2, 3, 8, 8)
    loaded = assert_loads(Absorbing().eval(), Absorbing, x, tmp_path / "w.safetensors")
    assert isinstance(loaded.second, nn.Identity)
    assert isinstance(loaded.third, nn.Identity)
    assert isinstance(loaded.before, nn.Identity)


def test_centred_layers(tmp_path: Path) -> None:
    """Channels far from zero: some layers subtract constants themselves, some convolutions do."""

    def build() -> nn.Module:
        layers = [one_hot_layer("2d", pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
        network = nn.ModuleList([Parallel(layers), branches("2d", adjacent=True, bias=False)])
        return Both(*network).eval()

    x = sample("2d", dtype=torch.float32)
    loaded = assert_loads(build(), build, x, tmp_path / "w.safetensors")
    assert any(name.endswith(".centre") for name in loaded.state_dict())
    assert any(name.endswith(".offset") for name in loaded.state_dict())


class Both(nn.Module):
    """Layers on six channels far from zero, and convolutions on three."""

    def __init__(self, layers: nn.Module, convolutions: nn.Module) -> None:
        super().__init__()
        self.layers, self.convolutions = layers, convolutions

    def forward(self, x: Tensor) -> tuple[Any, Any]:
        return self.layers(torch.cat([x, x], 1) + 100), self.convolutions(x)


class Sharing(TinyNetwork):
    """A layer under two names, one kernel in two convolutions, and what is in no state dict."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.alias = self.sn1
        self.third = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        if tied:
            self.third.weight = self.conv2.weight
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.conv1.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.alias(self.conv1(x)))
        return self.fc(self.sn2(self.conv2(self.third(y))).mean(dim=(2, 3))) + self.table


def sharing() -> Sharing:
    network = Sharing()
    randomize(network)
    one_hot_gates(network.sn1, 0, 2)
    one_hot_gates(network.sn2, 2, 2)
    network.table += 0.5
    return network.eval()


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_shared_stays_shared_and_other_buffers_come_along(
    tied: bool, tmp_path: Path
) -> None:
    x = torch.randn(2, 1, 8, 8)
    path = tmp_path / "w.safetensors"
    loaded = assert_loads(sharing(), lambda: Sharing(tied=tied), x, path)
    assert loaded.third.weight is loaded.conv2.weight
    assert loaded.alias is loaded.sn1
    assert loaded.table.tolist() == [0.5, 1.5, 2.5]
    assert "table" not in loaded.state_dict()
    assert not loaded.conv1.weight.requires_grad


def test_the_network_may_have_other_norms_in_the_places_of_its_layers(tmp_path: Path) -> None:
    """As before the layers were swapped: nothing of SSN is needed."""

    class Plain(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.sn1, self.sn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    assert_loads(tiny_network(), Plain, torch.randn(2, 1, 8, 8), tmp_path / "w.safetensors")


def test_kernels_keep_the_order_of_their_elements(tmp_path: Path) -> None:
    """Convolutions compute other bits with channels last."""
    network = tiny_network().to(memory_format=torch.channels_last)
    x = torch.randn(2, 1, 8, 8)
    loaded = assert_loads(network, TinyNetwork, x, tmp_path / "w.safetensors")
    assert loaded.conv2.weight.stride() == network.conv2.weight.stride()


def test_a_network_that_is_one_layer(tmp_path: Path) -> None:
    layer = trained_layer(3, NormalizerPair(LN, BN)).eval()
    x = torch.randn(2, 3, 5, 5)
    loaded = assert_loads(layer, lambda: SSN2d(3), x, tmp_path / "w.safetensors")
    assert not isinstance(loaded, SSN2d)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_is_that_of_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    pruned = prune(tiny_network(), torch.randn(2, 1, 8, 8))
    pruned.model.to(dtype)
    save_pruned(pruned, path)
    loaded = load_pruned(path, TinyNetwork)
    x = torch.randn(2, 1, 8, 8, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(loaded(x), pruned.model(x))


def test_conditions_on_sizes_are_kept(tmp_path: Path) -> None:
    class Branching(TinyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.shape[2] > 6 else x * 2)

    network = Branching()
    network.load_state_dict(tiny_network().state_dict())
    path = tmp_path / "w.safetensors"
    loaded = assert_loads(network.eval(), Branching, torch.randn(2, 1, 8, 8), path)
    with pytest.raises(ValueError, match=r"x\.shape\[2\]"):
        loaded(torch.randn(2, 1, 5, 8))


def test_the_network_trains_on(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    x = torch.randn(4, 1, 8, 8)
    loaded = assert_loads(tiny_network(), TinyNetwork, x, path)
    assert all(p.is_leaf and p.requires_grad for p in loaded.parameters())
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(loaded(x), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    torch.save(loaded.state_dict(), tmp_path / "trained.pth")
    again = load_pruned(path, TinyNetwork)
    again.load_state_dict(torch.load(tmp_path / "trained.pth"))
    with torch.no_grad():
        assert torch.equal(again(x), loaded(x))


def test_without_folds_it_trains_with_the_statistics_of_the_batch(tmp_path: Path) -> None:
    x = torch.randn(4, 1, 8, 8)
    path = tmp_path / "w.safetensors"
    loaded = assert_loads(tiny_network(), TinyNetwork, x, path, fold=False).train()
    before = {name: buffer.clone() for name, buffer in loaded.named_buffers()}
    loaded(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())
    for layer in ("sn1", "sn2"):
        name = f"{layer}.running_var"
        assert not torch.equal(loaded.get_buffer(name), before[name])


def test_trained_weights_can_be_saved_again(tmp_path: Path) -> None:
    pruned = prune(tiny_network(), torch.randn(2, 1, 8, 8))
    with torch.no_grad():
        pruned.model.fc.bias += 1
    save_pruned(pruned, tmp_path / "w.safetensors")
    loaded = load_pruned(tmp_path / "w.safetensors", TinyNetwork)
    assert torch.equal(loaded.fc.bias, pruned.model.fc.bias)


LOADS = """
import torch
from helpers import TinyNetwork
from ssn_prune import load_pruned
torch.save(load_pruned("w.safetensors", TinyNetwork)(torch.load("x.pt")), "y.pt")
"""


def test_a_new_process_without_the_checkpoint_gives_the_same_bits(tmp_path: Path) -> None:
    checkpoint = tmp_path / "net.pth"
    torch.save(tiny_network().state_dict(), checkpoint)
    loaded = ssn_prune.load_checkpoint(checkpoint, arch="helpers:TinyNetwork")
    x = torch.randn(5, 1, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    pruned = prune(loaded.model, x)
    save_pruned(pruned, tmp_path / "w.safetensors")
    checkpoint.unlink()
    helpers = Path(sys.modules["helpers"].__file__ or "").parent
    package = Path(ssn_prune.__file__).parents[1]
    path = os.pathsep.join(map(str, (helpers, package)))
    command = [sys.executable, "-c", LOADS]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "y.pt"), pruned.model(x))


def test_other_programs_read_the_tensors_and_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    pruned = prune(sharing(), torch.randn(2, 1, 8, 8))
    stats = save_pruned(pruned, path)
    assert stats.bytes == path.stat().st_size
    with safe_open(path, "pt") as file:
        assert "ssn_prune.pruned" in file.metadata()
        assert torch.equal(file.get_tensor("fc.weight"), pruned.model.fc.weight)
    network = prune(sharing(), torch.randn(2, 1, 8, 8)).model
    network.register_buffer("table", network.table)  # safetensors loads the state dict alone
    with torch.no_grad():
        network.fc.weight.zero_()
    assert not load_model(network, path, strict=False)[0]
    assert torch.equal(network.fc.weight, pruned.model.fc.weight)


def test_a_network_that_changes_elsewhere_is_found_out(tmp_path: Path) -> None:
    class Counting(TinyNetwork):
        """Keeps a number that is no buffer."""

        offset = 0.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.offset

    network = Counting()
    network.load_state_dict(tiny_network().state_dict())
    x, path = torch.randn(2, 1, 8, 8), tmp_path / "w.safetensors"
    pruned = prune(network.eval(), x)
    save_pruned(pruned, path)
    require_same_network(path, pruned, network, (x,))
    pruned.model.offset = 1.0
    with pytest.raises(ssn_prune.VerificationError, match="do not give the pruned network's"):
        require_same_network(path, pruned, network, (x,))


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Keeping(TinyNetwork):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 1}

        def set_extra_state(self, state: object) -> None:
            pass

    network = Keeping()
    network.load_state_dict(tiny_network().state_dict(), strict=False)
    pruned = prune(network.eval(), torch.randn(2, 1, 8, 8))
    with pytest.raises(ssn_prune.ExportError, match="no parameter and no buffer"):
        save_pruned(pruned, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_tensors_that_the_format_lacks_are_refused_by_name(tmp_path: Path) -> None:
    pruned = prune(tiny_network(), torch.randn(2, 1, 8, 8))
    pruned.model.register_buffer("phases", torch.ones(2, dtype=torch.complex64))
    with pytest.raises(ssn_prune.ExportError, match="phases cannot be in a file"):
        save_pruned(pruned, tmp_path / "w.safetensors")


class HeldElsewhere(TinyNetwork):
    """Its forward reads parameters from a list and a closure, not from the modules."""

    def __init__(self) -> None:
        super().__init__()
        channels = self.conv1.out_channels
        self.extra = nn.Conv2d(channels, channels, 1)
        self.kernels = [self.extra.weight]
        bias = self.extra.bias
        self.add = lambda x: x + bias[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, C, H', W')."""
        return self.add(nn.functional.conv2d(self.sn1(self.conv1(x)), self.kernels[0]))


def test_tensors_that_the_code_holds_elsewhere_are_those_of_the_file(tmp_path: Path) -> None:
    network = HeldElsewhere().eval()
    randomize(network, 0)
    one_hot_gates(network.sn1, 0, 2)
    one_hot_gates(network.sn2, 2, 2)
    x = torch.randn(2, 1, 8, 8)
    loaded = assert_loads(network, lambda: HeldElsewhere().eval(), x, tmp_path / "w.safetensors")
    assert loaded.kernels[0] is loaded.extra.weight


def test_lazy_parameters_are_a_typed_error(tmp_path: Path) -> None:
    save_pruned(prune(tiny_network(), torch.randn(2, 1, 8, 8)), tmp_path / "w.safetensors")

    def lazy() -> nn.Module:
        network = TinyNetwork()
        network.conv2 = nn.LazyConv2d(4, 3)
        return network

    with pytest.raises(ssn_prune.ArgumentError, match="does not know its sizes"):
        load_pruned(tmp_path / "w.safetensors", lazy)


def test_the_own_trial_sees_numbers_that_are_not_in_the_file(tmp_path: Path) -> None:
    """A plain tensor attribute of a copy would have the right values by accident."""
    network = tiny_network()
    x = torch.randn(2, 1, 8, 8)
    pruned = prune(network, x)
    save_pruned(pruned, tmp_path / "w.safetensors")
    require_same_network(tmp_path / "w.safetensors", pruned, network, (x,))
    assert all(p.isfinite().all() for p in network.parameters())
    with torch.no_grad():
        pruned.model.conv2.weight.add_(1)
    with pytest.raises(ssn_prune.VerificationError):
        require_same_network(tmp_path / "w.safetensors", pruned, network, (x,))


def test_axes_of_one_entry_have_no_stride_to_keep(tmp_path: Path) -> None:
    network = tiny_network()
    kernel = network.conv1.weight
    with torch.no_grad():
        kernel.set_(kernel.untyped_storage(), 0, kernel.shape, (9, 0, 3, 1))
    x = torch.randn(2, 1, 8, 8)
    assert_loads(network, TinyNetwork, x, tmp_path / "w.safetensors")
