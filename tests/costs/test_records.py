"""The JSON of costs is documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import ssn_prune
from ssn_prune.costs.records import SCHEMA_VERSION, Costs, LayerPairCost, LayerShapes

PAGE = Path(ssn_prune.__file__).parents[1] / "docs" / "costs.md"


def test_every_field_is_documented():
    text = PAGE.read_text(encoding="utf-8")
    for record in (Costs, LayerShapes, LayerPairCost):
        section = text.split(f"### {record.__name__}\n")[1].split("\n### ")[0]
        for field in fields(record):
            assert f"`{field.name}`" in section, field.name
    assert f"version {SCHEMA_VERSION}" in text
