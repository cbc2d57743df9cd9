"""How long `consensus check` takes, as a command, from start to exit.

The floor is Python's own JSON parser over the same lines: no judge that reads JSON in this language can be faster. Processor
time stands beside the time on the clock, since on a machine that does other things too only the former can be compared.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from harness.bench.histories import Recipe, lines, unanswered_writes

_MILLION: Final = 1_000_000


def cases(scale: float) -> list[tuple[str, str, str, Iterable[str]]]:
    """Name, model, the verdict that must come out, and the lines. `scale` multiplies the numbers of calls."""
    many, some = int(_MILLION * scale), int(20_000 * scale)
    late = 0.95
    return [
        ("unique values, 50 clients, valid", "register", "valid", lines(Recipe(many, 50))),
        (
            "unique values, 10 clients, one stale read late",
            "register",
            "invalid",
            lines(Recipe(some, 10, stale_at=late)),
        ),
        ("1,000 values, 10 clients, valid", "register", "valid", lines(Recipe(some, 10, 1_000))),
        (
            "1,000 values and cas, 10 clients, one stale read late",
            "cas-register",
            "invalid",
            lines(Recipe(some, 10, 1_000, reads=0.4, cas=0.2, stale_at=late)),
        ),
        (
            "5 values and cas, 10 clients, valid",
            "cas-register",
            "valid",
            lines(Recipe(some, 10, 5, reads=0.4, cas=0.2)),
        ),
        ("40 writes that never returned, a stale read", "register", "invalid", unanswered_writes(40, is_unique=True)),
        ("the same, values repeated", "register", "invalid", unanswered_writes(40, is_unique=False)),
    ]


def check(scale: float, progress: Callable[[str], None]) -> Iterator[dict[str, object]]:
    """A row for each case, in seconds and megabytes.

    Raises:
        RuntimeError: a verdict is not the one that the history was made for.
    """
    with TemporaryDirectory() as folder:
        for name, model, expected, made in cases(scale):
            progress(name)
            path = Path(folder) / "history.jsonl"
            with path.open("w", encoding="utf-8") as file:
                file.writelines(made)
            said, figures = _run(path, model)
            if said["status"] != expected:
                raise RuntimeError(f"{name}: {said['status']} where {expected} was made: {said['evidence']}")
            yield {
                "name": name,
                "calls": said["calls"],
                "status": said["status"],
                "read_s": said["read_s"],
                "judged_s": said["judged_s"],
                **figures,
                "floor_cpu_s": round(_floor(path), 3),
            }


def _run(path: Path, model: str) -> tuple[dict[str, Any], dict[str, object]]:
    """What the command says, how long it took, and the most memory that it had."""
    command = [sys.executable, "-m", "harness.cli.main", "check", str(path), "--model", model, "-o", "json"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        text = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return json.loads(text), {
        "command_s": round(time.monotonic() - started, 3),
        "command_cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def _floor(path: Path) -> float:
    """Processor time to parse the file's lines, in seconds."""
    started = time.process_time()
    with path.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
    return time.process_time() - started
