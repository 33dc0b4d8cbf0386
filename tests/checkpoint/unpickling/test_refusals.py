"""Names that could execute code are refused; nothing is looked up, imported or executed."""

import argparse
import collections
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pickle_checks import read, read_torch, sized_storages

from ssn_prune.checkpoint.unpickling import (
    PickleError,
    UnsafeGlobalError,
    WholeModuleError,
    unpickle,
)

DANGEROUS = [
    *("os.system", "posix.system", "nt.system", "subprocess.Popen", "subprocess.check_output"),
    *("builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__", "builtins.open"),
    *("__builtin__.eval", "builtins.compile", "builtins.map", "builtins.type", "builtins.print"),
    *("sys.exit", "sys.modules", "importlib.import_module", "runpy.run_path", "pty.spawn"),
    *(
        "webbrowser.open",
        "shutil.rmtree",
        "socket.create_connection",
        "ctypes.CDLL",
        "code.interact",
    ),
    *("pickle.loads", "_pickle.loads", "marshal.loads", "types.FunctionType", "types.CodeType"),
    *("operator.attrgetter", "operator.methodcaller", "functools.reduce", "itertools.starmap"),
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.serialization.load", "torch.ops"),
    *("torch.utils._import_utils.exec", "torch.nn.functional.os.system", "torch.optim.os.system"),
    *("torch.nn.modules.module.os", "numpy.load", "numpy.testing._private.utils.runstring"),
    *("numpy.ctypeslib.load_library", "transformers.utils.run", "deepspeed.launcher.runner.main"),
    *("lightning.os.system", "collections.namedtuple", "logging.config.listen", "pip.main"),
    *("pathlib.os.system", "datetime.sys.exit", "argparse._sys.exit", "evil.Module", "Bare.X"),
]


def name_of(dotted):
    return b"c" + "\n".join(dotted.rsplit(".", 1)).encode() + b"\n"


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def ways_to_use(dotted):
    """Every way in which a pickle can name, call, create or complete something."""
    module, member = dotted.rsplit(".", 1)
    head, _, tail = dotted.partition(".")
    name = name_of(dotted)
    command = short("touch canary; exit 3")
    yield name
    yield name + b"0N"
    yield short(module) + short(member) + b"\x93"
    yield short(head) + short(tail) + b"\x93"
    yield name + command + b"\x85R"
    yield name + b")R"
    yield name + b"(tR"
    yield b"(S'touch canary'\ni" + f"{module}\n{member}\n".encode()
    yield b"(" + name + command + b"o"
    yield name + command + b"\x85\x81"
    yield name + command + b"\x85}\x92"
    yield name + b")\x81}(" + short("a") + b"K\x01ub"
    yield name + b")\x81N}" + short("__reduce__") + name + b"s\x86b"
    yield b"ccopyreg\n_reconstructor\n(" + name + b"cbuiltins\nobject\nNtR"
    yield b"ccopyreg\n__newobj__\n(" + name + command + b"tR"
    yield b"cfunctools\npartial\n(" + name + command + b"tR"
    yield b"ccollections\ndefaultdict\n" + name + b"\x85R"
    yield b"ctorch._tensor\n_rebuild_from_type_v2\n(" + name + b"ctorch\nTensor\n)NtR"
    yield b"ctorch._utils\n_rebuild_wrapper_subclass\n(" + name + b"tR"
    yield b"cargparse\nNamespace\n)R}" + short("a") + name + b"sb"
    yield b"ccollections\nOrderedDict\n)R}" + short("a") + name + command + b"\x85Rsb"
    yield b"}" + name + b"K\x01s"
    yield name + b"q\x000h\x00" + command + b"\x85R"


@pytest.mark.parametrize("dotted", DANGEROUS)
def test_an_unknown_name_is_refused_whatever_is_done_with_it(dotted):
    for body in ways_to_use(dotted):
        with pytest.raises((UnsafeGlobalError, PickleError)) as caught:
            read(b"\x80\x02" + body + b".")
        if type(caught.value) is PickleError:  # wrong arguments, found before the end
            assert "rebuild" in str(caught.value) or "no function" in str(caught.value)
        else:
            assert type(caught.value) is UnsafeGlobalError
            assert caught.value.name == dotted


@pytest.mark.parametrize(
    "value",
    [
        *(b"K\x01K\x02\x86", b")", b"]\x85", b"}\x85", b"C\x01x\x85"),
        *(short(text) + b"\x85" for text in ("rm -rf x", "a/b", "a" * 65, "f()", "")),
    ],
)
def test_only_a_number_or_a_word_makes_a_member_of_an_enumeration(value):
    with pytest.raises(UnsafeGlobalError, match="config"):
        read(name_of("config.Mode") + value + b"R.")


@pytest.mark.parametrize("dotted", ["subprocess.Popen", "torch.X", "numpy.X", "config.mode"])
def test_libraries_and_functions_are_no_enumerations(dotted):
    with pytest.raises(UnsafeGlobalError):
        read(name_of(dotted) + b"K\x01\x85R.")


def test_a_class_that_is_called_once_for_an_enumeration_is_still_unknown_elsewhere():
    member = name_of("config.Mode") + b"q\x00K\x01\x85R0"
    read(member + b"h\x00K\x02\x85R.")
    for body in (b"h\x00)R", b"h\x00)\x81}b", name_of("config.Mode")):
        with pytest.raises(UnsafeGlobalError):
            read(member + body + b".")


def test_an_enumeration_explains_only_its_own_name():
    data = b"(" + name_of("os.system") + name_of("config.Mode") + b"K\x01\x85Rt."
    with pytest.raises(UnsafeGlobalError, match=r"os\.system"):
        read(data)


def test_long_and_unprintable_names_are_shown_on_one_short_line():
    with pytest.raises(UnsafeGlobalError) as caught:
        read(short("a\x1b[2J\n") + short("b" * 200) + b"\x93.")
    assert caught.value.name.startswith(r"a\x1b[2J\n.bbb")
    assert caught.value.name.isprintable()
    assert len(caught.value.name) < 140


class Executes:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class OwnNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.norm = torch.nn.BatchNorm2d(2)


class OwnLeaf(torch.nn.Module):
    pass


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (OwnNetwork, "OwnNetwork"),
        (OwnLeaf, "OwnLeaf"),
        (lambda: torch.nn.Conv2d(1, 1, 1), "torch.nn.modules.conv.Conv2d"),
        (lambda: torch.nn.DataParallel(OwnNetwork()), "DataParallel"),
        (torchvision.models.resnet18, "torchvision.models.resnet.ResNet"),
    ],
    ids=["own", "own without layers", "layer", "wrapped", "torchvision"],
)
def test_a_whole_module_is_told_with_its_outermost_class(protocol, module, name):
    for content in (module(), {"epoch": 1, "model": module()}):
        with pytest.raises(WholeModuleError) as caught:
            read_torch(content, protocol)
        assert caught.value.name.endswith(name)


def test_a_whole_module_of_a_legacy_file_is_told(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(OwnNetwork(), path, _use_new_zipfile_serialization=False)
    with path.open("rb") as file:
        for _ in range(3):
            unpickle(file, sized_storages)
        with pytest.raises(WholeModuleError, match="OwnNetwork"):
            unpickle(file, sized_storages)


CODE = """
import sys
from ssn_prune.checkpoint.unpickling import unpickle, PickleError
files = [open(path, "rb").read() for path in sys.argv[1:]]
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "numpy"}))
before, events = set(sys.modules), []
# id() is audited, too; it is how a walk knows where it has been.
sys.addaudithook(lambda event, _: event == "builtins.id" or events.append(event))
for data in files:
    try:
        unpickle(data, None)
    except PickleError:
        pass
print(sorted(set(events)))
print(sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_or_executed(tmp_path):
    canary = tmp_path / "canary"
    contents = [
        Executes(os.system, f"touch {canary}"),
        Executes(eval, f"open({str(canary)!r}, 'w')"),
        Executes(subprocess.Popen, ["touch", str(canary)]),
        Executes(Path.touch, canary),
        {"a": argparse.Namespace(b=Executes(os.system, f"touch {canary}"))},
        collections.OrderedDict(a=1),
        argparse.Namespace(a=Path("b")),
        torch.float32,
        torch.optim.SGD,
        torch.nn.ReLU(),
    ]
    paths = []
    for protocol in range(6):
        for content in contents:
            paths.append(tmp_path / f"{len(paths)}.pkl")
            paths[-1].write_bytes(pickle.dumps(content, protocol))
    for dotted in DANGEROUS:
        for body in ways_to_use(dotted):
            paths.append(tmp_path / f"{len(paths)}.pkl")
            paths[-1].write_bytes(body + b".")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]
    assert not canary.exists()
    pickle.loads(paths[0].read_bytes())
    assert canary.exists()  # the canary sings when the file is executed


def test_threads_do_not_disturb_each_other():
    safe = pickle.dumps({"a": [collections.OrderedDict(b=1)] * 200}, 2)
    unsafe = pickle.dumps([Executes(os.getcwd)] * 3, 2)
    outcomes = []

    def work():
        for _ in range(20):
            assert len(read(safe).get("a")) == 200
            with pytest.raises(UnsafeGlobalError):
                read(unsafe)
        outcomes.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4


SAMPLES = [
    pickle.dumps({"a": [1, 2.5, "x", b"y", None, (1, 2), {3: 4}], "b": argparse.Namespace(c=1)}, p)
    for p in range(6)
]


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_changed_bytes_give_a_value_or_a_typed_error(data):
    mutated = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        mutated[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not mutated:
            return
    with contextlib.suppress(PickleError):
        read(bytes(mutated), sized_storages)


INSTRUCTION_BYTES = b"()\x85\x86\x87tl]de}asu0123hq\x00\x01\x94cRbio\x81\x92\x93NK.IQP\n"


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from([bytes([b]) for b in INSTRUCTION_BYTES]), max_size=40))
def test_any_sequence_of_instructions_gives_a_value_or_a_typed_error(instructions):
    names = b"cnumpy\ndtype\nq\x00cnumpy.core.multiarray\n_reconstruct\nq\x01"
    with contextlib.suppress(PickleError):
        read(names + b"".join(instructions), sized_storages)


@pytest.mark.parametrize(
    "fault",
    [
        b"N\x85R",  # a call of a value
        b"}R",  # a call with a dict
        b"\xff",  # no instruction
        b"X\xff\xff\xff\xff",  # the end of the file within a text
        b"(X\x07\0\0\0storage" + name_of("os.system") + b"N\x85RK\1K\1K\1tQ",
    ],
    ids=ascii,
)
def test_the_name_of_a_library_matters_more_than_another_fault(fault):
    with pytest.raises(UnsafeGlobalError) as caught:
        read(b"\x80\x02" + name_of("os.system") + fault + b".")
    assert caught.value.name == "os.system"
    assert caught.value.position is not None


def test_a_name_that_could_be_a_users_does_not_hide_another_fault():
    with pytest.raises(PickleError) as caught:
        read(b"\x80\x02" + name_of("my.own.Phase") + b"\xff.")
    assert not isinstance(caught.value, UnsafeGlobalError)
