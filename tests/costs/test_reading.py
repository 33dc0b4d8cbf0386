"""Costs from a file: what was written is read, and nothing else gets through."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from costs_samples import cheap_costs
from helpers import tiny_network

from ssn_prune import LoadedCheckpoint
from ssn_prune.costs.matching import require_costs_of
from ssn_prune.costs.reading import LARGEST_FILE, read_costs
from ssn_prune.costs.records import LayerShapes
from ssn_prune.errors import CostsError
from ssn_prune.json_values import to_json

COSTS = cheap_costs(["sn1", "sn2"])
DOCUMENT = to_json(COSTS)


def written(tmp_path, document):
    path = tmp_path / "costs.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def changed(**fields):
    return {**DOCUMENT, **fields}


def layer(**fields):
    return changed(layers=[{**DOCUMENT["layers"][0], **fields}, *DOCUMENT["layers"][1:]])


def test_what_was_written_is_read(tmp_path):
    assert read_costs(written(tmp_path, DOCUMENT)) == COSTS
    unknown = replace(COSTS, norm_free_ms=None)
    assert read_costs(written(tmp_path, to_json(unknown))) == unknown


def test_noise_below_zero_is_no_error(tmp_path):
    assert read_costs(written(tmp_path, layer(milliseconds=-0.4))).layers[0].milliseconds == -0.4


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (changed(schema_version=2), "another version"),
        (changed(schema_version="1"), "schema_version does not hold"),
        (changed(schema_version=True), "schema_version does not hold"),
        ({k: v for k, v in DOCUMENT.items() if k != "layers"}, "lacks the field layers"),
        (changed(norm_free_ms=0), "norm_free_ms"),
        (changed(norm_free_ms=-1.0), "norm_free_ms"),
        (changed(norm_free_ms="9"), "norm_free_ms"),
        (changed(threads=0), "threads"),
        (changed(threads=1.5), "threads"),
        (changed(batch=10**400), "batch"),
        (changed(runtime=3), "runtime"),
        (changed(input_sizes=[[0]]), "input_sizes"),
        (changed(input_sizes=[3]), "input_sizes"),
        (changed(shapes=[]), "shapes"),
        (changed(shapes=DOCUMENT["shapes"] * 2), "shapes"),
        (changed(shapes=[{"layer": "sn1", "inputs": [[4]]}]), "shapes"),
        (changed(shapes=DOCUMENT["shapes"][:1]), "layers does not fit"),
        (changed(layers=DOCUMENT["layers"] * 2), "layers does not fit"),
        (layer(layer=None), "layer"),
        (layer(milliseconds=-0.7), "less than nothing"),
        (layer(milliseconds=None), "milliseconds"),
        (layer(milliseconds=1e300), "milliseconds"),
        (layer(milliseconds=[]), "milliseconds"),
        (layer(pair="IN/IN"), "pair"),
        (layer(pair={"mean": "IN", "var": "GN"}), "pair"),
        ([], "the document"),
        ("null", "the document"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (json.dumps(DOCUMENT)[:-40], "not JSON"),
        (json.dumps(DOCUMENT).replace("1.0", "NaN", 1), "NaN"),
        (json.dumps(DOCUMENT).replace("1.0", "Infinity", 1), "Infinity"),
        (json.dumps(DOCUMENT).replace('"threads": 1', '"threads": ' + "9" * 5000), "not JSON"),
        (" " * LARGEST_FILE + "{}", "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_what_cannot_be_is_refused(tmp_path, document, words):
    with pytest.raises(CostsError) as caught:
        read_costs(written(tmp_path, document))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert caught.value.hint


def labels_or_error(path):
    """What can be shown of a file; any other error passes."""
    try:
        found = read_costs(path)
    except CostsError as error:
        return str(error)
    return found.runtime + found.processor + found.provider + found.date + found.target


def test_junk_in_any_place_is_a_typed_error_or_nothing(tmp_path):
    def places(value, path=()):
        yield path
        if isinstance(value, dict | list):
            keys = list(value) if isinstance(value, dict) else range(len(value))
            for key in keys:
                yield from places(value[key], (*path, key))

    small = to_json(cheap_costs(["a"], dict.fromkeys(list(COSTS._by_layer["sn1"])[:2], 1.0)))
    for path in list(places(small)):
        for junk in (None, -5, 1e308, "\x1b[31m", [], {}, [[]], True):
            document = json.loads(json.dumps(small))
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            if path:
                inner[path[-1]] = junk
            said = labels_or_error(written(tmp_path, document if path else junk))
            assert "\x1b" not in said


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    for name in ("missing", "fifo", "binary", "."):
        with pytest.raises(CostsError, match="cannot be read"):
            read_costs(tmp_path / name)


@pytest.fixture(scope="module")
def loaded():
    return LoadedCheckpoint(tiny_network().eval(), (1, 8, 8), source=None)


def test_costs_of_the_network_are_taken(loaded):
    require_costs_of(COSTS, loaded)


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        (cheap_costs(["sn1"]), "no costs of sn2"),
        (cheap_costs(["sn1", "sn2", "sn3"]), "also sn3"),
        (cheap_costs(["sn1", "sn2"], channels=8), "1x8x8x8"),
        (replace(COSTS, shapes=(*COSTS.shapes[:1], LayerShapes("sn2", ()))), "no call"),
        (replace(COSTS, layers=COSTS.layers[1:]), "no IN/IN at 'sn1'"),
        (replace(COSTS, batch=2), "2x4x8x8"),
    ],
)
def test_costs_of_another_network_are_refused(loaded, costs, words):
    with pytest.raises(CostsError, match="of another network") as caught:
        require_costs_of(costs, loaded)
    assert words in str(caught.value)


def test_the_network_stays_as_it_is(loaded):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    require_costs_of(COSTS, loaded)
    after = loaded.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
