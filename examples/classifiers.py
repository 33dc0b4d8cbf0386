"""Classification networks by name, with SSN, SN or BN layers; how to convert what was trained."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cifar_resnet import cifar_resnet
from torch import nn

from ssn_prune import convert_to_ssn, load_checkpoint
from ssn_prune.architectures.registry import REFERENCE_NETWORKS, find_architecture
from ssn_prune.errors import ArgumentError

_CIFAR = "cifar-resnet"
_CIFAR_FACTORY = "cifar_resnet:cifar_resnet"


def converter_name(arch: str) -> str:
    """What ``ssn-prune convert`` calls the network; checkpoints store it under ``model``."""
    return _CIFAR_FACTORY if arch == _CIFAR else arch


def norm_of(arch: str, norm: str | None) -> str:
    """The kind of norm layers: as asked for, implied by the name, or ``"ssn"``.

    Raises:
        ArgumentError: The reference networks have the layers that their name says.
    """
    implied = re.match("resnetv1(ssn|sn)", arch)
    if implied and norm not in (None, implied[1]):
        raise ArgumentError(
            f"{arch} has {implied[1]} layers, not {norm}",
            expected=f"--norm {implied[1]}, or another network",
            found=f"--norm {norm}",
        )
    return norm or (implied[1] if implied else "ssn")


def usual_size(arch: str) -> int:
    """Pixels a side of the images that the network was made for.

    Raises:
        ArchitectureError: There is no such network; near matches are suggested.
    """
    known = find_architecture(converter_name(arch), trusted=True).input_size
    return known[-1] if known else 32


def network(arch: str, norm: str, num_classes: int) -> nn.Module:
    """Build a network without trained weights.

    The last norm of each residual block starts with weight 0 in ResNets.

    Args:
        arch: ``torchvision:NAME``, ``timm:NAME``, ``cifar-resnet``, or a reference network.
        norm: ``"ssn"`` or ``"sn"`` swaps the norm layers of torchvision's and timm's networks;
            ``"bn"`` leaves them.
        num_classes: Outputs.

    Raises:
        ArgumentError: The name has another form.
        NoSwitchableLayerError: The network has no norm layer that could be swapped.
    """
    family, _, name = arch.partition(":")
    if arch in REFERENCE_NETWORKS:
        return find_architecture(arch, trusted=True).build(num_classes=num_classes)
    if arch == _CIFAR:
        return cifar_resnet(num_classes, norm)
    if family == "timm":
        import timm

        model = timm.create_model(name, num_classes=num_classes)
    elif family == "torchvision":
        from torchvision import models

        resnet = re.match("(wide_)?resne[xt]", name)
        extra = {"zero_init_residual": True} if resnet else {}  # timm's ResNets do it unasked
        model = models.get_model(name, weights=None, num_classes=num_classes, **extra)
    else:
        raise ArgumentError(
            f"{arch} cannot be trained here",
            expected="torchvision:NAME, timm:NAME, cifar-resnet or resnetv1ssn18 ... resnetv1sn152",
            found=arch,
            hint="add your network to examples/classifiers.py",
        )
    if norm == "bn":
        return model
    return convert_to_ssn(model, kind="sn" if norm == "sn" else "ssn", inplace=True).model


def how_to_convert(checkpoint: Path, arch: str, norm: str, size: int) -> str:
    """What to call after the training.

    The checkpoint names its network, and that usually is all that the converter needs. Only the
    network of the example is code of your own, which ``--arch`` has to name.
    """
    if norm == "bn":
        return "nothing to prune: torch.onnx.export folds BatchNorm by itself"
    before, options = "", ""
    if arch == _CIFAR:
        before = f"PYTHONPATH={os.path.relpath(Path(__file__).parent)} "
        options += f" --arch {_CIFAR_FACTORY}"
        loaded = load_checkpoint(checkpoint, arch=_CIFAR_FACTORY, arch_args={"norm": norm})
    else:
        loaded = load_checkpoint(checkpoint)
    if arch == _CIFAR and norm != "ssn":
        options += f""" --arch-args '{{"norm": "{norm}"}}'"""
    if norm == "sn":  # softmax gates never become one-hot
        options += " --on-unconverged exact"
    if loaded.input_size != (3, size, size):
        options += f" --input-size {size}"
    target = checkpoint.with_name("model.onnx")
    return f"{before}ssn-prune convert {checkpoint} -o {target}{options}"
