"""Situations found by trying to break prune: wrong outputs or a crash."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from networks import BN, IN, LN, Lambda, relative_error, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import SSN2d, SwitchNorm2d, export_onnx, prune
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.normalizer import NormalizerPair

BN_BN = NormalizerPair(BN, BN)
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def conv(bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(3, 4, 3, padding=1, bias=bias)


def same(network: nn.Module, x: Tensor = X) -> list[str | None]:
    """Require the same outputs and return the reason codes."""
    network = network.double().eval()
    result = prune(network, x)
    with torch.no_grad():
        assert relative_error(result.model(x), network(x)) < 1e-13
    return [layer.reason_code for layer in result.report.layers]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.n(m.c(x)) + m.c.bias.view(-1, 1, 1),
        lambda m, x: [m.n(m.c(x)), m.c.bias * 2],
        lambda m, x: (
            m.n(m.c(x)) + F.conv2d(x, m.c.weight.detach().sum() * m.k, m.c.bias, padding=1)
        ),
    ],
    ids=["added", "returned", "second convolution"],
)
def test_a_bias_that_is_used_elsewhere(function) -> None:
    network = Lambda(function, c=conv(), n=trained_layer(4, BN_BN))
    network.k = nn.Parameter(torch.randn(4, 3, 3, 3))
    assert same(network)[0] in ("bias_cannot_be_replaced", "weight_is_shared")


@pytest.mark.parametrize("region", ["no_grad", "autocast"])
def test_a_second_call_inside_a_region_of_its_own(region: str) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.n(m.c(x))
        context = torch.no_grad() if region == "no_grad" else torch.autocast("cpu", enabled=False)
        with context:
            return y + m.n(m.d(x))

    network = Lambda(forward, c=conv(), d=conv(), n=trained_layer(4, BN_BN))
    assert same(network) == ["no_conv_in_front"]


def test_a_subclass_with_its_own_forward_is_refused() -> None:
    class Activated(SSN2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x))

    with pytest.raises(UnsupportedLayerError, match="its own forward"):
        prune(nn.Sequential(conv(), Activated(4)), X.float(), on_unconverged="argmax")


def test_hooks_survive_the_rounding_of_softmax_gates() -> None:
    network = nn.Sequential(conv(), SwitchNorm2d(4))
    with torch.no_grad():
        network[1].mean_weight.copy_(torch.tensor([40.0, 0.0, 0.0]))
        network[1].var_weight.copy_(torch.tensor([0.0, 0.0, 40.0]))
    network[1].register_forward_hook(lambda _m, _i, y: 3 * y)
    network = network.double().eval()
    result = prune(network, X, on_unconverged="argmax")
    with torch.no_grad():
        assert relative_error(result.model(X), network(X)) < 1e-12


def test_hooks_with_keyword_arguments_survive() -> None:
    network = nn.Sequential(conv(), trained_layer(4, BN_BN))
    network[1].register_forward_hook(lambda _m, _i, _k, y: 3 * y, with_kwargs=True)
    assert same(network) == ["hooks"]


@pytest.mark.parametrize("pair", [NormalizerPair(m, v) for m in (IN, LN, BN) for v in (IN, LN)])
def test_half_precision_does_not_overflow_in_squares(pair: NormalizerPair) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(conv(), trained_layer(4, pair)).eval()
    with torch.no_grad():
        network[0].weight.mul_(300)
        exact = network.double()(X)
        half = network.half()
        found = prune(half, X.half()).model(X.half()).double()
    assert bool(torch.isfinite(found).all())
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-2


def test_a_folded_bias_that_would_overflow_is_refused() -> None:
    layer = trained_layer(4, BN_BN)
    with torch.no_grad():
        layer.running_mean.fill_(9e3)
        layer.running_var.fill_(1e-2)
        layer.weight.fill_(1.0)
    network = nn.Sequential(conv(bias=False), layer).half().eval()
    report = prune(network, X.half()).report.layers[0]
    assert report.reason_code == "scale_out_of_range"


def test_the_layer_itself_may_be_the_network() -> None:
    layer = trained_layer(3, NormalizerPair(IN, LN))
    assert same(layer) == ["nothing_folds"]


def test_train_methods_that_return_nothing() -> None:
    class Backbone(nn.Sequential):
        def train(self, mode: bool = True) -> None:
            super().train(mode)

    network = Backbone(conv(), trained_layer(4, BN_BN)).double()
    nn.Module.eval(network)
    result = prune(network, X)
    with torch.no_grad():
        assert relative_error(result.model(X), network(X)) < 1e-13


def test_outputs_whose_keys_are_already_names_in_the_graph(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv2d = conv()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.conv2d(x)
            keys = ("conv2d", "input", "scale", "a-b", "a_b", "")
            return {key: y * (self.scale + index) for index, key in enumerate(keys)}

    x = X.float()
    stats = export_onnx(Named(), x, tmp_path / "m.onnx")
    assert len(set(stats.outputs)) == 6
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(None, {"input": x.numpy()})
    ratios = [float(value.mean() / found[0].mean()) for value in found]
    assert ratios == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0, 3.5], rel=1e-4)


def test_branches_in_the_graph_keep_no_local_paths(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, (x,))

    export_onnx(Branching(), X.float(), tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link = tmp_path / "m.onnx"
    link.symlink_to(tmp_path / "deep" / "real.onnx")
    export_onnx(conv(), X.float(), link)
    assert link.is_symlink()
    onnx.checker.check_model(tmp_path / "deep" / "real.onnx")


def test_a_constant_channel_without_a_preceding_convolution_stays_accurate(tmp_path: Path) -> None:
    """ONNX Runtime's mean of 112x112 equal numbers is off by 2e-5; divided by sqrt(eps): 1 %."""
    for pair in (NormalizerPair(IN, IN), NormalizerPair(IN, BN), NormalizerPair(IN, LN)):
        layer = trained_layer(3, pair)
        with torch.no_grad():
            layer.running_var[0] = 0
        network = nn.Sequential(nn.AvgPool2d(1), layer).eval()
        x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
        x[:, 0] = 3.7
        result = prune(network, x)
        assert "nearly constant" in str(result.report.layers[0].reason)
        export_onnx(result.model, x, tmp_path / "m.onnx", force=True)
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        found = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
        with torch.no_grad():
            exact = network.double()(x.double())
        assert float((found - exact).abs().max() / exact.abs().max()) < 2e-6
