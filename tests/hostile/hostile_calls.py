"""Calls that a pickle can request: some would run here, others are only requested."""

from __future__ import annotations

import pickle

from hostile_case import CANARY
from pickle_assembly import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    NEWOBJ,
    NONE,
    OBJ,
    POP,
    REDUCE,
    STACK_GLOBAL,
    call,
    construct,
    get,
    listing,
    mapping,
    name,
    number,
    put,
    several,
    stack_name,
    text,
)

TOUCH = f"touch {CANARY}"
PYTHON = f"open({CANARY!r}, 'w')"
SYSTEM = call(name("os", "system"), text(TOUCH))
OS = call(name("importlib", "import_module"), text("os"))
INNER = pickle.dumps(None, 2)[:2] + SYSTEM + b"."


def data(value: bytes) -> bytes:
    """A bytes object."""
    return b"B" + len(value).to_bytes(4, "little") + value


# Python's own unpickler executes each of these, and the canary dies.
LIVE: dict[str, bytes] = {
    "os.system": SYSTEM,
    "posix.system": call(name("posix", "system"), text(TOUCH)),
    "os.popen": call(name("os", "popen"), text(TOUCH)),
    "os.mkdir": call(name("os", "mkdir"), text(CANARY)),
    "os.open": call(name("os", "open"), text(CANARY), number(0o101)),
    "os.mknod": call(name("os", "mknod"), text(CANARY)),
    "os.symlink": call(name("os", "symlink"), text("/"), text(CANARY)),
    "subprocess.Popen": call(
        name("subprocess", "Popen"), listing(text("touch"), text(CANARY))
    ),
    "subprocess.call": call(name("subprocess", "call"), listing(text("touch"), text(CANARY))),
    "subprocess.run": call(name("subprocess", "run"), listing(text("touch"), text(CANARY))),
    "subprocess.getoutput": call(name("subprocess", "getoutput"), text(TOUCH)),
    "builtins.eval": call(name("builtins", "eval"), text(PYTHON)),
    "builtins.exec": call(name("builtins", "exec"), text(PYTHON)),
    "__builtin__.eval": call(name("__builtin__", "eval"), text(PYTHON)),
    "builtins.open": call(name("builtins", "open"), text(CANARY), text("w")),
    "builtins.compile": call(
        name("builtins", "exec"),
        call(name("builtins", "compile"), text(PYTHON), text("x"), text("exec")),
    ),
    "builtins.getattr": call(
        call(name("builtins", "getattr"), OS, text("system")), text(TOUCH)
    ),
    "builtins.__import__": call(
        call(
            name("builtins", "getattr"),
            call(name("builtins", "__import__"), text("os")),
            text("system"),
        ),
        text(TOUCH),
    ),
    "builtins.map": call(
        name("builtins", "list"),
        call(name("builtins", "map"), name("builtins", "eval"), listing(text(PYTHON))),
    ),
    "builtins.filter": call(
        name("builtins", "tuple"),
        call(name("builtins", "filter"), name("os", "system"), listing(text(TOUCH))),
    ),
    "io.open": call(name("io", "open"), text(CANARY), text("w")),
    "_io.FileIO": call(name("_io", "FileIO"), text(CANARY), text("w")),
    "codecs.open": call(name("codecs", "open"), text(CANARY), text("w")),
    "pathlib.Path.touch": call(
        stack_name("pathlib", "Path.touch"), call(name("pathlib", "Path"), text(CANARY))
    ),
    "pathlib.Path.mkdir": call(
        stack_name("pathlib", "Path.mkdir"), call(name("pathlib", "PosixPath"), text(CANARY))
    ),
    "operator.attrgetter": call(
        call(call(name("operator", "attrgetter"), text("system")), OS), text(TOUCH)
    ),
    "operator.methodcaller": call(
        call(name("operator", "methodcaller"), text("system"), text(TOUCH)), OS
    ),
    "operator.call": call(name("operator", "call"), name("os", "system"), text(TOUCH)),
    "functools.partial": call(
        call(name("functools", "partial"), name("os", "system"), text(TOUCH))
    ),
    "functools.reduce": call(
        name("functools", "reduce"),
        name("operator", "call"),
        listing(text(TOUCH)),
        name("os", "system"),
    ),
    "itertools.starmap": call(
        name("builtins", "list"),
        call(
            name("itertools", "starmap"),
            name("os", "system"),
            listing(several(text(TOUCH))),
        ),
    ),
    "runpy._run_code": call(
        name("runpy", "_run_code"),
        call(name("builtins", "compile"), text(PYTHON), text("x"), text("exec")),
        EMPTY_DICT,
    ),
    "timeit.timeit": call(name("timeit", "timeit"), text("0"), text(PYTHON)),
    "cProfile.run": call(name("cProfile", "run"), text(PYTHON)),
    "bdb.Bdb.run": call(
        stack_name("trace", "Trace.run"), call(name("trace", "Trace")), text(PYTHON)
    ),
    "code.InteractiveInterpreter": call(
        stack_name("code", "InteractiveInterpreter.runsource"),
        call(name("code", "InteractiveInterpreter")),
        text(PYTHON),
    ),
    "pickle.loads": call(name("pickle", "loads"), data(INNER)),
    "_pickle.loads": call(name("_pickle", "loads"), data(INNER)),
    "shutil.copyfile": call(name("shutil", "copyfile"), text("/dev/null"), text(CANARY)),
    "pty.spawn": call(name("pty", "spawn"), listing(text("touch"), text(CANARY))),
    "os.spawnlp": call(
        name("os", "spawnlp"), number(0), text("touch"), text("touch"), text(CANARY)
    ),
    "weakref.finalize": call(
        name("weakref", "finalize"), name("os", "PathLike"), name("os", "system"), text(TOUCH)
    )
    + POP
    + SYSTEM,
    "logging.FileHandler": call(name("logging", "FileHandler"), text(CANARY)),
    "zipfile.ZipFile": call(name("zipfile", "ZipFile"), text(CANARY), text("w")),
    "sqlite-like: dbm.dumb": call(name("dbm.dumb", "open"), text("d")) + POP + SYSTEM,
    "tempfile with a name": call(name("tempfile", "mkdtemp"), text(""), text(CANARY), text("."))
    + POP
    + SYSTEM,
    "INST": MARK + text(TOUCH) + b"ios\nsystem\n",
    "OBJ": MARK + name("os", "system") + text(TOUCH) + OBJ,
    "NEWOBJ": name("subprocess", "Popen")
    + EMPTY_TUPLE
    + NEWOBJ
    + POP
    + SYSTEM,
    "STACK_GLOBAL": call(stack_name("os", "system"), text(TOUCH)),
    "STACK_GLOBAL, dotted": call(stack_name("pathlib", "os.system"), text(TOUCH)),
    "STACK_GLOBAL of memo": text("os")
    + put(900)
    + POP
    + text("system")
    + put(901)
    + POP
    + get(900)
    + get(901)
    + STACK_GLOBAL
    + several(text(TOUCH))
    + REDUCE,
    "BUILD of attributes": construct(name("types", "SimpleNamespace"))
    + mapping([(text("a"), SYSTEM)])
    + BUILD,
    "inside a Namespace": construct(name("argparse", "Namespace"), state=mapping([(text("a"), SYSTEM)])),
    "factory of a defaultdict": call(name("collections", "defaultdict"), name("os", "system"))
    + POP
    + SYSTEM,
    "popped": SYSTEM + POP + NONE,
}  # fmt: skip
# These are only requested: they do not run here, or would end or disturb the process.
ASKED: dict[str, bytes] = {
    f"{module}.{function}": call(name(module, function), *arguments)
    for module, function, arguments in (
        ("nt", "system", (text(TOUCH),)),
        ("commands", "getoutput", (text(TOUCH),)),
        ("os", "_exit", (number(0),)),
        ("os", "abort", ()),
        ("os", "kill", (number(1), number(0))),
        ("os", "fork", ()),
        ("os", "execvp", (text("touch"), listing(text("touch"), text(CANARY)))),
        ("os", "putenv", (text("A"), text("B"))),
        ("os", "remove", (text("none"),)),
        ("sys", "exit", (number(0),)),
        ("sys", "setrecursionlimit", (number(10**9),)),
        ("sys", "addaudithook", (name("builtins", "print"),)),
        ("builtins", "exit", ()),
        ("builtins", "input", ()),
        ("builtins", "breakpoint", ()),
        ("builtins", "print", (text("x"),)),
        ("builtins", "setattr", (name("os", "path"), text("a"), NONE)),
        ("builtins", "delattr", (name("os", "path"), text("a"))),
        ("builtins", "type", (text("A"), EMPTY_TUPLE, EMPTY_DICT)),
        ("builtins", "vars", (name("os", "path"),)),
        ("builtins", "globals", ()),
        ("builtins", "hasattr", (name("os", "path"), text("a"))),
        ("builtins", "super", ()),
        ("builtins", "property", (name("os", "system"),)),
        ("builtins", "classmethod", (name("os", "system"),)),
        ("faulthandler", "_sigsegv", ()),
        ("gc", "disable", ()),
        ("atexit", "register", (name("os", "system"), text(TOUCH))),
        ("signal", "alarm", (number(1),)),
        ("threading", "Thread", (NONE, name("os", "system"))),
        ("multiprocessing.util", "spawnv_passfds", (text("touch"),)),
        ("_posixsubprocess", "fork_exec", ()),
        ("asyncio", "run", (NONE,)),
        ("socket", "create_connection", (several(text("127.0.0.1"), number(9)),)),
        ("urllib.request", "urlopen", (text("http://127.0.0.1:9"),)),
        ("webbrowser", "open", (text("http://127.0.0.1:9"),)),
        ("ctypes", "CDLL", (text("libc.so.6"),)),
        ("ctypes", "string_at", (number(0),)),
        ("marshal", "loads", (data(b"N"),)),
        ("types", "FunctionType", (NONE, EMPTY_DICT)),
        ("types", "CodeType", ()),
        ("copyreg", "add_extension", (text("os"), text("system"), number(1))),
        ("copyreg", "pickle", (name("builtins", "int"), name("os", "system"))),
        ("copyreg", "_reconstructor", (name("subprocess", "Popen"), name("builtins", "object"), NONE)),
        ("copyreg", "__newobj__", (name("subprocess", "Popen"),)),
        ("copyreg", "__newobj_ex__", (name("subprocess", "Popen"), EMPTY_TUPLE, EMPTY_DICT)),
        ("importlib", "import_module", (text("antigravity"),)),
        ("importlib", "reload", (name("os", "path"),)),
        ("pip", "main", (listing(text("install"), text("x")),)),
        ("ensurepip", "bootstrap", ()),
        ("pydoc", "pipepager", (text("x"), text(TOUCH))),
        ("distutils.spawn", "spawn", (listing(text("touch")),)),
        ("doctest", "debug_script", (text(PYTHON),)),
        ("pdb", "run", (text(PYTHON),)),
        ("lib2to3.pgen2.grammar", "Grammar", ()),
        ("numpy", "load", (text("x.npy"),)),
        ("numpy", "memmap", (text(CANARY), text("u1"), text("w+"))),
        ("numpy.core.numeric", "loads", (data(INNER),)),
        ("numpy.testing._private.utils", "runstring", (text(PYTHON), EMPTY_DICT)),
        ("numpy.f2py.crackfortran", "myeval", (text(PYTHON),)),
        ("torch", "load", (text("x.pth"),)),
        ("torch", "save", (NONE, text(CANARY))),
        ("torch", "set_default_device", (text("meta"),)),
        ("torch.serialization", "load", (text("x.pth"),)),
        ("torch.serialization", "add_safe_globals", (listing(name("os", "system")),)),

        ("torch.hub", "load", (text("x"), text("y"))),
        ("torch.hub", "load_state_dict_from_url", (text("http://127.0.0.1:9"),)),
        ("torch.hub", "download_url_to_file", (text("http://127.0.0.1:9"), text(CANARY))),
        ("torch.jit", "load", (text("x.pt"),)),
        ("torch.jit._script", "unpackage_script_module", (NONE, text("x"))),
        ("torch.ops", "load_library", (text("x.so"),)),
        ("torch.classes", "load_library", (text("x.so"),)),
        ("torch.utils.cpp_extension", "load_inline", (text("x"), text("y"))),
        ("torch.package", "PackageImporter", (text("x"),)),
        ("torch._inductor.codecache", "PyCodeCache.load", (text(PYTHON),)),
        ("torch.fx.graph_module", "reduce_graph_module", (mapping([(text("_code"), text(PYTHON))]), NONE)),
        ("torch.fx.graph_module", "_exec_with_source", (text(PYTHON), EMPTY_DICT)),
        ("torch.multiprocessing.reductions", "rebuild_storage_filename", (text("x"),)),
        ("torch.distributed.rpc", "init_rpc", (text("x"),)),
        ("torch._C", "import_ir_module_from_buffer", ()),
        ("torch.utils.data.datapipes.utils.decoder", "basichandlers", (text("pickle"), data(INNER))),
        ("joblib", "load", (text("x"),)),
        ("dill", "loads", (data(INNER),)),
        ("dill._dill", "_create_function", (NONE,)),
        ("cloudpickle.cloudpickle", "_make_function", (NONE,)),
        ("yaml", "unsafe_load", (text("!!python/object/apply:os.system [x]"),)),
        ("pandas", "eval", (text("@x"),)),
        ("torch.serialization", "os.system", (text(TOUCH),)),
        ("ssn_prune", "convert", (text("x"),)),
        ("ssn_prune.checkpoint.reader", "read_file", (text("x"),)),
        ("__main__", "Model", ()),
        ("models", "ResNet", ()),
    )
}  # fmt: skip
