"""A user's own network with the reference layers: adoption on a machine without CUDA."""

import sys
from pathlib import Path

import pytest
import torch
from foreign_layers import ForeignNetwork, ForeignSparseSwitch, ForeignSwitch
from torch import nn

from ssn_prune import ConvertOptions, SSN2d, SwitchNorm2d, convert, load_checkpoint
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.surgery.from_reference import adopt_layers

FACTORY = "users_own_network:ForeignNetwork"


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    """Every machine behaves as one without a GPU."""

    def refuse(*_arguments):
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "FloatTensor", refuse)
    monkeypatch.setattr(torch.cuda, "LongTensor", refuse)


@pytest.fixture
def reference(monkeypatch):
    """Build foreign networks without CUDA; the patch ends with the builder."""

    def build(mean=0, var=0, seed=0, **options):
        with monkeypatch.context() as patch, torch.random.fork_rng():
            patch.setattr(torch.cuda, "FloatTensor", torch.FloatTensor)
            patch.setattr(torch.cuda, "LongTensor", torch.LongTensor)
            torch.manual_seed(seed)
            model = ForeignNetwork(**options)
        with torch.no_grad():
            for layer in (model.norm1, model.norm2):
                layer.weight.uniform_(-1.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
                if layer.using_bn:
                    layer.running_mean.uniform_(-0.3, 0.3)
                    layer.running_var.uniform_(0.2, 0.8)
            model.norm2.mean_weight.normal_()
            model.norm2.var_weight.normal_()
            for gate, choice in (("mean", mean), ("var", var)):
                weight = getattr(model.norm1, f"{gate}_weight")
                weight.zero_()
                weight[choice] = 1
                getattr(model.norm1, f"{gate}_fixed").fill_(1)
            model.norm1.radius.fill_(0.83)
        return model.eval()

    return build


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    source = Path(sys.modules[ForeignNetwork.__module__].__file__)
    (tmp_path / "users_own_network.py").write_text(source.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_own_network", raising=False)
    yield tmp_path
    sys.modules.pop("users_own_network", None)


def image(size=(3, 1, 7, 5)):
    return torch.randn(size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def assert_same_outputs(adopted, original):
    with torch.no_grad():
        expected = original.double()(image())
        found = adopted.double()(image())
    scale = expected.abs().max()
    assert scale > 0.01
    assert (found - expected).abs().max() <= 1e-12 * scale


def test_the_stand_in_cannot_be_built_without_cuda():
    with pytest.raises(RuntimeError, match="no driver"):
        ForeignNetwork()


def test_a_users_factory_is_built_adopted_and_loaded(user_folder, reference):
    original = reference(mean=0, var=1)
    torch.save({"state_dict": original.state_dict()}, user_folder / "net.pth")
    before = (torch.cuda.FloatTensor, torch.cuda.LongTensor, list(sys.path))
    loaded = load_checkpoint("net.pth", arch=FACTORY)
    assert (torch.cuda.FloatTensor, torch.cuda.LongTensor, sys.path) == before
    assert type(loaded.model.norm1) is SSN2d
    assert type(loaded.model.norm2) is SwitchNorm2d
    assert type(loaded.model).__module__ == "users_own_network"
    assert not loaded.model.training
    assert_same_outputs(loaded.model, original)


def test_cuda_tensor_types_are_restored_after_a_failing_constructor(user_folder):
    torch.save({"w": torch.ones(1)}, user_folder / "net.pth")
    before = (torch.cuda.FloatTensor, torch.cuda.LongTensor)
    with pytest.raises(Exception, match="cannot be built"):
        load_checkpoint("net.pth", arch=FACTORY, arch_args={"no_such_option": 1})
    assert (torch.cuda.FloatTensor, torch.cuda.LongTensor) == before


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_adopted_layers_compute_what_the_originals_did(reference, pair):
    original = reference(mean=pair.mean, var=pair.var, seed=int(pair.mean) * 3 + int(pair.var))
    assert_same_outputs(adopt_layers(original), original)


def test_adopted_layers_without_batch_norm(reference):
    original = reference(mean=1, var=0, using_bn=False)
    adopted = adopt_layers(original)
    assert adopted.norm1.running_mean is None
    assert_same_outputs(adopted, original)


def test_eps_and_momentum_are_taken_from_the_instance(reference):
    adopted = adopt_layers(reference())
    assert (adopted.norm1.eps, adopted.norm2.eps) == (3e-3, 2e-4)
    assert adopted.norm1.momentum == pytest.approx(0.03)
    assert adopted.norm2.momentum == pytest.approx(0.2)
    assert adopted.norm1.correction == adopted.norm2.correction == 1


def test_adoption_changes_neither_the_network_nor_its_values(reference):
    original = reference()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    adopted = adopt_layers(original)
    assert type(original.norm1) is ForeignSparseSwitch
    assert type(original.norm2) is ForeignSwitch
    for key, value in original.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(adopted.state_dict()[key].flatten(), value.flatten())


@pytest.mark.parametrize("using_bn", [True, False])
def test_the_flag_for_batch_averages_does_not_matter(reference, using_bn):
    model = reference(mean=1, var=0, using_moving_average=False, using_bn=using_bn)
    assert_same_outputs(adopt_layers(model), model)


@pytest.mark.parametrize("steps", [5000, 600_000])
def test_running_sums_in_a_file_are_refused_by_convert(user_folder, reference, steps):
    original = reference(mean=2, var=2)
    state = original.state_dict()
    for key in state:
        if "running_" in key:
            state[key] = state[key] * steps
    torch.save({"state_dict": state}, user_folder / "net.pth")
    loaded = load_checkpoint("net.pth", arch=FACTORY, input_size=(1, 8, 8))
    options = ConvertOptions(on_unconverged="exact")
    with pytest.raises(UnsupportedLayerError, match="sums"):
        convert(loaded, user_folder / "net.onnx", options)
    assert not list(user_folder.glob("*.onnx*"))


def test_running_averages_are_not_mistaken_for_sums(user_folder, reference):
    torch.save({"state_dict": reference(mean=2, var=2).state_dict()}, user_folder / "net.pth")
    loaded = load_checkpoint("net.pth", arch=FACTORY, input_size=(1, 8, 8))
    report = convert(loaded, user_folder / "net.onnx", ConvertOptions(on_unconverged="exact"))
    assert report.verification.algebra.passed
    assert report.verification.rounding.passed


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_kind_of_variance_is_found_by_running_the_layer(unbiased):
    layer = VariantSSN(unbiased)
    adopted = adopt_layers(nn.Sequential(layer))
    assert adopted[0].correction == int(unbiased)


def test_a_layer_that_computes_something_else_is_refused():
    with pytest.raises(UnsupportedLayerError, match="computes something else"):
        adopt_layers(nn.Sequential(VariantSSN(True, activation=True)))


def test_hooks_on_a_foreign_layer_are_kept():
    network = nn.Sequential(VariantSSN(True))
    network[0].register_forward_hook(lambda _m, _i, y: 3 * y)
    adopted = adopt_layers(network)
    with torch.no_grad():
        difference = adopted.double()(image((2, 3, 5, 4))) - network.double()(image((2, 3, 5, 4)))
    assert float(difference.abs().max()) < 1e-12


class VariantSSN(nn.Module):
    """The reference tensors, with a choice of variance and an optional fused activation."""

    def __init__(self, unbiased, activation=False):
        super().__init__()
        self.eps, self.momentum = 1e-5, 0.997
        self.unbiased, self.activation = unbiased, activation
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.mean_weight = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))
        self.var_weight = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))
        self.register_buffer("running_mean", torch.zeros(1, 3, 1))
        self.register_buffer("running_var", torch.ones(1, 3, 1))
        self.register_buffer("mean_fixed", torch.ones(1, dtype=torch.int64))
        self.register_buffer("var_fixed", torch.ones(1, dtype=torch.int64))
        self.register_buffer("radius", torch.ones(1))
        self.eval()

    def forward(self, x):
        mean_in = x.mean((2, 3), keepdim=True)
        var_in = x.var((2, 3), unbiased=self.unbiased, keepdim=True)
        total = var_in + mean_in**2
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = total.mean(1, keepdim=True) - mean_ln**2
        running = (self.running_mean.view(1, -1, 1, 1), self.running_var.view(1, -1, 1, 1))
        means, variances = (mean_in, mean_ln, running[0]), (var_in, var_ln, running[1])
        mean = sum(p * value for p, value in zip(self.mean_weight, means, strict=True))
        var = sum(q * value for q, value in zip(self.var_weight, variances, strict=True))
        y = (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
        return torch.relu(y) if self.activation else y
