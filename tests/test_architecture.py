"""The house rules that a reader could break without noticing: directions, single homes, and READMEs that name every file."""

import ast
import functools
import gc
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import TypeAlias, get_args

import pytest

from node.algorithms import BUILT_IN, LOGS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("node", "cluster", "harness")

#: What a floor must not import: imports go down only.
ABOVE = {"node": {"cluster", "harness"}, "cluster": {"harness"}, "harness": set[str]()}

#: The rooms of harness/, in their order: a room may import those before it.
ROOMS = (
    "records", "network", "checkers", "report", "faults", "workloads", "systems", "runs", "virtual", "systematic", "replay",
    "mutants", "mutation", "tour", "bench", "page", "cli",
)  # fmt: skip
#: What lies in harness/ itself. It may import any room, and no room imports it.
CORRIDOR = {"harness/__init__.py", "harness/pytest_plugin.py"}

#: Each of these has one home, so that its traps are handled in one place.
HOMES = {
    "msgpack": {"node/wire.py"},
    "apsw": {"node/storage/disk.py", "harness/faults/power_loss_vfs.py"},
    "sqlite3": set[str](),
    "zmq": {
        "node/transport.py",
        "cluster/clients/connections.py",
        "harness/bench/floor.py",
        "cluster/control.py",
        "harness/network/proxy.py",
        "harness/runs/passers_by.py",
    },
    "psutil": {"cluster/processes.py"},
    "starlette": {"harness/page/safety.py", "harness/page/server.py"},
    "uvicorn": {"harness/page/server.py"},
    "websockets": set[str](),  # uvicorn's
}

#: What would give an algorithm or a machine a clock, a generator, a disk, a network or a thread of its own.
PURE = ("node/algorithms/", "node/machines/")
IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "glob", "io", "logging", "mmap", "multiprocessing", "numpy", "os",
    "pathlib", "queue", "random", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl",
    "subprocess", "sys", "tempfile", "threading", "_thread", "time", "urllib", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "id", "hash", "__import__"}


#: What the rules look at: every module is parsed and walked once for all of them.
Judged: TypeAlias = ast.Import | ast.ImportFrom | ast.Call | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.ClassDef
JUDGED = get_args(Judged)


@functools.cache
def judged(source: str) -> tuple[Judged, ...]:
    """Return the nodes of a module's tree that a rule looks at, from the top down.

    To parse makes so many objects that the collector of garbage, were it on, would take two thirds of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return tuple(at for at in ast.walk(ast.parse(source)) if isinstance(at, JUDGED))
    finally:
        if was_on:
            gc.enable()


@functools.cache
def sources() -> dict[str, str]:
    """Return every module of the packages by its path."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(autouse=True, scope="module")
def trees() -> Iterator[None]:
    """Forget the nodes in the end: they are many objects that later collections of garbage would visit."""
    yield
    judged.cache_clear()


def imports(source: str, path: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that the module imports, at its top or inside a function."""
    package = PurePosixPath(path).parts[:-1]
    for at in judged(source):
        match at:
            case ast.Import(names=names):
                for alias in names:
                    yield at.lineno, alias.name
            case ast.ImportFrom(module=module, names=names, level=level):
                base = [*package[: len(package) - level + 1]] if level else []
                for alias in names:
                    yield at.lineno, ".".join([*base, *([module] if module else []), alias.name])
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"), args=args
            ):
                for arg in args[:1]:
                    if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
                        yield at.lineno, arg.value


def room_of(path: str) -> str | None:
    """The room of harness/ that a module lies in."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == "harness" and parts[1] in ROOMS else None


def out_of_order(path: str, name: str) -> str | None:
    """Why a module of harness/ must not import `name`, if so."""
    room = room_of(path)
    parts = name.split(".")
    if room is None or parts[0] != "harness" or len(parts) < 2:
        return None
    if parts[1] == "pytest_plugin":
        return "the plugin stands above all rooms"
    if parts[1] in ROOMS and ROOMS.index(parts[1]) > ROOMS.index(room):
        return f"{parts[1]} comes after {room} in the order of rooms"
    return None


def breaches(source: str, path: str) -> list[str]:
    """Every house rule that the module breaks."""
    floor = PurePosixPath(path).parts[0]
    pure = path.startswith(PURE) and PurePosixPath(path).name != "__init__.py"
    found = []
    for line, name in imports(source, path):
        top = name.partition(".")[0]
        if top in ABOVE[floor]:
            found.append(f"{path}:{line} imports {name}, which is a floor above: imports go down only")
        if path not in HOMES.get(top, {path}):
            homes = ", ".join(sorted(HOMES[top])) or "nowhere"
            found.append(f"{path}:{line} imports {top}, whose only home is {homes}")
        if pure and top in IMPURE:
            found.append(
                f"{path}:{line} imports {top}: below the runtime there is no clock, randomness, disk or network"
            )
        if misplaced := out_of_order(path, name):
            found.append(f"{path}:{line} imports {name}: {misplaced}")
    if floor == "harness" and path not in CORRIDOR and room_of(path) is None:
        found.append(f"{path}: lies in the corridor: put it into a room ({', '.join(ROOMS)})")
    if pure:
        found += [
            f"{path}:{at.lineno} calls {at.func.id}: an algorithm asks its node for everything"
            for at in judged(source)
            if isinstance(at, ast.Call) and isinstance(at.func, ast.Name) and at.func.id in IMPURE_CALLS
        ]
    return found


def circles(sources: dict[str, str]) -> list[list[str]]:
    """Every set of modules that import each other in a circle, also where only a type checker would see it."""
    names = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path for path in sources}
    graph: dict[str, set[str]] = {}
    for path, source in sources.items():
        wanted = {name for _, name in imports(source, path)}
        wanted |= {name.rpartition(".")[0] for name in wanted if name not in names}
        graph[path] = {names[name] for name in wanted if name in names} - {path}
    sorter = TopologicalSorter(graph)
    found = []
    while True:
        try:
            sorter.prepare()
        except CycleError as error:
            circle = sorted(set(error.args[1]))
            found.append(circle)
            graph = {path: after - set(circle) for path, after in graph.items() if path not in circle}
            sorter = TopologicalSorter(graph)
        else:
            return found


def exchanged(source: str) -> Iterator[str]:
    """Every line that may exchange a part of another module: an assignment to a name of a module or class that is imported.

    A method of an object may set the object's own fields, also by `object.__setattr__(self, ...)`.
    """
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for at in judged(source)
        if isinstance(at, ast.Import | ast.ImportFrom)
        for alias in at.names
    }
    for at in judged(source):
        match at:
            case ast.Assign(targets=targets):
                pass
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
                targets = [target]
            case ast.Call(func=ast.Name(id="setattr"), args=[target, *_]):
                targets = [ast.Attribute(target, "?")]
            case ast.Call(func=ast.Attribute(attr="patch" | "object" | "setattr"), args=[target, *_]):
                targets = [ast.Attribute(target, "?")]
            case _:
                continue
        for target in targets:
            owner = target
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if owner is not target and isinstance(owner, ast.Name) and owner.id in imported:
                yield f"line {at.lineno} assigns to a name of {owner.id}"


def public_classes(sources: dict[str, str]) -> dict[str, list[str]]:
    """The modules that define each public class."""
    found: dict[str, list[str]] = {}
    for path, source in sources.items():
        for at in judged(source):
            if isinstance(at, ast.ClassDef) and at.col_offset == 0 and not at.name.startswith("_"):
                found.setdefault(at.name, []).append(path)
    return found


def test_there_is_something_to_check() -> None:
    checked = sources()
    for expected in ("node/wire.py", "node/storage/disk.py", "node/algorithms/paxos.py", "cluster/__init__.py"):
        assert expected in checked
    for package in PACKAGES:
        assert any(path.startswith(f"{package}/") for path in checked)


def test_every_room_is_there() -> None:
    assert {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")} == set(ROOMS)
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "harness").glob("*.py")} == CORRIDOR


@pytest.mark.parametrize(
    "shell",
    [
        "node/runtime.py",
        "harness/virtual/node.py",
        "harness/systems/stepped_node.py",
        "harness/systems/traced_node.py",
        "harness/mutants/broken_node.py",
    ],
)
def test_a_shell_is_small(shell: str) -> None:
    assert len((ROOT / shell).read_text().splitlines()) < 200


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(sources()) == []


def test_a_circle_is_found() -> None:
    straight = {"node/a.py": "from node import b", "node/b.py": "import node.c.d", "node/c/d.py": "import os"}
    assert circles(straight) == []
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from node.a import A"
    assert circles({**straight, "node/c/d.py": late}) == [["node/a.py", "node/b.py", "node/c/d.py"]]
    two = {
        "node/a.py": "import node.b",
        "node/b.py": "import node.a",
        "node/c.py": "from node.d import X",
        "node/d.py": "import node.c",
    }
    assert circles(two) == [["node/a.py", "node/b.py"], ["node/c.py", "node/d.py"]]


def test_no_two_public_classes_share_a_name() -> None:
    classes = public_classes(sources())
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}
    assert public_classes({"a.py": "class A: pass", "b.py": "class A: pass"}) == {"A": ["a.py", "b.py"]}


# One test for all modules, and not one for each: six hundred tests of a tenth of a millisecond cost four seconds to call.


def test_no_module_exchanges_a_part_of_another() -> None:
    found = {path: list(exchanged(source)) for path, source in sources().items()}
    assert {path: parts for path, parts in found.items() if parts} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from node import turn\nturn.NodeCore = None",
        "from node.turn import NodeCore\nNodeCore.step = None",
        "from node.turn import NodeCore\nsetattr(NodeCore, 'step', None)",
        "import node.turn\ndef f():\n    node.turn.NodeCore = None",
        "from unittest import mock\nfrom node import turn\nmock.patch.object(turn, 'NodeCore')",
    ],
)
def test_an_exchange_is_found(source: str) -> None:
    assert list(exchanged(source))


def test_each_module_keeps_the_house_rules() -> None:
    found = {path: breaches(source, path) for path, source in sources().items()}
    assert {path: broken for path, broken in found.items() if broken} == {}


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("node/runtime.py", "import cluster.client", "floor above"),
        ("node/runtime.py", "from harness import rules", "floor above"),
        ("node/runtime.py", "def f():\n    from cluster.spec import Spec", "floor above"),
        (
            "node/__main__.py",
            "import importlib\nimportlib.import_module('harness.faults.power_loss_vfs')",
            "floor above",
        ),
        ("cluster/spec.py", "import harness", "floor above"),
        ("node/storage/disk.py", "import msgpack", "msgpack"),
        ("cluster/clients/client.py", "from msgpack import packb as p", "msgpack"),
        ("node/runtime.py", "import os, apsw", "apsw"),
        ("harness/records/history.py", "import sqlite3", "nowhere"),
        ("node/runtime.py", "import zmq.asyncio", "zmq"),
        ("harness/faults/injector.py", "import psutil", "psutil"),
        ("harness/records/history.py", "from harness.network.rules import Rule", "order of rooms"),
        ("harness/runs/plan.py", "def f():\n    import harness.cli.main", "order of rooms"),
        (
            "harness/faults/target.py",
            "if TYPE_CHECKING:\n    from harness.runs.experiment import Experiment",
            "order of rooms",
        ),
        ("harness/cli/main.py", "from harness import pytest_plugin", "above all rooms"),
        ("harness/flat.py", "import os", "corridor"),
        ("harness/cellar/deep.py", "import os", "corridor"),
        ("node/algorithms/mine.py", "import time", "no clock"),
        ("node/algorithms/mine.py", "from random import Random", "no clock"),
        ("node/machines/kv.py", "import os.path", "no clock"),
        ("node/algorithms/mine.py", "def f():\n    import uuid", "no clock"),
        ("node/machines/kv.py", "open('x')", "asks its node"),
        ("node/algorithms/mine.py", "key = hash('x')", "asks its node"),
    ],
)
def test_a_breach_is_caught(path: str, source: str, reason: str) -> None:
    (breach,) = breaches(source, path)
    assert reason in breach
    assert breach.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("harness/faults/injector.py", "import node.wire, cluster.spec"),
        (
            "harness/runs/plan.py",
            "from harness.records.history import History\nfrom harness.runs.suite import run_plan",
        ),
        ("harness/pytest_plugin.py", "from harness.cli import main"),
        ("cluster/clients/connections.py", "import zmq\nfrom node import wire"),
        ("node/wire.py", "import msgpack"),
        ("harness/faults/power_loss_vfs.py", "import apsw"),
        ("node/algorithms/mine.py", "from dataclasses import dataclass\nfrom node.quorum import majority"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert breaches(source, path) == []


def test_relative_imports_are_resolved() -> None:
    (found,) = imports("from .. import wire", "node/algorithms/mine.py")
    assert found == (1, "node.wire")


# --- READMEs --------------------------------------------------------------------------------------------------------


def unnamed(readme: str, package: str, sources: dict[str, str]) -> list[str]:
    """The files below the package's README, and below none nearer, that it does not name.

    An `__init__.py` counts if it holds more than a docstring.
    """
    missing = []
    for path, source in sources.items():
        inside = path.removeprefix(f"{package}/")
        name = PurePosixPath(inside).name
        if name == "__init__.py":
            if len(ast.parse(source).body) <= 1:
                continue
            name = inside  # in a folder below, "__init__.py" alone would name all of them at once
        if path.startswith(f"{package}/") and not re.search(rf"(?<![\w.-]){re.escape(name)}(?!\w)", readme):
            missing.append(inside)
    return missing


def readmes() -> list[str]:
    """The folders that have a README."""
    return sorted(
        path.parent.relative_to(ROOT).as_posix() for top in PACKAGES for path in (ROOT / top).rglob("README.md")
    )


@functools.cache
def nearest(path: str) -> str:
    """The folder whose README is to name the module."""
    return next(parent.as_posix() for parent in PurePosixPath(path).parents if (ROOT / parent / "README.md").exists())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_a_readme(package: str) -> None:
    assert package in readmes(), (
        f"{package}/README.md is missing: write one that names each file with its job in one line"
    )


@pytest.mark.parametrize("folder", readmes())
def test_the_readme_names_every_file(folder: str) -> None:
    own = {path: source for path, source in sources().items() if nearest(path) == folder}
    assert unnamed((ROOT / folder / "README.md").read_text(), folder, own) == []


def test_a_file_that_no_readme_names_is_caught() -> None:
    sources = {
        "node/__init__.py": '"""Only a docstring."""',
        "node/wire.py": "",
        "node/algorithms/__init__.py": "x = 1\ny = 2",
        "node/algorithms/paxos.py": "",
        "node/algorithms/multipaxos.py": "",
    }
    readme = "| `wire.py` | bytes |\n| `algorithms/multipaxos.py` | a log |"
    assert unnamed(readme, "node", sources) == ["algorithms/__init__.py", "algorithms/paxos.py"]


# --- no tool asks for a log by its name -----------------------------------------------------------------------------------

#: The packages of the shipped logs, their classes, and the words that name them.
LOG_PACKAGES = {name: BUILT_IN[name].partition(":")[0] for name in LOGS}
LOG_CLASSES = {BUILT_IN[name].partition(":")[2] for name in LOGS}
#: Where a shipped log may be named, and why. Everything else asks `LogAlgorithm` what a log can do, and what its messages say.
MAY_NAME_A_LOG = {
    "node/algorithms/": "their home",
    "harness/mutants/": "each breaks one of them",
    "harness/tour/chapters/": "the story that the article tells is of one of them",
    "harness/cli/parameters.py": "the default that --help shows",
    "harness/checkers/protocols.py": "which algorithms these rules are about",
    "harness/checkers/known_bad.py": "a run on paper needs some log",
    "harness/checkers/known_bad_leaders.py": "a run on paper needs some log",
    "harness/virtual/log_narration.py": "how the messages of the shipped logs are put into words",
    "harness/virtual/log_script.py": "scripts of mutants and tests steer the log that they break",
}


def named_logs(source: str) -> Iterator[str]:
    """Each place of a module that names a shipped log: an import of its package, its class, or its name as a value."""
    if not any(word in source for word in (*LOG_PACKAGES, *LOG_CLASSES)):
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module)) if module in LOG_PACKAGES.values() or any(
                module.startswith(f"{package}.") for package in LOG_PACKAGES.values()
            ):
                yield f"line {node.lineno} imports {module}"
            case ast.Name(id=name) if name in LOG_CLASSES:
                yield f"line {node.lineno} names {name}"
            case ast.Constant(value=str(text)) if text in LOG_PACKAGES or text in LOG_CLASSES:
                yield f"line {node.lineno} has {text!r}"


def test_no_tool_asks_for_a_log_by_its_name() -> None:
    named = {path: [*named_logs(source)] for path, source in sources().items()}
    assert {path: lines for path, lines in named.items() if lines and not path.startswith(tuple(MAY_NAME_A_LOG))} == {}
    assert [
        home for home in MAY_NAME_A_LOG if not any(lines and path.startswith(home) for path, lines in named.items())
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "from node.algorithms.multipaxos.messages import Heartbeat",
        "def f(x):\n    return isinstance(x, MultiPaxos)",
        "def f(spec):\n    return spec.algorithm == 'multipaxos'",
    ],
)
def test_a_tool_that_asks_for_a_log_by_its_name_is_found(source: str) -> None:
    assert list(named_logs(source))
