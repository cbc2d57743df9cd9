"""The processes of `consensus bench page`: a cluster, the server of its page, a browser; and the processor time of each."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cluster.errors import Mistake
from node.algorithms import DEFAULT_LOG

WAIT_S: Final = 60.0


def _consensus(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli.main", "--dir", str(root), *arguments]


@contextmanager
def cluster_in(root: Path, nodes: int) -> Iterator[None]:
    """Run a cluster in a folder during the block."""
    subprocess.run(_consensus(root, "up", "-d", DEFAULT_LOG, "-n", str(nodes)), check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(_consensus(root, "down"), check=False, capture_output=True)


@contextmanager
def page_of(root: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run `consensus live`. Yields the page's address, and its process. At the end it has ended, with a cluster of its own."""
    command = _consensus(root, "live", *arguments, "--no-open", "-o", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(WAIT_S)


def chromium() -> str:
    """Return the program that draws the page. Raises Mistake if there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise Mistake("`consensus bench page` draws the page in Chromium, and none is installed here")
    return found


@contextmanager
def browser(program: str) -> Iterator[tuple[Any, int]]:
    """Yield a browser, and the process whose children are its processes. Raises Mistake if nothing can steer it."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - installed with the tests
    except ImportError:
        raise Mistake("`consensus bench page` steers Chromium by Playwright: pip install playwright") from None
    before = set(_children_of(os.getpid()))
    with sync_playwright() as playwright:
        (driver,) = set(_children_of(os.getpid())) - before
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield started, driver
        finally:
            started.close()


# --- processor time -------------------------------------------------------------------------------------------------------


def processor_s(pid: int) -> float:
    """Return how many seconds of a processor a process and its descendants have used (proc(5): utime and stime)."""
    family = [pid]
    for member in family:  # it grows meanwhile
        family += _children_of(member)
    return sum(map(_own_processor_s, family))


def _children_of(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []  # it has ended


def _own_processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
