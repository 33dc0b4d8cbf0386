"""Candidates on a network: shared prefixes, statistics that follow, and what is delivered."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
import torch
from noise_images import CLASSES, Noise
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import Normalizer, NormalizerPair, SSN2d, SwitchNorm2d
from ssn_prune.images.image_set import TargetKind
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.evaluation import Evaluator
from ssn_prune.searching.layers import moments_of
from ssn_prune.searching.network_graph import NetworkGraph
from ssn_prune.searching.replayed_runs import ReplayedRuns
from ssn_prune.searching.selections import Changes, changed_network
from ssn_prune.searching.whole_runs import WholeRuns
from ssn_prune.surgery.ordinary import with_fixed_choices

IN, LN, BN = Normalizer
CPU = torch.device("cpu")


class Residual(nn.Module):
    """A stem and two blocks with activations in place; one layer is called twice."""

    def __init__(self, norm: type[nn.Module] = SSN2d) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), norm(6)
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), norm(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), norm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = x + self.norm1(self.conv1(x))
        x = F.relu_(x)
        x += self.norm2(self.norm2(self.conv2(x)))
        return self.head(torch.mean(F.relu_(x), (2, 3)))


class Branching(Residual):
    """The same with a branch on the data, which torch.export refuses."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > -1e9 else -x)


def network(kind: type[Residual] = Residual) -> Residual:
    torch.manual_seed(0)
    model = kind()
    pairs = {"norm": (LN, IN), "norm1": (IN, IN), "norm2": (IN, BN)}
    for name, (mean, var) in pairs.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, SSN2d)
        layer.fix(mean, var)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
    model.eval()
    return model


def evaluator(model: nn.Module, images: Noise | None = None, size: int = 8) -> Evaluator:
    return Evaluator(model, Batches.of(images or Noise(), range(16), size, CPU))


def change(**pairs: tuple[Normalizer, Normalizer]) -> Changes:
    return tuple((name, NormalizerPair(*pair)) for name, pair in pairs.items())


CANDIDATES = [
    change(norm=(BN, BN)),
    change(norm1=(BN, BN)),
    change(norm2=(BN, BN)),
    change(norm=(BN, BN), norm1=(LN, BN)),
    change(norm=(BN, BN), norm1=(LN, BN), norm2=(BN, BN)),
    (),
]


def test_a_captured_network_and_its_code_give_the_same() -> None:
    by_graph, by_code = evaluator(network()), evaluator(network(Branching))
    assert isinstance(by_graph._runner, NetworkGraph)
    assert isinstance(by_code._runner, ReplayedRuns)
    assert by_graph.shares_prefixes
    assert by_code.shares_prefixes
    images = Batches.of(Noise(), range(16, 24), 4, CPU)
    found = []
    for own in (by_graph, by_code):
        measured = own.measure(CANDIDATES)
        pairs = [(c, s) for c, (_, s) in zip(CANDIDATES, measured, strict=True)]
        found.append((measured, own.outcomes(images, pairs)))
    (measured1, outcomes1), (measured2, outcomes2) = found
    for (harm, repairs), (harm2, repairs2) in zip(measured1, measured2, strict=True):
        assert harm.mean == pytest.approx(harm2.mean, rel=1e-4, abs=1e-9)
        assert repairs.keys() == repairs2.keys()
        for name, repair in repairs.items():
            for one, other in zip(astuple(repair), astuple(repairs2[name]), strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(outcomes1, outcomes2, strict=True):
        assert one.harm.mean == pytest.approx(other.harm.mean, rel=1e-4, abs=1e-9)
        assert one.expected_drop == pytest.approx(other.expected_drop, abs=1e-6)
        assert torch.equal(one.results.predicted, other.results.predicted)
    assert outcomes1[-1].harm.mean == outcomes2[-1].harm.mean == 0  # the original


@pytest.mark.parametrize(("count", "size"), [(15, 2), (7, 3), (16, 1), (1, 2), (5, 4)])
@pytest.mark.parametrize("kind", [Residual, Branching])
def test_any_number_of_images_and_any_size_of_batches_will_do(kind, count, size) -> None:
    batches = Batches.of(Noise(), range(count), size, CPU)
    lengths = [len(part) for part in batches.indices]
    assert sorted(i for part in batches.indices for i in part) == list(range(count))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] <= size
    own = Evaluator(network(kind), batches)
    assert isinstance(own._runner, NetworkGraph if kind is Residual else ReplayedRuns)
    ((harm, repairs),) = own.measure([CANDIDATES[3]])
    others = Batches.of(Noise(), range(15, 22), size, CPU)
    one, original = own.outcomes(others, [(CANDIDATES[3], repairs), ((), {})])
    assert min(harm.mean, one.harm.mean) > 0
    assert original.harm.mean == 0


class OnePerCall(Residual):
    """Does something else for one sample."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x if len(x) == 1 else x)


def test_a_graph_that_does_not_hold_for_one_sample_is_not_used_for_it() -> None:
    model = network(OnePerCall)
    batches = Batches.of(Noise(), range(15), 2, CPU)
    own = Evaluator(model, batches)
    assert not isinstance(own._runner, NetworkGraph)
    (outcome,) = own.outcomes(batches, [((), {})])
    with torch.no_grad():
        last = model(*batches.inputs(7)).argmax(1)
    assert torch.equal(outcome.results.predicted[-1:], last)


class OneByOne(Residual):
    """A loop over the batch: its graph holds for one number of images."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(OneByOne, self).forward(x[i : i + 1]) for i in range(len(x))])


@pytest.mark.parametrize(("count", "others"), [(7, 4), (6, 7), (5, 2), (4, 1)])
def test_a_graph_is_only_used_if_it_holds_for_all_numbers_of_images(count, others) -> None:
    images = Batches.of(Noise(), range(count), 4, CPU)
    more = Batches.of(Noise(), range(8, 8 + others), 4, CPU)
    model = network(OneByOne)
    own = Evaluator(model, images, others=[more])
    assert isinstance(own._runner, ReplayedRuns)
    ((_, repairs),) = own.measure([CANDIDATES[3]])
    (outcome,) = own.outcomes(more, [(CANDIDATES[3], repairs)])
    alike = Evaluator(network(), images, others=[more])
    assert isinstance(alike._runner, NetworkGraph)
    (expected,) = alike.outcomes(more, [(CANDIDATES[3], repairs)])
    assert outcome.harm.mean == pytest.approx(expected.harm.mean, rel=1e-4)


def test_recorded_values_are_used_until_the_first_change(monkeypatch: pytest.MonkeyPatch) -> None:
    own = evaluator(network(Branching), size=16)
    convolutions: list[tuple[int, ...]] = []
    conv2d = F.conv2d

    def counted(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        convolutions.append(tuple(x.shape))
        return conv2d(x, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", counted)
    original = 2 * 3  # to keep its outputs, and to record its modules
    own.measure([CANDIDATES[2]])  # norm2 alone: nothing before it is computed again
    assert len(convolutions) == original
    convolutions.clear()
    own.measure([CANDIDATES[1]])  # norm1: one more after it
    assert len(convolutions) == original + 1


def test_without_memory_everything_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(Branching)
    batches = Batches.of(Noise(), range(16), 16, CPU)
    tight, wide = Evaluator(model, batches, memory=0), Evaluator(model, batches)
    for (harm, found), (harm2, found2) in zip(
        tight.measure(CANDIDATES), wide.measure(CANDIDATES), strict=True
    ):
        assert harm.mean == pytest.approx(harm2.mean, rel=1e-6, abs=1e-12)
        assert found.keys() == found2.keys()


class InPlaceModule(nn.Module):
    """Writes into its input, which the network uses again."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.5)
        return torch.zeros_like(x)


class WritesIntoInputs(Branching):
    def __init__(self) -> None:
        super().__init__()
        self.writes = InPlaceModule()

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone() if x.sum() > -1e9 else -x
        self.writes(x)
        return Residual.forward(self, x) + x.mean((1, 2, 3))[:, None] * torch.arange(CLASSES)


def test_code_that_cannot_be_replayed_is_run_whole() -> None:
    own = evaluator(network(WritesIntoInputs))
    assert type(own._runner) is WholeRuns
    assert not own.shares_prefixes
    measured = own.measure(CANDIDATES)
    assert measured[-1][0].mean == pytest.approx(0, abs=1e-9)


def test_what_candidates_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = evaluator(network(), size=16)
    calls: list[tuple[str, NormalizerPair | None]] = []
    original, repaired = own.layers.original, own.layers.repaired

    def count_original(name: str, x: Tensor) -> Tensor:
        calls.append((name, None))
        return original(name, x)

    def count_repaired(batch, name, call, pair, x, measured):
        calls.append((name, pair))
        return repaired(batch, name, call, pair, x, measured)

    monkeypatch.setattr(own.layers, "original", count_original)
    monkeypatch.setattr(own.layers, "repaired", count_repaired)
    own.measure(CANDIDATES)
    # Once for the original, whose outputs are fitted to. Then norm as it is, and BN/BN; norm1 in
    # four ways; norm2 twice in each of six.
    assert sum(name == "norm" for name, _ in calls) == 1 + 2
    assert sum(name == "norm1" for name, _ in calls) == 1 + 4
    assert sum(name == "norm2" for name, _ in calls) == 2 * (1 + 6)


def test_a_change_that_moves_nothing_leaves_the_stored_statistics() -> None:
    model = network()
    same = change(norm=(LN, IN))
    ((harm, repairs),) = evaluator(model).measure([same])
    assert harm.mean < 1e-10
    stored = torch.stack([model.norm2.running_mean, model.norm2.running_var])
    torch.testing.assert_close(repairs["norm2"].moments, stored, rtol=1e-5, atol=1e-5)
    assert repairs["norm"].moments is repairs["norm1"].moments is None  # they use no BN
    for name in ("norm", "norm1"):
        scale, shift = repairs[name].affine
        torch.testing.assert_close(scale, torch.ones(6), rtol=1e-5, atol=0)
        torch.testing.assert_close(shift, torch.zeros(6), rtol=0, atol=1e-5)
    assert repairs["norm2"].affine is None  # called twice


def test_repairs_follow_the_change_in_the_order_of_the_data_flow() -> None:
    """Against the definition, written out for one batch in float64."""
    model, images = network(), Noise()
    changes = change(norm=(BN, BN), norm1=(BN, BN))
    ((_, repairs),) = evaluator(model, images, size=16).measure([changes])
    (x,) = images.inputs(range(16))
    model, x = model.double(), x.double()

    def normalized(layer: nn.Module, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        scale = (layer.weight / (var + layer.eps).sqrt()).view(shape)
        return (x - mean.view(shape)) * scale + layer.bias.view(shape)

    def fit(values: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """By the normal equations of each channel."""
        found = []
        for channel in range(values.shape[1]):
            y, z = values[:, channel].flatten(), wanted[:, channel].flatten()
            columns = torch.stack([y, torch.ones_like(y)], 1)
            found.append(torch.linalg.lstsq(columns, z[:, None]).solution.flatten())
        scale, shift = torch.stack(found, 1)
        return scale, shift

    def close(found: Tensor | None, *expected: Tensor) -> None:
        assert found is not None
        torch.testing.assert_close(found.double(), torch.stack(expected), rtol=1e-4, atol=1e-4)

    with torch.no_grad():
        before = model.stem(x)
        mean, var = model.norm.running_mean, model.norm.running_var  # nothing moved before it
        close(repairs["norm"].moments, mean, var)
        changed = normalized(model.norm, before, mean, var)
        scale, shift = fit(changed, model.norm(before))
        close(repairs["norm"].affine, scale, shift)
        changed = changed * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        moved, original = (model.conv1(F.relu(y)) for y in (changed, model.norm(before)))
        (m1, v1), (m0, v0) = moments_of(moved), moments_of(original)
        mean, var = model.norm1.running_mean + m1 - m0, model.norm1.running_var * v1 / v0
        close(repairs["norm1"].moments, mean, var)
        scale, shift = fit(normalized(model.norm1, moved, mean, var), model.norm1(original))
        close(repairs["norm1"].affine, scale, shift)


def test_statistics_that_the_file_did_not_store_are_measured() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.InstanceNorm2d(5, affine=True), nn.Flatten(), nn.Linear(180, CLASSES)
    )
    model = with_fixed_choices(plain).model.eval()
    own = evaluator(model)
    x = own.calibration.images.inputs(range(16))[0]
    expected = moments_of(model[0](x).detach())
    torch.testing.assert_close(own.layers.stored["1"], expected, rtol=1e-5, atol=1e-5)
    ((harm, repairs),) = own.measure([(("1", NormalizerPair(BN, BN)),)])
    torch.testing.assert_close(repairs["1"].moments, expected, rtol=1e-5, atol=1e-5)
    assert harm.mean > 0


@pytest.mark.parametrize("pair", [(BN, BN), (BN, IN), (IN, BN), None])
@pytest.mark.parametrize("kind", [Residual, Branching])
def test_statistics_in_use_are_trained_even_if_they_are_0_and_1(kind, pair) -> None:
    """Layers whose mean, variance or soft gates use BN keep what the original computes with."""
    model = network(kind)
    if pair is None:
        model.norm1 = SwitchNorm2d(6).eval()
    else:
        model.norm1.fix(*pair)
        model.norm1.running_mean.zero_()
        model.norm1.running_var.fill_(1)
    own = evaluator(model)
    images = Batches.of(Noise(), range(16, 24), 4, CPU)
    same = change(norm=(LN, IN))  # moves nothing
    ((harm, repairs),) = own.measure([same])
    assert harm.mean < 1e-10
    torch.testing.assert_close(
        repairs["norm1"].moments, torch.stack([torch.zeros(6), torch.ones(6)]), rtol=1e-5, atol=1e-5
    )
    original, changed = own.outcomes(images, [((), {}), (same, repairs)])
    assert original.harm.mean == 0
    assert original.expected_drop == 0
    assert changed.harm.mean < 1e-10
    delivered = changed_network(model, (), {}).state_dict()
    torch.testing.assert_close(delivered, model.state_dict(), rtol=0, atol=0)


def test_only_layers_that_get_bn_get_its_statistics() -> None:
    model = network()
    model.norm1.running_mean.zero_()  # IN/IN
    model.norm1.running_var.fill_(1)
    changes = change(norm2=(BN, BN))
    ((_, repairs),) = evaluator(model).measure([changes])
    delivered = changed_network(model, changes, repairs)
    for name in ("running_mean", "running_var"):
        for layer in ("norm", "norm1"):
            found, stored = (getattr(m.get_submodule(layer), name) for m in (delivered, model))
            assert torch.equal(found, stored)


class TwoBranches(Residual):
    """The second branch does not see what happens in the first."""

    def forward(self, x: Tensor) -> Tensor:
        one = self.norm1(self.conv1(F.relu(self.norm(self.stem(x)))))
        other = self.norm2(self.conv2(F.relu(self.stem(x))))
        return self.head(torch.mean(F.relu(one) + F.relu(other), (2, 3)))


def test_a_branch_that_a_change_does_not_reach_keeps_its_values_to_the_last_bit() -> None:
    model = network(TwoBranches)
    for name in ("running_mean", "running_var"):
        getattr(model.norm2, name).mul_(1e-3)  # rounds differently than the moments
    changes = change(norm=(BN, BN))
    batches = Batches.of(Noise(), range(21), 8, CPU)
    ((_, repairs),) = Evaluator(model, batches).measure([changes])
    delivered = changed_network(model, changes, repairs)
    assert "norm2" in repairs
    torch.testing.assert_close(
        delivered.norm2.state_dict(), model.norm2.state_dict(), rtol=0, atol=0
    )


def test_the_delivered_network_gives_what_was_measured() -> None:
    model = network()
    own, images = evaluator(model), Noise()
    ((_, repairs),) = own.measure([CANDIDATES[4]])
    delivered = changed_network(model, CANDIDATES[4], repairs)
    batches = Batches.of(images, range(16, 24), 8, CPU)
    (outcome,) = own.outcomes(batches, [(CANDIDATES[4], repairs)])
    with torch.no_grad():
        before, after = (m(*images.inputs(range(16, 24))) for m in (model, delivered))
    expected = F.kl_div(
        after.double().log_softmax(1), before.double().log_softmax(1), log_target=True,
        reduction="batchmean",
    )  # fmt: skip
    assert outcome.harm.mean == pytest.approx(float(expected), rel=1e-4)
    assert torch.equal(outcome.results.predicted, after.argmax(1))
    assert model.norm.mean_weight.tolist() == [0, 1, 0]  # not changed


def test_soft_layers_may_stay_soft() -> None:
    torch.manual_seed(0)
    model = Residual(SwitchNorm2d).eval()
    own = evaluator(model)
    changes = change(norm1=(BN, BN))
    ((harm, repairs),) = own.measure([changes])
    assert harm.mean > 0
    assert repairs["norm1"].moments is not None
    assert repairs["norm2"].moments is not None  # soft gates weigh BN, too
    delivered = changed_network(model, changes, repairs)
    assert isinstance(delivered.get_submodule("norm1"), SSN2d)
    assert isinstance(delivered.get_submodule("norm2"), SwitchNorm2d)


def test_outputs_without_labels_are_compared_by_their_size() -> None:
    images = Noise(kind=TargetKind.NONE)
    own = evaluator(network(), images)
    ((harm, repairs),) = own.measure([CANDIDATES[0]])
    batches = Batches.of(images, range(16, 24), 8, CPU)
    (outcome,) = own.outcomes(batches, [(CANDIDATES[0], repairs)])
    assert harm.mean > 0
    assert outcome.expected_drop is None
    model = changed_network(network(), CANDIDATES[0], repairs)
    with torch.no_grad():
        before, after = (m(*images.inputs(range(16, 24))) for m in (network(), model))
    expected = ((after - before).abs().mean(1) / before.abs().mean(1)).mean()
    assert outcome.harm.mean == pytest.approx(float(expected), rel=1e-4)
