"""What is run on a change: seeds of the simulator, and tests. Each case says which lines of the modules it reaches.

A case is run on a change only if it reaches the changed line without the change. This makes most changes cheap, and says of the
others that nothing reaches them.
"""

import contextlib
import faulthandler
import io
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

#: How many times the processor time that it takes without a change a case may take with one, and how many seconds more.
_SLOWER: Final = 5.0
_MORE_S: Final = 2.0
#: What pytest may take before its first test, in seconds of processor time.
_COLLECTING_S: Final = 30.0
#: What a trial imports besides the code under test, so that a forked process has it already.
_PRELOADED: Final = ("apsw", "click", "hypothesis", "msgpack", "psutil", "pytest", "rich", "zmq")


@dataclass(frozen=True, slots=True)
class Case:
    """One run that can show a change: a seed of an algorithm's simulation, or a test.

    `findings` are the kinds of violation that it has without any change: a design may be broken.
    """

    kind: str
    name: str
    cpu_s: float
    lines: Mapping[str, frozenset[int]]
    findings: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The file of the test, or the algorithm of the seed."""
        return self.name.partition("::")[0] if self.kind == "test" else self.name.rpartition(" ")[0]

    def reaches(self, module: str, first: int, last: int) -> bool:
        """Return whether the case executes one of these lines."""
        return any(line in self.lines.get(module, ()) for line in range(first, last + 1))

    def limit(self) -> None:
        """End this process if the case that begins takes much more processor time than without a change."""
        _limit_from_now(_SLOWER * self.cpu_s + _MORE_S)

    def to_json(self) -> dict[str, Any]:
        """Return the case as plain data."""
        return asdict(self) | {"lines": {module: sorted(lines) for module, lines in self.lines.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Case":
        """Return the case that `to_json` has made plain."""
        lines = {module: frozenset(lines) for module, lines in data["lines"].items()}
        return cls(data["kind"], data["name"], data["cpu_s"], lines, tuple(data["findings"]))


def _limit_from_now(cpu_s: float) -> None:
    """Have the kernel end this process with SIGXCPU after `cpu_s` more seconds of processor time, or at its hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(time.process_time() + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


class LineTracer:
    """Records which lines of some files are executed, while it is on.

    Code of which it has seen every line is traced no longer, since tracing takes several times as long as what is traced.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._modules = {path: module for module, path in files.items()}
        self._lines: dict[str, set[int]] = {}
        self._unseen: dict[int, tuple[set[int], CodeType]] = {}
        """By the id of some code: its lines that were not seen, and the code, so that no other gets this id."""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Record during the block."""
        self._lines = {path: set() for path in self._modules}
        self._unseen = {}
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)

    def seen(self) -> dict[str, frozenset[int]]:
        """Return the lines of each module that the last block executed."""
        return {self._modules[path]: frozenset(lines) for path, lines in self._lines.items() if lines}

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        lines = self._lines.get(code.co_filename)
        if lines is None:
            return None
        known = self._unseen.get(id(code))
        if known is None:
            known = self._unseen[id(code)] = {line for *_, line in code.co_lines() if line is not None}, code
        unseen = known[0]
        lines.add(frame.f_lineno)
        unseen.discard(frame.f_lineno)
        if not unseen:
            return None

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            if event == "line":
                lines.add(frame.f_lineno)
                unseen.discard(frame.f_lineno)
            return trace

        return trace


def preload() -> None:
    """Import what every trial needs and no change can touch."""
    for name in _PRELOADED:
        with contextlib.suppress(ImportError):
            __import__(name)


# --- the simulator ----------------------------------------------------------------------------------------------------


def simulated(algorithm: str, seed: int) -> tuple[str, ...]:
    """Simulate one seed, and return the kinds of its violations. An exception is a kind of its own."""
    from harness.virtual.simulation_settings import SimulationSettings  # noqa: PLC0415 - with the change in it
    from node.algorithms import load_algorithm  # noqa: PLC0415

    try:
        done = SimulationSettings().simulate(load_algorithm(algorithm), seed)
    except Exception as error:  # noqa: BLE001 - a changed line may raise anything
        return (type(error).__name__,)
    return tuple(sorted({violation.kind for violation in done.violations}))


def seed_cases(algorithm: str, seeds: int, seconds: float, tracer: LineTracer) -> Iterator[Case]:
    """Yield the cases of an algorithm's first seeds, at most `seconds` of processor time."""
    began = time.process_time()
    for seed in range(seeds):
        with tracer.on():
            findings = simulated(algorithm, seed)
        start = time.process_time()  # without the tracer, which takes several times as long
        simulated(algorithm, seed)
        took = time.process_time() - start
        yield Case("seed", f"{algorithm} {seed}", round(took, 4), tracer.seen(), findings)
        if time.process_time() - began > seconds:
            break


# --- tests ------------------------------------------------------------------------------------------------------------

#: Assertions are left as they are, since their rewriting would load the modules from their files, without the change.
_PYTEST: Final = ("-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")


class _CaseRecorder:
    """A plugin of pytest that makes a case of each test that passes, and remembers the first that fails."""

    def __init__(self, known: Mapping[str, Case], tracer: LineTracer | None) -> None:
        self.cases: list[Case] = []
        self.took_s: dict[str, float] = {}
        self.failed = ""
        self._known, self._tracer = known, tracer

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        from _pytest.runner import runtestprotocol  # noqa: PLC0415

        if item.nodeid in self._known:
            self._known[item.nodeid].limit()
        began = time.process_time()
        with self._tracer.on() if self._tracer is not None else contextlib.nullcontext():
            reports = runtestprotocol(item, nextitem=nextitem, log=True)
        self.took_s[item.nodeid] = round(time.process_time() - began, 4)
        failed = next((report for report in reports if report.failed), None)
        if failed is not None and not self.failed:
            self.failed = f"{item.nodeid}: {_last_line(failed)}"
        if failed is None and self._tracer is not None and not any(report.skipped for report in reports):
            self.cases.append(Case("test", item.nodeid, self.took_s[item.nodeid], self._tracer.seen()))
        return True

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} cannot be collected: {_last_line(report)}"


def _last_line(report: Any) -> str:
    lines = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
    return lines[0].removeprefix("E").strip() if lines else str(report.when if hasattr(report, "when") else "error")


def first_failure(cases: Sequence[Case]) -> str:
    """Run tests in this process, and return what the first that fails says; empty if none fails."""
    _limit_from_now(_COLLECTING_S)
    return _run_pytest(
        ["-x", *(case.name for case in cases)], _CaseRecorder({case.name: case for case in cases}, None)
    ).failed


def test_cases(names: Sequence[str], tracer: LineTracer) -> tuple[list[Case], str]:
    """Run tests in this process. Return those that pass as cases, and what the first says that fails; empty if none does.

    They run twice: several times as slowly for the lines that they reach, and for the time that they take. What is cached is
    reached the first time.
    """
    recorder = _run_pytest(names, _CaseRecorder({}, tracer))
    took_s = _run_pytest(names, _CaseRecorder({}, None)).took_s
    return [replace(case, cpu_s=took_s.get(case.name, case.cpu_s)) for case in recorder.cases], recorder.failed


def _run_pytest(arguments: Sequence[str], recorder: _CaseRecorder) -> _CaseRecorder:
    import pytest  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = pytest.main([*_PYTEST, *arguments], plugins=[recorder])
    faulthandler.cancel_dump_traceback_later()  # a plugin may end the process some seconds after the last test: more cases follow
    if not recorder.failed and code not in (0, 5):
        recorder.failed = f"pytest ended with {int(code)}"
    return recorder


def files_of_tests(path: str) -> list[str]:
    """Return the files of tests in a folder; anything else that pytest takes stands for itself."""
    if not Path(path).is_dir():
        return [path]
    return sorted({str(file) for pattern in ("test_*.py", "*_test.py") for file in Path(path).rglob(pattern)})


def root_of_tests(paths: Sequence[str]) -> None:
    """Have tests be found and imported as `pytest` does in this folder."""
    if paths and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, os.fspath(Path.cwd()))
