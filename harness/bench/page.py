"""What the live page costs a cluster, and how fast it is: `consensus bench page`.

Theory of operation
-------------------
A round has a cluster of its own and three parts: with no page (the floor), with the server of a page, and with a browser, too.
The page is that of `consensus live`, in a process of its own, and the browser is headless Chromium. Each part has two loads, one
after the other:

1. *Offered*: puts begin at their times, so many a second, however long earlier ones take. Their latency counts from the time at
   which each was due. The load leaves room on the machine, so what the page takes shows as puts that are not done, or done later.
2. *One at a time*: one client puts one value after the other, as fast as the machine lets it. This shows latency, not capacity:
   on a machine whose cores are busy, each further process makes each put later.

At first `consensus live` starts clusters of its own. A start takes from the command until the browser shows the page and its
buttons work. The nodes are up a while later.

A frame counts if the page has drawn messages in it. An act is a click on a button, and takes until the picture has changed: a
node is suspended, or runs again. No load runs meanwhile.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from cluster.clients.log_client import LogClient
from cluster.running import RunningCluster
from harness.bench.load import Figures, LoadGenerator, Shape, percentile
from harness.bench.page_processes import WAIT_S, browser, chromium, cluster_in, page_of, processor_s
from harness.bench.tracked import Background, Tracked
from node.algorithms import DEFAULT_LOG

#: The parts of a round, in their order.
PARTS: Final = ("alone", "server", "browser")
#: How long a load runs before it is measured, in seconds. It is no longer than the measurement.
_BEFORE_S: Final = 0.5
#: The most puts in flight of the offered load. It has far fewer in flight unless the cluster does not keep up.
_OFFERED: Final = Shape(256, 4)
_KEYS: Final = 1_000
#: For how long the messages of a put are counted before the offered load is chosen, in seconds, and at which rate. It is no
#: longer than the measurement, either.
_TRIAL_S: Final = 1.0
_TRIAL_PER_S: Final = 100.0
#: Counts the frames in which the page has drawn messages: each begins by clearing its canvas.
_COUNT_FRAMES: Final = """
  globalThis.drawnFrames = 0;
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...box) {
    if (this.canvas.closest("#picture")) globalThis.drawnFrames++;
    return clear.apply(this, box);
  };
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


@dataclass
class _Found:
    """What the rounds have found: lists of figures by name, one a round, and of all acts."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    acts_ms: list[float] = field(default_factory=list)

    def add(self, name: str, figure: float) -> None:
        self.figures.setdefault(name, []).append(figure)

    def loss(self, part: str, what: str) -> float:
        """Return the share of the puts that a part lacks: the median of the rounds."""
        alone, beside = self.figures[f"alone_{what}"], self.figures[f"{part}_{what}"]
        return round(1 - median(b / a for a, b in zip(alone, beside, strict=True)), 3)


def page(
    nodes: int,
    rounds: int,
    seconds: float,
    acts: int,
    messages_per_s: float,
    puts_per_s: float | None,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the page of a cluster.

    Args:
        nodes: how many nodes of multipaxos.
        rounds: how many rounds; a figure is the median of the rounds.
        seconds: how long each load of each part of a round takes.
        acts: how many acts are measured.
        messages_per_s: the offered load is as many puts a second as make so many messages.
        puts_per_s: the offered load; None for what `messages_per_s` says.
        progress: is told what is measured.

    Returns:
        The figures. `{part}_offered_puts_per_s` and `{part}_offered_p50_ms` are of the offered load, `{part}_puts_per_s` is of
        the client that puts one at a time. Frames, messages and shares of cores are those during the offered load, and
        `browser_ms_per_frame` is the processor time of all that the browser does, by frame.

    Raises:
        Mistake: Playwright or Chromium is not installed.
    """
    program = chromium()
    found = _Found()
    with tempfile.TemporaryDirectory() as name, browser(program) as (opened, driver):
        for number in range(rounds):
            progress(f"start {number + 1} of {rounds}")
            _start(opened, Path(name) / f"start-{number}", nodes, found)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            root = Path(name) / f"round-{number}"
            with cluster_in(root, nodes), _Round(root, seconds, found, (opened, driver)) as round_:
                puts_per_s = puts_per_s or round_.puts_of(messages_per_s)
                round_.run(puts_per_s, -(-acts // rounds // 2) * 2)
    middle = {name: median(each) for name, each in found.figures.items()}
    latencies = sorted(found.acts_ms)
    return {
        "nodes": nodes,
        "offered_puts_per_s": round(puts_per_s or 0.0, 1),
        **{name: round(figure, 3) for name, figure in middle.items()},
        "start_ms": round(middle["start_ms"]),
        "nodes_up_ms": round(middle["nodes_up_ms"]),
        "act_p50_ms": round(percentile(latencies, 0.5), 1),
        "act_p99_ms": round(percentile(latencies, 0.99), 1),
        "acts": len(latencies),
        **{f"{part}_loss": found.loss(part, "puts_per_s") for part in PARTS[1:]},
        **{f"{part}_offered_loss": found.loss(part, "offered_puts_per_s") for part in PARTS[1:]},
        "load_of_machine": round(os.getloadavg()[0], 1),
    }


def _start(browser_: Any, root: Path, nodes: int, found: _Found) -> None:
    """Start `consensus live` with a new cluster: the milliseconds until the page is usable, and until the nodes are up."""
    began = time.monotonic()
    with page_of(root, DEFAULT_LOG, "-n", str(nodes)) as (url, _):
        opened = browser_.new_page(viewport={"width": 1280, "height": 720})
        opened.goto(url)
        opened.wait_for_selector("[data-connected=yes] #hold")
        found.add("start_ms", (time.monotonic() - began) * 1000)
        opened.wait_for_function(_NODES_UP, arg=nodes, timeout=WAIT_S * 1000)
        found.add("nodes_up_ms", (time.monotonic() - began) * 1000)
        opened.close()


class _Round:
    """One round on one cluster: its loads, and what they find."""

    def __init__(self, root: Path, seconds: float, found: _Found, browser_: tuple[Any, int]) -> None:
        self._root, self._seconds, self._found = root, seconds, found
        self._before_s = min(_BEFORE_S, seconds)
        self._browser, self._driver = browser_
        self._cluster = RunningCluster(root)
        self._closing = ExitStack()
        self._client = self._closing.enter_context(self._cluster.log_client("bench"))
        self._where = self._cluster.control.ask("where", WAIT_S)

    def __enter__(self) -> "_Round":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def puts_of(self, messages_per_s: float) -> float:
        """Return how many puts a second make so many messages. More puts a second share messages, so a trial follows a trial."""
        per_s = _TRIAL_PER_S
        for _ in range(2):
            before = self._passed()
            done = self._offered(per_s, min(_TRIAL_S, self._seconds), warm_up_s=0).done
            per_s = messages_per_s * max(done, 1) / (self._passed() - before)
        return per_s

    def run(self, puts_per_s: float, acts: int) -> None:
        """Measure each part, and the acts with its browser."""
        self._part("alone", puts_per_s, {})
        with page_of(self._root) as (url, server):
            self._part("server", puts_per_s, {"server": server})
            opened = self._browser.new_page(viewport={"width": 1280, "height": 720})
            opened.add_init_script(_COUNT_FRAMES)
            opened.goto(url)
            opened.wait_for_selector(".node")
            self._part("browser", puts_per_s, {"server": server, "browser": self._driver}, opened)
            self._found.acts_ms += [_act(opened, place % 2) for place in range(acts)]
            opened.close()

    def _part(self, part: str, puts_per_s: float, pids: dict[str, int], opened: Any = None) -> None:
        """Measure both loads. The browser answers the main thread alone, so both run in another one."""
        pids = {"cluster": self._cluster.control.pid, **pids}
        load = Background(lambda: self._offered(puts_per_s, self._seconds, self._before_s))
        time.sleep(self._before_s)
        began, passed, spent = time.monotonic(), self._passed(), {who: processor_s(pid) for who, pid in pids.items()}
        frames = opened.evaluate("drawnFrames") if opened else 0
        time.sleep(self._seconds)
        took = time.monotonic() - began
        if opened:
            frames = opened.evaluate("drawnFrames") - frames
            self._found.add("frames_per_s", frames / took)
            self._found.add("messages_per_s", (self._passed() - passed) / took)
        for who, pid in pids.items():
            self._found.add(f"{part}_{who}_core_share", (processor_s(pid) - spent[who]) / took)
        if opened:  # other programs of the machine let it draw fewer frames, and change less what each takes
            browser_s = self._found.figures["browser_browser_core_share"][-1] * took
            self._found.add("browser_ms_per_frame", 1000 * browser_s / max(frames, 1))
        figures = load.result()
        self._found.add(f"{part}_offered_puts_per_s", figures.per_s)
        self._found.add(f"{part}_offered_p50_ms", figures.p50_ms)
        self._found.add(f"{part}_offered_p99_ms", figures.p99_ms)
        one_by_one = Background(lambda: _one_at_a_time(self._client, self._seconds, self._before_s))
        while opened and one_by_one.running:
            opened.wait_for_timeout(50)  # the driver of the browser takes in its events meanwhile
        self._found.add(f"{part}_puts_per_s", one_by_one.result())

    def _offered(self, per_s: float, seconds: float, warm_up_s: float) -> Figures:
        addresses, begin = self._cluster.client_addresses, Tracked(_OFFERED, _KEYS).begin
        return LoadGenerator(self._where["cluster"], addresses, _OFFERED, begin, per_s=per_s).run(seconds, warm_up_s)

    def _passed(self) -> int:
        """Return how many messages have passed the links. (A look would count as that of a page, and cost what one costs.)"""
        return sum(link["passed"] for link in self._cluster.control.ask("links", WAIT_S))


def _one_at_a_time(client: LogClient, seconds: float, warm_up_s: float) -> float:
    """Return the puts per second of a client that begins a put when the last one is acknowledged."""
    begin = time.monotonic() + warm_up_s
    done, now = 0, 0.0
    while (now := time.monotonic()) < begin + seconds:
        client.kv.put("key", done, WAIT_S)
        done += now >= begin
    return done / (time.monotonic() - begin)


def _act(opened: Any, is_second: int) -> float:
    """Suspend a node that does not lead, or let it run again. Returns the milliseconds until the picture shows it."""
    name = opened.locator(".node").last.get_attribute("data-node")
    if not is_second:
        opened.click(f".node[data-node={name}]")
    act, state = ("resume", "up") if is_second else ("suspend", "suspended")
    return float(opened.evaluate(_ACT, [name, act, state]))
