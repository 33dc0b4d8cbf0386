"""Draw the figures of docs/mathematics.md: ``python docs/make_figures.py``.

The output is plain SVG, the same bytes for the same code. The package's own SparsestMax solves the
gate of the simplex figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from ssn_prune.nn.single_gate import solve_gate, vertex_radius

FOLDER = Path(__file__).parent / "figures"
NAMES = ("IN", "LN", "BN")
COLOURS = ("#0072b2", "#e69f00", "#009e73")
ON_COLOURS = ("#fff", "#1b1b1b", "#06120e")
INK, SOFT, LINE, SHADE, ACCENT = "#1b1b1b", "#5c5c5c", "#b9b9b9", "#e9e9e6", "#b3261e"
Point = tuple[float, float]


def number(value: float) -> str:
    """At most one decimal, and no negative zero."""
    text = f"{round(value, 1) + 0.0:.1f}"
    return text.removesuffix(".0")


def text(x: float, y: float, content: str, *, size: int = 14, fill: str = INK, bold: bool = False,
         anchor: str = "middle") -> str:  # fmt: skip
    """A line of text; ``x`` is its middle, or its start."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{size}" fill="{fill}"'
        f' text-anchor="{anchor}"{weight}>{content}</text>'
    )


def rectangle(x: float, y: float, width: float, height: float, fill: str, line: str = LINE) -> str:
    """A box."""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
        f' fill="{fill}" stroke="{line}"/>'
    )


def svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole file, on white paper in light and dark pages."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" font-family="system-ui, sans-serif">\n'
        f"<title>{title}</title>\n"
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>\n{body}\n</svg>\n'
    )


def averages() -> str:
    """Which planes each normalizer averages over."""
    parts = []
    every = range(4)
    covered = ({(1, 1)}, {(1, c) for c in every}, {(n, 1) for n in every})
    texts = ("one channel of one image", "all channels of one image", "one channel of all images")
    cell = 36
    for index, (name, what) in enumerate(zip(NAMES, texts, strict=True)):
        left, top = 74 + 244 * index, 66
        parts.append(text(left + 2 * cell, 26, name, size=17, bold=True))
        parts.append(text(left + 2 * cell, top - 12, "channels", size=12, fill=SOFT))
        parts.append(
            f'<g transform="translate({left - 12} {top + 2 * cell}) rotate(-90)">'
            f"{text(0, 0, 'images', size=12, fill=SOFT)}</g>"
        )
        for n in every:
            for c in every:
                fill = COLOURS[index] if (n, c) in covered[index] else SHADE
                parts.append(rectangle(left + cell * c, top + cell * n, cell, cell, fill, "#fff"))
        parts.append(text(left + 2 * cell, top + 4 * cell + 26, what, size=13))
    return svg(760, 250, "What InstanceNorm, LayerNorm and BatchNorm average over", parts)


SIDE = 150.0


def corners(left: float, top: float) -> list[Point]:
    """The corners of a triangle: IN, LN and BN."""
    height = SIDE * math.sqrt(3) / 2
    return [(left, top + height), (left + SIDE, top + height), (left + SIDE / 2, top)]


def place(ratios: Iterable[float], triangle: list[Point]) -> Point:
    """The place of a gate in the triangle."""
    weighted = list(zip(ratios, triangle, strict=True))
    return sum(p * x for p, (x, _) in weighted), sum(p * y for p, (_, y) in weighted)


def simplex() -> str:
    """A gate on its way from the inside of the simplex to a vertex, as the circle grows."""
    logits = [0.25, 0.29, 0.46]
    radii = (0.0, 0.3, 0.6, vertex_radius(3))
    said = ("sparsemax", "pushed outwards", "along an edge", "one-hot, frozen")
    parts = []
    for index, (radius, what) in enumerate(zip(radii, said, strict=True)):
        triangle = corners(22 + 188 * index, 54)
        outline = " ".join(f"{number(x)},{number(y)}" for x, y in triangle)
        centre = place((1 / 3, 1 / 3, 1 / 3), triangle)
        parts.append(f'<clipPath id="t{index}"><polygon points="{outline}"/></clipPath>')
        parts.append(f'<polygon points="{outline}" fill="#cfe3f1" stroke="none"/>')
        parts.append(
            f'<circle cx="{number(centre[0])}" cy="{number(centre[1])}"'
            f' r="{number(radius * SIDE / math.sqrt(2))}" fill="#fff" stroke="{SOFT}"'
            f' stroke-dasharray="4 3" clip-path="url(#t{index})"/>'
        )
        parts.append(f'<polygon points="{outline}" fill="none" stroke="{INK}"/>')
        steps = [radius * step / 60 for step in range(61)]
        path = [place(solve_gate(logits, r).ratios, triangle) for r in steps]
        parts.append(
            f'<polyline points="{" ".join(f"{number(x)},{number(y)}" for x, y in path)}"'
            f' fill="none" stroke="{ACCENT}" stroke-width="2"/>'
        )
        parts.append(
            f'<circle cx="{number(centre[0])}" cy="{number(centre[1])}" r="2" fill="{SOFT}"/>'
        )
        x, y = path[-1]
        parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="5" fill="{ACCENT}"/>')
        for name, (x, y), down in zip(NAMES, triangle, (18, 18, -12), strict=True):
            parts.append(text(x, y + down, name, size=13, bold=True))
        middle = triangle[2][0]
        parts.append(text(middle, 232, f"r = {radius:.2f}", bold=True))
        parts.append(text(middle, 252, what, size=13, fill=SOFT))
    return svg(760, 270, "SparsestMax: the gate leaves the circle as its radius grows", parts)


# mean, variance -> what folds into the convolution before it, and what is left; how many moments.
PAIRS: tuple[tuple[tuple[str, str, int], ...], ...] = (
    (
        ("a constant, to centre", "InstanceNorm", 2),
        ("nothing", "channel mean, image variance", 2),
        ("the scale", "x - channel mean + bias", 1),
    ),
    (
        ("nothing", "image mean, channel variance", 2),
        ("nothing", "image mean and variance", 2),
        ("the scale", "x - image mean + bias", 1),
    ),
    (
        ("the running mean", "scaled by channel variance", 1),
        ("the running mean", "scaled by image variance", 1),
        ("all of it", "nothing", 0),
    ),
)
WORK = ("#d8efe7", "#f4ecd6", "#f3dcd9")


def pairs() -> str:
    """What becomes of each of the nine pairs after a convolution."""
    left, top, width, height = 76, 66, 222, 74
    parts = [text(left + 1.5 * width, 24, "variance", size=13, fill=SOFT)]
    parts.append(
        f'<g transform="translate(22 {number(top + 1.5 * height)}) rotate(-90)">'
        f"{text(0, 0, 'mean', size=13, fill=SOFT)}</g>"
    )
    for index, name in enumerate(NAMES):
        x, y = left + width * (index + 0.5), top + height * (index + 0.5)
        for cx, cy in ((x, 46.0), (50.0, y)):
            parts.append(rectangle(cx - 17, cy - 13, 34, 24, COLOURS[index], "none"))
            parts.append(text(cx, cy + 4, name, fill=ON_COLOURS[index], bold=True))
    for row, cells in enumerate(PAIRS):
        for column, (folded, remains, moments) in enumerate(cells):
            x, y = left + width * column, top + height * row
            parts.append(rectangle(x, y, width, height, WORK[moments], "#fff"))
            parts.append(text(x + width / 2, y + 30, f"folds: {folded}", size=13))
            parts.append(text(x + width / 2, y + 52, f"left: {remains}", size=12))
    said = ("nothing at run time", "a mean or a variance", "a mean and a variance")
    for index, (fill, what) in enumerate(zip(WORK, said, strict=True)):
        x = left + 10 + width * index
        parts.append(rectangle(x, 302, 18, 14, fill))
        parts.append(text(x + 26, 314, what, size=13, fill=SOFT, anchor="start"))
    return svg(760, 334, "The nine pairs: what folds into a convolution and what is left", parts)


FIGURES = {"averages.svg": averages, "simplex.svg": simplex, "pairs.svg": pairs}


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
