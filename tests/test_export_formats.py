"""Every format writes files that its own runtime reproduces the network from."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_checks import assert_refuses_other_files, assert_writes_and_runs

from ssn_prune.export_formats import EXPORT_FORMATS, ExportFormat


@pytest.mark.parametrize("entry", EXPORT_FORMATS, ids=lambda entry: entry.name)
def test_a_file_is_written_and_runs(entry: ExportFormat, tmp_path: Path) -> None:
    assert_writes_and_runs(entry, tmp_path)


@pytest.mark.parametrize("entry", EXPORT_FORMATS, ids=lambda entry: entry.name)
def test_a_file_of_something_else_is_refused(entry: ExportFormat, tmp_path: Path) -> None:
    assert_refuses_other_files(entry, tmp_path)


def test_names_and_suffixes_are_those_of_one_format() -> None:
    for values in ([e.name for e in EXPORT_FORMATS], [e.suffix for e in EXPORT_FORMATS]):
        assert len(set(values)) == len(values)
    assert all(entry.suffix.startswith(".") for entry in EXPORT_FORMATS)
