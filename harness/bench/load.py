"""What drives the clusters under test as fast as it can: a fixed number of calls in flight on a fixed number of connections."""

import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.log_client import LogClient
from cluster.pipeline import Call, Ok

_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load has measured."""

    per_s: float
    p50_ms: float
    p99_ms: float
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Shape:
    """So many calls in flight, spread evenly over so many connections."""

    in_flight: int
    connections: int

    @property
    def each(self) -> int:
        """Calls in flight on one connection."""
        return self.in_flight // self.connections


SHAPES: Final = (Shape(256, 16), Shape(256, 256), Shape(1, 1))


def figures(latencies_s: Sequence[float], seconds: float, failed: int = 0) -> Figures:
    """Rate and percentiles."""
    ordered = sorted(latencies_s) or [0.0]

    def percentile(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000

    return Figures(len(latencies_s) / seconds, percentile(0.5), percentile(0.99), len(latencies_s), failed)


class Driver:
    """One connection's calls in flight."""

    def __init__(self, client: LogClient, each: int, begin: Callable[[LogClient], Call]) -> None:
        self.client, self.each, self.begin = client, each, begin
        self.calls: deque[tuple[float, Call]] = deque()
        self.latencies_s: list[float] = []
        self.failed = 0

    def fill(self, now: float) -> None:
        """Keep the window full, and send."""
        for _ in range(self.each - len(self.calls)):
            self.calls.append((now, self.begin(self.client)))
        self.client.send(now)

    def collect(self, now: float) -> bool:
        """Count the calls that have an outcome. True if there were any."""
        before = len(self.calls)
        while self.calls and self.calls[0][1].outcome is not None:
            began, call = self.calls.popleft()
            if isinstance(call.outcome, Ok):
                self.latencies_s.append(now - began)
            else:
                self.failed += 1
        return len(self.calls) < before


def drive(
    make_client: Callable[[Any], LogClient],
    poller: Any,
    shape: Shape,
    seconds: float,
    begin: Callable[[LogClient], Call],
) -> Figures:
    """Keep the shape's calls in flight for `seconds` after as long a warm-up as a fifth of that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection takes several descriptors
    drivers = [Driver(make_client(poller), shape.each, begin) for _ in range(shape.connections)]
    owners: dict[Any, Driver] = {}
    try:
        start = time.monotonic() + seconds / 5
        end = start + seconds
        warm = False
        for driver in drivers:
            driver.fill(time.monotonic())
        next_look = 0.0
        while (now := time.monotonic()) < end:
            if not warm and now >= start:
                warm = True
                for driver in drivers:
                    driver.latencies_s.clear()
            if now >= next_look:  # what is due to be sent again
                next_look = now + 0.1
                for driver in drivers:
                    driver.fill(now)
            touched: dict[int, Driver] = {}
            for source, _ in poller.poll(int(_POLL_S * 1000)):
                owner = owners.get(source)
                if owner is None:
                    owner = owners[source] = next(driver for driver in drivers if driver.client.owns(source))
                owner.client.take(source)
                touched[id(owner)] = owner
            now = time.monotonic()
            for driver in touched.values():
                driver.collect(now)
                driver.fill(now)
        latencies = [latency for driver in drivers for latency in driver.latencies_s]
        return figures(latencies, time.monotonic() - start, sum(driver.failed for driver in drivers))
    finally:
        for driver in drivers:
            driver.client.close()
