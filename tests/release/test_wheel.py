"""The check of the wheel can fail; CI runs it whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

RELEASE = Path(__file__).parents[2] / "release"


def test_a_file_that_the_wheel_lacks_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(RELEASE))
    import wheel

    there = wheel.files_of_package()
    assert {"ssn_prune/py.typed", "ssn_prune/reporting/assets/page.css"} <= there
    monkeypatch.setattr(wheel, "files_of_package", lambda: there | {"ssn_prune/table.json"})
    monkeypatch.setattr(sys, "argv", ["wheel.py"])
    with pytest.raises(SystemExit, match=r"not in the wheel: ssn_prune/table\.json"):
        wheel.main()
