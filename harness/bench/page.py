"""What the live page costs a cluster, and how fast it is: `consensus bench page`.

Theory of operation
-------------------
One cluster serves a client that puts one value after the other, as fast as the machine lets it. It is measured in turns,
so that the load of the machine meets all alike: with no page (the floor), with the server of a page, and with a browser. The page
is that of `consensus live`, in a process of its own, and the browser is headless Chromium.

At first `consensus live` starts clusters of its own. A start takes from the command until the browser shows the page and its
buttons work. The nodes are up a while later.

A frame counts if the page has drawn messages in it. An act is a click on a button, and takes until the picture has changed: a
node is suspended, or runs again.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from cluster.clients.log_client import LogClient
from cluster.errors import Mistake
from cluster.running import RunningCluster
from harness.bench.load import percentile
from node.algorithms import DEFAULT_LOG

#: The parts of a round, in their order.
_PARTS: Final = ("alone", "server", "browser")
_BEFORE_S: Final = 0.5
_WAIT_S: Final = 60.0
#: Counts the frames in which the page has drawn messages: each begins by clearing its canvas.
_COUNT_FRAMES: Final = """
  globalThis.drawnFrames = 0;
  const clear = CanvasRenderingContext2D.prototype.resetTransform;
  CanvasRenderingContext2D.prototype.resetTransform = function () { globalThis.drawnFrames++; return clear.call(this); };
"""
#: Whether so many nodes are shown as up.
_NODES_UP: Final = "(count) => document.querySelectorAll('.node[data-state=up]').length === count"
#: Clicks an act on the node that is selected, and returns after how many milliseconds the picture shows it.
_ACT: Final = """([node, act, state]) => new Promise((done) => {
  const shows = () => document.querySelector(`.node[data-node=${node}]`).dataset.state === state;
  const began = performance.now();
  document.querySelector(`#selected [data-act=${act}]`).click();
  const look = () => shows() ? done(performance.now() - began) : setTimeout(look, 1);
  look();
})"""


def page(nodes: int, rounds: int, seconds: float, acts: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure the page of a cluster.

    Args:
        nodes: how many nodes of multipaxos.
        rounds: how many rounds; a figure is the median of the rounds.
        seconds: how long each part of a round takes.
        acts: how many acts are measured.
        progress: is told what is measured.

    Returns:
        The figures. `alone`, `server` and `browser` are puts per second.

    Raises:
        Mistake: Playwright or Chromium is not installed.
    """
    chromium = _chromium()
    rates: dict[str, list[float]] = {part: [] for part in _PARTS}
    frames: list[float] = []
    latencies: list[float] = []
    messages: list[float] = []
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        browser = ending.enter_context(_browser(chromium))
        starts = []
        for number in range(rounds):
            progress(f"start {number + 1} of {rounds}")
            starts.append(_start(browser, Path(name) / f"start-{number}", nodes))
        root = ending.enter_context(_cluster(Path(name), nodes))
        client = ending.enter_context(RunningCluster(root).log_client("bench"))
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            rates["alone"].append(_puts_per_s(client, seconds))
            with _served(root) as (url, pid):
                rates["server"].append(_puts_per_s(client, seconds))
                opened = browser.new_page(viewport={"width": 1280, "height": 720})
                opened.add_init_script(_COUNT_FRAMES)
                opened.goto(url)
                opened.wait_for_selector(".node")
                before_s, began = _processor_s(pid), time.monotonic()
                rate, drawn, seen = _with_browser(opened, root, client, seconds)
                shares.append((_processor_s(pid) - before_s) / (time.monotonic() - began))
                rates["browser"].append(rate)
                frames.append(drawn)
                messages.append(seen)
                latencies += [_act(opened, place % 2) for place in range(-(-acts // rounds // 2) * 2)]
                opened.close()
    middle = {part: median(each) for part, each in rates.items()}
    latencies.sort()
    return {
        "nodes": nodes,
        "start_ms": round(median(page_ms for page_ms, _ in starts)),
        "nodes_up_ms": round(median(nodes_ms for _, nodes_ms in starts)),
        "messages_per_s": round(median(messages)),
        "frames_per_s": round(median(frames), 1),
        "act_p50_ms": round(percentile(latencies, 0.5), 1),
        "act_p99_ms": round(percentile(latencies, 0.99), 1),
        "acts": len(latencies),
        "server_core_share": round(median(shares), 3),
        **{f"{part}_puts_per_s": round(rate, 3) for part, rate in middle.items()},
        "server_loss": round(1 - median(b / a for a, b in zip(rates["alone"], rates["server"], strict=True)), 3),
        "browser_loss": round(1 - median(b / a for a, b in zip(rates["alone"], rates["browser"], strict=True)), 3),
        "load_of_machine": round(os.getloadavg()[0], 1),
    }


def _start(browser: Any, root: Path, nodes: int) -> tuple[float, float]:
    """Start `consensus live` with a new cluster. Return the milliseconds until the page is usable, and until the nodes are up."""
    began = time.monotonic()
    with _served(root, DEFAULT_LOG, "-n", str(nodes)) as (url, _):
        opened = browser.new_page(viewport={"width": 1280, "height": 720})
        opened.goto(url)
        opened.wait_for_selector("[data-connected=yes] #hold")
        page_ms = (time.monotonic() - began) * 1000
        opened.wait_for_function(_NODES_UP, arg=nodes, timeout=_WAIT_S * 1000)
        nodes_ms = (time.monotonic() - began) * 1000
        opened.close()
    return page_ms, nodes_ms


def _puts_per_s(client: LogClient, seconds: float) -> float:
    begin = time.monotonic() + _BEFORE_S
    done, now = 0, 0.0
    while (now := time.monotonic()) < begin + seconds:
        client.kv.put("key", done, _WAIT_S)
        done += now >= begin
    return done / (time.monotonic() - begin)


def _with_browser(opened: Any, root: Path, client: LogClient, seconds: float) -> tuple[float, float, float]:
    """Return puts, frames and messages per second while a browser draws. The puts are made by a thread of their own."""
    found: list[float] = []
    putting = threading.Thread(target=lambda: found.append(_puts_per_s(client, seconds)))
    control = RunningCluster(root).control
    putting.start()
    opened.wait_for_timeout(_BEFORE_S * 1000)
    frames, lines, began = opened.evaluate("drawnFrames"), _lines(control), time.monotonic()
    opened.wait_for_timeout(seconds * 1000)
    took = time.monotonic() - began
    drawn, seen = (opened.evaluate("drawnFrames") - frames) / took, (_lines(control) - lines) / took
    putting.join()
    return found[0], drawn, seen


def _lines(control: Any) -> int:
    """Return how many lines the record of messages has."""
    return int(control.ask("look", _WAIT_S, after=2**62, since_ns=time.monotonic_ns(), most=1)["next"])


def _act(opened: Any, is_second: int) -> float:
    """Suspend a node that does not lead, or let it run again. Returns the milliseconds until the picture shows it."""
    name = opened.locator(".node").last.get_attribute("data-node")
    if not is_second:
        opened.click(f".node[data-node={name}]")
    act, state = ("resume", "up") if is_second else ("suspend", "suspended")
    return float(opened.evaluate(_ACT, [name, act, state]))


# --- processes ------------------------------------------------------------------------------------------------------------


def _consensus(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli.main", "--dir", str(root), *arguments]


@contextmanager
def _cluster(folder: Path, nodes: int) -> Iterator[Path]:
    root = folder / "lab"
    subprocess.run(_consensus(root, "up", "-d", DEFAULT_LOG, "-n", str(nodes)), check=True, capture_output=True)
    try:
        yield root
    finally:
        subprocess.run(_consensus(root, "down"), check=False, capture_output=True)


@contextmanager
def _served(root: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run `consensus live`. Yields the page's address, and its process. At the end it has ended, with a cluster of its own."""
    command = _consensus(root, "live", *arguments, "--no-open", "-o", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_WAIT_S)


def _processor_s(pid: int) -> float:
    """Return how many seconds of a processor a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise Mistake("`consensus bench page` draws the page in Chromium, and none is installed here")
    return found


@contextmanager
def _browser(chromium: str) -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - installed with the tests
    except ImportError:
        raise Mistake("`consensus bench page` steers Chromium by Playwright: pip install playwright") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
