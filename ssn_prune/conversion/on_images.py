"""The original network and its file on the same images: accuracy, agreement, what differs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ssn_prune.accuracy.agreement import relative_differences, same_classes
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.accuracy.per_image import PerImage, joined, score
from ssn_prune.accuracy.results import AccuracyReport, DifferingImage
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.preprocessing import preprocessing_of, with_preprocessing
from ssn_prune.errors import ArgumentError, CaptureError, DataError, SsnPruneError, first_line
from ssn_prune.images.fitting import require_fitting
from ssn_prune.images.image_set import ImageSet, TargetKind, spread_evenly
from ssn_prune.images.opening import open_images
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.file_facts import FileFacts
from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.surgery._shared_parameters import run_float32_copy
from ssn_prune.surgery.guest import guest
from ssn_prune.surgery.output_hooks import run_with_output_hooks
from ssn_prune.verification.compare import Run
from ssn_prune.verification.facts import file_facts
from ssn_prune.verification.verify import apart, opening_of

LISTED, PICTURES = 200, 60
"""Images that a report lists, and those of them that it shows."""
CLEARLY = 1e-3
"""Mean difference from which on outputs that are no classes count as different."""
_AT_ONCE = 16
_LARGEST_BATCH = 1 << 24  # numbers


def open_for(
    loaded: LoadedCheckpoint, data: str | Path, options: ConvertOptions, facts: FileFacts | None
) -> ImageSet:
    """Open images for a network.

    Args:
        loaded: The network.
        data: Where they are; see :func:`ssn_prune.open_images`.
        options: With their preprocessing.
        facts: Of the file that they are for, which says what is not given; None if there is none.

    Raises:
        DataError: They cannot be used.
        ArgumentError: The preprocessing does not fit the network.
    """
    if loaded.input_size is None or loaded.takes_images:
        raise DataError(
            "images cannot be compared for this network",
            expected="inputs of one size and outputs of scores",
            found="a detection model" if loaded.takes_images else "an input size that is not known",
            hint="leave `data=` out" if loaded.takes_images else "pass `input_size=`",
        )
    if facts is not None and facts.preprocessing is not None:
        options = with_preprocessing(options, facts.preprocessing.how)
    sizes = (loaded.input_size, *loaded.more_inputs)
    how = preprocessing_of(loaded, options)
    return open_images(data, preprocessing=how, input_sizes=sizes)


@guest()
def accuracy_on_images(
    loaded: LoadedCheckpoint,
    path: Path | str,
    data: str | Path | ImageSet,
    options: ConvertOptions | None = None,
    *,
    data_limit: int | None = None,
    timeout: float = TIMEOUT,
    provider: str = "cpu",
    trust_pt2: bool = False,
    from_report: Path | str | None = None,
    progress: Progress = no_progress,
) -> AccuracyReport:
    """Run the original network and its file on the same images.

    The original is the network of the checkpoint as its own code builds it, with gates as they are,
    in torch and float32 on the CPU; the file runs in a process of its own.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        path: The file.
        data: Images that are open, or where they are; see :func:`ssn_prune.open_images`.
        options: With the preprocessing; what is not given is what the file says, or the
            architecture.
        data_limit: Number of images to use, spread evenly over all; None for all.
        timeout: Seconds that loading the file may take, and every run of it.
        provider: ONNX Runtime's execution provider, as for :func:`ssn_prune.verify`.
        trust_pt2: Open a torch program whatever is in it, as there.
        from_report: Report of the conversion that wrote it, as there.
        progress: Called with the name of each step before it starts.

    Raises:
        DataError: The images cannot be used, or their labels do not fit the outputs.
        InferenceRuntimeError: The file cannot be run, or takes too long.
        UntrustedFileError: The file is a torch program that nothing vouches for.
        CaptureError: The network cannot be run.
        ArgumentError: The preprocessing does not fit the network, or ``data_limit`` is below 1.
    """
    path, options = Path(path), options or ConvertOptions()
    if data_limit is not None and data_limit < 1:
        raise ArgumentError(
            "no images would be compared",
            expected="`data_limit=1` or more",
            found=f"`data_limit={data_limit}`",
            hint="leave `data_limit=` out for all images",
        )
    progress("opening the images")
    opening = opening_of(path, timeout, provider, (), trust_pt2=trust_pt2, from_report=from_report)
    facts = file_facts(path, timeout)
    images = data
    if isinstance(images, str | Path):
        images = open_for(loaded, images, options, facts)
    chosen = spread_evenly(len(images), data_limit)
    size = facts.batch or _batch_size(loaded)
    original = loaded.model if loaded.given is None else loaded.given
    with apart(path, replace(opening, each_run=True)) as file_format:
        run = file_format.open(path)

        def both(network: nn.Module) -> _Compared:
            found = _Compared(images)
            progress("comparing on images")
            for start in range(0, len(chosen), size):
                found.add(chosen[start : start + size], size, network, run, fixed=facts.batch)
            return found

        compared = run_float32_copy(original, both)
    return compared.report()


@dataclass
class _Compared:
    """What was found so far."""

    images: ImageSet
    before: list[PerImage] = field(default_factory=list)
    after: list[PerImage] = field(default_factory=list)
    differences: list[Tensor] = field(default_factory=list)
    same: list[Tensor] = field(default_factory=list)
    classes: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    pixels: int = 0
    without_class: int = 0

    def add(
        self, indices: Sequence[int], size: int, network: nn.Module, run: Run, *, fixed: int | None
    ) -> None:
        """Run both on a batch."""
        inputs = self.images.inputs(indices)
        targets = self.images.targets(indices)
        if fixed is not None and len(indices) < size:  # the last one of a file with a fixed batch
            missing = size - len(indices)
            inputs = tuple(torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) for x in inputs)
        before = _first(_run(network, inputs), size if fixed else len(indices))
        after = _first(run(inputs), size if fixed else len(indices))
        before, after = before[: len(indices)], after[: len(indices)]
        if not self.indices and before.dim() > 1:
            require_fitting(self.images, before.shape[1])
        kind = self.images.kind
        self.before.append(score(before, targets, kind))
        self.after.append(score(after, targets, kind))
        self.differences.append(relative_differences(after, before))
        same = same_classes(after, before)
        if same is not None:
            self.same.append(same)
            if before.dim() == 2:
                self.classes.append((before.argmax(1), after.argmax(1)))
        if kind is TargetKind.MAPS and targets is not None:
            self.pixels += targets.numel()
            self.without_class += int(((targets < 0) | (targets >= before.shape[1])).sum())
        self.indices += indices

    def report(self) -> AccuracyReport:
        """All of it."""
        before, after = joined(self.before), joined(self.after)
        differences = torch.cat(self.differences)
        same = torch.cat(self.same) if self.same else None
        changed = torch.zeros_like(differences) if same is None else 1 - same
        differing = (differences > CLEARLY) if same is None else changed > 0
        order = sorted(
            torch.nonzero(differing).flatten().tolist(),
            key=lambda i: (-float(changed[i]), -float(differences[i]), i),
        )
        return AccuracyReport(
            source=self.images.source,
            images=len(self.indices),
            available=len(self.images),
            kind=self.images.kind,
            original=accuracy_of(before),
            file=accuracy_of(after),
            difference=paired(before, after),
            agreement=None if same is None else float(same.mean()),
            relative_difference=float(differences.mean()),
            largest_difference=float(differences.max()),
            without_class=self.without_class / self.pixels if self.pixels else None,
            differing=len(order),
            listed=tuple(
                self._listed(place, float(changed[place]), float(differences[place]), rank)
                for rank, place in enumerate(order[:LISTED])
            ),
        )

    def _listed(self, place: int, changed: float, difference: float, rank: int) -> DifferingImage:
        index = self.indices[place]
        found = DifferingImage(
            self.images.names[index],
            None,
            None,
            None,
            changed,
            difference,
            self._picture(rank, index),
        )
        if not self.classes:
            return found
        before, after = (torch.cat(part)[place] for part in zip(*self.classes, strict=True))
        found = replace(found, original=self._name(int(before)), file=self._name(int(after)))
        if self.images.kind is not TargetKind.CLASSES:
            return found
        target = self.images.targets([index])
        return found if target is None else replace(found, target=self._name(int(target[0])))

    def _name(self, label: int) -> str:
        return self.images.classes[label] if self.images.classes else str(label)

    def _picture(self, rank: int, index: int) -> str | None:
        content = self.images.preview(index) if rank < PICTURES else None
        return None if content is None else base64.b64encode(content).decode()


def _run(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    try:
        return run_with_output_hooks(network, inputs, (), None)
    except SsnPruneError:
        raise
    # The network is the user's code and may raise anything.
    except Exception as error:
        raise CaptureError(
            f"{type(network).__name__} cannot run on the images",
            expected="a network that takes them",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="see whether the images have the size that it takes, or leave `data=` out",
        ) from error


def _first(outputs: list[Tensor], count: int) -> Tensor:
    """The first output, which has a row for each image."""
    if not outputs or outputs[0].dim() < 1 or len(outputs[0]) != count:
        raise DataError(
            "the first output does not have a row for each image",
            expected=f"{count} rows",
            found=f"the shape {tuple(outputs[0].shape)}" if outputs else "no output",
            hint="leave `data=` out, or let the network return its scores first",
        )
    return outputs[0].float()


def _batch_size(loaded: LoadedCheckpoint) -> int:
    assert loaded.input_size is not None
    count = torch.Size(loaded.input_size).numel()
    return max(1, min(_AT_ONCE, _LARGEST_BATCH // max(1, count)))
