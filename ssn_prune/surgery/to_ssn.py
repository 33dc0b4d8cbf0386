"""From any network's norm layers to switchable ones."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ssn_prune.errors import ArgumentError, NoSwitchableLayerError
from ssn_prune.normalizer import Normalizer, offered_normalizers
from ssn_prune.surgery.copying import (
    all_names,
    carry_hooks,
    copy_model,
    copy_replacing,
    replace_modules,
)
from ssn_prune.surgery.foreign_norms import norms_of, read_norm
from ssn_prune.surgery.norm_patterns import NamePattern, NormFilter
from ssn_prune.surgery.replacement import (
    Kind,
    ReplacementOptions,
    switchable_layer,
    what_changes,
    with_activation,
)
from ssn_prune.surgery.unregistered import unregistered_references


@dataclass(frozen=True)
class SwapRecord:
    """What became of one norm layer.

    Attributes:
        names: All its paths in the network, in the network's order.
        old: The class of the old layer.
        new: The class of the switchable layer, None if the old one stayed.
        choice: The normalizer that the old layer was, or the nearest one; None if it stayed.
        equivalent: Whether the new layer with both gates at ``choice`` gives the old layer's
            output in evaluation (SN's softmax only comes close to that).
        reason: Why it stayed or is not equivalent, or what is left to do.
    """

    names: tuple[str, ...]
    old: str
    new: str | None
    choice: Normalizer | None
    equivalent: bool
    reason: str


@dataclass(frozen=True)
class SwapResult:
    """A network with switchable layers.

    Attributes:
        model: The network.
        layers: A record of every norm layer of the old network, in its order.
    """

    model: nn.Module
    layers: tuple[SwapRecord, ...]

    def __repr__(self) -> str:
        """The network's class and how many layers were swapped."""
        swapped = sum(layer.new is not None for layer in self.layers)
        name = type(self.model).__name__
        return f"<SwapResult of {name}: {swapped} of {len(self.layers)} norm layers swapped>"


def convert_to_ssn(
    model: nn.Module,
    *,
    kind: Kind = "ssn",
    normalizers: Iterable[Normalizer | str] = tuple(Normalizer),
    shared_gate: bool = False,
    correction: int = 0,
    keep_choice: float | None = None,
    include: Iterable[NamePattern] | NamePattern | None = None,
    exclude: Iterable[NamePattern] | NamePattern | None = None,
    approximate: bool = False,
    inplace: bool = False,
) -> SwapResult:
    """Replace a network's norm layers by SSN or SN layers.

    =====================================  ======================================================
    old layer                              is
    =====================================  ======================================================
    BatchNorm1d/2d/3d, SyncBatchNorm       BN
    InstanceNorm1d/2d/3d, GroupNorm(C, C)  IN
    GroupNorm(1, C), LayerNorm((C, ...))   LN; LayerNorm if its affine parameters are the same at
                                           all positions
    timm's layers of these kinds           the same; ``drop`` and ``act`` follow in a Sequential
    other GroupNorm, LayerNorm2d           none of them; LN is the nearest (``approximate``)
    =====================================  ======================================================

    Everything else stays and is reported with the reason: LayerNorm over the last axis of tokens or
    channels-last tensors, subclasses with methods of their own, lazy and quantized layers, layers
    with weight_norm or pruning masks.

    The new layers have the very same ``weight``, ``bias`` and running statistics (of the copy, or
    of ``model`` if ``inplace``), so tied ones stay tied; eps, momentum, training mode, hooks,
    device and dtype are the old layer's. Only the parameters of a LayerNorm((C, ...)) are replaced
    by (C,) ones: create the optimizer afterwards. A module that is used several times stays shared.
    InstanceNorm, GroupNorm and LayerNorm have no batch statistics to keep, so BN starts with fresh
    ones. An InstanceNorm with running statistics is IN in training and BN in evaluation; they are
    kept for BN.

    In training, torch's BatchNorm stores the unbiased estimate in ``running_var``, while SSN and SN
    store the population variance; with gates at BN all else is equal. A ``correction`` other than
    0, and ``normalizers`` without the old layer's, change what is computed; the records say so.
    InstanceNorm1d reads (N, C) as one sample (C, L), SSN1d reads it as N samples of one position,
    where the instance variance is 0: convert networks with BatchNorm1d on (N, C) with
    ``normalizers=("LN", "BN")``.

    SyncBatchNorm and GroupNorm take any number of spatial axes. The new layer's number is that of
    the last convolution before it in the same parent that has as many outputs, else 1 if there is
    such a Linear, else that of the network's convolutions if all are of one kind, else 1 if there
    are only Linear layers, else 2.

    A network may also hold a norm unregistered and call it there: in a closure or a global
    variable, which no copy reaches, and with ``inplace`` in a Python list or any other object. The
    record's reason then says where the old layer still is, and a warning is given.

    Args:
        model: Any network; not changed unless ``inplace``.
        kind: ``"ssn"`` (SparsestMax gates) or ``"sn"`` (softmax gates).
        normalizers: What the gates choose from.
        shared_gate: One gate for mean and variance.
        correction: 1 for Bessel-corrected variances, as in the reference implementation; 2 for
            those of its SwitchNorm1d. See :class:`ssn_prune.SSN2d`.
        keep_choice: Start with this ratio, between 1/K and 1, on the normalizer that the old layer
            was, and equal ratios on the others, so that a trained network changes little. None
            starts with equal gates, and so do layers whose old normalizer is not offered.
        include: Swap only these: names or patterns (``"layer1.*"``) and module types. One of a
            layer's names suffices.
        exclude: Leave these, in the same form.
        approximate: Also swap layers that are none of the three normalizers; the network's outputs
            change.
        inplace: Edit ``model`` itself. On an error it is unchanged.

    Returns:
        The network and what became of every norm layer.

    Raises:
        NoSwitchableLayerError: There is nothing to swap; the message lists the norms found.
        ArgumentError: A name or pattern matches no norm layer, or the network is to be copied and
            has lazy layers that were never run.
        ValueError: An option has a value that it cannot have.
    """
    options = ReplacementOptions(
        kind, offered_normalizers(normalizers), shared_gate, correction, keep_choice
    )
    chosen = NormFilter(include, exclude)
    converted = model if inplace else _copied(model)
    swaps, records = _swaps(converted, chosen, options, approximate=approximate)
    if not swaps:
        restricted = include is not None or exclude is not None
        raise _nothing_to_swap(model, records, restricted)
    if inplace:
        for norm, replacement in swaps:
            carry_hooks(norm, replacement)
        replaced = replace_modules(converted, swaps)
    else:
        replaced = copy_replacing(converted, swaps)
    return SwapResult(replaced, _with_other_ways(model, replaced, swaps, records))


def _with_other_ways(
    given: nn.Module,
    replaced: nn.Module,
    swaps: list[tuple[nn.Module, nn.Module]],
    records: list[SwapRecord],
) -> tuple[SwapRecord, ...]:
    """The records, with a note and a warning where something still holds an old layer.

    A closure in a copy holds the layer of the given network.
    """
    olds = [old for old, _ in swaps]
    originals = [] if given is replaced else [norm for norm, _ in norms_of(given)]
    found = unregistered_references(replaced, [*olds, *originals])
    places: dict[str, str] = {}
    swapped = [record for record in records if record.new is not None]
    of_given = dict(given.named_modules()) if originals else {}
    for record, old in zip(swapped, olds, strict=True):
        for module in (old, of_given.get(record.names[0])):
            if id(module) in found:
                places[record.names[0]] = found[id(module)]
    if not places:
        return tuple(records)
    noted = [
        replace(
            record,
            reason="; ".join(
                filter(None, (record.reason, f"the old layer is still in {place}: call the new"))
            ),
        )
        if (place := places.get(record.names[0])) is not None
        else record
        for record in records
    ]
    listed = ", ".join(f"{name} in {place}" for name, place in list(places.items())[:3])
    warnings.warn(
        f"the code of {type(replaced).__name__} may still call {len(places)} of the norm layers "
        f"that were replaced, which it holds unregistered ({listed}): let it call them by their "
        "registered names",
        stacklevel=3,
    )
    return tuple(noted)


def _swaps(
    model: nn.Module, chosen: NormFilter, options: ReplacementOptions, *, approximate: bool
) -> tuple[list[tuple[nn.Module, nn.Module]], list[SwapRecord]]:
    """Old and new modules of the norms to replace, and a record of every norm."""
    names = all_names(model)
    norms = list(norms_of(model))
    chosen.require_matches([name for norm, _ in norms for name in names[id(norm)]])
    swaps: list[tuple[nn.Module, nn.Module]] = []
    records: list[SwapRecord] = []
    for norm, outer in norms:
        paths, old = names[id(norm)], type(norm).__name__
        reason = chosen.why_not(norm, paths)
        if outer and not reason:
            reason = f"it is a part of {outer}, which is a norm layer itself"
        source = reason or read_norm(model, norm)
        if isinstance(source, str):
            records.append(SwapRecord(paths, old, None, None, False, source))
        elif source.fit == "nearest" and not approximate:
            reason = f"{source.note} (swapped only with approximate=True)"
            records.append(SwapRecord(paths, old, None, None, False, reason))
        else:
            layer = switchable_layer(model, norm, source, options)
            swaps.append((norm, with_activation(norm, layer)))
            change = what_changes(source, options)
            equivalent = source.fit == "exact" and not change
            reason = "; ".join(filter(None, (change, source.note)))
            new = type(layer).__name__
            records.append(SwapRecord(paths, old, new, source.choice, equivalent, reason))
    return swaps, records


def _copied(model: nn.Module) -> nn.Module:
    lazy = [name for name, m in model.named_modules() if isinstance(m, LazyModuleMixin)]
    if lazy:
        raise ArgumentError(
            f"{type(model).__name__} has lazy layers, which cannot be copied",
            expected="a network whose layers know their channels",
            found=", ".join(lazy[:4]) + (", ..." if len(lazy) > 4 else ""),
            hint="run the network once on an example input",
        )
    return copy_model(model)


def _nothing_to_swap(
    model: nn.Module, records: list[SwapRecord], restricted: bool
) -> NoSwitchableLayerError:
    kinds = Counter(record.old for record in records)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no norm at all"
    reasons = dict.fromkeys(f"{record.old}: {record.reason}" for record in records)
    hint = (
        "choose a network with BatchNorm, InstanceNorm or GroupNorm(1, C): per-position LayerNorm, "
        "over channels only (ConvNeXt, transformers), is none of SSN's three normalizers"
    )
    if restricted:
        hint = "let include and exclude leave more layers to swap"
    return NoSwitchableLayerError(
        f"{type(model).__name__} has no norm layer that a switchable one could replace",
        expected="a network with BatchNorm2d or another norm that is IN, LN or BN",
        found="; ".join([listed, *list(reasons)[:3]]),
        hint=hint,
    )
