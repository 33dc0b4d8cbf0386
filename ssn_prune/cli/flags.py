"""Errors of the library name Python arguments in backticks; here they become options."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any

# Arguments of the library's functions and of their option classes.
FLAGS = {
    "arch": "--arch",
    "arch_args": "--arch-args",
    "prefix": "--prefix",
    "weights": "--weights",
    "input_size": "--input-size",
    "correction": "--correction",
    "on_unconverged": "--on-unconverged",
    "fold": "--fold",
    "target": "--target",
    "dynamic": "--dynamic",
    "static_batch": "--static-batch",
    "opset": "--opset",
    "ir_version": "--ir-version",
    "preprocessing": "--preprocessing",
    "mean": "--mean",
    "std": "--std",
    "resize": "--resize",
    "embed_preprocessing": "--embed-preprocessing",
    "data": "--data",
    "data_limit": "--data-limit",
    "trust_running_statistics": "--trust-running-statistics",
    "allow_unverified_layers": "--allow-unverified-layers",
    "format": "--format",
    "save_weights": "--save-weights",
    "trust_pt2": "--trust-pt2",
    "from_report": "--from-report",
    "force": "--force",
    "batch": "--batch",
    "threads": "--threads",
    "runs": "--runs",
    "profile": "--profile",
    "costs": "--costs",
    "budget": "--budget",
    "max_drop": "--max-drop",
    "search_images": "--search-images",
    "journal": "--journal",
    "save": "--save",
    "provider": "--provider",
    "runtimes": "--with",
    "timeout": "--timeout",
    "input_names": "--input-names",
    "output_names": "--output-names",
    "recursive": "--recursive",
    "every_layer": "--report",
}
COMMANDS = {
    "select(model)": "ssn-prune inspect CKPT --json",
    "algebra=False": "--verify rounding",
    "rounding=False": "--verify algebra",
}
_ARGUMENT = re.compile(r"`(\w+)=([^`]*)`")
_CALL = re.compile(r"`([^`]+)`")


def with_flags(text: str) -> str:
    """Replace arguments such as ```static_batch=4``` by options such as ``--static-batch 4``.

    Arguments that no command takes stay as they are.
    """
    text = _ARGUMENT.sub(_option, text)
    return _CALL.sub(lambda call: COMMANDS.get(call[1], call[0]), text)


def _option(argument: re.Match[str]) -> str:
    name, value = argument.groups()
    if name not in FLAGS:
        return argument[0]
    if not value:
        return FLAGS[name]
    try:
        found = ast.literal_eval(value)
    except (SyntaxError, ValueError):  # not a literal: shown unchanged
        return f"{FLAGS[name]} {value}"
    if isinstance(found, bool):
        return FLAGS[name] if found else FLAGS[name].replace("--", "--no-", 1)
    return f"{FLAGS[name]} {_value(found)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return shlex.quote(json.dumps(value))
    if isinstance(value, tuple):
        sizes = all(isinstance(entry, int) for entry in value)
        return "x".join(map(str, value)) if sizes else ",".join(map(_value, value))
    return shlex.quote(str(value))
