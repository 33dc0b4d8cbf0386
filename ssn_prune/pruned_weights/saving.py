"""Save a pruned network: its weights, and the plan that restores the network around them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ssn_prune._version import __version__
from ssn_prune.checkpoint.safetensors import PRUNED_KEY
from ssn_prune.errors import CheckpointError, ExportError
from ssn_prune.files import replacing, require_writable, resolved, sha256_of
from ssn_prune.json_values import to_json
from ssn_prune.pruned_weights.describing import named_tensors, stored_plan
from ssn_prune.pruned_weights.parsing import parse_plan
from ssn_prune.pruned_weights.results import WeightsStats
from ssn_prune.pruned_weights.safetensors_file import write_safetensors
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.surgery.guest import guest

_VERSION_KEY = "ssn_prune.version"


@guest()
def save_pruned(pruned: PruneResult, path: Path | str, *, force: bool = False) -> WeightsStats:
    """Save a pruned network so that :func:`ssn_prune.load_pruned` can restore it.

    Args:
        pruned: Result of :func:`ssn_prune.prune`; not changed. Weights that were trained since then
            are saved in their current state.
        path: The safetensors file to write. It appears only once it is complete.
        force: Replace an existing file.

    Returns:
        Statistics of the file.

    Raises:
        ExportError: The network keeps state that such a file cannot store.
        OutputError: The file cannot be written.
    """
    target = resolved(path)
    require_writable(target, force=force)
    with replacing(target) as temporary:
        return write_pruned(pruned, temporary, target, {_VERSION_KEY: __version__})


def write_pruned(
    pruned: PruneResult, temporary: Path, target: Path, metadata: Mapping[str, str]
) -> WeightsStats:
    """Write to ``temporary``, a file that will be moved to ``target``.

    ``metadata`` is stored along with the plan. Errors are those of :func:`save_pruned`.
    """
    plan = json.dumps(to_json(stored_plan(pruned)), allow_nan=False)
    tensors = named_tensors(pruned.model)
    write_safetensors(tensors, {**metadata, PRUNED_KEY: plan}, temporary, target)
    try:
        parse_plan(target, {PRUNED_KEY: plan})
    except CheckpointError as error:
        raise ExportError(
            "a file of pruned weights cannot describe this network",
            expected=error.expected,
            found=error.found,
            hint="save the state dict with torch.save, and prune the checkpoint again to load it",
        ) from error
    size, digest = temporary.stat().st_size, sha256_of(temporary)
    return WeightsStats(target.name, size, digest, len(tensors))
