"""Sound weights with metadata that could break code that prints, counts or builds from it."""

from __future__ import annotations

from collections.abc import Iterator

from hostile_case import HARMLESS, READ, TYPED, Case
from legacy_assembly import legacy
from pickle_assembly import (
    EMPTY_DICT,
    FALSE,
    NONE,
    TRUE,
    listing,
    mapping,
    number,
    program,
    real,
    several,
    text,
)
from sound_content import checkpoint, state_dict, tensors
from zip_assembly import zipped

LETTERS = {
    "escape sequences": "\x1b[2J\x1b]0;title\x07\x1b[31mred",
    "a carriage return": "good\rbad",
    "line feeds": "one\ntwo\n\n\nthree",
    "NUL": "a\0b",
    "backspaces": "abc\b\b\bxyz",
    "C1 controls": "\x9b2J\x85\x90",
    "right to left": "\u202egpj.exe",
    "zero width": "a\u200b\u200d\ufeffb",
    "a lone surrogate": "a\ud800b",
    "a low surrogate": "\udc80",
    "closing markup": "[/b]",
    "markup": "[bold red]x[/bold red]",
    "a link": "[link=file:///etc/passwd]x[/link]",
    "open markup": "[bold",
    "a style that is none": "[nosuchstyle]x",
    "an emoji code": ":skull:",
    "a million letters": "x" * 1_000_000,
    "a hundred thousand lines": "\n" * 100_000,
    "combining marks": "x" + "\u0301" * 10_000,
    "nothing": "",
    "blanks": " " * 1000,
    "backticks": "pass `arch='x'` now",
    "an option": "--force",
    "beyond the planes": "\U0010ffff\U000e0001",
    "a format": "{0.__class__} %s %(x)s",
}  # fmt: skip
NUMBERS = {
    "2**70": number(1 << 70),
    "-2**70": number(-(1 << 70)),
    "7**20000": number(7**20_000),
    "ten thousand bytes": b"\x8b\x10\x27\0\0" + b"\x55" * 10_000,
    "NaN": real(float("nan")),
    "infinity": real(float("inf")),
    "-infinity": real(float("-inf")),
    "a subnormal": real(5e-324),
    "True": TRUE,
    "None": NONE,
    "-1": number(-1),
}  # fmt: skip
ARCHITECTURES = (
    "os:system",
    "os.path:join",
    "subprocess:Popen",
    "builtins:exec",
    "builtins:eval",
    "antigravity:geohash",
    "this:s",
    "torchvision:../../etc",
    "torchvision:__class__",
    "torchvision:get_model",
    "torchvision:resnet18; touch canary",
    "timm:__init__",
    "timm:hf-hub:evil/model",
    "hf-hub:evil/model",
    "./canary.py:Net",
    "/canary.py:Net",
    "resnetv1ssn18.__class__",
    "__main__:main",
    ":",
    "a:b:c:d",
    "a" * 100_000 + ":b",
    "\0:\0",
    "\ud800:x",
    "layers\n:Net",
)
SIZES = {
    "of 10**9": listing(number(3), number(10**9), number(10**9)),
    "of 2**70": listing(number(3), number(1 << 70), number(1)),
    "negative": listing(number(3), number(-1), number(-1)),
    "real": listing(real(3.0), real(float("nan")), real(8.0)),
    "of a million": listing(*[number(1)] * 1_000_000),
    "of Booleans": listing(TRUE, TRUE, FALSE),
    "text": text("3x224x224"),
    "a dict": EMPTY_DICT,
    "nested": listing(listing(number(3)), listing(number(8))),
}


def _beside(*pairs: tuple[bytes, bytes]) -> bytes:
    return zipped(program(checkpoint(beside=pairs)))


def _cases() -> Iterator[Case]:
    for key, letters in LETTERS.items():
        value = text(letters)
        yield Case(
            f"metadata: value of {key}", HARMLESS, lambda v=value: _beside((text("best"), v))
        )
        yield Case(f"metadata: key of {key}", HARMLESS, lambda v=value: _beside((v, number(1))))
        yield Case(
            f"metadata: architecture of {key}",
            HARMLESS,
            lambda v=value: _beside((text("model"), v)),
        )
        changed = mapping((text(k.replace("n.", letters + ".")), v) for k, v in tensors().items())
        yield Case(f"metadata: layer of {key}", TYPED, lambda c=changed: zipped(program(c)))
    for key, value in NUMBERS.items():
        yield Case(f"metadata: epoch {key}", HARMLESS, lambda v=value: _beside((text("epoch"), v)))
        yield Case(
            f"metadata: best {key}", HARMLESS, lambda v=value: _beside((text("best_prec1"), v))
        )
    for index, arch in enumerate(ARCHITECTURES):
        for entry in ("arch", "model"):
            value = text(arch)
            yield Case(
                f"metadata: {entry} hostile {index}",
                HARMLESS,
                lambda e=entry, v=value: _beside((text(e), v)),
            )
    for key, value in SIZES.items():
        yield Case(
            f"metadata: input size {key}",
            HARMLESS,
            lambda v=value: _beside((text("input_size"), v)),
        )
    yield Case(
        "metadata: architecture a dict",
        HARMLESS,
        lambda: _beside((text("arch"), mapping([(text("name"), text("os:system"))]))),
    )
    yield Case(
        "metadata: 100,000 small facts",
        HARMLESS,
        lambda: _beside(*((text(f"f{i}"), number(i)) for i in range(100_000))),
    )
    yield Case(
        "metadata: facts with long texts",
        HARMLESS,
        lambda: _beside(*((text(f"f{i}"), text("x" * 100_000)) for i in range(100))),
    )
    yield Case(
        "metadata: a fact with the name of a field",
        READ,
        lambda: _beside((text("sha256"), text("x")), (text("format"), text("y"))),
    )
    yield Case(
        "metadata: deep facts, legacy",
        HARMLESS,
        lambda: legacy(
            program(checkpoint(beside=[(text("x"), several(*[listing()] * 9))], view=NONE))
        ),
    )
    yield Case(
        "metadata: keys of 100 parts",
        TYPED,
        lambda: zipped(program(mapping((text("a." * 100 + k), v) for k, v in tensors().items()))),
    )
    yield Case(
        "metadata: keys of 100,000 parts",
        TYPED,
        lambda: zipped(
            program(mapping((text("a." * 100_000 + k), v) for k, v in tensors().items()))
        ),
    )
    yield Case(
        "metadata: 1,000 layers",
        TYPED,
        lambda: zipped(
            program(
                state_dict(
                    extra=[
                        (text(f"l{i}.{leaf}"), tensors()[f"n.{leaf}"])
                        for i in range(1_000)
                        for leaf in ("weight", "bias", "mean_weight", "var_weight")
                    ]
                )
            )
        ),
    )


CASES = tuple(_cases())
