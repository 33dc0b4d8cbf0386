"""verify: planted faults are found and the first layer that is off is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import tiny_network
from torch import nn

from ssn_prune import (
    ExportOptions,
    PruneResult,
    SSN2d,
    export_onnx,
    prune,
    random_batches,
    verify,
)
from ssn_prune.errors import CaptureError, InferenceRuntimeError, VerificationError
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import max_error, top1_agreement
from ssn_prune.surgery.results import LayerError
from ssn_prune.surgery.rounding_bounds import NEAR
from ssn_prune.verification.compare import check_rounding, rounding_bound
from ssn_prune.verification.onnx_runtime import open_onnx
from ssn_prune.verification.reference_outputs import ReferenceOutputs, float32_outputs, run_float64
from ssn_prune.verification.results import RoundingCheck, VerificationReport
from ssn_prune.verification.selected_forms import selected_outputs
from ssn_prune.verification.verify import require_passed

BATCHES = random_batches([(1, 8, 8)], (1, 2, 3))


def compared(path: Path, outputs: ReferenceOutputs) -> RoundingCheck:
    return check_rounding(open_onnx(path, path.name), BATCHES, outputs)


@pytest.fixture(scope="module")
def pruned() -> PruneResult:
    return prune(tiny_network(), BATCHES[1])


@pytest.fixture(scope="module")
def exported(pruned: PruneResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    paths = {"sn1": ("sn1",), "sn2": ("conv2",)}
    export_onnx(pruned.model, BATCHES[1], path, options=ExportOptions(layer_paths=paths))
    return path


def altered(pruned: PruneResult, name: str, **changes: object) -> PruneResult:
    """The same result with a plan that is wrong in one layer."""

    def edit(layer: LayerPlan) -> LayerPlan:
        return dataclasses.replace(layer, **changes) if layer.name == name else layer

    plan = Plan(tuple(edit(layer) for layer in pruned.plan.layers))
    return dataclasses.replace(pruned, plan=plan)


def test_both_checks_pass_on_a_correct_conversion(pruned: PruneResult, exported: Path) -> None:
    report = verify(pruned, exported, BATCHES)
    require_passed(report)
    assert report.algebra is not None
    assert report.algebra.tolerance == 1e-11
    assert 0 <= report.algebra.output_error < 1e-14
    assert report.rounding is not None
    assert report.rounding.inputs == 6
    assert report.rounding.batch_sizes == (1, 2, 3)
    assert 0 < report.rounding.max_error <= report.rounding.bound
    expected = rounding_bound(report.rounding.original_float32_error, report.rounding.scale)
    assert report.rounding.bound == expected


def test_the_bound_is_the_documented_one() -> None:
    assert rounding_bound(1e-3, 10.0) == pytest.approx(4e-3 + 1e-5, rel=1e-15)


def test_a_check_can_be_switched_off(pruned: PruneResult, exported: Path) -> None:
    assert verify(pruned, exported, BATCHES, algebra=False).algebra is None
    assert verify(pruned, None, BATCHES, rounding=False).rounding is None


@pytest.mark.parametrize("name", ["sn1", "sn2"])
def test_a_lost_fold_fails_the_algebra_and_names_the_layer(pruned: PruneResult, name: str) -> None:
    report = verify(altered(pruned, name, fold=None), None, BATCHES, rounding=False)
    assert report.algebra is not None
    assert not report.algebra.passed
    assert report.algebra.first_layer_off == name
    with pytest.raises(VerificationError) as caught:
        require_passed(report)
    assert caught.value.layer == name
    assert caught.value.code == "verification_failed"


def test_an_error_of_1e_10_is_not_tolerated(pruned: PruneResult) -> None:
    original = prune(tiny_network(), BATCHES[1]).original
    shifted = dataclasses.replace(pruned, original=original)
    assert verify(shifted, None, BATCHES, rounding=False).passed

    def hook(module: nn.Module, _inputs: object, y: torch.Tensor) -> torch.Tensor:
        # Only the reference is off: in the pruned network the hook sits on the concrete layer.
        return y * (1 + 1e-10) if isinstance(module, SSN2d) else y

    original.sn2.register_forward_hook(hook)
    report = verify(shifted, None, BATCHES, rounding=False)
    assert report.algebra is not None
    assert not report.algebra.passed
    assert report.algebra.worst_layer_error == pytest.approx(1e-10, rel=1e-3)
    assert report.algebra.first_layer_off == "sn2"


def tampered(exported: Path, target: Path, initializer: str, factor: float) -> Path:
    model = onnx.load(exported)
    found = [tensor for tensor in model.graph.initializer if tensor.name == initializer]
    assert len(found) == 1, [tensor.name for tensor in model.graph.initializer]
    values = onnx.numpy_helper.to_array(found[0]) * np.float32(factor)
    found[0].CopyFrom(onnx.numpy_helper.from_array(values, initializer))
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(("initializer", "layer"), [("conv1.weight", "sn1"), ("conv2.bias", "sn2")])
def test_a_tampered_file_fails_and_the_layer_is_named(
    pruned: PruneResult, exported: Path, tmp_path: Path, initializer: str, layer: str
) -> None:
    wrong = tampered(exported, tmp_path / "wrong.onnx", initializer, 1.01)
    report = verify(pruned, wrong, BATCHES, algebra=False)
    assert report.rounding is not None
    assert not report.rounding.passed
    assert report.rounding.first_layer_off == layer
    with pytest.raises(VerificationError, match=layer):
        require_passed(report)


def test_non_finite_outputs_never_pass(pruned: PruneResult, exported: Path, tmp_path: Path) -> None:
    wrong = tampered(exported, tmp_path / "nan.onnx", "fc.weight", float("nan"))
    report = verify(pruned, wrong, BATCHES, algebra=False)
    assert report.rounding is not None
    assert not report.rounding.passed
    assert max_error(torch.tensor([float("nan")]), torch.tensor([1.0]))[0] == float("inf")


def test_wrong_labels_fail_even_within_the_bound() -> None:
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert top1_agreement(reference.flip(1), reference) == 0.0
    near_tie = torch.tensor([[0.5, 0.5 + 1e-9]])
    assert top1_agreement(near_tie.flip(1), near_tie, margin=1e-6) is None


def test_every_output_has_a_bound_of_its_own(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tiny_network()
            self.small = nn.Linear(64, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.body(x) * 1e7, self.small(x.flatten(1))

    torch.manual_seed(0)
    result = prune(Two(), BATCHES[1])
    export_onnx(result.model, BATCHES[1], tmp_path / "m.onnx")
    assert verify(result, tmp_path / "m.onnx", BATCHES).passed
    wrong = tampered(tmp_path / "m.onnx", tmp_path / "wrong.onnx", "small.bias", 1.5)
    assert not verify(result, wrong, BATCHES).passed


def test_a_network_that_works_on_its_input_in_place_passes(tmp_path: Path) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tiny_network()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return self.body(x.mul_(2))

    network = InPlace().eval()
    inputs = tuple(value.clone() for value in BATCHES[1])
    result = prune(network, inputs)
    assert float(network.calls) == 0
    assert torch.equal(inputs[0], BATCHES[1][0])
    assert verify(result, None, BATCHES, rounding=False).passed


def test_a_file_for_another_network_is_an_error_not_a_traceback(
    pruned: PruneResult, tmp_path: Path
) -> None:
    path = tmp_path / "not.onnx"
    path.write_bytes(b"this is no graph")
    with pytest.raises(InferenceRuntimeError, match="is not an ONNX file"):
        verify(pruned, path, BATCHES)


def test_inputs_are_repeatable_and_at_least_four() -> None:
    again = random_batches([(1, 8, 8)], (1, 2, 3))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(BATCHES, again, strict=True))
    assert sum(len(batch[0]) for batch in BATCHES) >= 4


def outputs_of(original: nn.Module, *own: nn.Module) -> ReferenceOutputs:
    wide = float64_copy(original)
    exact = [run_float64(wide, batch) for batch in BATCHES]
    return ReferenceOutputs(exact, tuple(float32_outputs(model, BATCHES) for model in own))


class Spoilt(nn.Module):
    """Gives what another network gives, with an error."""

    def __init__(self, network: nn.Module, error: float) -> None:
        super().__init__()
        self.network, self.error = network, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) + self.error


def test_the_smaller_float32_error_bounds_that_of_the_file(
    pruned: PruneResult, exported: Path
) -> None:
    original = pruned.original
    alone = compared(exported, outputs_of(original, original))
    for error in (1.0, float("inf"), float("nan")):
        spoilt = Spoilt(original, error)
        for networks in ((original, spoilt), (spoilt, original)):
            check = compared(exported, outputs_of(original, *networks))
            assert check.original_float32_error == alone.original_float32_error
            assert check.bound == alone.bound


def test_a_bound_that_is_not_finite_fails(pruned: PruneResult, exported: Path) -> None:
    spoilt = Spoilt(pruned.original, float("nan"))
    assert not compared(exported, outputs_of(pruned.original, spoilt)).passed


def far_from_zero(pair: tuple[int, int], mean: float) -> nn.Module:
    """A network whose layers select one pair on values with this mean and deviations below 1."""
    torch.manual_seed(1)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), SSN2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), SSN2d(8), nn.ReLU(), nn.AvgPool2d(8)),
    )
    with torch.no_grad():
        for conv, norm in ((network[0], network[1]), (network[3], network[4])):
            conv.bias.fill_(mean)
            norm.running_mean.fill_(mean)
            for gate, choice in zip(("mean", "var"), pair, strict=True):
                getattr(norm, f"{gate}_weight").copy_(torch.eye(3)[choice])
                getattr(norm, f"{gate}_fixed").fill_(1)
    return network.eval()


def test_what_float64_itself_loses_is_allowed() -> None:
    found = prune(far_from_zero((0, 0), 2e4), BATCHES[1])
    check = verify(found, None, BATCHES, rounding=False).algebra
    assert check is not None
    assert check.passed
    assert 1e-11 < check.worst_layer_error <= check.tolerance < 1e-9


def test_a_loss_in_float64_is_told_from_a_mistake(pruned: PruneResult) -> None:
    found = verify(pruned, None, BATCHES, rounding=False).algebra
    assert found is not None
    for bound, near in ((1e-11, False), (3e-11, True)):
        layers = (LayerError("sn1", 5e-11, bound),)
        check = dataclasses.replace(
            found, passed=False, layers=layers, tolerance=bound, first_layer_off="sn1"
        )
        with pytest.raises(VerificationError) as caught:
            require_passed(VerificationReport(check, None))
        assert ("`algebra=False`" in caught.value.hint) == near


def test_what_the_selected_formula_loses_in_float32_is_allowed(tmp_path: Path) -> None:
    found = prune(far_from_zero((1, 1), 100.0), BATCHES[1])
    path = tmp_path / "m.onnx"
    export_onnx(found.model, BATCHES[1], path)
    usual = outputs_of(found.original, found.original)
    lost = selected_outputs(found.original, found.plan, BATCHES)
    check = verify(found, path, BATCHES).rounding
    assert check is not None
    assert check.passed
    # Given a reference that loses a tenth of it, only the formula's own error explains the file's.
    single, double = lost
    tenth = [
        [right + (near - far) / 10 for right, near, far in zip(*run, strict=True)]
        for run in zip(usual.exact, single, double, strict=True)
    ]
    exact = ReferenceOutputs(usual.exact, (tenth,))
    assert not compared(path, exact).passed
    allowed = compared(path, dataclasses.replace(exact, selected=lost))
    assert allowed.passed
    assert allowed.bound == rounding_bound(allowed.selected_float32_error, allowed.scale)
    # It explains at most ten times the usual bound.
    alone = compared(path, ReferenceOutputs(usual.exact, (usual.exact,), lost))
    assert not alone.passed
    assert alone.bound == NEAR * rounding_bound(0.0, alone.scale)
    nothing = [[torch.full_like(value, float("nan")) for value in run] for run in single]
    assert not compared(path, dataclasses.replace(exact, selected=(nothing, double))).passed


def test_a_fold_that_is_wrong_does_not_raise_the_bound(pruned: PruneResult) -> None:
    first = pruned.plan.layers[0]
    assert first.fold is not None
    lost = tuple(1e7 for _ in range(first.num_features))
    wrong = altered(pruned, "sn1", centre=lost)
    folded = float32_outputs(apply_plan(wrong.plan, wrong.original), BATCHES)
    right, _ = selected_outputs(pruned.original, pruned.plan, BATCHES)
    found, _ = selected_outputs(wrong.original, wrong.plan, BATCHES)
    for value, expected in zip(found, right, strict=True):
        assert max_error(value[0], expected[0])[0] < 1e-6
    assert max_error(folded[0][0], right[0][0])[0] > 1e-3


def test_what_cannot_run_in_float64_is_a_typed_error(pruned: PruneResult) -> None:
    def hook(_module: nn.Module, _inputs: object, y: torch.Tensor) -> None:
        if y.dtype is torch.float64:
            raise ValueError("float32 only")

    original = prune(tiny_network(), BATCHES[1]).original
    original.sn2.register_forward_hook(hook)
    with pytest.raises(CaptureError, match="cannot run in float64") as caught:
        verify(dataclasses.replace(pruned, original=original), None, BATCHES, rounding=False)
    assert "float32 only" in caught.value.found
