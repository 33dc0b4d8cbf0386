"""Sessions of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ssn_prune.errors import InferenceRuntimeError, first_line
from ssn_prune.runtime.messages import KINDS_OF_NUMBERS
from ssn_prune.runtime.providers import CPU, provider_with_options, require_provider
from ssn_prune.text import printable, shortened, without_surrogates


def open_session(
    source: Path | bytes,
    name: str,
    *,
    threads: int = 1,
    spinning: bool = True,
    profile: Path | None = None,
    provider: str = CPU,
    float32: bool = False,
) -> Any:
    """Open an ``onnxruntime.InferenceSession``.

    Args:
        source: The file, or a serialized model.
        name: Its name, for errors.
        threads: Number of threads.
        spinning: Whether waiting threads spin, which slows down other programs.
        profile: Prefix of a file to write a profile to.
        provider: The execution provider.
        float32: Compute in full float32 where the device would by default use less precision.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
        ArgumentError: It would run on another provider.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    model = str(source) if isinstance(source, Path) else source
    if isinstance(model, str) and without_surrogates(model) != model:
        raise InferenceRuntimeError(
            f"ONNX Runtime cannot open {name}",
            expected="a path in Unicode, folders included",
            found=printable(model),
            hint="rename it",
        )
    try:
        session = onnxruntime.InferenceSession(
            model,
            sess_options=options,
            providers=[provider_with_options(provider, float32=float32)],
        )
    # ONNX Runtime has a class of its own for every status code and no common base.
    except Exception as error:
        raise runtime_error(name, error) from error
    require_provider(session, name, provider)
    return session


def run_session(session: Any, name: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a file once.

    Args:
        session: The session of the file.
        name: Name of the file, for errors.
        arrays: Its inputs, in its order.

    Returns:
        Its outputs, in its order.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot run it, or an output is not an array of numbers.
    """
    names = [value.name for value in session.get_inputs()]
    if len(names) != len(arrays):
        found = f"{len(names)} inputs, and the network has {len(arrays)}"
        raise runtime_error(name, ValueError(found))
    try:
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
    # ONNX Runtime has a class of its own for every status code and no common base.
    except Exception as error:
        raise runtime_error(name, error) from error
    described = zip(session.get_outputs(), outputs, strict=True)
    return [_numbers(output, value, name) for value, output in described]


def _numbers(output: Any, value: Any, name: str) -> np.ndarray:
    if isinstance(output, np.ndarray | np.generic):
        found = np.asarray(output)
        if found.dtype.kind in KINDS_OF_NUMBERS:
            return found
    raise InferenceRuntimeError(
        f"the output {printable(shortened(value.name))} of {name} is no tensor of numbers",
        expected="outputs like those of the network",
        found=printable(value.type),
        hint="convert the checkpoint again and verify that file",
    )


def runtime_error(name: str, error: BaseException) -> InferenceRuntimeError:
    """The error for a file that ONNX Runtime cannot load or run."""
    return InferenceRuntimeError(
        f"ONNX Runtime cannot run {name}",
        expected="an ONNX file for inputs of this network",
        found=printable(first_line(error)),
        hint="check that the file belongs to this checkpoint and input size",
    )
