"""prune: replace every switchable layer by the normalizer that it selected, and fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import ArgumentError
from ssn_prune.pruning.capture.capture import capture
from ssn_prune.pruning.capture.size_check import SizeCheck
from ssn_prune.pruning.capture.size_conditions import SizeGuard
from ssn_prune.pruning.centring import choose_constants, layers_to_centre, with_centring
from ssn_prune.pruning.channel_statistics import measure_inputs
from ssn_prune.pruning.output_check import require_same_outputs
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.planner import make_plan
from ssn_prune.pruning.reporting import prune_report
from ssn_prune.pruning.results import PruneReport, RoundedGates
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.selection import Selection, select
from ssn_prune.surgery._shared_parameters import unshare
from ssn_prune.surgery.adoption import check_reference
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.from_reference import adopt_layers, foreign_layers
from ssn_prune.surgery.guest import guest
from ssn_prune.surgery.nested import max_error, tensor_leaves, to_dtype, top1_agreement
from ssn_prune.surgery.registered_calls import require_registered_calls
from ssn_prune.surgery.round_gates import round_gates

OnUnconverged = Literal["error", "exact", "argmax"]


@dataclass(frozen=True)
class PruneResult:
    """A pruned network, and the records of how it was made.

    Attributes:
        model: The pruned network, made of the user's own module classes. It is in evaluation mode,
            or with ``fold=False`` in the mode of the caller's model.
        report: What was selected, replaced and folded, or why it was not.
        plan: The plan that was applied.
        selection: The gates of the original.
        original: The network that ``model`` must agree with: the caller's in evaluation mode, with
            layers of the reference implementation replaced by ours, and with rounded gates if
            rounding was asked for. It shares its parameters with the caller's model, so verify
            before you train that further.
        guards: The conditions on the sizes of the inputs that the plan relies on.
        given: The network as it was given, with its own gates, if it has layers of another
            implementation; else None.
    """

    model: nn.Module
    report: PruneReport
    plan: Plan
    selection: Selection
    original: nn.Module
    guards: tuple[SizeGuard, ...] = ()
    given: nn.Module | None = None

    def __repr__(self) -> str:
        """The network's class and what became of its layers."""
        return f"<PruneResult of {type(self.model).__name__}: {self.selection}, {self.plan}>"

    @property
    def reference(self) -> nn.Module:
        """The network that a file is compared with, ``given`` if possible, else ``original``.

        It is ``original`` where gates were rounded, where the given network does not run in
        float64, or where it has no layers of another implementation.
        """
        adoption, rounded = self.report.adoption, self.report.rounded
        usable = adoption is not None and adoption.precision == "float64" and rounded is None
        return self.given if usable and self.given is not None else self.original


@guest()
def prune(
    model: nn.Module,
    example_inputs: Tensor | tuple[Any, ...],
    *,
    on_unconverged: OnUnconverged = "error",
    fold: bool = True,
    any_size: bool = False,
    fixed_sizes: bool = False,
    trust_running_statistics: bool = False,
    allow_unverified_layers: bool = False,
) -> PruneResult:
    """Replace switchable layers by the normalizers they selected; ``model`` is never changed.

    ``model`` is run first. Its outputs must depend on its inputs only. If it has layers of another
    implementation, layers of ssn_prune in their place must compute the same, layer by layer, in
    float64.

    Args:
        model: A network with SSN or SN layers of any dimension, ours or those of the reference
            implementation.
        example_inputs: Inputs of one call, with which the network is captured. Their values do not
            matter unless the network's code asks for them; real samples make float32 sums slightly
            more accurate than noise. Sizes matter where the code branches on them: the result then
            refuses sizes for which it may be wrong.
        on_unconverged: What to do with gates that are not one-hot. ``"error"`` refuses them,
            ``"exact"`` keeps the weighted form, ``"argmax"`` rounds them and measures the error.
        fold: Fold into convolutions and linear layers. Without it the result has concrete
            normalizers and can be trained further.
        any_size: Use forms that are exact at every spatial size. Otherwise a Bessel-corrected
            instance norm is cheaper, but exact at the captured size only, and refuses others.
        fixed_sizes: Make a result for the example's sizes only, with any batch size, that refuses
            other sizes. That is faster than finding out which ones the code allows.
        trust_running_statistics: Skip the test for running sums that were never divided by their
            count, which is made for layers of another implementation.
        allow_unverified_layers: Accept layers of another implementation that cannot run here, and
            trust the names of their tensors.

    Returns:
        The pruned network with its report.

    Raises:
        NoSwitchableLayerError: There is nothing to prune.
        UnconvergedGatesError: Gates are not one-hot and ``on_unconverged`` is ``"error"``.
        UndefinedVarianceError: A Bessel-corrected variance over one position is selected.
        UnsupportedLayerError: A layer of another implementation does not compute what its tensors
            suggest, cannot run here, or keeps sums instead of running statistics. Or a layer uses
            BN but keeps no running statistics. Or the network's outputs do not depend on its inputs
            only, or they change once its layers are replaced, or its code calls a layer through a
            closure or a global variable. Or the reference code's SparsestMax
            leaves the simplex at a gate that is not rounded.
        VerificationError: A network with layers of another implementation returns NaN on the
            example inputs, so nothing can be compared with it.
        ArgumentError: ``on_unconverged`` is none of the three values, or the network does not run
            on the example inputs.
    """
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    result = prune_shared(
        model,
        inputs,
        given=model if foreign_layers(model) else None,
        on_unconverged=on_unconverged,
        fold=fold,
        any_size=any_size,
        fixed_sizes=fixed_sizes,
        allow_unverified_layers=allow_unverified_layers,
    )
    if result.given is not None and not trust_running_statistics:
        require_averages(result.original, inputs)
    require_same_outputs(result.original, result.plan, inputs)
    unshare(result.model, result.original)
    return result


def prune_shared(
    model: nn.Module,
    inputs: tuple[Any, ...],
    *,
    given: nn.Module | None,
    on_unconverged: OnUnconverged,
    fold: bool,
    any_size: bool,
    fixed_sizes: bool,
    allow_unverified_layers: bool,
) -> PruneResult:
    """Like :func:`prune`, for results that are only run or exported.

    The result and ``model`` share the memory of every parameter that pruning does not change.

    Args:
        model: The network.
        inputs: Inputs of one call.
        given: The network as its own code builds it, if ``model`` is another one or has layers of
            another implementation; else None.
        on_unconverged: As for :func:`prune`.
        fold: The same.
        any_size: The same.
        fixed_sizes: The same.
        allow_unverified_layers: The same.
    """
    if on_unconverged not in get_args(OnUnconverged):
        raise ArgumentError(
            f"unknown mode {on_unconverged!r} for gates that are not one-hot",
            expected=" or ".join(get_args(OnUnconverged)),
            found=repr(on_unconverged),
            hint="leave `on_unconverged=` out to refuse gates that are not one-hot",
        )
    training = model.training
    original = adopt_layers(model)
    original.eval()  # as a statement: overridden train methods need not return the module
    selection = select(original)
    # A network whose own code computes gates off the simplex cannot be compared until they are
    # rounded.
    comparable = given is None or allow_unverified_layers
    if on_unconverged != "argmax" or not comparable:
        selection.require_on_simplex(own_layers=given is None)
    if on_unconverged == "error":
        selection.require_converged()
    sources = (model,) if given is None else (model, given)
    require_registered_calls(sources, original, [one.name for one in selection.layers], inputs)
    adoption = check_reference(given, original, inputs, allow_unverified=allow_unverified_layers)
    captured = capture(original, inputs, fixed_sizes=fixed_sizes)
    rounded: RoundedGates | None = None
    if on_unconverged == "argmax" and selection.unconverged:
        rounded_copy = round_gates(original)
        rounded = _rounding_effect(original, rounded_copy, inputs, selection)
        original = rounded_copy
    plan = make_plan(
        original,
        selection,
        captured,
        fold=fold,
        keep_weighted=on_unconverged == "exact",
        any_size=any_size,
    )
    if fold and captured.calls:
        pairs = layers_to_centre(plan)
        measured = measure_inputs(original, inputs, pairs) if pairs else {}
        plan = with_centring(plan, choose_constants(original, pairs, measured))
    pruned = apply_plan(plan, original)
    if captured.guards and any(layer.fold is not None for layer in plan.layers):
        pruned.register_forward_pre_hook(SizeCheck(captured.guards), with_kwargs=True)
    report = prune_report(selection, plan, captured, original, pruned, rounded, adoption)
    pruned.train(training and not fold)
    return PruneResult(pruned, report, plan, selection, original, captured.guards, given)


def _rounding_effect(
    soft: nn.Module, hard: nn.Module, inputs: tuple[Any, ...], selection: Selection
) -> RoundedGates:
    """Measure in float64 how rounding the gates changes the outputs on the example inputs."""
    before, after = (_run_float64(model, inputs) for model in (soft, hard))
    error, scale = max(max_error(*pair) for pair in zip(after, before, strict=True))
    return RoundedGates(
        layers=tuple(layer.name for layer in selection.unconverged),
        max_error=error,
        scale=scale,
        top1_agreement=top1_agreement(after[0], before[0]),
    )


def _run_float64(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    with torch.no_grad(), float64_arithmetic():
        return tensor_leaves(float64_copy(model)(*to_dtype(inputs, torch.float64)))
