"""Opening ONNX files in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from ssn_prune.errors import InferenceRuntimeError, first_line


def open_session(
    source: Path | bytes,
    name: str,
    *,
    threads: int = 1,
    spinning: bool = True,
    profile: Path | None = None,
) -> Any:
    """An ``onnxruntime.InferenceSession``.

    Args:
        source: The file, or a serialized model.
        name: Its name, for errors.
        threads: Number of threads.
        spinning: Whether threads that wait spin, against whatever else runs.
        profile: Prefix of a file to write a profile to.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    model = str(source) if isinstance(source, Path) else source
    try:
        return onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime has a class of its own for every status code and no common base.
    except Exception as error:
        raise runtime_error(name, error) from error


def runtime_error(name: str, error: Exception) -> InferenceRuntimeError:
    """What the user is told when ONNX Runtime cannot load or run a file."""
    return InferenceRuntimeError(
        f"ONNX Runtime cannot run {name}",
        expected="an ONNX file for inputs of this network",
        found=first_line(error),
        hint="check that the file belongs to this checkpoint and input size",
    )
