"""Which checkpoints to convert, and which file each becomes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssn_prune.errors import ArgumentError, OutputError

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors")
"""Suffixes of the checkpoints in a folder; a file that the user names may have any name."""


@dataclass(frozen=True)
class Job:
    """One conversion.

    Attributes:
        checkpoint: The file to read.
        output: The file to write.
        name: Name to show: the checkpoint's path within the folder that was given.
        reports: Reports to write.
    """

    checkpoint: Path
    output: Path
    name: str
    reports: tuple[Path, ...] = ()


def jobs_of(
    given: Sequence[Path],
    folder: Path | None,
    suffix: str,
    reports: Sequence[str] = (),
    *,
    recursive: bool = False,
) -> tuple[Job, ...]:
    """One job per checkpoint, in the order given; within a folder by name.

    Args:
        given: Files and folders.
        folder: Where the files go, with the subfolders of a folder that was given; None writes each
            file next to its checkpoint.
        suffix: Suffix of the files to write, such as ``".onnx"``.
        reports: Suffixes of reports to write next to them, such as ``".html"``.
        recursive: Look into subfolders, too.

    Raises:
        ArgumentError: A folder has no checkpoint.
        OutputError: Two checkpoints would become the same file, or a checkpoint would be replaced.
    """
    jobs: list[Job] = []
    for path in given:
        if not path.is_dir():
            jobs.append(_job(path, Path(path.name), folder, suffix))
            continue
        found = sorted(_checkpoints(path, recursive))
        if not found:
            raise ArgumentError(
                f"the folder {path} has no checkpoint",
                expected=f"files with the suffix {', '.join(SUFFIXES)}",
                found="none" if recursive else "none directly in it",
                hint="name the files" if recursive else "pass `recursive=True`, or name the files",
            )
        jobs += [_job(path / part, part, folder, suffix) for part in found]
    _require_distinct(jobs)
    return tuple(
        replace(job, reports=tuple(job.output.with_suffix(entry) for entry in reports))
        for job in jobs
    )


def _checkpoints(folder: Path, recursive: bool) -> Iterator[Path]:
    """Paths of the checkpoints within a folder, relative to it; hidden files are left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (Path(here) / name).relative_to(folder)


def _job(path: Path, part: Path, folder: Path | None, suffix: str) -> Job:
    beside = path if folder is None else folder / part
    return Job(path, beside.with_suffix(suffix) if part.name else beside, str(part))


def _require_distinct(jobs: Sequence[Job]) -> None:
    inputs = {job.checkpoint.resolve() for job in jobs}
    written: dict[Path, Job] = {}
    for job in jobs:
        place = job.output.resolve()
        other = written.setdefault(place, job)
        if other is not job:
            raise OutputError(
                f"{other.checkpoint} and {job.checkpoint} would become the same file",
                expected="a file of its own for each checkpoint",
                found=str(job.output),
                hint="convert them one by one, or rename one",
            )
        if place in inputs:
            raise OutputError(
                f"{job.output} would replace a checkpoint",
                expected="output files that are not checkpoints",
                found=str(job.output),
                hint="name another folder for the output",
            )
