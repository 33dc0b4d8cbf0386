"""From a name to a network builder.

A checkpoint may name its own architecture, but only from a closed list, because importing code that
a file asks for would execute it. Packages that the user has installed may add to the list.
``package.module:factory`` is accepted only from the user.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ssn_prune.architectures.architecture import Architecture
from ssn_prune.architectures.digits import INPUT_SIZE, DigitsNet
from ssn_prune.architectures.factories import factory_builder, module_without_factory
from ssn_prune.architectures.plugins import plugin, plugin_names
from ssn_prune.architectures.resnet import REFERENCE_NETWORKS, reference_builder
from ssn_prune.architectures.torchvision import torchvision_usage
from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.errors import ArchitectureError
from ssn_prune.surgery.replacement import Kind
from ssn_prune.surgery.to_ssn import convert_to_ssn

DEMO_NETWORK = "ssn_prune_digits"
FORMS = "resnetv1ssn18 ... resnetv1sn152, torchvision:NAME, timm:NAME, package.module:factory"


_ALL = ("IN", "LN", "BN")


def find_architecture(name: str, *, trusted: bool) -> Architecture:
    """Look up an architecture.

    Args:
        name: One of the forms in :data:`FORMS`.
        trusted: Whether the name comes from the user; ``package.module:factory`` needs that.

    Raises:
        ArchitectureError: The name is unknown; near matches are suggested.
    """
    family, colon, rest = name.partition(":")
    networks = {network.name: network for network in NETWORKS}
    if name in networks:
        return networks[name]
    if (found := plugin(name)) is not None:
        return found
    incomplete = module_without_factory(name.removesuffix(":")) if trusted else None
    if incomplete is not None:
        raise incomplete
    if not (colon and family and rest):
        raise _unknown(name, [*networks, *plugin_names()])
    if family in LIBRARIES:
        return LIBRARIES[family](name, rest)
    if not trusted:
        raise ArchitectureError(
            f"the checkpoint names the architecture {name!r}, which would import code",
            expected=f"a name of the closed list: {', '.join(REFERENCE_NETWORKS[:2])}, ..., "
            "torchvision:NAME, timm:NAME",
            found=repr(name),
            hint=f"if you trust that code, pass `arch={name!r}`",
        )
    return Architecture(name, factory_builder(name, family, rest), None, None, False, given=True)


def _unknown(name: str, known: tuple[str, ...] | list[str], prefix: str = "") -> ArchitectureError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(prefix + match for match in near)}? " if near else ""
    return ArchitectureError(
        f"unknown architecture {prefix + name!r}",
        expected=FORMS,
        found=repr(prefix + name),
        hint=f"{suggestion}pass one of these forms as `arch=`",
    )


def _swapping(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A builder that creates a network and swaps its norms."""

    def build(
        correction: int = 0,
        kind: Kind | None = "ssn",
        normalizers: tuple[str, ...] = _ALL,
        **arguments: Any,
    ) -> nn.Module:
        network = make(**arguments)
        if kind is None:  # the file is of the ordinary network
            return network
        return convert_to_ssn(
            network,
            kind=kind,
            normalizers=normalizers,
            correction=correction,
            inplace=True,
        ).model

    return build


def _torchvision(name: str, rest: str) -> Architecture:
    from torchvision import models

    known = models.list_models()
    if rest not in known:
        raise _unknown(rest, known, "torchvision:")

    def make(**arguments: Any) -> nn.Module:
        weights: dict[str, Any] = {"weights": None}
        if _accepts(models.get_model_builder(rest), "weights_backbone"):
            weights["weights_backbone"] = None
        if rest in ("googlenet", "inception_v3"):
            weights["init_weights"] = False
        network: nn.Module = models.get_model(rest, **{**weights, **arguments})
        return network

    usage = torchvision_usage(rest)
    return Architecture(
        name,
        _swapping(make),
        usage.input_size,
        None,
        swaps_norms=True,
        inputs=usage.inputs,
        preprocessing=usage.preprocessing,
    )


def _timm(name: str, rest: str) -> Architecture:
    try:
        import timm
    except ImportError as error:
        raise ArchitectureError(
            f"{name} needs the package timm",
            expected="timm installed",
            found=str(error),
            hint="pip install 'ssn_prune[timm]'",
        ) from error
    known = timm.list_models()
    if rest.split(".")[0] not in known:
        raise _unknown(rest, known, "timm:")

    def make(**arguments: Any) -> nn.Module:
        network: nn.Module = timm.create_model(rest, pretrained=False, **arguments)
        return network

    try:
        configuration = timm.models.get_pretrained_cfg(rest)
    except RuntimeError as error:  # an unknown pretrained tag after a known name
        raise _unknown(rest, (), "timm:") from error
    size = getattr(configuration, "input_size", None) or (3, 224, 224)
    usual = int(size[0]), int(size[1]), int(size[2])
    return Architecture(
        name,
        _swapping(make),
        usual,
        None,
        swaps_norms=True,
        preprocessing=None if configuration is None else _timm_preprocessing(configuration),
    )


def _timm_preprocessing(configuration: Any) -> UsualPreprocessing:
    return UsualPreprocessing(
        tuple(configuration.mean),
        tuple(configuration.std),
        configuration.crop_pct,
        "bicubic" if configuration.interpolation == "bicubic" else "bilinear",
    )


def _accepts(function: Callable[..., Any], argument: str) -> bool:
    return argument in inspect.signature(function).parameters


NETWORKS: tuple[Architecture, ...] = (
    Architecture(
        DEMO_NETWORK,
        DigitsNet,
        INPUT_SIZE,
        None,
        takes_correction=False,
        preprocessing=UsualPreprocessing((0.5,), (0.5,)),
    ),
    *(Architecture(name, reference_builder(name), (3, 224, 224), 1) for name in REFERENCE_NETWORKS),
)
"""The networks that a checkpoint may name; docs/extending.md shows how to add one."""

LIBRARIES: dict[str, Callable[[str, str], Architecture]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}
"""Where ``FAMILY:NAME`` is looked up, given the whole name and the part after the colon."""
