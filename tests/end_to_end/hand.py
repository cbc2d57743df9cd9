"""Somebody at a terminal, for the tests of the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from cluster.processes import is_alive
from cluster.spawning import warm_up
from harness.cli.main import run


class Hand:
    """Somebody at a terminal, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness.cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def good(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def json(self, *arguments: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.run(*arguments, "-o", "json").stdout)
        assert content["schema"] == 1
        return content

    def fails(self, code: int, says: str, *arguments: str) -> None:
        done = self.run(*arguments)
        assert code == done.returncode, (done.stdout, done.stderr)
        assert says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["node"]: row for row in self.json("ps")["nodes"]}

    def supervisor(self) -> int:
        return int(json.loads((self.folder / ".consensus" / "supervisor.json").read_text())["pid"])


class QuickHand(Hand):
    """The same in this process, where a command costs a tenth of the CPU."""

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_in_this_process("--dir", str(self.folder / ".consensus"), *arguments, stdin=stdin)


def run_in_this_process(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a `consensus` command without a process of its own, and capture what it prints."""
    if "up" in arguments:
        warm_up()
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), _stdin(stdin):
        code = run(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def _stdin(text: str) -> Iterator[None]:
    kept, sys.stdin = sys.stdin, StringIO(text)
    try:
        yield
    finally:
        sys.stdin = kept


def end(hand: Hand) -> None:
    """End the cluster in the folder, by force if need be."""
    if (hand.folder / ".consensus" / "supervisor.json").exists():
        pid = hand.supervisor()
        try:
            hand.run("down")
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
