"""What idle watchers cost: puts per second while no, some, and very many clients watch keys that do not change.

Theory of operation
-------------------
A child process holds the watchers (`idle_watchers.py`), so that the load and the watchers do not share one interpreter. The
numbers of watchers take short turns: a round goes through them upwards, the next one downwards, and so on. So a machine that gets
slower or quicker meets all numbers alike, and a turn is compared with the turns of its own round only.

A rate depends on what else the machine does. So a turn also counts the processor time that the processes of the nodes use, which
other processes change less. Both are compared with the first number of watchers. The ratio is that of the figures of all rounds,
and its interval contains the true ratio with 95 % confidence (Efron, *Bootstrap Methods*, 1979: whole rounds are drawn again,
with repetition, from those that were measured).
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from math import inf
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, Self

from cluster.cluster import Cluster
from cluster.errors import BootFailed
from harness.bench import idle_watchers
from harness.bench.load import LoadGenerator, Shape
from harness.bench.tracked import Tracked
from node.algorithms import DEFAULT_LOG
from node.contract import NodeId

NUMBERS: Final = (0, 100, 1_000, 10_000)
#: How far apart two numbers of watchers may be, so that they count as alike.
TENTH: Final = 0.1
_CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 2_000
_WARM_UP_S: Final = 0.2
_READY_S: Final = 300.0
_CHECK_INTERVAL_S: Final = 0.05


class Interval(NamedTuple):
    """A ratio: the median of the measured ones, and the interval in which the true median is with 95 % confidence."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the two differ by a tenth at most: "shown", "refuted", or "not shown", if the interval contains both."""
        least, most = 1 - TENTH, 1 / (1 - TENTH)
        if least <= self.low and self.high <= most:
            return "shown"
        return "refuted" if self.high < least or self.low > most else "not shown"


class PutCosts(NamedTuple):
    """What was measured beside one number of watchers in one turn."""

    puts: int
    per_s: float
    """Puts per second."""
    leader_s: float
    """Processor time of the leader, in seconds."""
    nodes_s: float
    """The same of all nodes together."""
    slowest_ms: float
    """The longest time of a put, in milliseconds."""


#: Computes one figure from some turns.
Figure = Callable[[Sequence[PutCosts]], float]


def puts_per_s(turns: Sequence[PutCosts]) -> float:
    """Return the median of the turns."""
    return median(turn.per_s for turn in turns)


def leader_us(turns: Sequence[PutCosts]) -> float:
    """Return the processor time of the leader for one put, over all turns, in microseconds."""
    return sum(turn.leader_s for turn in turns) / max(sum(turn.puts for turn in turns), 1) * 1e6


def nodes_us(turns: Sequence[PutCosts]) -> float:
    """Return the processor time of all nodes for one put, over all turns, in microseconds."""
    return sum(turn.nodes_s for turn in turns) / max(sum(turn.puts for turn in turns), 1) * 1e6


def watchers(
    numbers: Sequence[int] = NUMBERS,
    nodes: int = 3,
    shape: Shape = Shape(1, 1),  # noqa: B008 - it is immutable
    seconds: float = 0.4,
    rounds: int = 40,
    progress: Callable[[str], None] = lambda _: None,
    algorithm: str = DEFAULT_LOG,
    per_client: int = idle_watchers.PER_CLIENT,
    hold_s: float = 5.0,
) -> dict[str, Any]:
    """Measure puts per second, and the processor time of a put, beside each number of idle watchers.

    Args:
        numbers: how many watchers, for each row. The first row is the floor of the others.
        nodes: how many nodes the cluster has.
        shape: how many puts are in flight, on how many connections.
        seconds: how long each turn is measured.
        rounds: how often each number has its turn.
        progress: called with a line for people after each round.
        algorithm: the log.
        per_client: how many watchers share a client, and so a connection.
        hold_s: how long each number of watchers is held without any put, in seconds, to measure what they cost by themselves.

    Returns:
        `rows`, one for each number, and the verdicts on all pairs of numbers: `within_a_tenth`, for puts per second, and
        `processor_within_a_tenth`, for the processor time of a put. In a row, `ratio` and `processor_ratio` are those to the
        first row, with the intervals of both. `idle_ms_per_s` is the processor time that all nodes use in a second without any
        put: what clients send to keep their watches is in it. `woken` counts the changes that watchers have seen, `ended` the
        watchers that ended with an error: both are 0 unless something is wrong.

    Raises:
        BootFailed: the watchers did not all wait in time.
    """
    turns: dict[int, list[PutCosts]] = {number: [] for number in numbers}
    with Cluster(nodes=nodes, algorithm=algorithm) as cluster, cluster.log_client() as client:
        client.kv.put("first", 0)
        with _Watchers(cluster, per_client) as idle:
            for done in range(rounds):
                for number in numbers if done % 2 == 0 else reversed(numbers):
                    idle.be(number)
                    leader = _wait_until_they_wait(cluster, number)
                    turns[number].append(_turn(cluster, leader, shape, seconds))
                line = ", ".join(f"{turns[each][-1].per_s:.0f}" for each in numbers)
                progress(f"round {done + 1} of {rounds}: {line} puts/s")
            idle_ms_per_s = {}
            for number in numbers:
                idle.be(number)
                _wait_until_they_wait(cluster, number)
                before_s, began = sum(_used_s(cluster).values()), monotonic()
                sleep(hold_s)
                idle_ms_per_s[number] = (sum(_used_s(cluster).values()) - before_s) / (monotonic() - began) * 1000
            disturbed = idle.be(0)
    same = {
        "nodes": nodes,
        "in_flight": shape.in_flight,
        "connections": shape.connections,
        "watchers_per_client": per_client,
        "rounds": rounds,
        **disturbed._asdict(),
    }
    return {
        "rows": [
            {"watchers": number, **same, **_row(each, turns[numbers[0]]), "idle_ms_per_s": idle_ms_per_s[number]}
            for number, each in turns.items()
        ],
        "within_a_tenth": verdict_on_all(turns, puts_per_s),
        "processor_within_a_tenth": verdict_on_all(turns, nodes_us),
    }


def _row(turns: Sequence[PutCosts], first: Sequence[PutCosts]) -> dict[str, float]:
    """Return the figures of a number of watchers, beside those of the first one."""
    rate, cost = (compared(turns, first, figure) for figure in (puts_per_s, nodes_us))
    return {
        "puts_per_s": puts_per_s(turns),
        "puts_per_s_lowest": min(turn.per_s for turn in turns),
        "slowest_put_ms": max(turn.slowest_ms for turn in turns),
        "ratio": rate.ratio,
        "ratio_low": rate.low,
        "ratio_high": rate.high,
        "leader_us": leader_us(turns),
        "nodes_us": nodes_us(turns),
        "processor_ratio": cost.ratio,
        "processor_ratio_low": cost.low,
        "processor_ratio_high": cost.high,
    }


def compared(these: Sequence[PutCosts], those: Sequence[PutCosts], figure: Figure) -> Interval:
    """Return the ratio of a figure of two series of turns. Turns at one place are of the same round."""
    rounds = list(zip(these, those, strict=True))
    rng = Random(0)  # the same turns give the same interval
    drawn = sorted(_ratio(rng.choices(rounds, k=len(rounds)), figure) for _ in range(_RESAMPLES))
    outside = int(_RESAMPLES * (1 - _CONFIDENCE) / 2)
    return Interval(_ratio(rounds, figure), drawn[outside], drawn[-1 - outside])


def _ratio(rounds: Sequence[tuple[PutCosts, PutCosts]], figure: Figure) -> float:
    one, other = (figure(turns) for turns in zip(*rounds, strict=True))
    return one / other if other > 0 else inf


def verdict_on_all(turns: Mapping[int, Sequence[PutCosts]], figure: Figure) -> str:
    """Return whether a figure is within a tenth for all: "refuted" if it is not for one pair, "shown" if it is for all pairs."""
    found = {compared(two, one, figure).verdict for one, two in combinations(turns.values(), 2)}
    return next((verdict for verdict in ("refuted", "not shown") if verdict in found), "shown")


def _turn(cluster: Cluster, leader: NodeId | None, shape: Shape, seconds: float) -> PutCosts:
    """Put for some seconds."""
    used: list[dict[NodeId, float]] = []
    done: list[int] = []

    def look() -> None:
        used.append(_used_s(cluster))
        done.append(load.done)

    load = LoadGenerator(cluster.spec.settings.cluster, cluster.client_addresses, shape, Tracked(shape, 100).begin)
    found = load.run(seconds, _WARM_UP_S, look)
    each_s = {name: used[1].get(name, before_s) - before_s for name, before_s in used[0].items()}
    return PutCosts(done[1] - done[0], found.per_s, each_s.get(leader or "", 0.0), sum(each_s.values()), found.max_ms)


def _used_s(cluster: Cluster) -> dict[NodeId, float]:
    """Return how many seconds of a processor each node has used."""
    pids = {name: process.pid for name, process in cluster.processes.items()}
    return {name: processor_s(pid) for name, pid in pids.items() if pid is not None}


def processor_s(pid: int) -> float:
    """Return how many seconds of a processor the threads of a process have used (proc(5): schedstat counts nanoseconds)."""
    used_ns = 0
    for schedule in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has just ended
            used_ns += int(schedule.read_text().split()[0])
    return used_ns / 1e9


class _Watchers:
    """The process that holds the watchers: see `idle_watchers.py`."""

    def __init__(self, cluster: Cluster, per_client: int) -> None:
        settings = json.dumps([cluster.spec.settings.cluster, dict(cluster.client_addresses()), per_client])
        command = [sys.executable, "-m", idle_watchers.__name__, settings]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def be(self, number: int) -> idle_watchers.Disturbed:
        """Have so many watchers. Returns what has happened to watchers so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(number, file=self._process.stdin, flush=True)
        return idle_watchers.Disturbed(*json.loads(self._process.stdout.readline() or "[0, 0]"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _wait_until_they_wait(cluster: Cluster, number: int) -> NodeId | None:
    """Return the leader when so many watches wait there; None if no node leads."""
    deadline = monotonic() + _READY_S
    while True:
        logs = {name: status["variables"].get("", {}) for name, status in cluster.status().items()}
        found = sum(log.get("watches", 0) for log in logs.values())
        if found == number:
            return next((name for name, log in logs.items() if log.get("leads")), None)
        if monotonic() > deadline:
            raise BootFailed(f"{number} watchers were started, but {found} watches wait at the leader")
        sleep(_CHECK_INTERVAL_S)
