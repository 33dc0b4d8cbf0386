"""Which checkpoints a batch has, and what each becomes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from ssn_prune.batch.jobs import Job, jobs_of
from ssn_prune.batch.running import Result, run_jobs
from ssn_prune.batch.summary import COLUMNS, csv_of, row_of
from ssn_prune.errors import ArgumentError, OutputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.pth", "a.SafeTensors", "notes.txt", ".hidden.pth", "sub/c.ckpt", ".git/d.pth"):
        path = tmp_path / "nets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "nets" / "sub" / "loop").symlink_to(tmp_path / "nets")
    return tmp_path / "nets"


def test_a_folder_has_the_checkpoints_in_it_by_name(folder: Path) -> None:
    jobs = jobs_of([folder], None, ".onnx")
    assert [job.name for job in jobs] == ["a.SafeTensors", "b.pth"]
    assert [job.output for job in jobs] == [folder / "a.onnx", folder / "b.onnx"]


def test_subfolders_are_kept_in_the_folder_that_is_written(folder: Path, tmp_path: Path) -> None:
    jobs = jobs_of([folder], tmp_path / "out", ".onnx", [".html"], recursive=True)
    assert [job.name for job in jobs] == ["a.SafeTensors", "b.pth", "sub/c.ckpt"]
    assert jobs[2].output == tmp_path / "out" / "sub" / "c.onnx"
    assert jobs[2].reports == (tmp_path / "out" / "sub" / "c.html",)


def test_a_file_may_be_called_anything(folder: Path) -> None:
    (job,) = jobs_of([folder / "notes.txt"], None, ".onnx")
    assert job == Job(folder / "notes.txt", folder / "notes.onnx", "notes.txt")


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="has no checkpoint") as caught:
        jobs_of([tmp_path], None, ".onnx")
    assert "`recursive=True`" in (caught.value.hint or "")


def test_two_checkpoints_cannot_become_one_file(folder: Path, tmp_path: Path) -> None:
    (folder / "b.pt").touch()
    with pytest.raises(OutputError, match="the same file"):
        jobs_of([folder], None, ".onnx")
    with pytest.raises(OutputError, match="the same file"):
        jobs_of([folder / "b.pth", folder / "b.pth"], tmp_path, ".onnx")


def test_no_checkpoint_is_replaced(folder: Path) -> None:
    (folder / "b.onnx").touch()
    with pytest.raises(OutputError, match="would replace a checkpoint"):
        jobs_of([folder / "b.pth", folder / "b.onnx"], None, ".onnx")


def test_rows_are_harmless_for_spreadsheets() -> None:
    job = Job(Path("=1+1.pth"), Path("x.onnx"), "=1+1.pth")
    document = {"error": {"problem": "-2\n3"}}
    rows = list(csv.reader(io.StringIO(csv_of([row_of(Result(job, 3, document, 1.5))]))))
    assert rows[0] == list(COLUMNS)
    assert (rows[1][0], rows[1][2], rows[1][-1]) == ("'=1+1.pth", "3", "'-2\n3")


def test_a_process_that_crashes_is_one_failed_job(tmp_path: Path) -> None:
    """The command is killed for one checkpoint and prints no JSON for another."""
    script = tmp_path / "command"
    script.write_text(
        '#!/bin/sh\nfor last; do :; done\ncase "$last" in *killed*) kill -9 $$;; esac\n'
        'echo "no JSON"; echo "went wrong" >&2; exit 7\n'
    )
    script.chmod(0o755)
    jobs = [Job(Path(name), Path(f"{name}.onnx"), name) for name in ("killed", "odd")]
    begun: list[str] = []
    ended: list[Result] = []

    def command_of(job: Job) -> list[str]:
        return [str(script), job.name]

    results = run_jobs(jobs, command_of, 2, lambda job: begun.append(job.name), ended.append)
    assert [result.exit_code for result in results] == [137, 7]
    assert results[0].problem == "the process ended with signal 9"
    assert results[1].document["error"]["found"] == "went wrong"
    assert sorted(begun) == ["killed", "odd"]
    assert sorted(ended, key=lambda r: r.job.name) == list(results)
