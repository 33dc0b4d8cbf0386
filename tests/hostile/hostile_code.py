"""Files that request code: every known way to reach a function from a pickle."""

from __future__ import annotations

from collections.abc import Iterator

from hostile_calls import ASKED, INNER, LIVE, TOUCH, data
from hostile_case import REFUSED, UNSAFE, Case
from legacy_assembly import legacy
from pickle_assembly import (
    BINPERSID,
    BUILD,
    EMPTY_DICT,
    NEWOBJ_EX,
    NONE,
    POP,
    REDUCE,
    SETITEM,
    STACK_GLOBAL,
    call,
    listing,
    mapping,
    name,
    number,
    program,
    rebuilt,
    several,
    stack_name,
    text,
)
from sound_content import checkpoint, state_dict, tensors
from zip_assembly import zipped


def places(danger: bytes) -> Iterator[tuple[str, bytes]]:
    """A whole program for each place in a checkpoint where a value can stand."""
    yield "value beside the weights", program(checkpoint(beside=[(text("x"), danger)]))
    yield "key beside the weights", program(checkpoint(beside=[(danger, NONE)]))
    yield "value among the weights", program(state_dict(extra=[(text("x"), danger)]))
    yield "key among the weights", program(state_dict(extra=[(danger, NONE)]))
    yield (
        "in a list in a tuple",
        program(checkpoint(beside=[(text("x"), several(listing(danger)))])),
    )
    yield "before everything", program(danger + POP + checkpoint())
    yield "after everything", program(checkpoint() + danger + POP)
    yield "state of the state dict", program(state_dict() + danger + BUILD)
    yield "storage of a tensor", program(state_dict({"n.weight": rebuilt(danger, (4,), (1,), 0)}))
    yield "persistent id", program(state_dict({"n.weight": danger + BINPERSID}))
    yield (
        "class of a storage",
        program(
            state_dict(
                {
                    "n.weight": rebuilt(
                        several(text("storage"), danger, text("1"), text("cpu"), number(4))
                        + BINPERSID,
                        (4,),
                        (1,),
                        0,
                    )
                }
            )
        ),
    )
    yield (
        "hooks of a tensor",
        program(state_dict({"n.weight": tensors()["n.weight"] + several(danger) + BUILD})),
    )
    yield (
        "entry of an OrderedDict",
        program(call(name("collections", "OrderedDict"), listing(listing(text("x"), danger)))),
    )
    yield (
        "kind of a parameter",
        program(
            state_dict(
                {
                    "n.weight": call(
                        name("torch._tensor", "_rebuild_from_type_v2"),
                        danger,
                        name("torch.nn.parameter", "Parameter"),
                        several(),
                        EMPTY_DICT,
                    )
                }
            )
        ),
    )
    yield (
        "argument of set",
        program(checkpoint(beside=[(text("x"), call(name("builtins", "set"), listing(danger)))])),
    )
    yield "item of a dict that exists", program(checkpoint() + text("x") + danger + SETITEM)


ODD_NAMES: dict[str, bytes] = {
    "dotted globals of a known function": stack_name("torch._utils", "_rebuild_tensor_v2.__globals__"),
    "dotted known class": stack_name("collections", "OrderedDict.fromkeys"),
    "class of a class": stack_name("collections", "OrderedDict.__class__"),
    "subclasses": stack_name("collections", "OrderedDict.__subclasses__"),
    "Cyrillic letters": stack_name("оs", "system"),
    "line feed in the module": stack_name("os\nsystem", "x"),
    "line feed in the name": stack_name("os", "system\n"),
    "blank": stack_name("os ", " system"),
    "NUL": stack_name("os\0", "system"),
    "empty": stack_name("", ""),
    "only dots": stack_name("...", "..."),
    "a surrogate": stack_name("o\ud800s", "system"),
    "a surrogate in a known module": stack_name("collections", "Ordered\udcffDict"),
    "escape sequences": stack_name("os", "\x1b[2J\x1b[31msystem"),
    "markup": stack_name("[bold]os", "system[/bold]"),
    "wrong markup": stack_name("os", "system[/b]"),
    "a million letters": stack_name("o" * 1_000_000, "system"),
    "a million dots": stack_name("os", ".".join("a" * 500_000)),
    "invalid UTF-8": b"c\xff\xfe\nsystem\n",
    "a number as module": number(3) + text("system") + STACK_GLOBAL,
    "a number as name": text("os") + number(3) + STACK_GLOBAL,
    "a list as name": text("os") + listing() + STACK_GLOBAL,
    "bytes as name": data(b"os") + data(b"system") + STACK_GLOBAL,
}  # fmt: skip

DANGERS = {key: LIVE[key] for key in ("os.system", "builtins.eval", "INST", "OBJ", "STACK_GLOBAL")}


def _in_layout(index: int, body: bytes) -> bytes:
    """A value stored next to the weights, in one of the layouts and protocols."""
    beside = [(text("x"), body)]
    protocol = 2 + index % 4
    if index % 2:
        return legacy(program(checkpoint(beside=beside, view=NONE), protocol))
    return zipped(program(checkpoint(beside=beside), protocol))


def _cases() -> Iterator[Case]:
    for index, (key, body) in enumerate(LIVE.items()):
        yield Case(f"code: {key}", UNSAFE, lambda i=index, b=body: _in_layout(i, b), live=True)
    for index, (key, body) in enumerate(ASKED.items()):
        yield Case(f"code: {key}", UNSAFE, lambda i=index, b=body: _in_layout(i, b))
    for key, danger in DANGERS.items():
        for place, whole in places(danger):
            yield Case(f"code: {key} as {place}", UNSAFE, lambda w=whole: zipped(w))
    for index, (key, body) in enumerate(ODD_NAMES.items()):
        yield Case(
            f"code: name with {key}",
            REFUSED,
            lambda i=index, b=body: _in_layout(i, b + several() + REDUCE),
        )
    nested = call(name("torch.storage", "_load_from_bytes"), data(INNER))
    yield Case("code: nested pickle", REFUSED, lambda: _in_layout(0, nested))
    keywords = name("subprocess", "Popen") + several() + mapping([(text("args"), text(TOUCH))])
    yield Case("code: NEWOBJ_EX", UNSAFE, lambda: _in_layout(0, keywords + NEWOBJ_EX))
    for code in (b"\x82\x01", b"\x83\x01\x01", b"\x84\x01\x01\x01\x01"):
        yield Case(f"code: extension {code[0]:#x}", REFUSED, lambda c=code: _in_layout(0, c))
    for code in (b"\x97", b"\x98"):
        yield Case(f"code: buffer {code[0]:#x}", REFUSED, lambda c=code: _in_layout(0, c))


CASES = tuple(_cases())
