"""From a checkpoint to a loaded network: find the architecture, build it, load it strictly."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.architectures.architecture import Architecture
from ssn_prune.architectures.registry import FORMS, find_architecture
from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.checkpoint.input_size import each_input
from ssn_prune.checkpoint.key_matching import (
    load_weights,
    misshaped_keys,
    require_same_keys,
    take_kind,
    take_reference_kind,
)
from ssn_prune.checkpoint.prefixes import strip_prefix
from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.reference_format import (
    in_reference_layout,
    is_sparse,
    layer_groups,
    offered_by,
    require_layer,
)
from ssn_prune.checkpoint.source import Source, source_of
from ssn_prune.checkpoint.statistics_check import require_sound_statistics
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weight_check import require_numbers, require_usable
from ssn_prune.checkpoint.weights import extract_weights
from ssn_prune.errors import ArchitectureError, SsnPruneError, first_line
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.surgery.from_reference import adopt_layers, foreign_layers, require_own_forward
from ssn_prune.surgery.guest import guest


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network with trained weights, in evaluation mode.

    Attributes:
        model: The network; its switchable layers are ours.
        input_size: (C, H, W) of one input, or what an input has instead of H and W; None if neither
            known nor given.
        source: Where it came from.
        more_inputs: Sizes of further inputs, for networks that take several.
        takes_images: Whether it takes a list of single images instead of batches (torchvision's
            detection models).
        given: The network as the user's own code builds and loads it, if that has layers of another
            implementation; it shares all other tensors with ``model``.
        preprocessing: How the library of the architecture prepares images; None if it is not known.
    """

    model: nn.Module
    input_size: tuple[int, ...] | None
    source: Source
    more_inputs: tuple[tuple[int, ...], ...] = ()
    takes_images: bool = False
    given: nn.Module | None = None
    preprocessing: UsualPreprocessing | None = None

    def __repr__(self) -> str:
        """The network's class and the file."""
        name = type(self.model).__name__
        return f"<LoadedCheckpoint {self.source.file_name}: {name}, inputs {self.input_size}>"


@guest()
def load_checkpoint(
    path: Path | str,
    *,
    arch: str | None = None,
    arch_args: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    weights: str | None = None,
    input_size: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    correction: int | None = None,
) -> LoadedCheckpoint:
    """Read a checkpoint and rebuild its network.

    Args:
        path: A file written by ``torch.save`` or safetensors.
        arch: ``resnetv1ssn18`` and its kin, ``torchvision:NAME``, ``timm:NAME`` or
            ``package.module:factory``; by default what the checkpoint names.
        arch_args: Keyword arguments of the builder. ``num_classes`` is inferred if it is absent.
        prefix: Key prefix to remove; found automatically if None.
        weights: Entry of the file to use, such as ``"state_dict_ema"``.
        input_size: (H, W) or (C, H, W), in 1-d and 3-d (L), (C, L), (D, H, W) or (C, D, H, W), for
            feature vectors (C,); (S,) for S in every spatial axis. By default what the file, the
            architecture or the network's attribute ``input_size`` says. A tuple of sizes for
            several inputs; one size is for all inputs of a network that is known to take several.
        correction: 1 if variances are Bessel-corrected, 2 if each is corrected by its own count, 0
            if biased. By default what the name of the architecture implies, else that of the
            reference layout (1, or 2 for layers over (N, C)) for files in it, else what the file or
            the network says.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: The file cannot be used; see its subclasses.
        ArchitectureError: The architecture is unknown or cannot be built.
    """
    with open_checkpoint(Path(path)) as file:
        found = extract_weights(file, weights)
        require_sound_statistics(found.tensors)
        tensors = to_torch(found.tensors)
        digest = file.file.sha256()
    require_numbers(tensors)
    name = arch or found.arch
    if name is None:
        raise ArchitectureError(
            f"{file.path} does not name its architecture",
            expected=f"`arch=` with one of: {FORMS}",
            found=f"keys such as {', '.join(list(found.tensors)[:3])}",
            hint="for a network of your own, pass `arch='your_module:YourNetwork'`",
        )
    architecture = find_architecture(name, trusted=arch is not None)
    arguments = dict(arch_args or {})
    kind = _variance_kind(tensors, architecture, correction)
    if arch is None:  # an untrusted file must not decide how much memory is taken
        arguments = _outlined(architecture, arguments, kind, tensors, prefix)
    model, arguments = _build_matching(architecture, arguments, kind, tensors, prefix)
    _require_memory(model, name)
    stripped = strip_prefix(tensors, model.state_dict(), prefix)
    require_usable(model, stripped.tensors)
    load_weights(model, stripped.tensors, name, stripped.prefix)
    given: nn.Module | None = None
    if architecture.given:
        if correction is None:
            take_reference_kind(model, stripped.tensors)
        model.eval()
        if foreign_layers(model):
            given, model = model, adopt_layers(model)
        for path_of_module, module in model.named_modules():
            require_own_forward(path_of_module, module)
        take_kind(model, stripped.tensors)
    if correction is not None:
        for module in model.modules():
            if isinstance(module, SwitchableNorm):
                module.correction = correction
    source = source_of(file, found, stripped, digest, name, arguments)
    model.eval()
    own = getattr(model, "input_size", None)
    known = found.input_size or architecture.input_size or own
    sizes = each_input(model, input_size, known, stated=own is not None and known == own)
    if len(sizes) == 1:
        sizes *= architecture.inputs
    return LoadedCheckpoint(
        model,
        sizes[0] if sizes else None,
        source,
        more_inputs=tuple(sizes[1:]),
        takes_images=is_detection_model(model),
        given=given,
        preprocessing=architecture.preprocessing,
    )


def _variance_kind(
    tensors: Mapping[str, Tensor], architecture: Architecture, correction: int | None
) -> int | None:
    """The kind of variance to build with: given, implied by the name, or by the layout."""
    if correction is not None:
        return correction
    if architecture.named_correction is not None:
        return architecture.named_correction
    return 1 if in_reference_layout(tensors) else None


def _outlined(
    architecture: Architecture,
    arguments: dict[str, Any],
    correction: int | None,
    tensors: Mapping[str, Tensor],
    prefix: str | None,
) -> dict[str, Any]:
    """The arguments that fit the file, found without memory for the network's parameters.

    Raises:
        KeyMismatchError: The file is of another network, for example a smaller one.
        ArchitectureError: The network cannot be built.
    """
    try:
        with torch.device("meta"):
            outline, fitting = _build_matching(architecture, arguments, correction, tensors, prefix)
    except ArchitectureError as error:
        if not isinstance(error.__cause__, RuntimeError) or "meta" not in str(error.__cause__):
            raise
        raise ArchitectureError(
            f"{architecture.name}, which the checkpoint names, cannot be built without memory",
            expected="a network whose size is known before its memory is taken",
            found=f"a constructor that reads its tensors: {first_line(error.__cause__)}",
            hint=f"if you trust the file, pass `arch={architecture.name!r}`",
        ) from error
    stripped = strip_prefix(tensors, outline.state_dict(), prefix)
    require_same_keys(outline, stripped.tensors, architecture.name, stripped.prefix)
    return fitting


def _build_matching(
    architecture: Architecture,
    arguments: dict[str, Any],
    correction: int | None,
    tensors: Mapping[str, Tensor],
    prefix: str | None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network; if only the class count differs from the checkpoint, build it again."""
    fixed = dict(arguments)
    if correction is not None and architecture.takes_correction:
        fixed.setdefault("correction", correction)
    if architecture.swaps_norms:
        fixed = {**_swap_arguments(tensors), **fixed}
    model = _build(architecture, fixed)
    if "num_classes" in arguments:
        return model, arguments
    stripped = strip_prefix(tensors, model.state_dict(), prefix).tensors
    shapes = misshaped_keys(model, stripped).values()
    counts = {a[0] for a, b in shapes if a and b and a[1:] == b[1:]}
    if len(counts) != 1 or any(a[1:] != b[1:] for a, b in shapes):
        return model, arguments
    inferred = {**arguments, "num_classes": counts.pop()}
    del model  # two networks and the file's weights would be the peak of a whole conversion
    try:
        return _build(architecture, {**fixed, **inferred}), inferred
    except ArchitectureError:  # a factory without num_classes: the key check reports the rest
        return _build(architecture, fixed), arguments


def _require_memory(model: nn.Module, name: str) -> None:
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ArchitectureError(
            f"{name} builds a network without memory for its tensors",
            expected="tensors on the CPU",
            found="tensors on the device meta",
            hint="take torch.device('meta') or torch.set_default_device('meta') out of its code",
        )


def _swap_arguments(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """How the norms of a known network were swapped, from the first layer's tensors."""
    for name, group in layer_groups(tensors).items():
        require_layer(name, group)
        normalizers = tuple(n.name for n in offered_by(name, group))
        return {"kind": "ssn" if is_sparse(group) else "sn", "normalizers": normalizers}
    return {"kind": None}


def _build(architecture: Architecture, arguments: dict[str, Any]) -> nn.Module:
    try:
        return architecture.build(**arguments)
    except SsnPruneError:
        raise
    # The builder may be the user's code, which may raise anything.
    except Exception as error:
        accepted = _signature(architecture)
        raise ArchitectureError(
            f"{architecture.name} cannot be built with {arguments}",
            expected=f"arguments of its builder ({accepted})",
            found=f"{type(error).__name__}: {error}",
            hint="correct `arch_args=`, such as `arch_args={'num_classes': 10}`",
        ) from error


def _signature(architecture: Architecture) -> str:
    try:
        return ", ".join(map(str, inspect.signature(architecture.build).parameters.values()))
    except (TypeError, ValueError):  # some callables have none
        return "unknown"
