"""The faults that ``planted_bugs.py`` plants can still be planted."""

from __future__ import annotations

from pathlib import Path

from planted_faults import FAULTS

import ssn_prune

TESTS = Path(__file__).resolve().parents[1]


def test_every_fault_has_its_text_once_and_its_tests() -> None:
    package = Path(ssn_prune.__file__).parent
    for fault in FAULTS:
        assert (package / fault.file).read_text().count(fault.old) == 1, fault.name
        assert fault.old != fault.new
        for name in fault.tests:
            assert (TESTS / name).is_file(), f"{fault.name}: {name}"
