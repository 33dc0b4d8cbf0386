"""The reference is the network that the user has: other people's layers, right or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from cli_checks import run_cli
from foreign_layers import GpuOnlyNetwork, GpuOnlySwitch, HabitualSwitch, TokenNorm
from networks import Lambda
from torch import Tensor, nn

from ssn_prune import ConvertOptions, convert, load_checkpoint, prune
from ssn_prune.errors import ArgumentError, UnsupportedLayerError
from ssn_prune.surgery import adoption
from ssn_prune.surgery.adoption import check_reference, float32_bound, float64_bound
from ssn_prune.surgery.from_reference import adopt_layers

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def network(scale: float = 1.0, kind: Callable[..., nn.Module] = HabitualSwitch, **options: Any):
    """Convolution, layer, convolution; the layer's inputs have deviations of about ``scale``."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), kind(8, **options), nn.Conv2d(8, 4, 1)]
    with torch.no_grad():
        layers[0].weight.mul_(scale)
        layers[0].bias.mul_(scale)
        layers[1].running_var.mul_(scale**2)
        layers[1].running_mean.mul_(scale)
    return nn.Sequential(*layers).eval()


def checked(model: nn.Module, x: Tensor = X):
    """Prune; the result agrees with the model itself, in its own code."""
    result = prune(model, x, on_unconverged="exact")
    with torch.no_grad():
        expected = model.double()(x.double())
        found = result.model(x)
    model.float()
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5
    assert result.given is not None
    return result.report.adoption


def refused(model: nn.Module, x: Tensor = X, **options: Any) -> UnsupportedLayerError:
    with pytest.raises(UnsupportedLayerError) as caught:
        prune(model, x, on_unconverged="exact", **options)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


# --- layers that refuse the probe --------------------------------------------------------------
def raising(error: type[Exception], accepts: Callable[[Tensor], bool]) -> Callable[[Tensor], None]:
    def guard(x: Tensor) -> None:
        if not accepts(x):
            raise error("not this input")

    return guard


GUARDS = {
    "width 16": lambda x: x.shape[-1] == 16,
    "width % 4": lambda x: x.shape[-1] % 4 == 0,
    "even batch": lambda x: len(x) % 2 == 0,
    "large images": lambda x: x[0, 0].numel() > 100,
}


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, AssertionError, OSError])
@pytest.mark.parametrize("accepts", GUARDS)
def test_a_layer_that_refuses_noise_is_compared(accepts: str, error: type[Exception]) -> None:
    check = checked(network(guard=raising(error, GUARDS[accepts])))
    assert check.compared
    assert check.precision == "float64"
    assert check.layers == 1
    assert 0 < check.worst_layer_error <= check.worst_layer_tolerance < 1.1e-11
    assert check.output_error <= check.tolerance < 1.1e-11
    assert 0 < check.own_float32_error < 1e-6


@pytest.mark.parametrize("accepts", ["width 16", "width % 4"])
def test_a_fused_activation_is_found_though_the_probe_is_refused(accepts: str) -> None:
    error = refused(network(relu=True, guard=raising(RuntimeError, GUARDS[accepts])))
    assert error.problem.startswith("1 (HabitualSwitch)")
    assert "activation" in error.hint


# --- layers that compute something else ---------------------------------------------------------
OTHERS: dict[str, dict[str, Any]] = {
    "another order of the gates": {"order": (1, 0, 2)},
    "running statistics first": {"order": (2, 0, 1)},
    "eps outside of the root": {"eps_outside": True},
    "a small eps outside of the root": {"eps_outside": True, "eps": 1e-9},
    "eps times 1.1": {"factor": 1.1},
    "eps forgotten": {"factor": 0.0},
    "an activation": {"relu": True},
}


@pytest.mark.parametrize("probed", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_what_computes_something_else_is_refused(name: str, probed: bool) -> None:
    guard = None if probed else raising(ValueError, GUARDS["width 16"])
    error = refused(network(guard=guard, **OTHERS[name]))
    assert "1 (HabitualSwitch)" in error.problem


@pytest.mark.parametrize("tokens", [10, 16])
def test_statistics_over_other_axes_are_refused(tokens: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(6, tokens, 1), TokenNorm(tokens)).eval()
    error = refused(model, torch.randn(2, 6, tokens))
    assert "1 (TokenNorm)" in error.problem


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_eps_wrong_by_a_tenth_is_found_at_mean_100(factor: float) -> None:
    """Where the given formula loses eight digits, and eps is a tenth of the variance."""
    for eps, accepted in ((1e-3, True), (1e-3 * factor, False)):

        def guard(x: Tensor) -> None:
            if x.shape[-1] != 16:
                raise RuntimeError("width 16 only")

        model = network(guard=guard, centred=False, eps=1e-3, factor=eps / 1e-3)
        with torch.no_grad():
            model[0].weight.mul_(0.1)
            model[0].bias.fill_(100)
            model[1].running_mean.fill_(100)
            model[1].running_var.fill_(0.01)
        if accepted:
            check = prune(model, X, on_unconverged="exact").report.adoption
            assert check.own_float32_error > 1e-4
            assert 1e-11 < check.worst_layer_tolerance < 1e-9
        else:
            refused(model)


# --- eps --------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("name", ["epsilon", "variance_eps", "_e", "regulariser"])
@pytest.mark.parametrize("guarded", [False, True])
def test_eps_under_another_name_is_found(name: str, scale: float, guarded: bool) -> None:
    guard = raising(ValueError, GUARDS["width 16"]) if guarded else None
    checked(network(scale, eps=1e-8, eps_name=name, guard=guard))


def test_the_usual_eps_is_a_guess_that_is_checked() -> None:
    class Hidden(HabitualSwitch):
        eps = property(lambda _self: None)

        def __init__(self, channels: int, value: float) -> None:
            super().__init__(channels, eps_name="hidden", eps=[value])

        def forward(self, x: Tensor) -> Tensor:
            kept, self.hidden = self.hidden, self.hidden[0]
            try:
                return super().forward(x)
            finally:
                self.hidden = kept

    checked(network(kind=Hidden, value=1e-5))
    refused(network(kind=Hidden, value=1e-6))


def test_one_parameter_for_both_gates_is_adopted() -> None:
    check = checked(network(shared=True))
    assert check.compared


# --- where, and how often ------------------------------------------------------------------------
def twice(m: nn.Module, x: Tensor) -> Tensor:
    y = m.n(m.c(x))
    return m.n(y) + y


def test_every_call_of_a_layer_is_compared() -> None:
    torch.manual_seed(0)

    class Second(HabitualSwitch):
        """Wrong where it is given what a norm gave."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + 1e-9 * (abs(float(x.std()) - 0.9) < 0.5))

    right = Lambda(twice, c=nn.Conv2d(3, 8, 3), n=HabitualSwitch(8)).eval()
    check = checked(right)
    assert check.layers == 1
    wrong = Lambda(twice, c=nn.Conv2d(3, 8, 3), n=Second(8)).eval()
    with torch.no_grad():
        wrong.c.weight.mul_(30)
    assert refused(wrong).problem.startswith("n (Second)")


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_first_layer_that_is_off_is_named(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adopted copy is spoilt, so the comparison must be with the given code."""
    torch.manual_seed(0)
    layers = []
    for _ in range(3):
        layers += [nn.Conv2d(3, 3, 3, padding=1), HabitualSwitch(3)]
    model = nn.Sequential(*layers).eval()
    adopted = adopt_layers(model)
    assert check_reference(model, adopted, (X,)).layers == 3
    for spoil in ("eps", "weight", "running_var", "correction"):
        adopted = adopt_layers(model)
        layer = adopted[2 * wrong + 1]
        if spoil == "correction":
            layer.correction = 0
        elif spoil == "eps":
            layer.eps *= 1.001
        else:
            with torch.no_grad():
                getattr(layer, spoil)[1] *= 1 + 2**-22
        with pytest.raises(UnsupportedLayerError) as caught:
            check_reference(model, adopted, (X,))
        assert caught.value.problem.startswith(f"{2 * wrong + 1} (HabitualSwitch)"), spoil


def test_other_code_that_asks_for_the_layers_class_is_found() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.n(m.c(x)) * (2 if isinstance(m.n, HabitualSwitch) else 1)

    model = Lambda(forward, c=nn.Conv2d(3, 8, 3), n=HabitualSwitch(8)).eval()
    error = refused(model)
    assert "every layer agrees" in error.found


def test_a_layer_with_a_second_argument_is_refused() -> None:
    class Masked(HabitualSwitch):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return super().forward(x)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.n(m.c(x), None)

    error = refused(Lambda(forward, c=nn.Conv2d(3, 8, 3), n=Masked(8)).eval())
    assert "runs with its own layers, but not with those of ssn_prune" in error.problem


def test_the_given_network_is_not_changed_and_hooks_on_it_count() -> None:
    model = network()
    model[1].register_forward_hook(lambda _m, _i, y: 2 * y)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = dict(model[1]._forward_hooks)
    checked(model)
    assert model[1]._forward_hooks == hooks
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


# --- precision ------------------------------------------------------------------------------------
def test_a_float32_step_inside_a_layer_is_said() -> None:
    check = prune(network(), X, on_unconverged="exact").report.adoption
    assert check.narrow_operator is None
    error = refused(network(narrow=True, guard=raising(ValueError, GUARDS["width 16"])))
    assert "float32" in error.expected

    class Rounding(HabitualSwitch):
        """Computes in float32 whatever it is given."""

        def forward(self, x: Tensor) -> Tensor:
            if x.dtype is torch.float64:
                raise TypeError("float32 only")
            return super().forward(x)

    check = prune(network(kind=Rounding), X, on_unconverged="exact").report.adoption
    assert check.precision == "float32"
    assert "float32 only" in check.narrow_operator
    assert check.output_error <= check.tolerance
    assert 1e-5 <= check.tolerance < 2e-5
    refused(network(kind=Rounding, relu=True))
    refused(network(kind=Rounding, order=(1, 0, 2)))


def test_an_own_error_that_is_not_finite_gives_a_finite_bound() -> None:
    assert float64_bound(0.0) == 1e-11
    assert float64_bound(0.08) == pytest.approx(1e-11 + 4 * 0.08 * 2**-29, rel=1e-12)
    assert float64_bound(7.0) == pytest.approx(1e-11 + 7 * 2**-27, rel=1e-12)
    for error in (1.0, float("inf"), float("nan")):
        assert float64_bound(error) == pytest.approx(1e-11 + 2**-27, rel=1e-12)
    assert float32_bound(1e-6) == pytest.approx(1.4e-5)
    assert float32_bound(float("inf")) == 0

    class Overflowing(HabitualSwitch):
        """Right in float64 only: it takes numbers that float32 does not have."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 1e30 * 1e30 * 1e-30 * 1e-30)

    model = network(kind=Overflowing)
    check = prune(model, X, on_unconverged="exact").report.adoption
    assert check.own_float32_error == float("inf")
    assert check.tolerance == float64_bound(1.0)
    assert check.output_error < 1e-13


# --- code that cannot run here -----------------------------------------------------------------
def test_code_for_a_gpu_needs_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    model = network(kind=GpuOnlySwitch)
    error = refused(model)
    assert "cannot run here" in error.problem
    assert "no kernel for the CPU" in error.found
    assert "`allow_unverified_layers=True`" in error.hint
    result = prune(model, X, on_unconverged="exact", allow_unverified_layers=True)
    check = result.report.adoption
    assert not check.compared
    assert check.reason == "code_cannot_run"
    assert check.detail == "NotImplementedError: no kernel for the CPU"
    assert result.reference is result.original
    assert capsys.readouterr().out == ""


def test_inputs_that_fit_neither_network_are_an_argument_error() -> None:
    for model in (network(), network(kind=GpuOnlySwitch), adopt_layers(network())):
        with pytest.raises(ArgumentError, match="cannot run on inputs of size 2x5x8x8") as caught:
            prune(model, torch.zeros(2, 5, 8, 8), on_unconverged="exact")
        assert "`input_size=`" in caught.value.hint


@pytest.fixture
def gpu_checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(GpuOnlyNetwork().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_convert_says_what_was_not_compared(gpu_checkpoint: Path) -> None:
    target = gpu_checkpoint.with_suffix(".onnx")
    common = ("convert", str(gpu_checkpoint), "--arch", "foreign_layers:GpuOnlyNetwork")
    common += ("-o", str(target), "--on-unconverged", "exact", "--force")
    failed = run_cli(*common)
    assert failed.exit_code == 1
    assert "cannot run here" in failed.stderr
    assert not target.exists()
    shown = run_cli(*common, "--allow-unverified-layers")
    assert shown.exit_code == 0, shown.stderr
    assert "not compared with your code" in shown.stdout
    assert "no kernel for the CPU" in shown.stdout
    document = json.loads(run_cli(*common, "--allow-unverified-layers", "--json").stdout)
    found = document["verification"]["adoption"]
    assert (found["compared"], found["reason"]) == (False, "code_cannot_run")
    metadata = {item.key: item.value for item in onnx.load(target).metadata_props}
    assert "no kernel for the CPU" in metadata["ssn_prune.unverified_layers"]
    verified = run_cli(
        "verify",
        str(gpu_checkpoint),
        str(target),
        *common[2:4],
        "--on-unconverged",
        "exact",
        "--allow-unverified-layers",
    )
    assert verified.exit_code == 0, verified.stderr
    assert "not compared with your code" in verified.stdout


# --- files --------------------------------------------------------------------------------------
class Factory(nn.Module):
    """What a user's factory gives."""

    input_size = (3, 16, 16)

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.net = network(**options)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


def wrong_factory() -> nn.Module:
    return Factory(order=(1, 0, 2), guard=raising(ValueError, GUARDS["width 16"]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(Factory().state_dict(), tmp_path / "f.pth")
    return tmp_path / "f.pth"


EXACT = ConvertOptions(on_unconverged="exact")


def test_a_loaded_checkpoint_keeps_the_network_as_it_was_built(file: Path) -> None:
    loaded = load_checkpoint(file, arch=f"{__name__}:Factory")
    assert type(loaded.given.net[1]) is HabitualSwitch
    assert loaded.given.net[0].weight is loaded.model.net[0].weight
    report = convert(loaded, file.with_suffix(".onnx"), EXACT)
    found = report.verification.adoption
    assert found.compared
    assert found.precision == "float64"
    assert report.verification.passed


def test_registered_architectures_have_no_other_code(tmp_path: Path) -> None:
    from ssn_prune.architectures.digits import DigitsNet

    torch.manual_seed(0)
    torch.save(DigitsNet().state_dict(), tmp_path / "d.pth")
    loaded = load_checkpoint(tmp_path / "d.pth", arch="ssn_prune_digits")
    assert loaded.given is None
    report = convert(loaded, tmp_path / "d.onnx", EXACT)
    assert report.verification.adoption.reason == "own_layers"


def test_a_file_is_compared_with_the_given_code(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the adoption check were blind, the file must agree with the user's network."""
    loaded = load_checkpoint(file, arch=f"{__name__}:wrong_factory")
    with pytest.raises(UnsupportedLayerError, match="computes something else"):
        convert(loaded, file.with_suffix(".onnx"), EXACT)
    monkeypatch.setattr(adoption, "float64_bound", lambda _error: float("inf"))
    with pytest.raises(Exception, match="does not give the original's outputs"):
        convert(loaded, file.with_suffix(".onnx"), EXACT)
    assert not file.with_suffix(".onnx").exists()


def test_rounded_gates_are_compared_with_the_rounded_network(file: Path) -> None:
    loaded = load_checkpoint(file, arch=f"{__name__}:Factory")
    report = convert(loaded, file.with_suffix(".onnx"), ConvertOptions(on_unconverged="argmax"))
    assert report.rounded.max_error > 0
    assert report.verification.adoption.compared  # the soft gates, as they were built
    assert report.verification.passed
