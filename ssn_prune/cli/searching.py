"""What ``ssn-prune search`` does once its options have been parsed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_prune.errors import ArgumentError, OutputError, first_line

if TYPE_CHECKING:
    from ssn_prune.checkpoint.loading import LoadedCheckpoint
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.costs.records import Costs
    from ssn_prune.progress import Progress
    from ssn_prune.report import ConversionReport
    from ssn_prune.searching.results import SearchOptions, SearchReport

_WAIT = timedelta(days=1)
"""How long a process may wait for the first, which measures latencies alone."""
_JOINING = timedelta(minutes=3)
"""How long the processes wait for each other at the beginning."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        data: Images to search with.
        test_data: Images for the final test; None for a part of ``data``.
        costs: A file with costs; None to measure them.
        search: How to search.
        conversion: How to convert the result.
        journal: File or folder that keeps the measurements; None for the user's cache folder.
    """

    data: str
    test_data: str | None
    costs: Path | None
    search: SearchOptions
    conversion: ConvertOptions
    journal: Path | None


@dataclass(frozen=True)
class Done:
    """The result of a request.

    Attributes:
        report: The report of the conversion; None in processes that write nothing.
        search: The report of the search.
        journal: The journal of the search, to remove once the reports are written, too.
    """

    report: ConversionReport | None
    search: SearchReport
    journal: Path | None


def _journals() -> Path | None:
    """A folder for journals in the user's cache folder; None if there cannot be one."""
    from ssn_prune.costs.cache import default_cache
    from ssn_prune.searching.journal import require_journal

    folder = default_cache().with_name("searches")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_journal(folder)
    except (OSError, OutputError):
        return None
    return folder


def is_first_process() -> bool:
    """Whether this process is alone or the first of several, by what torchrun tells it."""
    return not _several() or os.environ.get("RANK", "0") == "0"


def _several() -> bool:
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the process group if torchrun started this process as one of several.

    Raises:
        ArgumentError: The environment says that there are several, but they do not find each other.
    """
    if not _several():
        yield
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, count = next(rendezvous("env://", timeout=_JOINING))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=_WAIT)
    except (ValueError, RuntimeError) as error:
        names = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
        given = (f"{name}={os.environ.get(name, 'unset')}" for name in names)
        raise ArgumentError(
            "the environment says that several processes search, but they do not find each other",
            expected="processes that torchrun started, which sets WORLD_SIZE, RANK, MASTER_ADDR "
            "and MASTER_PORT",
            found=f"{', '.join(given)}: {first_line(error)}",
            hint="for one process alone, unset WORLD_SIZE; for several, start them with torchrun",
        ) from error
    try:
        if torch.cuda.is_available():
            local = int(os.environ.get("LOCAL_RANK", "0"))
            torch.cuda.set_device(local % torch.cuda.device_count())
        yield
    finally:
        dist.destroy_process_group()


def potential_costs(loaded: LoadedCheckpoint, request: Request, progress: Progress) -> Costs:
    """The costs that a dry run shows: those of a file, if they are of this network, or measured.

    Raises:
        CostsError: The file is not usable.
    """
    from ssn_prune.costs.cache import default_cache
    from ssn_prune.costs.matching import require_costs_of
    from ssn_prune.costs.measuring import measure_costs
    from ssn_prune.costs.reading import read_costs
    from ssn_prune.searching.candidates import exportable
    from ssn_prune.searching.processes import by_first
    from ssn_prune.searching.search import cost_options

    if request.costs is not None:
        found = require_costs_of(read_costs(request.costs), loaded)
    else:
        options = cost_options(request.search, request.conversion)
        found = by_first(
            lambda: measure_costs(loaded, options, cache=default_cache(), progress=progress)
        )
    return exportable(found, loaded.model)


def run_search(
    loaded: LoadedCheckpoint,
    request: Request,
    path: Path,
    save: Path | None,
    progress: Progress,
    *,
    force: bool,
) -> Done:
    """Search, convert and verify.

    Args:
        loaded: The checkpoint; an ordinary network will do, too.
        request: What was asked for.
        path: The file to write.
        save: A checkpoint to write as well.
        progress: Called with the name of each step before it starts.
        force: Replace existing files.

    Raises:
        SsnPruneError: See its subclasses; in that case nothing has been written.
    """
    from ssn_prune.checkpoint.ordinary import as_switchable
    from ssn_prune.conversion import convert
    from ssn_prune.conversion.converting import require_target
    from ssn_prune.conversion.on_images import open_for
    from ssn_prune.costs.cache import default_cache
    from ssn_prune.costs.reading import read_costs
    from ssn_prune.files import resolved
    from ssn_prune.searching.processes import by_first
    from ssn_prune.searching.saving import require_savable, save_chosen
    from ssn_prune.searching.search import search
    from ssn_prune.selection import select

    loaded = as_switchable(loaded)
    require_target(loaded, resolved(path), request.conversion, force=force)
    if save is not None:
        require_savable(loaded, save)
    costs = None if request.costs is None else read_costs(request.costs)
    images = open_for(loaded, request.data, request.conversion, None)
    tested = None
    if request.test_data is not None:
        tested = open_for(loaded, request.test_data, request.conversion, None)
    found = search(
        loaded,
        images,
        test_images=tested,
        costs=costs,
        cache=default_cache(),
        options=request.search,
        conversion=request.conversion,
        journal=request.journal or _journals(),
        keep_journal=True,
        progress=progress,
    )
    options = request.conversion
    if select(found.checkpoint.model).unconverged:
        options = replace(options, on_unconverged="exact")

    def write() -> ConversionReport:
        report = convert(found.checkpoint, path, options, force=force, progress=progress)
        if save is not None:
            save_chosen(found.checkpoint, save)
        return report

    return Done(by_first(write), found.report, found.journal)
