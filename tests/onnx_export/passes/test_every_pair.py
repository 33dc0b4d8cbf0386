"""Every pass on every pair: where it fires, and that the numbers stay what they are."""

from __future__ import annotations

import pytest
import torch
from dimension_networks import KINDS, Branches, one_hot_layer
from graph_passes import exported, layer_passes, outputs, pass_named, passes_of
from torch import Tensor

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.compare import rounding_bound

# Every pair with a biased and with a Bessel-corrected variance.
LAYERS = [(pair, correction) for correction in (0, 1) for pair in ALL_PAIRS]
SMALL = {"1d": (3, 9), "2d": (3, 8, 7), "3d": (3, 4, 5, 3)}
LARGE = {"1d": (3, 11_000), "2d": (3, 108, 107), "3d": (3, 25, 26, 24)}
SITUATIONS: dict[str, tuple[int, Dynamic]] = {
    "one sample": (1, "none"),
    "dynamic batch": (2, "batch"),
    "dynamic sizes": (2, "spatial"),
}

Layer = tuple[str, int]


def firing(
    kind: str, follows_conv: bool, large: bool, situation: str, subtracting: set[Layer]
) -> dict[str, set[Layer]]:
    """The layers where each pass alone fires.

    Layers in ``subtracting`` subtract a running mean; the convolution does it for the others.
    """
    fires: dict[str, set[Layer]] = {}
    if situation == "one sample":
        pairs = ("IN/LN", "LN/IN", "LN/LN", "BN/IN", "BN/LN")
        fires["one_sample"] = {(pair, correction) for pair in pairs for correction in (0, 1)}
    static = situation != "dynamic sizes"
    if large and static:
        by_running_mean = {layer for layer in subtracting if layer[0] in ("BN/IN", "BN/LN")}
        fires["scale_and_shift"] = {("LN/IN", 0), ("LN/IN", 1), ("LN/LN", 1), *by_running_mean}
    if follows_conv and large and static and kind != "1d":
        fires["bias_with_mean"] = {("IN/BN", 0), ("IN/BN", 1)}
    if follows_conv and kind == "1d":
        fires["channel_sum_1d"] = {("LN/BN", 0), ("LN/BN", 1)}
    return fires


def sample(shape: tuple[int, ...], batch: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))


CASES = [
    (kind, follows_conv, large, situation)
    for kind in ("2d", "1d", "3d")
    for follows_conv in (True, False)
    for large in (True, False)
    for situation in SITUATIONS
    if (large and (kind == "2d" or follows_conv or situation == "dynamic sizes"))
    or (kind == "2d" and situation != "dynamic sizes")
]


@pytest.mark.parametrize(("kind", "follows_conv", "large", "situation"), CASES)
def test_passes_fire_where_they_should_and_keep_the_numbers(
    kind: str, follows_conv: bool, large: bool, situation: str
) -> None:
    assert kind in KINDS
    batch, dynamic = SITUATIONS[situation]
    layers = [
        one_hot_layer(kind, pair, seed, correction=correction)
        for seed, (pair, correction) in enumerate(LAYERS)
    ]
    network = Branches(kind, layers, adjacent=follows_conv).eval()
    shape = LARGE[kind] if large else SMALL[kind]
    x = sample(shape, batch)
    pruned = prune(network, x, any_size=dynamic == "spatial").model
    graph = exported(pruned, x, dynamic)
    with torch.no_grad():
        exact = float64_copy(network)(x.double())
        single = pruned(x)
    before, _ = graph.with_passes([])
    unchanged = outputs(before, x)
    subtracting = {
        (str(pair), correction)
        for (pair, correction), layer in zip(LAYERS, pruned.layers, strict=True)
        if getattr(layer, "running_mean", None) is not None
    }
    assert follows_conv or {("BN/IN", 0), ("BN/LN", 1)} <= subtracting
    expected = firing(kind, follows_conv, large, situation, subtracting)
    for passes in ([entry] for entry in layer_passes()):
        code = passes[0].code
        after, records = graph.with_passes(passes)
        fired = {
            (str(LAYERS[index][0]), LAYERS[index][1])
            for record in records
            for index in (int(module.removeprefix("layers.")) for module in record.modules)
        }
        assert fired == expected.get(code, set())
        assert [record.count for record in records] == [len(fired)] * bool(fired)
        if not fired:
            assert after.graph.node == before.graph.node
            continue
        compared = zip(outputs(after, x), unchanged, single, exact, LAYERS, strict=True)
        for value, old, own, reference, layer in compared:
            own_error = float((own.double() - reference).abs().max())
            bound = rounding_bound(own_error, float(reference.abs().max()))
            assert float((value.double() - reference).abs().max()) <= bound, layer
            assert float((value - old).abs().max()) <= bound, layer
            if (str(layer[0]), layer[1]) not in fired:
                assert torch.equal(value, old)


def test_the_table_in_its_order_leaves_one_form_a_layer() -> None:
    """What is normalized in one pass is not looked at by the passes that follow."""
    layers = [one_hot_layer("2d", pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
    network = Branches("2d", layers, adjacent=False).eval()
    x = sample(LARGE["2d"], 1)
    pruned = prune(network, x).model
    _, records = exported(pruned, x, "none").with_passes(passes_of("onnxruntime"))
    assert [record.code for record in records] == ["one_sample"]
    assert pass_named("one_sample").layers
