"""Export probes to ONNX files: all in one network, which is exported once and then split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from torch import nn

from ssn_prune.benchmarking.networks import without_norms
from ssn_prune.costs.places import Place
from ssn_prune.costs.probes import Probe, ProbeNetwork
from ssn_prune.costs.records import CostOptions
from ssn_prune.errors import ExportError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.pruning.capture.capture import capture
from ssn_prune.pruning.planner import make_plan
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.selection import select

_AT_ONCE = 90
"""Probes in one export; all their weights are in memory at once."""


def export_probes(
    probes: Sequence[Probe], folder: Path, *, target: str, static: bool
) -> tuple[Path, ...]:
    """Prune and export probes like any other network.

    Args:
        probes: Probes with the same batch size.
        folder: Where the files go.
        target: The runtime that they are for.
        static: Whether they have a fixed batch size.

    Returns:
        One file per probe, in their order.

    Raises:
        ExportError: They cannot be exported.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = ProbeNetwork(probes).eval()
        dynamic = dynamic_axes(target, "none" if static else None)
        least = 1 if dynamic == "none" else 2  # one sample would fix the batch size
        inputs = tuple(
            torch.randn(max(least, shape[0]), *shape[1:]) for shape in network.input_shapes
        )
        pruned = _pruned(network, inputs)
        names = tuple(f"probe_{index}" for index in range(len(probes)))
        options = ExportOptions(target=target, dynamic=dynamic, output_names=names)
        with TemporaryDirectory() as name:
            whole = Path(name) / "probes.onnx"
            export_onnx(pruned, inputs, whole, options=options)
            model = onnx.load(whole)
    paths = tuple(folder / f"{name}.onnx" for name in names)
    for name, path in zip(names, paths, strict=True):
        onnx.save(part_of(model, name), path)
    return paths


def _pruned(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """Prune like ``prune``, without its checks and choice of constants, which change no form."""
    captured = capture(network, inputs, fixed_sizes=True)
    plan = make_plan(network, select(network), captured)
    return apply_plan(plan, network)


def export_places(
    wanted: Mapping[Place, Sequence[NormalizerPair]], folder: Path, *, target: str, static: bool
) -> dict[Place, dict[NormalizerPair, Path]]:
    """Export the probes of places with the same batch size; see :func:`export_probes`."""
    probes = [Probe(place, pair) for place, pairs in wanted.items() for pair in pairs]
    paths = export_probes(probes, folder, target=target, static=static)
    files: dict[Place, dict[NormalizerPair, Path]] = {place: {} for place in wanted}
    for probe, path in zip(probes, paths, strict=True):
        files[probe.place][probe.pair] = path
    return files


def in_parts(
    wanted: Mapping[Place, Sequence[NormalizerPair]],
) -> Iterator[dict[Place, Sequence[NormalizerPair]]]:
    """Split places into parts of the same batch size, each as large as one export may be."""
    part: dict[Place, Sequence[NormalizerPair]] = {}
    for place in sorted(wanted, key=lambda place: place.batch):
        full = sum(map(len, part.values())) + len(wanted[place]) > _AT_ONCE
        if part and (full or next(iter(part)).batch != place.batch):
            yield part
            part = {}
        part[place] = wanted[place]
    if part:
        yield part


def export_without_norms(
    model: nn.Module, inputs: tuple[Any, ...], path: Path, options: CostOptions
) -> bool:
    """Export the network without norms, with the same options as its other files.

    Args:
        model: The network; not changed.
        inputs: Inputs of one call, with the batch size to measure with.
        path: The file.
        options: The runtime that the file is for, and whether its batch size is fixed.

    Returns:
        Whether that was possible.
    """
    dynamic = dynamic_axes(options.target, "none" if options.static else None)
    if dynamic != "none" and options.batch == 1:  # one sample would fix the batch size
        inputs = tuple(torch.cat((x, x)) if isinstance(x, torch.Tensor) else x for x in inputs)
    how = ExportOptions(target=options.target, dynamic=dynamic)
    try:
        with torch.no_grad():
            export_onnx(without_norms(model), inputs, path, options=how)
    except ExportError:
        return False
    return True


def part_of(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The part of a model that computes one of its outputs, as a model.

    Args:
        model: Not changed. Its nodes are in topological order.
        output: Name of the output.
    """
    needed, nodes = {output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed.update(node.input)
    graph = onnx.helper.make_graph(
        nodes[::-1],
        model.graph.name,
        [value for value in model.graph.input if value.name in needed],
        [value for value in model.graph.output if value.name == output],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
        value_info=[value for value in model.graph.value_info if value.name in needed],
    )
    made = onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    made.metadata_props.extend(model.metadata_props)
    return made
