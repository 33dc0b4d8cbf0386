"""At least one way to get each error, and its cure: a command or option taken from the hint."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import pytest
import torch
from cli_checks import ARCH, run_cli
from costs_samples import cheap_costs
from helpers import Executes, TinyNetwork, one_hot_gates, reference_layout, tiny_network
from onnx import TensorProto, helper
from small_images import class_folders, zip_of
from torch import nn

from ssn_prune.costs import measuring
from ssn_prune.json_values import to_json
from ssn_prune.runtime import process
from ssn_prune.searching import delivery
from ssn_prune.searching.latencies import NORM_FREE, Latency

Command = list[str]


class Cure(Protocol):
    """Gives the command to run instead, from the hint and the first command; may prepare files."""

    def __call__(self, hint: str, command: Command, /) -> Command: ...


NETWORKS = """
import torch
from helpers import TinyNetwork
from torch.nn import functional


class PerBatch(TinyNetwork):
    def forward(self, x):
        return super().forward(x) * (2 if x.shape[0] > 4 else 1)


class Pooling(TinyNetwork):
    def forward(self, x):
        y = torch.relu(self.sn1(self.conv1(x)))
        return self.fc(functional.adaptive_avg_pool2d(self.sn2(self.conv2(y)), 2).amax((2, 3)))


class WithLayerNorm(TinyNetwork):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(super().forward(x))


class Float32Only(TinyNetwork):
    def forward(self, x):
        if x.dtype == torch.float64:
            raise TypeError("float32 only")
        return super().forward(x)
"""
UNCHECKED = ("--verify", "none")
CONVERT = ("convert", "net.pth", *ARCH)


@dataclass(frozen=True)
class Failure:
    """A command that fails in a folder with ``net.pth``, and its cure.

    Attributes:
        code: The code of the error.
        command: The command.
        cure: The cure; None if it is neither a command nor an option.
        words: Words that the message contains.
        prepare: Creates other files in the folder.
        patch: Monkeypatches what the commands use.
        repeat: How often the cure may have to be applied.
    """

    code: str
    command: tuple[str, ...]
    cure: Cure | None
    words: str = ""
    prepare: Callable[[], object] = lambda: None
    patch: Callable[[pytest.MonkeyPatch], None] = lambda _: None
    repeat: int = 1


@dataclass(frozen=True)
class Without:
    """Leave out an option that the hint names, and its value."""

    name: str

    def __call__(self, hint: str, command: Command) -> Command:
        assert self.name in hint, hint
        place = command.index(self.name)
        return [*command[:place], *command[place + 2 :]]


@dataclass(frozen=True)
class Flag:
    """Pass an option that the hint names, with values that only the user knows."""

    name: str
    values: tuple[str, ...] = ()

    def __call__(self, hint: str, command: Command) -> Command:
        kept = Without(self.name)(hint, command) if self.name in command else command
        assert self.name in hint, hint
        return [*kept, self.name, *self.values]


@dataclass(frozen=True)
class Option:
    """Pass an option with the value that the hint names, in place of another value."""

    name: str

    def __call__(self, hint: str, command: Command) -> Command:
        value = re.findall(rf"{self.name} ('[^']*'|[^\s,;]+)", hint)[0]
        return Flag(self.name, tuple(shlex.split(value)))(hint, command)


def shell(pattern: str) -> Cure:
    """Run a command from the hint, then the first command again."""

    def cured(hint: str, command: Command) -> Command:
        subprocess.run(shlex.split(re.search(pattern, hint)[0]), check=True)
        return command

    return cured


def in_order(hint: str, command: Command) -> Command:
    """Run the command from the hint, with the same options."""
    _, names = hint.split("with the same options: ssn-prune ")
    return [*shlex.split(names), *command[3:]]


def unchecked(hint: str, command: Command) -> Command:
    assert "leave the checks out" in hint
    return [*command, *UNCHECKED]


def other_checkpoint(hint: str, command: Command) -> Command:
    (name,) = re.findall(r"verify with ([\w.]+)", hint)
    return [command[0], name, *command[2:]]


def save(name: str, state: dict[str, Any]) -> None:
    torch.save({"state_dict": state}, name)


def saves_dangerous_file() -> None:
    torch.save(
        {"state_dict": tiny_network().state_dict(), "x": Executes(Path("canary"))}, "bad.pth"
    )


def saves_weights_again(hint: str, command: Command) -> Command:
    assert "torch.save(model.state_dict(), path)" in hint
    torch.save(tiny_network().state_dict(), "bad.pth")
    return command


def saves_running_sums() -> None:
    state = tiny_network().state_dict()
    save("bad.pth", {k: v * 5000 if "running_" in k else v for k, v in state.items()})


def saves_soft_gates() -> None:
    model = tiny_network()
    model.sn1.mean_fixed.zero_()
    with torch.no_grad():
        model.sn1.mean_weight.copy_(torch.tensor([0.6, 0.5, 0.4]))
    model.sn1.radius.fill_(0.5)
    save("bad.pth", reference_layout(model))


def saves_instance_variance() -> None:
    model = tiny_network()
    one_hot_gates(model.sn1, 2, 0)
    save("bad.pth", reference_layout(model))


def saves_wide_network() -> None:
    model = TinyNetwork(channels=8)
    for layer in (model.sn1, model.sn2):
        one_hot_gates(layer, 2, 2)
    save("bad.pth", model.state_dict())


def saves_two_networks() -> None:
    states = {name: tiny_network(seed).state_dict() for seed, name in enumerate(("a", "b"))}
    save("bad.pth", {f"{name}.{key}": v for name, s in states.items() for key, v in s.items()})


def writes_networks() -> None:
    Path("catalogue_networks.py").write_text(NETWORKS)


def saves_layer_norm() -> None:
    writes_networks()
    norm = {"norm.weight": torch.ones(3), "norm.bias": torch.zeros(3)}
    save("layer_norm.pth", {**tiny_network().state_dict(), **norm})


def writes_graph(batch: object = "N", height: object = 4, **metadata: str) -> Callable[[], None]:
    def write() -> None:
        shape = [batch, 3, height]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
        node = helper.make_node("Relu", ["x"], ["y"])
        graph = helper.make_graph([node], "g", values[:1], values[1:])
        opsets = [helper.make_opsetid("", 18)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        helper.set_model_props(model, {f"ssn_prune.{key}": text for key, text in metadata.items()})
        onnx.save(model, "m.onnx")

    return write


def starts_slowly(patch: pytest.MonkeyPatch) -> None:
    """The process that runs files needs more than a second before it does anything."""
    patch.setattr(process, "_START", f"import time; time.sleep(1.1)\n{process._START}")


def converts() -> None:
    assert run_cli(*CONVERT, *UNCHECKED).exit_code == 0
    save("other.pth", tiny_network(seed=1).state_dict())


def named_in_hint(hint: str, command: Command) -> Command:
    """Take the file's name from the end of the hint."""
    return [*command[:-1], hint.split()[-1]]


def converts_to_program() -> None:
    files = ("-o", "m.pt2", "--report", "run.json")
    assert run_cli(*CONVERT, *UNCHECKED, *files).exit_code == 0


def writes_images() -> None:
    converts()
    class_folders(Path("photos/test"))


def zips_images() -> None:
    assert run_cli(*CONVERT, *UNCHECKED, "--mean", "0.5", "--std", "0.5").exit_code == 0
    for name in ("test", "train"):
        class_folders(Path("photos") / name)
    zip_of(Path("photos"))


def named_folder(hint: str, command: Command) -> Command:
    """Take the folder inside the zip file from the hint."""
    return [*command[:-1], re.findall(r"give (\S+)", hint)[0]]


def made_up_costs(patch: pytest.MonkeyPatch) -> None:
    """Replace the measurement, which would take seconds."""
    patch.setattr(measuring, "measure_costs", lambda *_, **__: cheap_costs(["sn1", "sn2"]))


def made_up_latencies(patch: pytest.MonkeyPatch) -> None:
    """Make latencies equal in every run; real ones of so small a network are noise."""

    def latencies(_loaded: object, networks: Mapping[str, object], *_: object) -> Any:
        times = {name: 2.0 - 0.1 * place for place, name in enumerate(networks)}
        return {name: Latency(ms, ms, ms) for name, ms in {**times, NORM_FREE: 1.0}.items()}

    patch.setattr(delivery, "whole_latencies", latencies)


def writes_search() -> None:
    class_folders(Path("photos"), each=12)
    model = tiny_network()
    one_hot_gates(model.sn2, 1, 0)
    torch.save({"state_dict": model.state_dict()}, "net.pth")
    Path("costs.json").write_text(json.dumps(to_json(cheap_costs(["sn1", "sn2"]))))


VERIFY_DATA = ("verify", "net.pth", "net.onnx", *ARCH, "--verify", "algebra", "--data")
VERIFY_PROGRAM = ("verify", "net.pth", "m.pt2", "--verify", "rounding")
BENCH = ("bench", "m.onnx", "--runs", "2")
SEARCH = (
    "search",
    "net.pth",
    *ARCH,
    "--data",
    "photos",
    "--mean",
    "0.5",
    "--std",
    "0.5",
    "--costs",
    "costs.json",
    "--runs",
    "2",
    "--points",
    "2",
    "-o",
    "lean.onnx",
)
COSTS = ("costs", "net.pth", *ARCH, "--costs")
CODE = "catalogue_networks"
FAILURES = [
    Failure("bad_argument", (*BENCH, "--batch", "2"), Option("--batch"), "is fixed", writes_graph(4)),
    Failure("bad_argument", BENCH, Option("--input-size"), "dynamic sizes", writes_graph("N", "H")),
    Failure("bad_argument", ("inspect", "net.pth", "--weights", "ema"), Without("--weights"), "ema"),
    Failure("bad_argument", ("inspect", "net.pth", "--prefix", "encoder."), Without("--prefix")),
    Failure("bad_argument", ("verify", "net.onnx", "net.pth", *ARCH), in_order, "wrong way", converts),
    Failure("bad_checkpoint", ("inspect", "bad.pth"), None, "not a checkpoint", lambda: Path("bad.pth").write_text("no")),
    Failure("unsafe_checkpoint", ("inspect", "bad.pth"), saves_weights_again, "system", saves_dangerous_file),
    Failure("key_mismatch", ("convert", "net.pth", "--arch", "resnetv1ssn18", *UNCHECKED), Flag("--arch", (ARCH[1],))),
    Failure("key_mismatch", ("convert", "bad.pth", *ARCH, *UNCHECKED), Flag("--arch-args", ('{"channels": 8}',)), "another shape", saves_wide_network),
    Failure("key_mismatch", ("convert", "bad.pth", *ARCH, *UNCHECKED), Flag("--prefix", ("b.",)), "b.", saves_two_networks),
    Failure("bad_architecture", ("convert", "net.pth", "--arch", "helpers:TinyNetwrk", *UNCHECKED), Option("--arch"), "TinyNetwrk"),
    Failure("no_switchable_layer", ("inspect", "bad.pth"), None, "", lambda: save("bad.pth", nn.BatchNorm2d(3).state_dict())),
    Failure("unsupported_layer", ("convert", "bad.pth", *ARCH, *UNCHECKED), Flag("--trust-running-statistics"), "sums", saves_running_sums),
    Failure("unconverged_gates", ("convert", "bad.pth", *ARCH, *UNCHECKED), Flag("--on-unconverged", ("exact",)), "sn1", saves_soft_gates),
    Failure("unconverged_gates", ("convert", "bad.pth", *ARCH, *UNCHECKED), Flag("--on-unconverged", ("argmax",)), "sn1", saves_soft_gates),
    Failure("undefined_variance", ("convert", "bad.pth", *ARCH, "--input-size", "1x1x1", *UNCHECKED), Flag("--input-size", ("1x8x8",)), "1x1", saves_instance_variance),
    Failure("bad_data", (*VERIFY_DATA, "photos.zip"), named_folder, "photos.zip/test", zips_images),
    Failure("bad_data", (*VERIFY_DATA, "photos/test"), Flag("--mean", ("0.5", "--std", "0.5")), "not known", writes_images),
    Failure("bad_data", (*VERIFY_DATA, "photos/test"), Flag("--std", ("0.5", "--mean", "0.5")), "not known", writes_images),
    Failure("search_failed", (*SEARCH, "--budget", "0.5"), Option("--budget"), "no network is as fast", writes_search, made_up_latencies),
    Failure("capture_failed", ("convert", "net.pth", "--arch", f"{CODE}:Float32Only"), unchecked, "float64", writes_networks),
    Failure("export_failed", ("convert", "net.pth", "--arch", f"{CODE}:PerBatch"), Option("--static-batch"), "x.shape[0] <= 4", writes_networks),
    Failure("export_failed", ("convert", "net.pth", "--arch", f"{CODE}:Pooling", "--dynamic", "spatial"), Option("--dynamic"), "adaptive_avg_pool2d to 2x2", writes_networks),
    Failure("export_failed", ("convert", "layer_norm.pth", "--arch", f"{CODE}:WithLayerNorm", "--opset", "13"), Option("--opset"), "operator LayerNormalization in norm", saves_layer_norm),
    Failure("runtime_failed", BENCH, Flag("--no-profile"), "damaged", writes_graph(selection="{")),
    Failure("runtime_failed", (*BENCH, "--timeout", "1"), Option("--timeout"), "more than 1 s", writes_graph(), starts_slowly, 5),
    Failure("untrusted_file", (*VERIFY_PROGRAM, *ARCH), Flag("--trust-pt2"), "executes", converts_to_program),
    Failure("untrusted_file", (*VERIFY_PROGRAM, *ARCH), Flag("--from-report", ("run.json",)), "executes", converts_to_program),
    Failure("output_not_written", (*CONVERT, "-o", "net.pth/x.onnx"), None),
    Failure("output_not_written", (*CONVERT, *UNCHECKED, "-o", "there/a b/x.onnx"), shell("mkdir -p .*"), "does not exist"),
    Failure("output_not_written", (*CONVERT, *UNCHECKED, "-o", "m.onnx"), Flag("--force"), "exists already", writes_graph()),
    Failure("bad_report", ("report", "bad.json"), None, "not JSON", lambda: Path("bad.json").write_text("{")),
    Failure("bad_report", ("report", "net.pth"), None, "cannot be read"),
    Failure("bad_costs", (*COSTS, "bad.json"), Without("--costs"), "not JSON", lambda: Path("bad.json").write_text("{"), made_up_costs),
    Failure("bad_argument", (*CONVERT, *UNCHECKED, "--report", "r.txt"), named_in_hint, "no format"),
    Failure("verification_failed", ("verify", "other.pth", "net.onnx", *ARCH), other_checkpoint, "was made from", converts),
]  # fmt: skip
