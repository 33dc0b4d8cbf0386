"""Every error is provoked, and every cure that is a command or an option is tried."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from cli_checks import fails, run_cli
from error_catalogue import FAILURES, save
from error_texts import PACKAGE
from helpers import tiny_network
from torch import nn

import ssn_prune
from ssn_prune.cli.exit_codes import OK, exit_code
from ssn_prune.cli.flags import with_flags
from ssn_prune.errors import ExportError, NoSwitchableLayerError

MAKER = PACKAGE.parent / "docs" / "make_errors.py"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_errors", MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "case", FAILURES, ids=lambda case: f"{case.code}: {' '.join(case.command)}"
)
def test_a_failure_names_a_cure_that_works(case, tmp_path, monkeypatch, maker):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    save("net.pth", tiny_network().state_dict())
    case.prepare()
    case.patch(monkeypatch)
    (kind,) = [kind for kind in maker.kinds() if kind.code == case.code]
    text, error = fails(tmp_path, exit_code(kind.__new__(kind)), *case.command)
    assert (error["code"], error["type"]) == (case.code, kind.__name__)
    assert case.words in text
    if case.cure is None:
        return
    command, hint = list(case.command), error["hint"]
    for _ in range(case.repeat):
        command = case.cure(hint, command)
        cured = run_cli(*command)
        if cured.exit_code == OK:
            break
        hint = cured.stderr
    assert cured.exit_code == OK, cured.stderr


def test_every_error_is_provoked_and_none_is_the_base(maker):
    assert {case.code for case in FAILURES} == {kind.code for kind in maker.kinds()}
    raised = [
        node.func.id
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert "SsnPruneError" not in raised


def test_every_option_of_a_cure_is_tried(maker):
    for kind in maker.kinds():
        _, cure = maker.meaning_and_cure(kind)
        tried = {getattr(case.cure, "name", "") for case in FAILURES if case.code == kind.code}
        assert set(re.findall(r"--[a-z0-9-]+", with_flags(cure))) <= tried, kind.__name__


def test_a_network_without_switchable_layers_gets_them_as_the_hint_says():
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(NoSwitchableLayerError, match=r"convert_to_ssn\(model\)\.model"):
        ssn_prune.RadiusSchedule(plain, total_steps=10)
    ssn_prune.RadiusSchedule(ssn_prune.convert_to_ssn(plain).model, total_steps=10)


def test_a_network_that_is_not_pruned_is_exported_as_the_hint_says(tmp_path: Path):
    model, inputs = tiny_network(), torch.zeros(2, 1, 8, 8)
    with pytest.raises(ExportError, match=r"prune\(model, inputs\)\.model"):
        ssn_prune.export_onnx(model, inputs, tmp_path / "m.onnx")
    ssn_prune.export_onnx(ssn_prune.prune(model, inputs).model, inputs, tmp_path / "m.onnx")


def test_the_page_is_what_the_classes_say(maker):
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page()
