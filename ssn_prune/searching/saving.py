"""Save the chosen network as a checkpoint that can be loaded again."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from ssn_prune.architectures.registry import find_architecture
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.errors import SearchError
from ssn_prune.export_formats import require_checkpoint_name
from ssn_prune.files import replacing, resolved, write_errors
from ssn_prune.nn.ssn import SSN
from ssn_prune.searching.selections import switchable_layers


def require_savable(loaded: LoadedCheckpoint, path: Path) -> None:
    """Check before the search that its result can be saved as a checkpoint of the same network.

    Args:
        loaded: The network.
        path: The file.

    Raises:
        ArgumentError: The name of the file promises another kind of file.
        SearchError: The network's code does not build SSN layers, which can hold the result.
    """
    require_checkpoint_name(path)
    layers = switchable_layers(loaded.model)
    name = loaded.source.arch
    swaps = name is not None and find_architecture(name, trusted=True).swaps_norms
    own_norms = loaded.given is not None and not swaps
    if not own_norms and all(isinstance(layer, SSN) for layer in layers.values()):
        return
    raise SearchError(
        "the chosen network cannot be saved as a checkpoint of this architecture",
        expected="a network whose code builds SSN layers, which can hold a choice",
        found="norm layers of another kind" if own_norms else "SN layers, whose gates stay soft",
        hint="leave `save=` out: the exported file holds the chosen network",
    )


def save_chosen(chosen: LoadedCheckpoint, path: Path) -> None:
    """Save the chosen network.

    Args:
        chosen: The ``checkpoint`` of a :class:`ssn_prune.SearchResult`.
        path: The file, which appears complete or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    size = chosen.input_size
    if chosen.more_inputs:  # the file names one size; the others would be taken to be missing
        size = None
    content = {
        "model": chosen.source.arch,
        "state_dict": chosen.model.state_dict(),
        "input_size": None if size is None else list(size),
    }
    written = io.BytesIO()  # on a full disk, torch.save would raise a RuntimeError
    torch.save(content, written)
    with write_errors(path), replacing(resolved(path)) as temporary:
        temporary.write_bytes(written.getbuffer())
