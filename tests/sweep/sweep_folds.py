"""Which layers have to fold, by an eager run and not from the plan.

The rules, each of which can be left out:

- R1: a layer folds backward if its pair leaves something to fold, its input at every call is the
  output of one and the same convolution or Linear on (N, C), used nowhere else, and no scale that
  would have to be undone is zero or not a normal float32.
- R2: after a BN/BN layer that folded backward the convolution is as near.
- R3: a BN/BN layer right after another switchable layer is absorbed by it.
- R4: any other BN/BN layer folds forward into the one unpadded convolution, or Linear on (N, C),
  that alone uses its output, unless a channel's running mean is more than :data:`MEAN_LIMIT`
  deviations from zero: the sums after it would lose accuracy.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from sweep_trace import CONVS, TRANSPOSED, Operation, Trace, Weighted, owners, storage, trace
from torch import Tensor, nn

from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import Normalizer, NormalizerPair

RULES = ("R1", "R2", "R3", "R4")

MEAN_LIMIT = 4.0

_IN, _LN, _BN = Normalizer.IN, Normalizer.LN, Normalizer.BN
_NOTHING_FOLDS = {NormalizerPair(_IN, _LN), NormalizerPair(_LN, _IN), NormalizerPair(_LN, _LN)}
_AFFINE = NormalizerPair(_BN, _BN)


def expected_folds(
    network: nn.Module, inputs: tuple[Any, ...], rules: Collection[str] = RULES
) -> set[str]:
    """Names of the layers that have to fold.

    Args:
        network: With SSN layers whose gates are one-hot; as before afterwards.
        inputs: Inputs of one call.
        rules: Those of :data:`RULES` that the library follows.
    """
    counter = _Count(network, trace(network, inputs))
    folded = counter.folded(rules)
    return {name for name, module in network.named_modules() if module in folded}


class _Count:
    def __init__(self, network: nn.Module, watched: Trace) -> None:
        self.owners = owners(network)
        self.uses, self.memory_uses = watched.uses, watched.memory_uses
        self.made_by = {label: op for op in watched.operations for label in op.outputs}
        self.users: dict[int, list[Operation]] = {}
        self.calls: dict[SSN, list[Operation]] = {}
        for operation in watched.operations:
            for label in set(operation.inputs):
                self.users.setdefault(label, []).append(operation)
            if operation.layer is not None:
                self.calls.setdefault(operation.layer, []).append(operation)

    def folded(self, rules: Collection[str]) -> set[nn.Module]:
        backward: set[SSN] = set()
        other: set[SSN] = set()
        for layer, calls in self.calls.items():
            pair = pair_of(layer)
            preceding = self._preceding_layer(layer)
            seen_through = preceding in backward and pair_of(preceding) == _AFFINE
            feeds = "R1" in rules and self._target([self._producer(call) for call in calls])
            if pair not in _NOTHING_FOLDS and _in_range(layer, pair) and feeds:
                backward.add(layer)
            elif seen_through and "R2" in rules:
                if pair not in _NOTHING_FOLDS and _in_range(layer, pair):
                    backward.add(layer)
            elif preceding is not None and pair == _AFFINE and "R3" in rules:
                other.add(layer)
        if "R4" in rules:
            rest = [layer for layer in self.calls if layer not in backward | other]
            other |= {x for x in rest if pair_of(x) == _AFFINE and self._folds_forward(x)}
        return {*backward, *other}

    def _producer(self, call: Operation) -> Operation | None:
        """What makes the input of a call, if nothing else uses that."""
        label = call.inputs[0]
        return self.made_by.get(label) if self.uses[label] == 1 else None

    def _preceding_layer(self, layer: SSN) -> SSN | None:
        """The layer that every call follows directly, called as often."""
        found = {op.layer if op else None for op in map(self._producer, self.calls[layer])}
        preceding = found.pop()
        as_often = preceding is not None and len(self.calls[preceding]) == len(self.calls[layer])
        return preceding if not found and as_often else None

    def _folds_forward(self, layer: SSN) -> bool:
        if not _centred(layer):
            return False
        users = [self._only_user(call.outputs[0]) for call in self.calls[layer]]
        followed = []
        for user in users:
            padded = user is not None and user.name == "pad" and user.padding != "constant"
            followed.append(self._only_user(user.outputs[0]) if user and padded else user)
        target = self._target(followed)
        if target is None or any(op.name in TRANSPOSED for op in followed if op):
            return False
        return isinstance(target, nn.Linear) or all(_unpadded(op) for op in followed if op)

    def _only_user(self, label: int) -> Operation | None:
        users = self.users.get(label, [])
        return users[0] if self.uses[label] == 1 and users else None

    def _target(self, operations: list[Operation | None]) -> nn.Module | None:
        """The one module whose own weight and bias these calls use, as nothing else does."""
        targets = {self._module(op) if op else None for op in operations}
        target = targets.pop()
        if targets or target is None:
            return None
        for tensor in (target.weight, *_given_bias(operations)):
            used = self.memory_uses[storage(tensor)] == len(operations)
            if not used or len(self.owners.get(storage(tensor), (None,))) != 1:
                return None
        return None if target._forward_hooks or target._forward_pre_hooks else target

    def _module(self, operation: Operation) -> Any:
        weight, bias = operation.kernel
        linear = operation.name == "linear" and operation.axes == 2
        if not (linear or operation.name in CONVS | TRANSPOSED) or weight is None:
            return None
        holders = self.owners.get(storage(weight), [])
        if len(holders) != 1 or holders[0][1] != "weight":
            return None
        module: Any = holders[0][0]
        if not isinstance(module, Weighted) or module.weight is not weight or bias is None:
            return None
        # A bias that the module lacks was lent for the run, and belongs to nobody by now.
        lent = module.bias is None and storage(bias) not in self.owners
        return module if lent or module.bias is bias else None


def _given_bias(operations: list[Operation | None]) -> list[Tensor]:
    """The bias of the calls; one that was lent for the run has no owner but its module."""
    return [op.kernel[1] for op in operations[:1] if op and op.kernel[1] is not None]


def _unpadded(operation: Operation) -> bool:
    padding = operation.padding
    if isinstance(padding, str):
        return padding == "valid"
    values = padding if isinstance(padding, tuple | list) else (padding or 0,)
    return not any(values)


def pair_of(layer: SSN) -> NormalizerPair:
    """What a layer with one-hot gates selected."""
    gates = (layer.mean_weight, layer.var_weight)
    return NormalizerPair(*(layer.normalizers[int(gate.argmax())] for gate in gates))


def _in_range(layer: SSN, pair: NormalizerPair) -> bool:
    if pair != NormalizerPair(_LN, _BN) or layer.running_var is None:
        return True
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.detach().double()
    limits = torch.finfo(torch.float32)
    # Undone on the channel means, whose average divides by C.
    values = torch.stack((scale, 1 / (layer.num_features * scale))).abs()
    return bool(((values >= limits.tiny) & (values <= limits.max)).all())


def _centred(layer: SSN) -> bool:
    if layer.running_mean is None or layer.running_var is None:
        return False
    deviation = (layer.running_var.double() + layer.eps).sqrt()
    return bool((layer.running_mean.double().abs() <= MEAN_LIMIT * deviation).all())
