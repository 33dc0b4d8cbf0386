"""The outputs of two networks on the same images, batch by batch, and the report on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ssn_prune.accuracy.agreement import relative_differences, same_classes
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.accuracy.per_image import PerImage, joined, require_labelled, score
from ssn_prune.accuracy.results import AccuracyReport, DifferingImage
from ssn_prune.errors import CaptureError, DataError, SsnPruneError, first_line
from ssn_prune.images.fitting import require_fitting
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.surgery.output_hooks import run_with_output_hooks
from ssn_prune.verification.compare import Run

LISTED, PICTURES = 200, 60
"""The most images that a report lists, and how many of these it shows."""
CLEARLY = 1e-3
"""Mean difference above which outputs that are not class scores count as different."""


@dataclass
class ComparedImages:
    """The comparison so far.

    Attributes:
        images: The images.
        before: Scores of the original, batch by batch.
        after: Scores of the file, batch by batch.
        differences: Differences of the outputs, in units of their magnitude.
        same: Shares of positions with the same class, where the outputs are class scores.
        classes: Classes that the original and the file predict, where there is one per image.
        indices: Indices of the images that were compared.
        pixels: Number of labelled pixels.
        without_class: Number of these whose label is not a class of the outputs.
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
        """Run both networks on a batch and add the results.

        Args:
            indices: Images of the batch.
            size: Images of a full batch.
            network: The original.
            run: Runs the file.
            fixed: Batch size of the file; None if it is dynamic.
        """
        inputs = self.images.inputs(indices)
        targets = self.images.targets(indices)
        if fixed is not None and len(indices) < size:  # the last batch of a file with a fixed size
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
        """The report on all batches.

        Raises:
            DataError: No pixel of the label maps has a class.
        """
        before, after = joined(self.before), joined(self.after)
        require_labelled(before, self.images.source)
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
