"""What two networks say of the same images, batch by batch, and all of it as a report."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ssn_prune.accuracy.agreement import relative_differences, same_classes
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.accuracy.per_image import PerImage, joined, score
from ssn_prune.accuracy.results import AccuracyReport, DifferingImage
from ssn_prune.errors import CaptureError, DataError, SsnPruneError, first_line
from ssn_prune.images.fitting import require_fitting
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.surgery.output_hooks import run_with_output_hooks
from ssn_prune.verification.compare import Run

LISTED, PICTURES = 200, 60
"""Images that a report lists, and those of them that it shows."""
CLEARLY = 1e-3
"""Mean difference from which on outputs that are no classes count as different."""


@dataclass
class ComparedImages:
    """What was found so far.

    Attributes:
        images: The images.
        before: What the original got right, batch by batch.
        after: What the file got right.
        differences: Of the outputs, in units of their magnitude.
        same: Shares of positions with the same class, where outputs are classes.
        classes: Of both, where there is one for each image.
        indices: Of the images that were compared.
        pixels: Pixels with a label.
        without_class: Those of them whose label is no class.
    """

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
