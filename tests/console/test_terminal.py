"""What a terminal shows at 80 and 60 columns: everything, in whole words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from terminal import on_terminal, plain

from ssn_prune.batch.summary import Row
from ssn_prune.console import batch_table, history_table
from ssn_prune.console.choice import show_selection
from ssn_prune.console.history import thinned
from ssn_prune.console.output import Output
from ssn_prune.console.selection import selection_table, summary_table
from ssn_prune.console.strip import strip_lines
from ssn_prune.console.text import path_in_lines
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.forms.table import FORMS
from ssn_prune.reporting.view.choice import choice_of
from ssn_prune.reporting.view.layers import Cell, Layer
from ssn_prune.reporting.view.legend import legend
from ssn_prune.text import printable
from ssn_prune.training.gate_traces import GateTrace


def cell(name: str, *, folded: bool = False, ratios: str | None = None) -> Cell:
    return Cell(name, folded, ratios is not None, ratios)


def layer(number: int, name: str, mean: Cell, var: Cell, form: str | None, fate: str) -> Layer:
    stage = name.partition(".")[0]
    return Layer(number, name, stage, mean, var, 64, 3136, form, fate, None, None, None)


LAYERS = (
    layer(1, "stem.sn", cell("LN"), cell("IN"), "MomentNorm2d", "nothing is constant here at all"),
    layer(
        2,
        "backbone.stages.0.blocks.11.attention_like_name.sn2",
        cell("IN"),
        cell("BN", folded=True),
        "InstanceCentre2d",
        "backbone.stages.0.blocks.11.attention_like_name.conv2: the scale of its variance",
    ),
    layer(3, "head.sn", cell("BN", ratios="IN 0.10 LN 0.30 BN 0.60"), cell("LN"), None, ""),
)


def shown(markup: str) -> str:
    return Console().render_str(markup).plain


def rendered(table: Table, width: int) -> list[str]:
    console = Console(width=width, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def columns_of(lines: Sequence[str]) -> list[str]:
    """The text of each column of a table's body, without the breaks of its lines."""
    rows = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    return ["".join("".join(row).split()) for row in zip(*rows, strict=True)]


@pytest.mark.parametrize("width", [160, 100, 80, 60])
def test_a_table_says_everything_at_any_width(width: int) -> None:
    lines = rendered(selection_table(LAYERS, width), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    text = "".join(columns_of(lines))
    for entry in LAYERS:
        for told in (entry.name, entry.form or "", entry.fate, entry.mean.ratios or ""):
            assert "".join(told.split()) in text
    pairs = columns_of(lines)[1]
    assert pairs == "LN/ININ/BNbn/LN"


def test_names_of_layers_are_broken_after_dots() -> None:
    lines = rendered(selection_table(LAYERS[:2], 80), 80)
    first = [line.strip("│").split("│")[0].strip() for line in lines if line.startswith("│")]
    broken = [part for part in first[1:] if part]
    assert "".join(broken) == LAYERS[1].name
    assert all(part.endswith(".") for part in broken[:-1])


@given(st.text(max_size=40), st.integers(1, 30))
def test_paths_keep_every_character(path: str, width: int) -> None:
    assume("\\" not in printable(path))  # rich doubles one at the end
    lines = [shown(line) for line in path_in_lines(path, width).split("\n")]
    assert all(len(line) <= width for line in lines)
    assert "".join(lines) == printable(path)


@pytest.mark.parametrize("width", [80, 60, 24])
def test_the_strip_has_a_letter_a_statistic(width: int) -> None:
    layers = [
        layer(i, f"stage{i // 7}.{i}.sn", cell("ILB"[i % 3] + "N"), cell("BN"), None, "")
        for i in range(40)
    ]
    lines = [
        Console().render_str(line).plain
        for line in strip_lines(choice_of(tuple(layers)), width, styled=False)
    ]
    assert all(len(line) <= width for line in lines[:-1])
    means = "".join(line[10:] for line in lines if line.startswith("mean")).replace(" ", "")
    variances = "".join(line[10:] for line in lines if line.startswith("variance"))
    assert means == ("ILB" * 14)[:40]
    assert variances.replace(" ", "") == "B" * 40
    titles = " ".join(lines)
    assert all(f"stage{i}" in titles for i in range(5))


def test_the_strip_says_what_letters_mean() -> None:
    choice = choice_of(LAYERS)
    for styled in (True, False):
        *rows, last = map(shown, strip_lines(choice, 80, styled=styled))
        assert ("folded away" in last) == styled
        assert "small: not one-hot" in last
        assert "LIb" in "".join(row[10:] for row in rows if row.startswith("mean")).replace(" ", "")


def test_many_layers_are_summarised() -> None:
    layers = tuple(
        layer(i, f"stage.{i}.sn", cell("IN"), cell("BN" if i % 3 else "LN"), "MomentNorm2d", "")
        for i in range(45)
    )
    text = columns_of(rendered(summary_table(layers), 80))
    assert text[:2] == ["3015", "IN/BNIN/LN"]
    assert "stage.1.sn,stage.2.sn,stage.4.sn,and27more" in text[3]


@pytest.mark.parametrize("width", [160, 80, 60])
def test_histories_keep_their_gates(width: int) -> None:
    traces = tuple(
        GateTrace("backbone.stages.0.blocks.11.sn", gate, "iiillbbB" * 6, 1200, Normalizer.BN, 3)
        for gate in ("mean", "var")
    )
    lines = rendered(history_table(traces, width), width)
    assert max(map(len, lines)) <= width
    text = columns_of(lines)
    assert text[0] == "backbone.stages.0.blocks.11.sn" * 2
    assert text[1] == "meanvariance"
    assert text[3:] == ["12001200", "33"]


def test_thinning_keeps_both_ends() -> None:
    assert thinned("iiiiLLLLbbB", 5) == "iiLLB"
    assert thinned("ib", 8) == "ib"


def test_every_form_has_a_meaning() -> None:
    names = {entry.__name__ for form in FORMS.values() for entry in form.classes}
    assert set(legend(names)) == names


def test_errors_break_between_words(tmp_path: Path) -> None:
    missing = tmp_path / "a folder with words" / "net.pth"
    lines = plain(on_terminal("inspect", str(missing), columns=60))
    told = [line for line in lines if line]
    assert told[0].startswith("error:")
    assert all(len(line) <= 60 for line in told)
    words = " ".join(line.strip() for line in told).split()
    assert {"expected:", "found:", "try:"} <= set(words)


def test_colours_are_left_out_on_request(tmp_path: Path) -> None:
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    path = str(tmp_path / "net.pth")
    coloured = on_terminal("inspect", path, columns=80)
    bare = on_terminal("inspect", path, columns=80, environment={"NO_COLOR": "1"})
    assert "\x1b[7;38;5;" in coloured
    assert "38;5" not in bare
    assert "IN/BN" in "".join(plain(bare))
    assert "mean      IB" in plain(bare)


def test_nothing_is_printed_where_nobody_reads() -> None:
    show_selection(Output(quiet=True), None, "")


@pytest.mark.parametrize("width", [140, 80, 60])
def test_a_batch_keeps_its_words_whole(width: int) -> None:
    rows = [
        Row("a/long/name/of.pth", "x.onnx", 0, 1.0, 20, "20 IN/BN", 184, 10, 1e-6, 2e-6),
        Row("b.pth", None, 4, 1.0, problem="2 of 20 layers have gates that are not one-hot"),
    ]
    lines = rendered(batch_table(rows, width), width)
    assert max(map(len, lines)) <= width
    words = set(" ".join(lines).replace("│", " ").replace("┃", " ").split())
    assert {"checkpoint", "exit", "layers", "nodes", "184", "4"} <= words
    assert ("problem" in words) == (width >= 80)
    assert "gates" in words or width < 80
