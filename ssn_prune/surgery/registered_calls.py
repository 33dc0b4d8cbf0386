"""Does a copy of a network call its own layers, or still those of the network it was made from?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery._shared_parameters import run_copy
from ssn_prune.surgery.nested import clone_tensors
from ssn_prune.surgery.unregistered import unregistered_references


def require_registered_calls(
    models: Iterable[nn.Module], copied: nn.Module, names: Sequence[str], inputs: tuple[Any, ...]
) -> None:
    """Require that a copy of a network does not call layers of the network itself.

    A closure or a global variable is not copied with a network, so it holds the old layer. That is
    harmless unless the code calls it there, so where one is held, the copy is run.

    Args:
        models: The networks that it was copied from; not changed.
        copied: The copy, in which layers were replaced; not changed.
        names: The layers that were replaced, by their names in all of them.
        inputs: Inputs of one call.

    Raises:
        UnsupportedLayerError: The copy calls a layer of another network.
    """
    layers = [(name, model.get_submodule(name)) for model in models for name in names]
    places = unregistered_references(copied, [layer for _, layer in layers])
    held = [(name, layer) for name, layer in layers if id(layer) in places]
    for name, layer in _called(copied, held, inputs):
        raise UnsupportedLayerError(
            f"the code of {type(copied).__name__} does not call {name} by its registered name, so "
            "it goes on calling the old layer once that is replaced",
            expected="layers that the code calls as attributes of their modules",
            found=f"{name} is in {places[id(layer)]}",
            hint=f"call it as `self.{name.rpartition('.')[2]}` in `forward`",
        )


def _called(
    copied: nn.Module, layers: list[tuple[str, nn.Module]], inputs: tuple[Any, ...]
) -> list[tuple[str, nn.Module]]:
    """Those of the layers that one run of a copy calls, in their order."""
    called: list[tuple[str, nn.Module]] = []
    if not layers:
        return called
    with contextlib.ExitStack() as stack:
        for pair in layers:
            hook = pair[1].register_forward_pre_hook(lambda *_, pair=pair: called.append(pair))
            stack.callback(hook.remove)
        # A network that cannot run is refused elsewhere, with its own message.
        with contextlib.suppress(Exception):
            run_copy(copied, lambda network: network(*clone_tensors(inputs)))
    return called
