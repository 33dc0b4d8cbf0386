"""Search: find a faster selection for a checkpoint, with the help of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.checkpoint.ordinary import as_switchable
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.steps import prune_loaded
from ssn_prune.costs.matching import require_costs_of
from ssn_prune.costs.measuring import measure_costs
from ssn_prune.costs.origin import measured_elsewhere
from ssn_prune.costs.records import FREE, CostOptions, Costs
from ssn_prune.errors import ArgumentError, SearchError
from ssn_prune.example_inputs import example_batches
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.progress import Progress, no_progress
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.candidates import cheaper, exportable
from ssn_prune.searching.choosing import choose_to_distil, latency
from ssn_prune.searching.delivery import distilled_point, measure_points
from ssn_prune.searching.divergence import floating_outputs
from ssn_prune.searching.evaluation import Evaluator, compare
from ssn_prune.searching.exploring import Explorer, all_bn, explore
from ssn_prune.searching.journal import Journal, file_of, require_journal
from ssn_prune.searching.latencies import require_norm_free
from ssn_prune.searching.moving import can_move
from ssn_prune.searching.parts import divide
from ssn_prune.searching.processes import by_first
from ssn_prune.searching.reading import read_all, require_fitting_labels
from ssn_prune.searching.results import (
    SCHEMA_VERSION,
    ImageCounts,
    SearchOptions,
    SearchReport,
    Tested,
)
from ssn_prune.searching.setting import setting_of
from ssn_prune.searching.time_left import TimeLeft
from ssn_prune.selection import select
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.guest import guest

_VALUES_A_PLACE = 16
"""How many activations of the largest layer may be alive at once, to choose the batch size."""
_BYTES_AN_OUTPUT = 48
"""Bytes for each number of the outputs: a divergence takes about six copies in float64."""
_LARGEST_BATCH = 32


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        checkpoint: The chosen network, to convert or save.
        report: The report of the search.
        costs: The cost of each pair at each layer.
        journal: The file of the journal, if it was kept.
    """

    checkpoint: LoadedCheckpoint
    report: SearchReport
    costs: Costs
    journal: Path | None = None

    def __repr__(self) -> str:
        """Name the number of changed layers and the latency."""
        chosen = self.report.front[self.report.chosen]
        changed = f"{len(chosen.changes)} of {self.report.layers} layers changed"
        return f"<SearchResult: {changed}, latency {latency(chosen):.3f} of the norm-free network>"


@guest()
@torch.inference_mode(False)
def search(
    loaded: LoadedCheckpoint,
    images: ImageSet,
    *,
    test_images: ImageSet | None = None,
    costs: Costs | None = None,
    cache: Path | None = None,
    options: SearchOptions | None = None,
    conversion: ConvertOptions | None = None,
    journal: Path | None = None,
    keep_journal: bool = False,
    progress: Progress = no_progress,
) -> SearchResult:
    """Find cheaper pairs of normalizers at a bounded loss of accuracy.

    Under ``torchrun``, all processes call this with the same arguments, after
    ``torch.distributed.init_process_group``. The candidates are divided among them, and all get the
    result.

    All images are read once before the work starts, so that a bad one is found at once; no network
    sees those of the final test before its end.

    Args:
        loaded: The checkpoint; not changed. It may also be an ordinary network with BatchNorm,
            InstanceNorm, GroupNorm(1, C) or LayerNorm.
        images: Images for the calibration, for the search and, without ``test_images``, for the
            final test; the parts are disjoint. Labels are used if there are any.
        test_images: Other images for the final test.
        costs: The costs of the pairs at each layer; measured here if None. Those of another device,
            or measured with other settings, predict the latencies there, which the choice follows.
        cache: Folder with known times for that, as in :func:`ssn_prune.measure_costs`.
        options: How to search.
        conversion: How the result will be converted, for the latencies.
        journal: A file to add measured candidates to, or a folder in which each search has its own
            file. A search that finds its file resumes from it, and removes it at the end.
        keep_journal: Leave the file there, to be removed once the result is written.
        progress: Called with the name of each step, and with the time left.

    Returns:
        The chosen network and the report; nothing is exported or verified.

    Raises:
        SearchError: Nothing can be chosen, or no network is within the bounds.
        DataError: The images do not fit.
        CostsError: The costs are those of another network.
        SsnPruneError: See its subclasses.
    """
    options, conversion = options or SearchOptions(), conversion or ConvertOptions()
    how = cost_options(options, conversion)
    if loaded.takes_images:
        raise SearchError(
            "a detection model cannot be searched",
            expected="a network that takes batches of one size",
            found="one that takes a list of images",
            hint="convert it as it is",
        )
    by_first(lambda: require_journal(journal))
    # What runs is a copy, because code may write into buffers, and the copy that is delivered never
    # runs. Tensors made under inference mode become ordinary ones.
    loaded = as_switchable(loaded)
    loaded = replace(loaded, model=copy_model(loaded.model).eval())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = copy_model(loaded.model).to(device)
    inputs = example_batches(loaded, [2])[0]
    # What cannot be converted as it is, is refused now; gates that are not one-hot may stay so.
    prune_loaded(loaded, inputs, replace(conversion, on_unconverged="exact"))
    with torch.no_grad():
        outputs = floating_outputs(model(*(tensor.to(device) for tensor in inputs)))
    require_fitting_labels(images, test_images, outputs)
    if costs is not None:
        costs = require_costs_of(costs, loaded)
    parts = divide(images, test_images, options.seed, search_images=options.search_images)
    example = outputs[0][:1].cpu() if outputs[0].dim() else outputs[0].cpu()
    contents = by_first(lambda: read_all(images, test_images, parts, example, options, progress))
    selection = select(model)
    if selection.unconverged and conversion.on_unconverged == "error":
        conversion = replace(
            conversion, on_unconverged="exact"
        )  # gates that are not one-hot may stay so
    if costs is None:
        costs = by_first(lambda: measure_costs(loaded, how, cache=cache, progress=progress))
    costs = exportable(costs, loaded.model)
    elsewhere = by_first(partial(measured_elsewhere, costs, how))
    require_norm_free(costs, loaded, conversion)
    alternatives = cheaper(selection, costs)
    if not alternatives:
        raise SearchError(
            "no layer has a cheaper pair",
            expected="a layer that computes a mean or a variance at run time",
            found=f"{len(selection.layers)} layers, all at their cheapest",
            hint="convert the network as it is",
        )
    size = images_a_batch(costs, options.memory, outputs)
    calibration = Batches.of(images, parts.calibration, size, device)
    on_search = Batches.of(images, parts.search, size, device, unfamiliar=True)
    progress("capturing the network")
    evaluator = Evaluator(model, calibration, options.memory, [on_search])
    original = evaluator.outcomes(on_search, [((), {})])[0]
    setting = setting_of(loaded.model, model, images, parts, contents, calibration)
    kept = by_first(lambda: Journal(file_of(journal, setting), setting).load())
    explorer = Explorer(evaluator, on_search, original, kept, options, progress)
    alternatives = explorer.with_harms(alternatives)
    front = explore(explorer, alternatives)
    plain = all_bn(alternatives, FREE)
    explorer.measure([] if plain is None else [plain])
    measured = measure_points(
        *(explorer, model, loaded, costs, conversion, front, plain), timed=elsewhere is None
    )
    index, refusal = choose_to_distil(measured.points, options)
    network = explorer.network(loaded.model, measured.changes[index])
    finetuned = None
    if options.finetune_steps:
        training = Batches.of(images, parts.training, size, device)
        finetuned = distilled_point(explorer, model, loaded.model, measured, index, training)
    if finetuned is not None:
        index, network = finetuned.index, finetuned.network
    elif refusal is not None:
        raise refusal
    tested = _tested(
        model,
        copy_model(network).to(device),
        Batches.of(test_images or images, parts.test, size, device),
        progress,
    )
    if not keep_journal:
        kept.finish()
    chosen = measured.points[index]
    original_ratio = latency(measured.points[0])
    spent = original_ratio - 1
    report = SearchReport(
        schema_version=SCHEMA_VERSION,
        options=options,
        images=ImageCounts(*(len(p) for p in (parts.calibration, parts.search, parts.test))),
        layers=len(selection.layers),
        harm_unit="relative" if images.kind is TargetKind.NONE else "nats",
        singles=explorer.singles(alternatives),
        front=measured.points,
        chosen=index,
        norm_free_ms=measured.norm_free_ms,
        all_bn=measured.all_bn,
        saved=(original_ratio - latency(chosen)) / spent if spent > 0 else None,
        finetuned=None if finetuned is None else finetuned.point,
        test=tested,
        additive_error=measured.additive_error,
        candidates=len(kept.joint),
        shared_prefixes=evaluator.shares_prefixes,
        moved_images=on_search.unfamiliar and can_move([tensor.shape for tensor in inputs]),
        predicted_for=elsewhere,
    )
    found = replace(loaded, model=network.to("cpu"), given=None)
    return SearchResult(found, report, costs, kept.path if keep_journal else None)


def cost_options(options: SearchOptions, conversion: ConvertOptions) -> CostOptions:
    """How to measure costs for the files that a search delivers.

    Raises:
        ArgumentError: The files have a fixed batch size, and latencies are measured with another.
    """
    fixed = conversion.fixed_batch
    if fixed not in (None, options.batch):
        raise ArgumentError(
            "latencies cannot be measured with another batch size than that of the file",
            expected=f"`batch={fixed}`, the fixed batch size of the file",
            found=f"`batch={options.batch}`",
            hint=f"pass `batch={fixed}`",
        )
    return CostOptions(
        threads=options.threads,
        batch=options.batch,
        target=conversion.target,
        static=fixed is not None,
    )


def images_a_batch(costs: Costs, memory: int, outputs: Sequence[Tensor]) -> int:
    """The number of images in a batch whose activations and compared outputs fit the memory.

    Args:
        costs: The costs, which have the shapes of the layers' inputs.
        memory: Bytes.
        outputs: The network's outputs for any number of images.
    """
    shapes = [shape for layer in costs.shapes for shape in layer.inputs]
    sizes = [4 * math.prod(shape[1:]) for shape in shapes]
    compared = _BYTES_AN_OUTPUT * sum(math.prod(output.shape[1:]) for output in outputs)
    image = (
        sum(sizes)  # the original's outputs of the layers are kept
        + _VALUES_A_PLACE * max(sizes, default=1)
        + compared
    )
    return max(2, min(_LARGEST_BATCH, memory // image))


def _tested(model: nn.Module, network: nn.Module, batches: Batches, progress: Progress) -> Tested:
    left = TimeLeft(progress, "the final test", len(batches))
    original, chosen = compare(model, network, batches, left)
    return Tested(
        original=accuracy_of(original.results),
        chosen=accuracy_of(chosen.results),
        difference=paired(original.results, chosen.results),
        harm=chosen.harm.mean,
        error=chosen.harm.error,
        same_class=chosen.same_class,
        others=None if chosen.others is None else chosen.others.mean,
        others_error=None if chosen.others is None else chosen.others.error,
    )
