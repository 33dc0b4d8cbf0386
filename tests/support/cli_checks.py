"""Run the command line on input that must fail."""

import json

from typer.testing import CliRunner, Result  # the tests drive the CLI

from ssn_prune.cli.app import app
from ssn_prune.cli.exit_codes import UNCONVERGED

ARCH = ("--arch", "helpers:TinyNetwork")


def run_cli(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fails(folder, code, *arguments):
    """Run twice, once with text and once with JSON output; return both messages."""
    before = contents(folder)
    plain = run_cli(*arguments)
    assert plain.exit_code == code, plain.stderr
    assert plain.stdout == ""
    assert "Traceback" not in plain.stderr
    assert plain.stderr.startswith("error: ") or code == UNCONVERGED
    for label in ("expected", "found", "try"):
        assert f"  {label}: " in plain.stderr, plain.stderr
    assert "unexpected " not in plain.stderr.split("\n")[0]
    for_machines = run_cli(*arguments, "--json")
    assert for_machines.exit_code == code
    document = json.loads(for_machines.stdout)
    assert document["exit_code"] == code
    assert document["error"].keys() >= {"code", "type", "problem", "expected", "found", "hint"}
    assert document["error"]["problem"] in plain.stderr
    assert contents(folder) == before
    return plain.stderr, document["error"]
