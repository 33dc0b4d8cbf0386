"""The state of a process and of a network, to compare before and after."""

from __future__ import annotations

import gc
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_FROZEN = "objects that the collector passes over"


def process_state() -> dict[str, Any]:
    """Everything that the threads of a process share and that code could change."""
    return {
        **_streams(),
        **_python(),
        **_logging(),
        **_torch(),
        **_random(),
        **held_by_process(),
    }


def held_by_process() -> dict[str, Any]:
    """Descriptors with their targets, threads, and files in the temporary folder."""
    gc.collect()
    threads = {thread.name for thread in threading.enumerate()}
    files = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that lists the folder
            continue
    return {"descriptors": descriptors, "threads": threads, "temporary files": files}


def threads_of_process() -> int:
    """All threads, including those that are not Python's."""
    return len(os.listdir("/proc/self/task"))


def _streams() -> dict[str, Any]:
    names = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
    return {name: id(getattr(sys, name)) for name in names}


def _python() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "path": list(sys.path),
        "finders": list(sys.meta_path),
        "path hooks": list(sys.path_hooks),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": mask,
        "limits": [resource.getrlimit(kind) for kind in range(10)],
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        _FROZEN: gc.get_freeze_count(),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "warnings": list(warnings.filters),
        "warning hooks": (warnings.showwarning, warnings.formatwarning),
        "temporary folder": tempfile.gettempdir(),
    }


def _logging() -> dict[str, Any]:
    known = list(logging.root.manager.loggerDict.items())
    named = {name: logger for name, logger in known if isinstance(logger, logging.Logger)}
    state: dict[str, Any] = {
        f"logger {name}": (
            logger.level,
            logger.disabled,
            logger.propagate,
            list(logger.filters),
            [(handler, handler.level, list(handler.filters)) for handler in logger.handlers],
        )
        for name, logger in {"": logging.root, **named}.items()
    }
    last = logging.lastResort
    assert last is not None
    state["last resort"] = (last, last.level, list(last.filters))
    state["logging"] = (logging.root.manager.disable, logging.getLoggerClass())
    return state


def _torch() -> dict[str, Any]:
    return {
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "defaults": (torch.get_default_dtype(), torch.get_default_device()),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly": torch.is_anomaly_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "backends": (
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.mkldnn.enabled,
            torch.backends.quantized.engine,
        ),
        "compilers": (torch.compiler.is_compiling(), torch.compiler.is_exporting()),
        "onnx": torch.onnx.is_in_onnx_export(),
        "jit": torch.jit.is_tracing(),
        "module calls": (nn.Module.__call__, nn.Module.__getattr__, nn.Module.__setattr__),
        "dispatch modes": _get_current_dispatch_mode_stack(),
        "function modes": _get_current_function_mode_stack(),
        "global hooks": len(nn.modules.module._global_forward_hooks),
        "cuda constructors": (torch.cuda.FloatTensor, torch.cuda.LongTensor),
    }


def _random() -> dict[str, Any]:
    numbers = np.random.get_state(legacy=False)
    return {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "NumPy's generator": repr(numbers) + str(numbers["state"]["key"].tobytes()),
        "Python's generator": random.getstate(),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Entries that existed before and have changed; new ones, such as loggers, do not count."""
    return {
        name: (value, after[name])
        for name, value in before.items()
        if (_frozen_or_thawed(value, after[name]) if name == _FROZEN else after[name] != value)
    }


def _frozen_or_thawed(before: int, after: int) -> bool:
    """A frozen object may end; the collector's call makes them more, or none at all."""
    return after > before or (before > 0 and after == 0)


def network_state(model: nn.Module) -> dict[str, Any]:
    """The state of a network: identities, values, modes, gradients, hooks and attributes."""
    state: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        state[f"{path}: module"] = (id(module), type(module), module.training)
        for name, value in vars(module).items():
            known = isinstance(value, dict | list | set)
            state[f"{path}.{name}"] = (id(value), list(value) if known else value)
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                state[f"{path}: {name}"] = _tensor_state(tensor)
    return state


def _tensor_state(tensor: torch.Tensor) -> tuple[Any, ...]:
    gradient = tensor.grad
    return (
        id(tensor),
        tensor.data_ptr(),
        tensor._version,
        tensor.dtype,
        tensor.device,
        tensor.requires_grad,
        tensor.stride(),
        tensor.detach().numpy().tobytes(),
        None if gradient is None else (id(gradient), gradient.numpy().tobytes()),
        None if tensor._backward_hooks is None else list(tensor._backward_hooks),
    )
