"""Probes to ONNX files: all in one network, which is exported once and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from ssn_prune.costs.probes import Probe, ProbeNetwork
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.pruning.prune import prune_shared


def export_probes(
    probes: Sequence[Probe], folder: Path, *, target: str, static: bool
) -> tuple[Path, ...]:
    """Prune and export probes as any network is.

    Args:
        probes: Probes with one batch size.
        folder: Where the files go.
        target: What they are for.
        static: Whether they have a fixed batch size.

    Returns:
        A file for each.

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
        pruned = prune_shared(
            network,
            inputs,
            given=None,
            on_unconverged="error",
            fold=True,
            any_size=False,
            fixed_sizes=True,
            allow_unverified_layers=False,
        )
        names = tuple(f"probe_{index}" for index in range(len(probes)))
        options = ExportOptions(target=target, dynamic=dynamic, output_names=names)
        with TemporaryDirectory() as name:
            whole = Path(name) / "probes.onnx"
            export_onnx(pruned.model, inputs, whole, options=options)
            model = onnx.load(whole)
    paths = tuple(folder / f"{name}.onnx" for name in names)
    for name, path in zip(names, paths, strict=True):
        onnx.save(part_of(model, name), path)
    return paths


def part_of(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """What computes one output of a model, as a model.

    Args:
        model: Not changed. Its nodes stand in the order of the data flow.
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
