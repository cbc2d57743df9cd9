"""Check: measures how long the command `consensus check` takes, from start to exit.

The floor is Python's own JSON parser over the same lines: no checker in Python that reads JSON can be faster. Processor time
stands beside elapsed time, since only processor time can be compared on a machine with other work.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from harness.bench.histories import HistorySpec, history_lines, list_transactions, unanswered_writes

_MILLION: Final = 1_000_000


class CheckCase(NamedTuple):
    """A history to check."""

    name: str
    model: str
    """The name of the model, as `consensus check --model` takes it."""
    expected: str
    """The verdict that the check must return."""
    lines: Iterable[str]
    """The lines of the history; they can be read once."""


def cases(scale: float) -> list[CheckCase]:
    """Return the histories to check. `scale` multiplies their numbers of calls."""
    many, some = int(_MILLION * scale), int(20_000 * scale)
    late = 0.95
    return [
        CheckCase("unique values, 50 clients, valid", "register", "valid", history_lines(HistorySpec(many, 50))),
        CheckCase(
            "unique values, 10 clients, one stale read late",
            "register",
            "invalid",
            history_lines(HistorySpec(some, 10, stale_at=late)),
        ),
        CheckCase("1,000 values, 10 clients, valid", "register", "valid", history_lines(HistorySpec(some, 10, 1_000))),
        CheckCase(
            "1,000 values and cas, 10 clients, one stale read late",
            "cas-register",
            "invalid",
            history_lines(HistorySpec(some, 10, 1_000, reads=0.4, cas=0.2, stale_at=late)),
        ),
        CheckCase(
            "5 values and cas, 10 clients, valid",
            "cas-register",
            "valid",
            history_lines(HistorySpec(some, 10, 5, reads=0.4, cas=0.2)),
        ),
        CheckCase(
            "transactions on lists, 20 clients, valid", "list-append", "valid", list_transactions(many // 10, 20)
        ),
        CheckCase(
            "40 writes that never returned, a stale read", "register", "invalid", unanswered_writes(40, is_unique=True)
        ),
        CheckCase("the same, values repeated", "register", "invalid", unanswered_writes(40, is_unique=False)),
    ]


def check(scale: float, progress: Callable[[str], None]) -> Iterator[dict[str, object]]:
    """Yield a row of figures for each case, with times in seconds and memory in megabytes.

    Args:
        scale: multiplies the numbers of calls.
        progress: called with the name of each case before it runs.

    Raises:
        RuntimeError: a verdict is not the expected one.
    """
    with TemporaryDirectory() as folder:
        for case in cases(scale):
            progress(case.name)
            path = Path(folder) / "history.jsonl"
            with path.open("w", encoding="utf-8") as file:
                file.writelines(case.lines)
            output, figures = _run_command(path, case.model)
            if output["status"] != case.expected:
                raise RuntimeError(
                    f"{case.name}: the verdict is {output['status']}, expected {case.expected}: {output['evidence']}"
                )
            yield {
                "name": case.name,
                "calls": output["calls"],
                "status": output["status"],
                "read_s": output["read_s"],
                "judged_s": output["judged_s"],
                **figures,
                "floor_cpu_s": round(_parse_s(path), 3),
            }


class _CommandRun(NamedTuple):
    output: dict[str, Any]
    """The JSON that the command printed."""
    figures: dict[str, object]
    """The row's figures of the process: elapsed time, processor time and peak memory."""


def _run_command(path: Path, model: str) -> _CommandRun:
    command = [sys.executable, "-m", "harness.cli.main", "check", str(path), "--model", model, "-o", "json"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        text = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    figures: dict[str, object] = {
        "command_s": round(time.monotonic() - started, 3),
        "command_cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }
    return _CommandRun(json.loads(text), figures)


def _parse_s(path: Path) -> float:
    """Return the floor: the processor time that parsing the file's lines takes, in seconds."""
    started = time.process_time()
    with path.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
    return time.process_time() - started
