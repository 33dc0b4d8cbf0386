"""Checkpoints of a training in progress: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ssn_prune import GateHistory, GateRecords
from ssn_prune.errors import ArgumentError
from ssn_prune.files import replacing, resolved

_PARTS = ("epoch", "best_prec1", "state_dict", "optimizer", "lr_scheduler", "scaler", "schedule")


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write with torch.save; a reader sees the old file or the complete new one.

    Args:
        content: Tensors and plain values only, so that ``torch.load(weights_only=True)`` reads it.
        path: The file; replaced if it exists.
    """
    with replacing(resolved(path)) as partial, partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())  # before the rename: a crash must not leave an empty file


def read_training(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint to resume from, on the CPU.

    Args:
        path: The file.
        settings: Those of the present training.

    Raises:
        ArgumentError: The file cannot be read, is not a training checkpoint, or was trained with
            other settings.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ArgumentError(
            f"{path} cannot be read",
            expected="a checkpoint.pth of this script",
            found=type(error).__name__,
            hint="give the checkpoint of an interrupted training",
        ) from error
    missing = [part for part in (*_PARTS, "settings") if part not in content]
    if missing:
        raise ArgumentError(
            f"{path} is not a training that could go on",
            expected="a checkpoint.pth of this script",
            found=f"no {', '.join(missing)}",
            hint="give the checkpoint of an interrupted training",
        )
    stored = content["settings"]
    changed = [key for key, value in settings.items() if stored.get(key) != value]
    if changed:
        raise ArgumentError(
            f"{path} was trained with other settings",
            expected=", ".join(f"{key} {stored.get(key)}" for key in changed),
            found=", ".join(f"{key} {settings[key]}" for key in changed),
            hint="repeat the options of the first run, or start a new training",
        )
    return dict(content)


def resume_history(history: GateHistory, path: Path, steps_done: int) -> None:
    """Fill ``history`` with the records of an interrupted training, if there are any.

    Records after the checkpoint's step are left out, because those steps are trained again.
    """
    if path.exists():
        records = GateRecords.load(path)
        kept = records.steps <= steps_done
        history.load_records(GateRecords(records.layers, records.steps[kept], records.ratios[kept]))
