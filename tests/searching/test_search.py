"""A whole search in one process: what it leaves alone, and what it refuses at once."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from noise_images import CLASSES, Noise
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import Normalizer, SSN2d
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.costs.records import SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes
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
from ssn_prune.searching import delivery
from ssn_prune.searching import search as searching
from ssn_prune.searching.latencies import NORM_FREE, Latency
from ssn_prune.searching.results import SearchOptions
from ssn_prune.searching.saving import save_chosen
from ssn_prune.searching.search import SearchResult, cost_options

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
        *(SCHEMA_VERSION, "", "", "", "CPUExecutionProvider", 1, 1, "portable", ((3, 8, 8),)),
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


def test_a_label_that_does_not_fit_is_found_before_the_search(monkeypatch) -> None:
    monkeypatch.setattr(searching, "Evaluator", never)
    test = Noise(8)
    test.labels[5] = CLASSES
    monkeypatch.setattr(searching, "_require_fitting", lambda *_: None)  # looks at folders
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
    monkeypatch.setattr(searching, "_read", never)
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
    monkeypatch.setattr(searching, "_read", never)
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
