"""Read a captured graph: the producer and the consumers of every switchable layer.

Here a linear layer over (N, C) counts as a convolution with one position.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ssn_prune.pruning.capture.affine_calls import affine_call
from ssn_prune.pruning.capture.aliasing import overwritten_after
from ssn_prune.pruning.capture.fx_utils import (
    CapturedProgram,
    argument,
    axes_of,
    only_user,
    operator_name,
    positions_of,
    shape_of,
    use_count,
)
from ssn_prune.pruning.capture.marked_model import is_marker
from ssn_prune.pruning.capture.records import AffineCall, ConvCall, LayerCall, Surroundings
from ssn_prune.pruning.capture.surroundings import (
    LINEAR,
    TRANSPOSED,
    is_conv,
    surroundings_of,
)


@dataclass
class GraphRecords:
    """What was read so far; the fields are those of :class:`Capture` with the same names."""

    calls: dict[str, list[LayerCall]] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)

    def add_call(self, name: str, call: LayerCall) -> None:
        """Record one more call of a layer."""
        order = sum(map(len, self.calls.values()))
        self.calls.setdefault(name, []).append(replace(call, order=order))


def read_program(records: GraphRecords, captured: CapturedProgram, marked: nn.Module) -> None:
    """Read a program and add what it shows to the records, in place.

    Args:
        records: What was read so far.
        captured: The capture of a marked model or of a part of it.
        marked: The whole marked model.
    """
    for node in captured.program.graph.nodes:
        if node.op == "placeholder" and node.name in captured.memory:
            records.uses[captured.memory[node.name]] += use_count(node)
        if node.op != "call_function":
            continue
        if is_marker(node):
            records.add_call(str(node.args[1]), _layer_call(node, captured, marked))
        else:
            records.operators[operator_name(node).removeprefix("aten.").split(".")[0]] += 1
    for region in captured.regions():
        for node in filter(is_marker, region.graph.nodes):
            inner = node.args[0]
            shape = shape_of(inner)
            call = LayerCall(
                "a region of its own",
                None,
                positions_of(inner),
                axes_of(inner),
                surroundings=None if shape is None else Surroundings(shape),
            )
            records.add_call(str(node.args[1]), call)


def _layer_call(node: torch.fx.Node, captured: CapturedProgram, marked: nn.Module) -> LayerCall:
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)  # the marker's first argument is a tensor
    affines: list[AffineCall] = []
    end = node
    while (user := only_user(end)) is not None:
        affine = affine_call(user, end, captured, marked)
        if affine is None:
            break
        affines.append(affine)
        end = user
    return LayerCall(
        producer=operator_name(source),
        preceding_conv=_conv_call(source, captured) if is_conv(source) else None,
        positions=positions_of(source),
        axes=axes_of(source),
        preceding_layer=str(source.args[1]) if is_marker(source) else None,
        consumers=use_count(node),
        consumer=operator_name(user) if user is not None else f"{use_count(end)} consumers",
        affines=tuple(affines),
        following_conv=_following_conv(end, captured),
        overwritten=overwritten_after(node, source),
        surroundings=surroundings_of(node),
    )


def _following_conv(source: torch.fx.Node, captured: CapturedProgram) -> ConvCall | None:
    """The convolution or linear layer that is the only user of a value, possibly after padding.

    Padding other than with a constant repeats entries, so it commutes with a map per channel.
    """
    user = only_user(source)
    pads = user is not None and operator_name(user) == "aten.pad.default"
    if user is not None and pads and argument(user, 2, "mode", "constant") != "constant":
        source, user = user, only_user(user)
    if user is None or not is_conv(user) or user.args[0] is not source:
        return None
    return _conv_call(user, captured)


def _conv_call(node: torch.fx.Node, captured: CapturedProgram) -> ConvCall:
    operator = operator_name(node)
    linear, transposed = operator == LINEAR, operator in TRANSPOSED
    bias = argument(node, 2, "bias")
    padding = 0 if linear else argument(node, 4, "padding", 0)
    zero_padded = (
        padding == "same" if isinstance(padding, str) else any(pytree.tree_leaves(padding))
    )
    return ConvCall(
        what="linear layer" if linear else "convolution",
        weight=captured.memory_of(argument(node, 1, "weight")),
        bias=captured.memory_of(bias),
        biased=bias is not None,
        consumers=use_count(node),
        transposed=transposed,
        groups=1 if linear else argument(node, 6, "groups", 1),
        zero_padded=zero_padded,
    )
