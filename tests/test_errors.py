"""Errors: stable codes, texts that name Python arguments and no options."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from error_texts import converting, named_arguments, parameters_of, texts

import ssn_prune
from ssn_prune import errors
from ssn_prune.normalizer import Normalizer
from ssn_prune.selection import GateState, LayerSelection

CODES = {
    "SsnPruneError": "failure",
    "ArgumentError": "bad_argument",
    "CheckpointError": "bad_checkpoint",
    "UnsafeCheckpointError": "unsafe_checkpoint",
    "KeyMismatchError": "key_mismatch",
    "ArchitectureError": "bad_architecture",
    "NoSwitchableLayerError": "no_switchable_layer",
    "UnsupportedLayerError": "unsupported_layer",
    "UnconvergedGatesError": "unconverged_gates",
    "UndefinedVarianceError": "undefined_variance",
    "DataError": "bad_data",
    "CaptureError": "capture_failed",
    "ExportError": "export_failed",
    "InferenceRuntimeError": "runtime_failed",
    "UntrustedFileError": "untrusted_file",
    "OutputError": "output_not_written",
    "ReportError": "bad_report",
    "SearchError": "search_failed",
    "CostsError": "bad_costs",
    "VerificationError": "verification_failed",
}


def error_classes() -> dict[str, type[errors.SsnPruneError]]:
    found = vars(errors).items()
    return {
        name: value
        for name, value in found
        if isinstance(value, type) and issubclass(value, errors.SsnPruneError)
    }


def test_every_error_has_a_code_that_stays() -> None:
    assert {name: kind.code for name, kind in error_classes().items()} == CODES
    assert len(set(CODES.values())) == len(CODES)
    assert all(re.fullmatch("[a-z_]+", code) for code in CODES.values())


def test_every_error_is_public() -> None:
    for name, kind in error_classes().items():
        assert getattr(ssn_prune, name) is kind


def test_the_message_has_all_parts_in_reading_order() -> None:
    error = errors.ArgumentError("no", expected="a", found="b", hint="c")
    assert str(error) == "no\n  expected: a\n  found: b\n  try: c"
    assert error.details() == {"expected": "a", "found": "b", "try": "c"}
    assert str(errors.ArgumentError("no")) == "no"


PARTS = {"expected": "a", "found": "b", "hint": "c"}
GATE = GateState((0.5, 0.5), Normalizer.IN, False, 0.0)
OWN_ARGUMENTS = {
    "UnsafeCheckpointError": lambda kind: kind("x.pth", "os.system", whole_module=True),
    "KeyMismatchError": lambda kind: kind(
        "no", missing=["a"], unexpected=["b"], misshaped=["c"], **PARTS
    ),
    "UnconvergedGatesError": lambda kind: kind([LayerSelection("a", "SSN", 3, 0.5, GATE, GATE)], 2),
    "UndefinedVarianceError": lambda kind: kind(["a"]),
    "VerificationError": lambda kind: kind("no", layer="a", **PARTS),
}


@pytest.mark.parametrize("name", CODES)
def test_an_error_survives_the_way_to_another_process(name: str) -> None:
    kind = error_classes()[name]
    error = OWN_ARGUMENTS.get(name, lambda kind: kind("no", **PARTS))(kind)
    error.report = GATE  # set later, like that of a VerificationError
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is kind
        assert (str(copied), vars(copied)) == (str(error), vars(error))
        assert copied.args == error.args


def test_the_library_has_no_exit_codes() -> None:
    assert not hasattr(errors.SsnPruneError, "exit_code")
    assert not [name for name in vars(errors) if "exit" in name.lower()]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_foreign_error_without_text_is_called_by_its_type(text: str) -> None:
    assert errors.first_line(ValueError(text)) == "ValueError"
    assert errors.first_line(ValueError("one\ntwo")) == "one"


def test_no_text_of_the_library_names_an_option_of_the_command_line() -> None:
    found = [place for place, text in texts() if re.search(r"(?<![\w-])--[a-z]", text)]
    assert not found


def test_every_argument_that_a_text_names_exists() -> None:
    public = [getattr(ssn_prune, name) for name in ssn_prune.__all__]
    known = converting() | parameters_of(*(value for value in public if callable(value)))
    named = named_arguments()
    assert {"input_size", "static_batch", "on_unconverged", "force"} <= named.keys()
    assert {name: place for name, place in named.items() if name not in known} == {}
