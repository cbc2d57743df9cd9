"""Hard histories, judged: whether each verdict is the known one, and how much time and memory it took; beside Porcupine.

Each history has a process of its own, so that its memory can be told. A *command* is timed from start to exit.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from harness.bench.hard_histories import KINDS, HardHistory, hard_histories, lines_of
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import MODELS
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.runs.forks import Forks
from node.contract import BadInput

#: What the search of one history may visit: the default of `consensus check`.
_BUDGET: Final = 2_000_000
_DRIVER: Final = Path(__file__).with_name("porcupine")


def judged(count: int, seed: int, timeout_s: float, workers: int) -> Iterator[dict[str, object]]:
    """Yield a row for each history: its kind and size, the known verdict and ours, processor seconds and megabytes."""
    forks: Forks[HardHistory] = Forks()
    waiting = hard_histories(count, seed)
    more = True
    try:
        while more or len(forks):
            while more and len(forks) < workers:
                history = next(waiting, None)
                if history is None:
                    more = False
                    break
                forks.start(history, partial(_judge, history, timeout_s))
            for ended in forks.ended() if len(forks) else ():
                about = ended.about
                result = ended.result or {"status": f"unknown: {ended.how}", "cpu_s": timeout_s, "peak_mb": 0}
                yield {"kind": about.kind, "size": about.size, "expected": about.expected, **result}
    finally:
        forks.end_all()


def summary(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the figures of each kind of the rows that `judged` has yielded, and of all of them."""
    for kind in (*KINDS, "all"):
        some = [row for row in rows if kind in (row["kind"], "all")]
        if not some:
            continue
        seconds = sorted(row["cpu_s"] for row in some)
        yield {
            "kind": kind,
            "histories": len(some),
            "right": sum(row["status"] == row["expected"] for row in some),
            "wrong": sum({row["status"], row["expected"]} == {"valid", "invalid"} for row in some),
            "cpu_s_p50": seconds[len(seconds) // 2],
            "cpu_s_p99": seconds[int(len(seconds) * 0.99)],
            "cpu_s_max": seconds[-1],
            "explained_s_max": max(row.get("explained_s", 0.0) for row in some),
            "named_calls_max": max(row.get("named_calls", 0) for row in some),
            "unnamed_calls_max": max(row.get("unnamed_calls", 0) for row in some),
            "peak_mb": max(row["peak_mb"] for row in some),
        }


def _judge(history: HardHistory, timeout_s: float) -> dict[str, object]:
    model = MODELS[history.model]()
    began, until = time.process_time(), time.monotonic() + timeout_s
    try:
        found = find_contradiction(history.calls, model, _BUDGET, until=until)
        status = "valid" if found is None else "invalid"
    except TooHard:
        found, status = None, "unknown"
    decided = time.process_time()
    named = unnamed = 0
    if found is not None:
        limit = time.monotonic() + 2 * (decided - began) + 1
        shown = certify(history.calls, model, found, lambda _: None, limit).contradiction
        named = len(shown.calls)
        unnamed = len(shown.supporting) if shown.from_search or shown.is_window else 0
    return {
        "status": status,
        "cpu_s": decided - began,
        "explained_s": time.process_time() - decided,
        "named_calls": named,
        "unnamed_calls": unnamed,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def beside_porcupine(count: int, seed: int, timeout_s: float, source: Path | None) -> Iterator[dict[str, object]]:
    """Yield a row for each history: the verdicts of both commands on the same file, with their seconds and megabytes.

    Args:
        count: how many histories.
        seed: the seed of all draws.
        timeout_s: after how many seconds each command gives up.
        source: a clone of Porcupine; None to let Go bring it.

    Raises:
        BadInput: Go is missing, or cannot build Porcupine; the message says what to do.
    """
    with TemporaryDirectory() as folder:
        driver = build_driver(Path(folder), source)
        path = Path(folder) / "history.jsonl"
        for history in hard_histories(count, seed):
            path.write_text("".join(lines_of(history)))
            check = [sys.executable, "-m", "harness.cli.main", "check", str(path), "--model", history.model]
            ours = run_measured([*check, "--timeout", str(timeout_s), "-o", "json"])
            theirs = run_measured([str(driver), str(path), history.model, str(timeout_s)])
            yield {
                "kind": history.kind,
                "size": history.size,
                "expected": history.expected,
                **{f"ours_{name}": value for name, value in ours.items()},
                **{f"porcupine_{name}": value for name, value in theirs.items()},
            }


def build_driver(folder: Path, source: Path | None) -> Path:
    """Build the program that judges a history file by Porcupine, and return it. Raises BadInput as above."""
    (folder / "main.go").write_text((_DRIVER / "main.go.txt").read_text())
    module = "github.com/anishathalye/porcupine"
    replaced = "" if source is None else f"\nreplace {module} => {source.resolve()}\n"
    version = "v1.0.0" if source is None else "v0.0.0"
    (folder / "go.mod").write_text(f"module driver\n\ngo 1.16\n\nrequire {module} {version}\n{replaced}")
    try:
        built = subprocess.run(
            ["go", "build", "-mod=mod", "-o", "driver", "."], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BadInput("Porcupine needs Go, which is not installed: install golang-go, or a newer Go") from None
    if built.returncode:
        hint = (
            "clone it, and name the clone with --porcupine DIR" if source is None else "is this a clone of Porcupine?"
        )
        raise BadInput(f"Go cannot build Porcupine: {hint}. Go says: {built.stderr.strip()[-500:]}")
    return folder / "driver"


def run_measured(command: list[str]) -> dict[str, Any]:
    """Run a command that prints a JSON object with a status. Return the status, seconds and megabytes."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        text = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    try:
        verdict = json.loads(text)["status"]
    except (ValueError, KeyError):
        verdict = f"ended with {child.returncode}"
    return {
        "status": verdict,
        "s": round(time.monotonic() - started, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mb": usage.ru_maxrss // 1024,
    }
