"""Checkpoints as training tools write them: sound weights with inert metadata of all kinds.

Each entry of the tables is a value stored next to the weights, or a way to write the file.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import random
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from benign_classes import enumeration, importable, stand_in
from safetensors.torch import save_file
from sound_network import Network
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Writer = Callable[[pathlib.Path], None]
Phase = enumeration("my_project.training", "Phase", {"WARMUP": 1, "MAIN": 2})
Mode = enumeration("my_project.training", "Mode", {"TRAIN": "train", "TEST": "test"}, str)


def network() -> Network:
    """The sound network with values as after training."""
    torch.manual_seed(0)
    model = Network().eval()
    with torch.no_grad():
        for gate, entry in ((model.n.mean_weight, 0), (model.n.var_weight, 2)):
            gate.copy_(torch.eye(3)[entry])
        model.n.mean_fixed.fill_(1), model.n.var_fixed.fill_(1), model.n.radius.fill_(1)
        model.n.weight.uniform_(0.5, 1.5), model.n.bias.normal_()
        model.n.running_mean.normal_(), model.n.running_var.uniform_(0.5, 2)
        model.n.num_batches_tracked.fill_(1000)
    return model


MODEL = network()
STATE: dict[str, Tensor] = MODEL.state_dict()


def trained(make: Callable[[Any], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """An optimizer after one step."""
    model = network().train()
    optimizer = make(model.parameters())
    model(torch.ones(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return optimizer


def _optimizers() -> dict[str, Any]:
    made = {
        "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "Adam": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
        "AdamW": lambda p: torch.optim.AdamW(p, 1e-3),
        "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-3),
    }
    return {f"optimizer {name}": trained(make).state_dict() for name, make in made.items()}


def _schedulers() -> dict[str, Any]:
    optimizer = torch.optim.SGD(network().parameters(), 0.1)
    schedule = torch.optim.lr_scheduler
    made = [
        schedule.StepLR(optimizer, 3),
        schedule.CosineAnnealingLR(optimizer, 9),
        schedule.MultiStepLR(optimizer, [3, 6]),
        schedule.OneCycleLR(optimizer, 0.1, total_steps=9),
        schedule.LambdaLR(optimizer, lambda _: 1.0),
        schedule.ReduceLROnPlateau(optimizer),
    ]
    return {f"scheduler {type(s).__name__}": s.state_dict() for s in made}


def _tools() -> dict[str, Any]:
    """Metadata that other tools store, with classes that pickle under their names."""
    options = {"lr": 0.1, "betas": (0.9, 0.999), "path": pathlib.PurePosixPath("/data")}
    attribute_dict = stand_in("lightning.fabric.utilities.data", "AttributeDict", dict)
    old_dict = stand_in("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    easy = stand_in("easydict", "EasyDict", dict)
    node = stand_in("yacs.config", "CfgNode", dict)
    zero = enumeration("deepspeed.runtime.zero.config", "ZeroStageEnum", {"weights": 3}, int)
    scaler = stand_in("deepspeed.runtime.fp16.loss_scaler", "LossScaler")
    arguments = stand_in("transformers.training_args", "TrainingArguments")
    strategy = enumeration("transformers.trainer_utils", "IntervalStrategy", {"NO": "no"}, str)
    history = stand_in("mmengine.logging.history_buffer", "HistoryBuffer")
    config = stand_in("mmengine.config.config", "ConfigDict", dict)
    meter = stand_in("torchmetrics.aggregation", "MeanMetric")
    fairseq = stand_in("fairseq.dataclass.configs", "FairseqConfig")
    return {
        "Lightning": {
            "pytorch-lightning_version": "2.5.1",
            "global_step": 100,
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
            "callbacks": {
                "ModelCheckpoint{'monitor': 'val'}": {
                    "best_model_score": torch.tensor(0.5),
                    "best_model_path": pathlib.PosixPath("/runs/best.ckpt"),
                    "best_k_models": {"/runs/a.ckpt": torch.tensor(0.5)},
                }
            },
            "optimizer_states": [trained(lambda p: torch.optim.SGD(p, 0.1)).state_dict()],
            "lr_schedulers": [],
            "hparams_name": "config",
            "hyper_parameters": attribute_dict(options),
            "hparams_type": attribute_dict,
        },
        "Lightning 1": {"hyper_parameters": old_dict(options), "hparams_name": "hparams"},
        "EasyDict": {"cfg": easy(options, nested=easy(a=1))},
        "yacs": {"cfg": node(MODEL=node(NAME="x"))},
        "DeepSpeed": {
            "buffer_names": ["n.running_mean"],
            "optimizer": None,
            "param_shapes": [collections.OrderedDict(a=torch.Size([3, 4]))],
            "frozen_param_shapes": None,
            "shared_params": {},
            "sparse_tensor_module_names": set(),
            "skipped_steps": 0,
            "dp_world_size": 8,
            "ds_config": {"zero_optimization": {"stage": zero(3)}},
            "loss_scaler": scaler(cur_scale=1.0),
            "ds_version": "0.15.0",
        },
        "transformers": {"args": arguments(lr=0.1, strategy=strategy("no"))},
        "mmengine": {
            "meta": {"time": "x", "cfg": "a = 1", "CLASSES": ("a", "b")},
            "message_hub": {"log_scalars": {"loss": history(_log_history=np.ones(3))}},
            "config": config(a=config(b=1)),
        },
        "torchmetrics": {"metric": meter(value=1.0)},
        "fairseq": {"cfg": fairseq(a=1), "extra_state": {"val_loss": 2.0}, "args": None},
        "enumeration of the user": {"phase": Phase.MAIN, "mode": Mode.TEST},
        "_classes": (
            *(attribute_dict, old_dict, easy, node, zero, scaler, arguments, strategy, history),
            *(config, meter, fairseq, Phase, Mode),
        ),
    }


TOOLS = _tools()
CLASSES = TOOLS.pop("_classes")

# Values stored next to the weights.
METADATA: dict[str, Any] = {
    **_optimizers(),
    **_schedulers(),
    "GradScaler": torch.amp.GradScaler("cpu").state_dict(),
    "random state of torch": torch.get_rng_state(),
    "random states of devices": [torch.get_rng_state()] * 2,
    "random state of numpy": np.random.get_state(),
    "random generator of numpy": np.random.default_rng(0).bit_generator.state,
    "random state of Python": random.Random(0).getstate(),
    "numpy float64": np.float64(76.5),
    "numpy float32": np.float32(0.5),
    "numpy int64": np.int64(3),
    "numpy bool": np.bool_(True),
    "numpy str": np.str_("x"),
    "numpy complex": np.complex128(1j),
    "numpy scalars in a dict": {"top1": np.float64(1), "top5": [np.float32(2)]},
    "numpy array": np.arange(6.0).reshape(2, 3),
    "numpy array, Fortran": np.asfortranarray(np.ones((3, 2))),
    "numpy array of text": np.array(["a", "bc"]),
    "numpy array of objects": np.array([{"a": 1}, None], dtype=object),
    "numpy array of records": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]),
    "numpy array of no axes": np.array(1.0),
    "numpy dtype": np.dtype("float32"),
    "Namespace": argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), nested=[{"a": (1, 2)}]),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "PosixPath": pathlib.PosixPath("/a/b"),
    "PureWindowsPath": pathlib.PureWindowsPath("C:/a"),
    "datetime": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    "date, time, timedelta": [datetime.date(2024, 1, 1), datetime.time(1), datetime.timedelta(1)],
    "Decimal and Fraction": [decimal.Decimal("0.1"), fractions.Fraction(1, 3)],
    "UUID": uuid.UUID(int=7),
    "defaultdict": collections.defaultdict(list, loss=[1.0]),
    "defaultdict of floats": collections.defaultdict(float, loss=1.0),
    "defaultdict of defaultdicts": {"a": collections.defaultdict(dict, b={1: 2})},
    "OrderedDict": collections.OrderedDict(b=1, a=2),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], maxlen=3),
    "sets": [{1, 2}, frozenset({"a"}), {(1, 2)}],
    "complex, bytes, bytearray": [1j, b"\0\xff", bytearray(b"x"), b""],
    "slice, range, Ellipsis": [slice(0, 3), range(4), ...],
    "large integers": [1 << 63, 1 << 200, -(1 << 200)],
    "keys of many kinds": {1: "a", (1, 2): "b", None: "c", 1.5: "d", False: "e", b"f": "g"},
    "text of all planes": "é \U0001f600 \n\t",
    "shared and recursive": (lambda a: (a.append(a), a)[1])([]),
    "torch Size, device, dtype": [torch.Size([2, 3]), torch.device("cuda:1"), torch.float16],
    "tensors of other dtypes": {str(d): torch.ones(2).to(d) for d in (torch.bfloat16, torch.uint8)},
    "a complex tensor": torch.ones(2, dtype=torch.complex64),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "a meta tensor": torch.ones(2, device="meta"),
    "a loss with its graph's end": torch.tensor(0.5, requires_grad=True),
    "an empty tensor": torch.ones(0, 3),
    "a strided view": torch.arange(12.0).reshape(3, 4).t()[1:, ::2],
    "a parameter": nn.Parameter(torch.ones(2)),
}


def _beside(value: Any) -> Writer:
    def write(path: pathlib.Path) -> None:
        entries = (
            value if isinstance(value, dict) and set(value) & {"cfg", "args"} else {"x": value}
        )
        torch.save({"epoch": 7, "state_dict": STATE, **entries}, path)

    return write


def _tool(entries: Mapping[str, Any]) -> Writer:
    def write(path: pathlib.Path) -> None:
        with importable(*CLASSES):
            torch.save({"epoch": 7, "state_dict": STATE, **entries}, path)

    return write


def _save(content: Any, **options: Any) -> Writer:
    return lambda path: torch.save(content, path, **options)


def _tagged(tag: str, legacy: bool) -> Writer:
    """A file written on another device."""

    def write(path: pathlib.Path) -> None:
        own = torch.serialization.location_tag
        torch.serialization.location_tag = lambda _storage: tag
        try:
            torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
        finally:
            torch.serialization.location_tag = own

    return write


def _average(path: pathlib.Path) -> None:
    average = AveragedModel(MODEL, use_buffers=True)
    torch.save({"epoch": 1, "state_dict": STATE, "state_dict_ema": average.state_dict()}, path)


def _prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


LAYOUTS: dict[str, Writer] = {
    **{f"protocol {p}": _save(STATE, pickle_protocol=p) for p in (2, 3, 4, 5)},
    **{
        f"legacy, protocol {p}": _save(
            {"epoch": 1, "state_dict": STATE},
            pickle_protocol=p,
            _use_new_zipfile_serialization=False,
        )
        for p in (1, 2, 3, 4, 5)
    },
    **{
        f"{tag}{', legacy' if legacy else ''}": _tagged(tag, legacy)
        for tag in ("cuda:0", "cuda:7", "mps", "xla:1", "xpu:0", "npu:0", "hpu")
        for legacy in (False, True)
    },
    "bare": _save(STATE),
    "plain dict": _save(dict(STATE)),
    "parameters": _save({k: nn.Parameter(v, False) if v.is_floating_point() else v for k, v in STATE.items()}),
    "model_state_dict": _save({"model_state_dict": STATE, "epoch": 1}),
    "model": _save({"model": STATE}),
    "module.": _save({"state_dict": _prefixed("module.")}),
    "model.": _save({"state_dict": _prefixed("model.")}),
    "_orig_mod.": _save(_prefixed("_orig_mod.")),
    "module._orig_mod.": _save(_prefixed("module._orig_mod.")),
    "an average beside": _average,
    "DeepSpeed's module": _save({"module": STATE, "ds_version": "0.15"}),
    "safetensors": lambda path: save_file(STATE, path),
    "safetensors with metadata": lambda path: save_file(STATE, path, {"format": "pt", "epoch": "7"}),
    "all tensors of one storage": _save(
        {k: torch.cat([torch.zeros(3).to(v), v.flatten()])[3:].reshape(v.shape) for k, v in STATE.items()}
    ),
}  # fmt: skip

FILES: dict[str, Writer] = {
    **{f"metadata: {name}": _beside(value) for name, value in METADATA.items()},
    **{f"tool: {name}": _tool(entries) for name, entries in TOOLS.items()},
    **{f"layout: {name}": write for name, write in LAYOUTS.items()},
}
