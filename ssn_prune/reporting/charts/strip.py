"""The strip: one column per layer, with a cell for the mean above one for the variance.

Each stage is a separate picture, and a long one is cut, so that lines can break between them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import element, joined
from ssn_prune.reporting.view.choice import Stage
from ssn_prune.reporting.view.layers import Cell, Layer

CELL = 20
"""Side length of a cell with its margin."""
_LONGEST = 16
"""Largest number of layers in one picture."""


@dataclass(frozen=True)
class StagePictures:
    """The cells of one stage.

    Attributes:
        label: The text above it.
        title: The path of the stage.
        pictures: Parts to place side by side if there is room.
    """

    label: str
    title: str
    pictures: tuple[Markup, ...]


def strip(
    stages: Sequence[Stage], marked: Collection[str] | None = None
) -> tuple[StagePictures, ...]:
    """The strip of a page, whose columns are links to the rows of its table.

    Args:
        stages: The layers.
        marked: Paths of the layers to mark; the others are pale, and there are no links. None for
            the page of one run.
    """
    return tuple(
        StagePictures(
            stage.label,
            stage.name,
            tuple(
                _picture(stage.layers[start : start + _LONGEST], marked)
                for start in range(0, len(stage.layers), _LONGEST)
            ),
        )
        for stage in stages
    )


def _picture(layers: Sequence[Layer], marked: Collection[str] | None) -> Markup:
    drawn = (_drawn(layer, index, marked) for index, layer in enumerate(layers))
    return element("svg", *drawn, viewBox=f"0 0 {CELL * len(layers)} {2 * CELL}")


def _drawn(layer: Layer, index: int, marked: Collection[str] | None) -> Markup:
    title = element("title", f"{layer.name}: {layer.pair}{_state(layer)}")
    if marked is not None:
        pale = None if layer.name in marked or not marked else "dim"
        return element("g", title, *column(layer, CELL * index, 0), class_=pale)
    return element(
        "a",
        title,
        *column(layer, CELL * index, 0),
        href=f"#layer-{layer.number}",
        data_n=layer.number,
    )


def _state(layer: Layer) -> str:
    if layer.unfinished:
        return ", not one-hot"
    return ", folded away" if layer.folded else ""


def column(layer: Layer, x: int, y: int) -> list[Markup]:
    """Both cells of a layer."""
    return [_cell(layer.mean, x, y), _cell(layer.var, x, y + CELL)]


def _cell(cell: Cell, x: int, y: int) -> Markup:
    look = f"{'h' if cell.folded else ''}{'u' if cell.unfinished else ''}"
    return element("use", href=f"#{cell.letter}{look}", x=x, y=y)


def symbols() -> Markup:
    """The symbols that the cells refer to, once per page."""
    looks = ("", "h", "u", "hu")
    cells = [_symbol(letter, look) for letter in "ILB" for look in looks]
    cells.append(_symbol("", "u"))  # for gates of which only that is known
    return element("svg", element("defs", *cells), class_="symbols", aria_hidden="true")


def _symbol(letter: str, look: str) -> Markup:
    side = CELL - 2
    kind = f"{letter or 'several'}{' hollow' if 'h' in look else ''}"
    parts = [element("rect", class_=kind, x=1, y=1, width=side, height=side, rx=2)]
    if "u" in look:
        lines = "".join(
            f"M{1 + max(0, d - side)} {1 + min(d, side)}L{1 + min(d, side)} {1 + max(0, d - side)}"
            for d in range(5, 2 * side, 5)
        )
        parts.append(element("path", class_="hatch", d=lines))
    parts.append(element("text", letter, class_=kind, x=CELL // 2, y=14))
    return element("g", *parts, id=f"{letter}{look}")


def whole(stages: Sequence[Stage], style: str, title: str) -> Markup:
    """The strip alone, as a picture in a file.

    Args:
        stages: The layers.
        style: CSS rules for its classes.
        title: Description for readers who cannot see it.
    """
    left, top, gap = 74, 24, 8
    parts: list[Markup] = []
    x = left
    for stage in stages:
        width = CELL * len(stage.layers)
        if stage.label and 6.2 * len(stage.label) < width + gap:
            parts.append(element("text", stage.label, class_="label", x=x, y=top - 8))
        for index, layer in enumerate(stage.layers):
            name = element("title", f"{layer.name}: {layer.pair}")
            parts.append(element("g", name, *column(layer, x + CELL * index, top)))
        x += width + gap
    rows = [
        element("text", word, class_="label", x=0, y=top + 14 + CELL * row)
        for row, word in enumerate(("mean", "variance"))
    ]
    width, height = x - gap, top + 2 * CELL
    return element(
        "svg",
        element("title", title),
        element("style", style),
        symbols(),
        joined([*rows, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        class_="strip",
    )
