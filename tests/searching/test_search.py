"""A whole search in one process: what it leaves alone, and what it refuses at once."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
import torch
from noise_images import CLASSES, Noise
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import Normalizer, SSN2d
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.costs.records import SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes
from ssn_prune.environment import processor_name
from ssn_prune.errors import (
    ArgumentError,
    CostsError,
    DataError,
    OutputError,
    SearchError,
    SsnPruneError,
    UnsupportedLayerError,
)
from ssn_prune.images.image_set import TargetKind
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching import delivery, reading
from ssn_prune.searching import search as searching
from ssn_prune.searching.latencies import NORM_FREE, Latency
from ssn_prune.searching.results import SearchOptions
from ssn_prune.searching.saving import save_chosen
from ssn_prune.searching.search import SearchResult, cost_options, images_a_batch

IN, LN, BN = Normalizer


class Counting(nn.Module):
    """Two heads; its code writes into buffers, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), SSN2d(6)
        self.conv, self.norm1 = nn.Conv2d(6, 6, 3, padding=1), SSN2d(6)
        self.head, self.depth = nn.Linear(6, CLASSES), nn.Conv2d(6, 1, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("average", torch.zeros(6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls = self.calls + 1
        x = F.relu(self.norm(self.stem(x)))
        with torch.no_grad():
            self.average.mul_(0.9).add_(x.mean((0, 2, 3)), alpha=0.1)
        depth = self.depth(F.relu(self.norm1(self.conv(x))))
        return self.head(x.mean((2, 3))), depth


def checkpoint() -> LoadedCheckpoint:
    torch.manual_seed(0)
    model = Counting().eval()
    model.norm.fix(BN, BN)
    model.norm1.fix(IN, IN)
    return LoadedCheckpoint(model, (3, 8, 8), source=None)


def costs(norm_free: float | None = 10.0) -> Costs:
    names = ("norm", "norm1")
    return Costs(
        *(SCHEMA_VERSION, "", f"ONNX Runtime {onnxruntime.__version__}", processor_name()),
        *("CPUExecutionProvider", 1, 1, "portable", ((3, 8, 8),)),
        norm_free_ms=norm_free,
        shapes=tuple(LayerShapes(name, ((1, 6, 8, 8),)) for name in names),
        layers=tuple(
            LayerPairCost(name, pair, float(sum(n is not BN for n in (pair.mean, pair.var))))
            for name in names
            for pair in ALL_PAIRS
        ),
    )


@pytest.fixture(autouse=True)
def made_up_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    def latencies(_loaded: object, networks: Mapping[str, object], *_: object) -> Any:
        times = {name: 2.0 - 0.1 * place for place, name in enumerate(networks)}
        return {name: Latency(ms, ms, ms) for name, ms in {**times, NORM_FREE: 1.0}.items()}

    monkeypatch.setattr(delivery, "whole_latencies", latencies)


def search(
    loaded: LoadedCheckpoint | None = None, images: Noise | None = None, **how: Any
) -> SearchResult:
    options = SearchOptions(**{"max_drop": 1e9, "points": 3, "rounds": 1} | how.pop("options", {}))
    how = {"costs": costs(), "options": options} | how
    return searching.search(loaded or checkpoint(), images or Noise(48), **how)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("steps", [0, 2])
def test_buffers_that_code_writes_into_stay_as_they_were(steps: int) -> None:
    """Those of the caller's network, and those of the delivered one."""
    loaded = checkpoint()
    before = state(loaded.model)
    options = {"finetune_steps": steps, "budget": 1.95, "max_drop": None}
    found = search(loaded, options=options)
    torch.testing.assert_close(loaded.model.state_dict(), before, rtol=0, atol=0)
    delivered = found.checkpoint.model.state_dict()
    for name in ("calls", "average"):
        assert torch.equal(delivered[name], before[name])
    assert found.report.chosen > 0
    original = found.report.front[0]
    assert (original.changes, original.harm, original.drop) == ((), 0, 0)


@pytest.mark.parametrize("given", [False, True])
def test_a_network_in_training_mode_is_searched_in_evaluation_mode(given: bool) -> None:
    """Only its copies change their mode."""
    loaded = checkpoint()
    loaded.model.norm.running_mean.uniform_(-1, 1)
    expected = search(loaded)
    if given:
        loaded = replace(loaded, given=loaded.model)
    loaded.model.train()
    found = search(loaded)
    assert found.report == expected.report
    assert loaded.model.training
    assert not found.checkpoint.model.training


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_search_distils_whatever_the_callers_mode_is(mode: Any, monkeypatch) -> None:
    """The network, too, may have been built under that mode."""
    distilled: list[int] = []
    distil = delivery.distil

    def noted(original: nn.Module, student: nn.Module, *arguments: Any) -> None:
        before = student.head.weight.clone()
        distil(original, student, *arguments)
        distilled.append(int((student.head.weight != before).sum()))

    monkeypatch.setattr(delivery, "distil", noted)
    with mode():
        loaded = checkpoint()
        found = search(loaded, options={"finetune_steps": 2, "budget": 1.95, "max_drop": None})
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
        assert not torch.is_grad_enabled()
    assert distilled
    assert all(distilled)
    found.checkpoint.model.head.weight.requires_grad_(True)
    found.checkpoint.model(torch.zeros(1, 3, 8, 8))[0].sum().backward()


def test_a_second_output_is_not_given_away_for_free() -> None:
    """norm1 changes the depth alone, which has no labels."""
    found = search(options={"max_drop": 0.5})
    assert all(one.layer == "norm1" for one in found.report.singles)
    worst = found.report.front[-1]
    assert worst.changes
    assert worst.harm > 0
    assert worst.drop > 0.5
    assert found.report.front[found.report.chosen].changes == ()
    assert (found.report.test.others, found.report.test.others_error) == (0, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"runtime": "ONNX Runtime 1.0"},
        {"processor": "a board"},
        {"provider": "CUDAExecutionProvider"},
        {"threads": 4},
        {"target": "ncnn"},
    ],
    ids=str,
)
def test_costs_of_another_device_decide_and_nothing_is_timed_here(other, monkeypatch) -> None:
    """On it the only layer that can change takes a hundred times as long as all the rest."""
    monkeypatch.setattr(delivery, "whole_latencies", never)
    there = replace(costs(norm_free=0.02), **other)
    found = search(costs=there, options={"budget": 1.5, "max_drop": None}).report
    assert [point.ratio for point in found.front] == [None] * len(found.front)
    assert found.front[0].predicted_ratio == pytest.approx(1 + 2 / 0.02)
    chosen = found.front[found.chosen]
    assert [change.layer for change in chosen.changes] == ["norm1"]
    assert chosen.predicted_ratio == pytest.approx(1)
    assert (found.saved, found.additive_error, found.norm_free_ms) == (1, None, 0.02)
    assert str(next(iter(other.values()))) in str(found.predicted_for)
    with pytest.raises(SearchError, match=r"budget=1\.000"):
        search(costs=there, options={"budget": 0.99})


def test_costs_of_this_machine_do_not_replace_a_measurement() -> None:
    found = search(options={"budget": 1.95, "max_drop": None}).report
    assert found.predicted_for is None
    assert all(point.ratio is not None for point in found.front)


@pytest.mark.parametrize(("steps", "recovers"), [(0, True), (2, True), (2, False)])
def test_what_loses_too_much_within_the_budget_is_distilled(monkeypatch, steps, recovers) -> None:
    """It is delivered if that brings it within the allowed drop."""

    def distilled(explorer, _, model, measured, index, training) -> delivery.Distilled:
        drop = 0.4 if recovers else 0.6
        point = replace(measured.points[index], harm=0.0, drop=drop)
        return delivery.Distilled(index, point, explorer.network(model, measured.changes[index]))

    monkeypatch.setattr(delivery, "_distilled", distilled)
    options = {"finetune_steps": steps, "budget": 1.95, "max_drop": 0.5}
    if steps and recovers:
        found = search(options=options).report
        assert found.finetuned is not None
        assert found.finetuned.drop < 0.5 < found.front[found.chosen].drop
    else:
        with pytest.raises(SearchError, match=r"as fast as 1\.95"):
            search(options=options)


@pytest.mark.parametrize("kind", [TargetKind.NONE, TargetKind.MAPS])
def test_test_images_with_other_labels_are_refused(kind: TargetKind) -> None:
    """Their loss would be another quantity than the one that was bounded."""
    for one, other in ((Noise(48), Noise(8, kind)), (Noise(48, kind), Noise(8))):
        with pytest.raises(DataError, match="other labels"):
            search(images=one, test_images=other)


class Damaged(Noise):
    """One image cannot be read."""

    def __init__(self, place: int) -> None:
        super().__init__(64)
        self.place = place

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        if self.place in indices:
            raise DataError("the image is damaged", expected="", found="", hint="")
        return super().inputs(indices)


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the search has started")


@pytest.mark.parametrize("place", range(0, 64, 9))
def test_a_damaged_image_is_found_before_the_search(monkeypatch, place: int) -> None:
    monkeypatch.setattr(searching, "measure_costs", never)
    monkeypatch.setattr(searching, "Evaluator", never)
    with pytest.raises(DataError, match="damaged"):
        search(images=Damaged(place), costs=None, options={"finetune_steps": 1})
    with pytest.raises(DataError, match="damaged"):
        search(images=Noise(48), test_images=Damaged(place), costs=None)


class Maps(Counting):
    """The class of each pixel."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        _, depth = super().forward(x)
        return (torch.cat([depth * (1 + place) for place in range(CLASSES)], 1),)


def maps(count: int = 48) -> tuple[LoadedCheckpoint, Noise]:
    loaded, images = checkpoint(), Noise(count, TargetKind.MAPS)
    loaded.model.__class__ = Maps
    generator = torch.Generator().manual_seed(2)
    images.labels = torch.randint(CLASSES, (count, 8, 8), generator=generator)
    return loaded, images


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", TargetKind)
def test_an_image_with_a_number_that_is_not_finite_is_named(monkeypatch, kind, bad) -> None:
    monkeypatch.setattr(searching, "Evaluator", never)
    for place in (3, 40):
        loaded, images = maps() if kind is TargetKind.MAPS else (checkpoint(), Noise(48, kind))
        images.pictures[place, 0, 3, 3] = bad
        with pytest.raises(DataError, match=rf"'{place}' holds nan or inf"):
            search(loaded, images)


class Overflowing(Counting):
    """Its scores or its depth are nan for bright images."""

    place = 0

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = list(super().forward(x))
        bright = (x.amax((1, 2, 3)) > 50).view(-1, *[1] * (found[self.place].dim() - 1))
        found[self.place] = found[self.place].masked_fill(bright, float("nan"))
        return tuple(found)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", [TargetKind.CLASSES, TargetKind.NONE])
def test_an_image_that_the_network_overflows_for_is_named(monkeypatch, kind, place) -> None:
    monkeypatch.setattr(Overflowing, "place", place)
    for bright in (3, 40):
        loaded, images = checkpoint(), Noise(48, kind)
        loaded.model.__class__ = Overflowing
        images.pictures[bright] = 100.0
        with pytest.raises(DataError, match=rf"outputs for '{bright}' are not finite"):
            search(loaded, images)


def test_a_class_that_the_network_excludes_is_no_failure(monkeypatch) -> None:
    forward = Counting.forward

    def excluding(self: Counting, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, depth = forward(self, x)
        return torch.cat([scores[:, :-1], torch.full_like(scores[:, :1], -torch.inf)], 1), depth

    monkeypatch.setattr(Counting, "forward", excluding)
    assert search().report.front[0].harm == 0


def test_label_maps_without_classes_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(searching, "Evaluator", never)
    for value in (255, -1, CLASSES):
        loaded, images = maps()
        images.labels[:] = value
        with pytest.raises(DataError, match="no pixel in the label maps of noise has a class"):
            search(loaded, images)


@pytest.mark.parametrize("only", [0, 1])
def test_a_class_saved_as_255_is_not_taken_for_no_class(only) -> None:
    loaded, images = maps()
    images.labels = torch.where(images.labels > 1, 255, only)
    with pytest.raises(DataError, match=f"have class {only} alone, and 255") as caught:
        search(loaded, images)
    assert "labels[labels == 255] = 1" in caught.value.hint
    images.labels[images.labels == 255] = 1 - only
    search(loaded, images)
    few = maps()[1]
    few.labels[:] = only
    few.labels[::6, 0, 0] = 255  # the edge of an object
    search(loaded, few)


@pytest.mark.parametrize("kind", TargetKind)
def test_a_report_says_whether_images_were_moved(kind) -> None:
    loaded, images = maps() if kind is TargetKind.MAPS else (checkpoint(), Noise(48, kind))
    assert search(loaded, images).report.moved_images == (kind is not TargetKind.MAPS)


def test_test_images_that_the_search_uses_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(searching, "Evaluator", never)
    images, test = Noise(48), Noise(9)
    with pytest.raises(DataError, match="the test set has no images"):
        search(images=images, test_images=Noise(0))
    with pytest.raises(DataError, match="48 of the test images are also among"):
        search(images=images, test_images=images)
    test.pictures[4] = images.pictures[20]
    test.names = tuple(f"test {index}" for index in range(9))
    with pytest.raises(DataError, match=r"^1 of the test images") as caught:
        search(images=images, test_images=test)
    assert "'test 4' of the test is '20' of the others" in caught.value.found
    copied = Noise(100)
    copied.pictures[4] = images.pictures[20]
    with pytest.raises(AssertionError, match="has started"):  # data sets contain copies
        search(images=images, test_images=copied)


def test_images_that_are_alike_in_one_set_may_be_divided() -> None:
    images = Noise(48)
    images.pictures[1::2] = images.pictures[::2]
    search(images=images)


def test_a_label_that_does_not_fit_is_found_before_the_search(monkeypatch) -> None:
    monkeypatch.setattr(searching, "Evaluator", never)
    test = Noise(8)
    test.labels[5] = CLASSES
    monkeypatch.setattr(reading, "require_fitting", lambda *_: None)  # looks at folders
    with pytest.raises(DataError, match="labels do not fit"):
        search(images=Noise(48), test_images=test)


class Stopped(Exception):  # noqa: N818  # it is not an error
    """Ends a search before its final test."""


def stopped(journal: Path, loaded: LoadedCheckpoint | None = None, **how: Any) -> None:
    def progress(step: str) -> None:
        if "final test" in step:
            raise Stopped

    with pytest.raises(Stopped):
        search(loaded, journal=journal, progress=progress, **how)


def other_images() -> Noise:
    images = Noise(48)
    images.pictures[5] += 1e-3
    return images


def other_labels() -> Noise:
    images = Noise(48)
    images.labels[:] = (images.labels + 1) % CLASSES
    return images


class Edited(Counting):
    """The same weights and other code."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, depth = super().forward(x)
        return scores, 1.1 * depth


def edited() -> LoadedCheckpoint:
    loaded = checkpoint()
    loaded.model.__class__ = Edited
    return loaded


def corrected() -> LoadedCheckpoint:
    loaded = checkpoint()
    loaded.model.norm1.correction = 1
    return loaded


@pytest.mark.parametrize(
    "other",
    [
        lambda: {"images": other_images()},
        lambda: {"images": other_labels()},
        lambda: {"loaded": edited()},
        lambda: {"loaded": corrected()},
    ],
    ids=["images", "labels", "code", "correction"],
)
def test_a_journal_is_not_resumed_with_other_contents_of_the_same_names(tmp_path, other) -> None:
    path = tmp_path / "journal"
    stopped(path)
    with pytest.raises(SearchError, match="another search"):
        search(journal=path, **other())
    folder = tmp_path / "journals"
    folder.mkdir()
    stopped(folder)
    stopped(folder, **other())
    assert len(list(folder.iterdir())) == 2


def test_a_journal_is_resumed_with_other_threads(tmp_path, monkeypatch) -> None:
    """What differs by rounding errors alone is the same network."""
    path = tmp_path / "journal"
    stopped(path)
    loaded = checkpoint()
    forward = Counting.forward

    def rounded(self: Counting, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, depth = forward(self, x)
        return scores * (1 + 1e-6), depth

    monkeypatch.setattr(Counting, "forward", rounded)
    measured: list[Any] = []
    monkeypatch.setattr(searching.Explorer, "_note", lambda *found, **_: measured.append(found))
    search(loaded, journal=path)
    assert not measured
    assert not path.exists()


def test_a_journal_may_be_kept_until_the_result_is_written(tmp_path, monkeypatch) -> None:
    found = search(journal=tmp_path, keep_journal=True)
    assert [found.journal] == list(tmp_path.iterdir())
    monkeypatch.setattr(searching.Explorer, "_note", never)  # nothing is measured again
    again = search(journal=tmp_path)
    assert again.journal is None
    assert again.report.singles == found.report.singles
    assert not list(tmp_path.iterdir())


class ReadsNorms(Counting):
    """Uses the weight of a norm elsewhere, so it does not run without its norms."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, depth = super().forward(x)
        return scores, depth * self.norm1.weight.sum()


def test_costs_without_the_norm_free_network_say_why() -> None:
    with pytest.raises(SearchError, match="leave `costs=` out"):
        search(costs=costs(None))
    loaded = checkpoint()
    loaded.model.__class__ = ReadsNorms
    with pytest.raises(SearchError, match="cannot be exported") as raised:
        search(loaded, costs=costs(None))
    assert "has no attribute 'weight'" in raised.value.found
    assert "costs" not in raised.value.hint


@pytest.mark.parametrize(("fixed", "batch"), [({"static_batch": 4}, 4), ({"dynamic": "none"}, 1)])
def test_a_fixed_batch_is_the_one_that_latencies_are_measured_with(fixed, batch) -> None:
    how = ConvertOptions(**fixed)
    with pytest.raises(ArgumentError, match=f"pass `batch={batch}`"):
        search(conversion=how, options={"batch": 3})
    assert cost_options(SearchOptions(batch=batch), how).static
    assert not cost_options(SearchOptions(batch=3), ConvertOptions()).static


def test_a_saved_network_of_several_inputs_does_not_claim_to_have_one(tmp_path) -> None:
    loaded = replace(checkpoint(), source=SimpleNamespace(arch="code:network"))
    for more, size in (((), [3, 8, 8]), (((1, 8, 8),), None)):
        save_chosen(replace(loaded, more_inputs=more), tmp_path / "chosen.pth")
        saved = torch.load(tmp_path / "chosen.pth", weights_only=True)
        assert saved["input_size"] == size


def test_large_outputs_make_batches_small() -> None:
    maps = (torch.empty(2, 32, 256, 256, device="meta"), torch.empty((), device="meta"))
    assert images_a_batch(costs(), 1 << 30, maps) == (1 << 30) // (48 * 32 * 256 * 256)
    assert images_a_batch(costs(), 1 << 20, maps) == 2
    assert images_a_batch(costs(), 1 << 20, (torch.empty(2, CLASSES),)) == 32


def test_the_batches_of_a_search_fit_the_memory(monkeypatch) -> None:
    asked: list[tuple[int, ...]] = []

    def noted(_costs: Costs, _memory: int, outputs: Sequence[Tensor]) -> int:
        asked.extend(tuple(output.shape[1:]) for output in outputs)
        return 2

    monkeypatch.setattr(searching, "images_a_batch", noted)
    search()
    assert asked == [(CLASSES,), (1, 8, 8)]


def test_a_network_that_takes_lists_of_images_is_refused() -> None:
    with pytest.raises(SearchError, match="detection model cannot be searched"):
        search(replace(checkpoint(), takes_images=True))


def test_a_disk_that_cannot_hold_a_saved_network_is_said(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    loaded = replace(checkpoint(), source=SimpleNamespace(arch="code:network"))
    with pytest.raises(OutputError, match="No space left"):
        save_chosen(loaded, tmp_path / "chosen.pth")
    assert not list(tmp_path.iterdir())


def test_no_output_to_compare_is_said(monkeypatch) -> None:
    monkeypatch.setattr(Counting, "forward", lambda _self, x: x.argmax(1))
    with pytest.raises(SsnPruneError, match="no floating-point outputs"):
        search(images=Noise(48, TargetKind.NONE))


def narrow() -> LoadedCheckpoint:
    """One layer offers fewer pairs than there may be costs of."""
    loaded = checkpoint()
    loaded.model.norm1 = SSN2d(6, normalizers=("LN", "BN")).eval()
    loaded.model.norm1.fix(LN, LN)
    return loaded


def shared() -> LoadedCheckpoint:
    loaded = checkpoint()
    loaded.model.norm1 = SSN2d(6, shared_gate=True).eval()
    loaded.model.norm1.fix(IN, IN)
    return loaded


def untracked() -> LoadedCheckpoint:
    """BN would take the statistics of the batch, which cannot be exported."""
    loaded = checkpoint()
    loaded.model.norm1 = SSN2d(6, track_running_stats=False).eval()
    loaded.model.norm1.fix(IN, IN)
    return loaded


def test_a_network_that_cannot_be_converted_is_refused_before_the_search(monkeypatch) -> None:
    monkeypatch.setattr(searching, "read_all", never)
    loaded = untracked()
    loaded.model.norm1.fix(IN, BN)
    with pytest.raises(UnsupportedLayerError, match="no running statistics"):
        search(loaded)
    loaded = checkpoint()
    loaded.model.norm1.running_var *= 5000
    loaded.model.norm1.fix(BN, BN)
    loaded.model.norm.fix(IN, IN)
    with pytest.raises(UnsupportedLayerError, match="sums"):
        search(loaded)


@pytest.mark.parametrize(
    ("loaded", "pairs"),
    [(narrow, {"BN/BN"}), (shared, {"LN/LN", "BN/BN"}), (untracked, {"LN/LN"})],
)
def test_only_pairs_that_a_layer_offers_are_tried(loaded, pairs) -> None:
    """Costs of all pairs are given; LN/LN costs half as much as IN/IN."""
    known = tuple(
        replace(one, milliseconds=1.0) if str(one.pair) == "LN/LN" else one
        for one in costs().layers
    )
    report = search(loaded(), costs=replace(costs(), layers=known)).report
    assert {str(one.after) for one in report.singles} == pairs


@pytest.mark.parametrize("names", [("a", "b"), ("norm",), ("norm", "norm1", "other")])
def test_costs_of_another_network_are_refused_before_the_search(monkeypatch, names) -> None:
    monkeypatch.setattr(searching, "read_all", never)
    known = {one.layer: one for one in costs().shapes}
    other = replace(
        costs(),
        shapes=tuple(LayerShapes(name, known["norm"].inputs) for name in names),
        layers=tuple(
            replace(one, layer=name) for name in names for one in costs().layers[: len(ALL_PAIRS)]
        ),
    )
    with pytest.raises(CostsError, match="of another network"):
        search(costs=other)
