"""The history of the gates: their ratios over the training, for the report.

Recording keeps one small tensor per step on the gates' device without waiting for it. The values
are fetched when the history is saved.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ssn_prune.errors import CheckpointError
from ssn_prune.files import replacing, resolved, write_errors
from ssn_prune.nn.gate_batches import gate_ratios
from ssn_prune.nn.ssn import SSN
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

# What numpy, zipfile and json raise on files that are damaged or something else.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
_FORMAT = "ssn_prune gate history 1"


class ScalarWriter(Protocol):
    """The part of TensorBoard's SummaryWriter that is used: any logger with this method will do."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Log one value."""


@dataclass(frozen=True)
class GateRecords:
    """The gates over a training.

    Attributes:
        layers: Names of the L layers.
        steps: Steps that were recorded, (S,) int64.
        ratios: (S, L, 2, 3) float32: for the mean and the variance gate the ratios of IN, LN and
            BN; 0 for a normalizer that the layer does not offer.
    """

    layers: tuple[str, ...]
    steps: np.ndarray[Any, np.dtype[np.int64]]
    ratios: np.ndarray[Any, np.dtype[np.float32]]

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file; it appears complete or not at all.

        Args:
            path: The file; parent folders must exist.

        Raises:
            OutputError: It cannot be written; an existing file is unchanged.
        """
        header = np.array(json.dumps({"format": _FORMAT, "layers": self.layers}))
        target = resolved(path)
        with replacing(target) as partial, write_errors(target), partial.open("wb") as file:
            np.savez_compressed(file, header=header, steps=self.steps, ratios=self.ratios)

    @classmethod
    def load(cls, path: str | Path) -> GateRecords:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            CheckpointError: The file is missing or is not a gate history.
        """
        if Path(path).exists() and not Path(path).is_file():  # opening a FIFO would wait
            raise _not_a_history(path, "no regular file")
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as content:
                header = json.loads(str(content["header"]))
                records = cls(tuple(header["layers"]), content["steps"], content["ratios"])
            shape = (len(records.steps), len(records.layers), 2, 3)
            sound = (
                header["format"] == _FORMAT
                and all(isinstance(name, str) for name in records.layers)
                and records.steps.dtype == np.int64
                and records.steps.ndim == 1
                and records.ratios.dtype == np.float32
                and records.ratios.shape == shape
            )
        except _UNREADABLE as error:
            system = getattr(error, "strerror", None)
            found = system.lower() if system else f"{type(error).__name__}: {error}"
            raise _not_a_history(path, found) from error
        if not sound:
            raise _not_a_history(path, f"format {header['format']!r}, {records.ratios.shape}")
        return records

    def write_tensorboard(self, writer: ScalarWriter) -> None:
        """Log every ratio as ``gates/LAYER/mean/BN``, step by step.

        Args:
            writer: TensorBoard's SummaryWriter, or anything with its ``add_scalar``.
        """
        for step, per_layer in zip(self.steps, self.ratios, strict=True):
            for name, gates in zip(self.layers, per_layer, strict=True):
                for gate, row in zip(("mean", "var"), gates, strict=True):
                    for normalizer in Normalizer:
                        tag = f"gates/{name}/{gate}/{normalizer.name}"
                        writer.add_scalar(tag, float(row[normalizer]), int(step))


class GateHistory:
    """Records the gates of a model while it trains.

    Pass it to :class:`RadiusSchedule`, or call :meth:`record` after every step.

    Args:
        model: A network with switchable layers.
        every: Record only steps that are a multiple of this, at least 1.
    """

    def __init__(self, model: nn.Module, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.every = every
        named = [(n, m) for n, m in model.named_modules() if isinstance(m, SwitchableNorm)]
        self._names = tuple(name for name, _ in named)
        self._layers = [module for _, module in named]
        self._steps: list[int] = []
        self._ratios: list[Tensor] = []

    @torch.no_grad()
    def record(self, step: int) -> None:
        """Record the present ratios if ``step`` is a multiple of ``every``."""
        if step % self.every:
            return
        sparse = [layer for layer in self._layers if isinstance(layer, SSN)]
        solved = iter(gate_ratios(sparse))
        rows = []
        for layer in self._layers:
            both = next(solved) if isinstance(layer, SSN) else torch.stack(layer.gates())
            rows.append(_columns(both, layer.normalizers))
        self._steps.append(step)
        # The gates of a network that is spread over several devices are gathered on the first.
        gathered = [row.to(rows[0].device) for row in rows]
        self._ratios.append(torch.stack(gathered) if rows else torch.zeros(0, 2, 3))

    def records(self) -> GateRecords:
        """What was recorded so far; this waits for the device."""
        shape = (0, len(self._names), 2, 3)
        stacked = torch.stack(self._ratios).cpu() if self._ratios else torch.zeros(shape)
        return GateRecords(
            self._names, np.array(self._steps, dtype=np.int64), stacked.numpy().astype(np.float32)
        )

    def load_records(self, records: GateRecords) -> None:
        """Continue from an earlier part of the same training.

        Raises:
            CheckpointError: The records are of a network with other layers.
        """
        if records.layers != self._names:
            raise CheckpointError(
                "the gate history belongs to another network",
                expected=f"the layers {', '.join(self._names[:4])}, ... ({len(self._names)})",
                found=f"{', '.join(records.layers[:4])}, ... ({len(records.layers)})",
                hint="start a new history, or give the file that was saved with this network",
            )
        device = self._layers[0].mean_weight.device if self._layers else "cpu"
        self._steps = [int(step) for step in records.steps]
        self._ratios = list(torch.from_numpy(records.ratios.copy()).to(device).unbind())


def _columns(ratios: Tensor, offered: tuple[Normalizer, ...]) -> Tensor:
    """(2, K) to (2, 3), with 0 for what is not offered.

    Columns are stacked: to index, the host would copy the index to the device and wait for that.
    """
    absent = torch.zeros_like(ratios[:, 0])
    columns = [ratios[:, offered.index(n)] if n in offered else absent for n in Normalizer]
    return torch.stack(columns, dim=1).float()


def _not_a_history(path: str | Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a gate history",
        expected="an .npz file written by GateRecords.save",
        found=found,
        hint="record one with RadiusSchedule(..., history=GateHistory(model)) and save it with "
        "history.records().save(path)",
    )
