"""What idle watchers cost: puts per second while no, some, and very many clients watch keys that do not change.

A child process holds the watchers (`idle_watchers.py`), so that the load and the watchers do not share one interpreter. The
numbers of watchers take turns, several rounds of them, so that a slow moment of the machine does not meet one number alone. A
row is the median of its turns.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import monotonic, sleep
from typing import Any, Final, Self

from cluster.cluster import Cluster
from cluster.errors import BootFailed
from harness.bench import idle_watchers
from harness.bench.load import LoadGenerator, Shape
from harness.bench.tracked import Tracked
from node.algorithms import DEFAULT_LOG

NUMBERS: Final = (0, 100, 1_000, 10_000)
_WARM_UP_S: Final = 0.5
_READY_S: Final = 60.0
_CHECK_INTERVAL_S: Final = 0.05


def watchers(
    numbers: Sequence[int] = NUMBERS,
    nodes: int = 3,
    shape: Shape = Shape(1, 1),  # noqa: B008 - it is immutable
    seconds: float = 1.0,
    rounds: int = 9,
    progress: Callable[[str], None] = lambda _: None,
    algorithm: str = DEFAULT_LOG,
) -> list[dict[str, Any]]:
    """Measure puts per second beside each number of idle watchers.

    Args:
        numbers: how many watchers, for each row. The first row is the floor of the others.
        nodes: how many nodes the cluster has.
        shape: how many puts are in flight, on how many connections.
        seconds: how long each figure of a round is measured.
        rounds: how often each number has its turn.
        progress: called with a line for people after each round.
        algorithm: the log.

    Returns:
        One row for each number. `puts_per_s` is the median of the rounds, and `ratio` its share of the first row's. `woken`
        counts the changes that watchers have seen, `ended` the watchers that ended with an error: both are 0 unless something
        is wrong.

    Raises:
        BootFailed: the watchers did not all wait in time.
    """
    rates: dict[int, list[float]] = {number: [] for number in numbers}
    slowest: dict[int, float] = dict.fromkeys(numbers, 0.0)
    with Cluster(nodes=nodes, algorithm=algorithm) as cluster, cluster.log_client() as client:
        client.kv.put("first", 0)
        with _Watchers(cluster) as idle:
            for done in range(rounds):
                for number in numbers:
                    idle.be(number)
                    _wait_until_they_wait(cluster, number)
                    load = LoadGenerator(
                        cluster.spec.settings.cluster, cluster.client_addresses, shape, Tracked(shape, 100).begin
                    )
                    found = load.run(seconds, _WARM_UP_S)
                    rates[number].append(found.per_s)
                    slowest[number] = max(slowest[number], found.max_ms)
                progress(f"round {done + 1} of {rounds}: " + ", ".join(f"{rates[each][-1]:.0f}" for each in numbers))
            disturbed = idle.be(0)
    floor = median(rates[numbers[0]])
    return [
        {
            "watchers": number,
            "nodes": nodes,
            "in_flight": shape.in_flight,
            "connections": shape.connections,
            "rounds": rounds,
            "puts_per_s": median(rates[number]),
            "puts_per_s_lowest": min(rates[number]),
            "slowest_put_ms": slowest[number],
            "ratio": median(rates[number]) / floor,
            "woken": disturbed.woken,
            "ended": disturbed.ended,
        }
        for number in numbers
    ]


class _Watchers:
    """The process that holds the watchers: see `idle_watchers.py`."""

    def __init__(self, cluster: Cluster) -> None:
        settings = json.dumps([cluster.spec.settings.cluster, dict(cluster.client_addresses())])
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


def _wait_until_they_wait(cluster: Cluster, number: int) -> None:
    """Return when so many watches wait at the leader."""
    deadline = monotonic() + _READY_S
    while (found := _watches(cluster)) != number:
        if monotonic() > deadline:
            raise BootFailed(f"{number} watchers were started, but {found} watches wait at the leader")
        sleep(_CHECK_INTERVAL_S)


def _watches(cluster: Cluster) -> int:
    return sum(status["variables"][""].get("watches", 0) for status in cluster.status().values())
