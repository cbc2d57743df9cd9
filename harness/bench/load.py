"""What drives the clusters under test as fast as it can: a fixed number of calls in flight on a fixed number of connections."""

import resource
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.clients.connections import shared_poller
from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.clients.outcomes import Ok
from node.contract import NodeId

_LOOK_EVERY_S: Final = (
    0.0006  # at each client: a look costs microseconds, and a client may wait for no more than a moment
)
_BOUNDS_MS: Final = tuple(step * 10**power for power in range(-2, 5) for step in (1, 2, 5))

#: Begins the next call of a client, whose connection has the number; None: there is nothing more to do.
Begin = Callable[[LogClient, int], LogCall | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """So many calls in flight, spread evenly over so many connections."""

    in_flight: int
    connections: int

    @property
    def each(self) -> int:
        """Calls in flight on one connection."""
        return self.in_flight // self.connections

    def __str__(self) -> str:
        return f"{self.in_flight} in flight on {self.connections} connection{'s' if self.connections > 1 else ''}"


SHAPES: Final = (Shape(256, 16), Shape(256, 256), Shape(1, 1))


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do, for how many seconds. `reads` is the share of calls that are linearizable reads."""

    shape: Shape
    seconds: float
    value_bytes: int = 100
    reads: float = 0.0

    def __str__(self) -> str:
        kind = "puts" if self.reads == 0 else "reads" if self.reads == 1 else f"{self.reads:.0%} reads, else puts"
        return f"{kind} of {self.value_bytes:,} bytes, {self.shape}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load has measured. The histogram has pairs: up to so many milliseconds, so many calls; None for above all."""

    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    done: int
    failed: int
    histogram: tuple[tuple[float | None, int], ...]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the ordered values are below; 0 if there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def figures(latencies_s: Sequence[float], seconds: float, failed: int = 0) -> Figures:
    """Rate, percentiles and histogram."""
    ordered = sorted(latencies_s)
    counts = [0] * (len(_BOUNDS_MS) + 1)
    for latency_s in ordered:
        counts[bisect_left(_BOUNDS_MS, latency_s * 1000)] += 1
    filled = [index for index, count in enumerate(counts) if count]
    buckets = list(zip((*_BOUNDS_MS, None), counts, strict=True))
    return Figures(
        per_s=len(ordered) / seconds,
        p50_ms=percentile(ordered, 0.5) * 1000,
        p90_ms=percentile(ordered, 0.9) * 1000,
        p99_ms=percentile(ordered, 0.99) * 1000,
        max_ms=percentile(ordered, 1.0) * 1000,
        done=len(ordered),
        failed=failed,
        histogram=tuple(buckets[filled[0] : filled[-1] + 1] if filled else ()),
    )


class LoadDriver:
    """One connection's calls in flight: always `each`, or fewer if there is one every `every_s` seconds and no more."""

    def __init__(
        self, client: LogClient, number: int, each: int, begin: Begin, most: int | None, due: float, every_s: float
    ) -> None:
        self.client, self.number, self.each, self.begin = client, number, each, begin
        self.left, self.due, self.every_s = most, due, every_s
        self.exhausted = False
        self.calls: deque[tuple[float, LogCall]] = deque()

    def fill(self, now: float) -> None:
        """Keep the window full, and send."""
        while len(self.calls) < self.each and not self.finished and now >= self.due:
            self.due += self.every_s
            call = self.begin(self.client, self.number)
            if call is None:
                self.exhausted = True
            else:
                self.calls.append((now, call))
                self.left = None if self.left is None else self.left - 1
        self.client.send(now)

    @property
    def finished(self) -> bool:
        """Whether it begins nothing more."""
        return self.exhausted or self.left == 0

    def collect(self) -> list[tuple[float, LogCall]]:
        """The calls that have an outcome, with the moments in which they began."""
        done = []
        while self.calls and self.calls[0][1].outcome is not None:
            done.append(self.calls.popleft())
        return done


class Drive:
    """Keeps a shape's calls in flight on a cluster.

    Args:
        cluster, addresses: as for `LogClient`.
        shape: how many calls, on how many connections.
        begin: begins calls. When it returns None for each connection, `run` returns.
        each_client: after so many calls a connection's client is closed and a new one, with a session of its own, follows.
        per_s: so many calls a second and no more, whatever becomes of those before, as long as there is room in flight.
        on_ok: is told of every call that was done, and when its outcome was seen.
        monitors: whether a connection that closes is noticed at once; it costs descriptors, so not for hundreds.
    """

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        shape: Shape,
        begin: Begin,
        *,
        each_client: int | None = None,
        per_s: float = float("inf"),
        on_ok: Callable[[LogCall, float], None] = lambda _call, _now: None,
        monitors: bool = False,
    ) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection takes several descriptors
        self._cluster, self._addresses, self._shape, self._begin = cluster, addresses, shape, begin
        self._each_client, self._on_ok, self._monitors = each_client, on_ok, monitors
        self._every_s = shape.connections / per_s
        self._poller = shared_poller()
        self._owners: dict[Any, LoadDriver] = {}
        self._latencies_s: list[float] = []
        self._failed = 0
        self._stopped = self._abandoned = False
        self.done = 0  # calls that were done so far, warm-up included
        self.clients = 0

    def stop(self) -> None:
        """Begin nothing more; `run` returns when all has an outcome. Any thread may call it."""
        self._stopped = True

    def abandon(self) -> None:
        """`run` returns at once. Any thread may call it."""
        self._abandoned = True

    def run(
        self, seconds: float = float("inf"), warm_up_s: float = 0.0, on_edge: Callable[[], object] = lambda: None
    ) -> Figures:
        """Drive for `seconds` after the warm-up. `on_edge` is called when the measured time begins and when it ends."""
        self._drivers = [self._new_driver(number) for number in range(self._shape.connections)]
        try:
            if warm_up_s:
                self._turn_until(time.monotonic() + warm_up_s)
                self._latencies_s.clear()
                self._failed = 0
            on_edge()
            start = time.monotonic()
            self._turn_until(start + seconds)
            took_s = time.monotonic() - start
            on_edge()
            return figures(self._latencies_s, took_s, self._failed)
        finally:
            for driver in self._drivers:
                driver.client.close()

    def _new_driver(self, number: int) -> LoadDriver:
        client = LogClient(self._cluster, self._addresses, poller=self._poller, monitors=self._monitors)
        self.clients += 1
        first = time.monotonic() + self._every_s * number / self._shape.connections
        return LoadDriver(client, number, self._shape.each, self._next, self._each_client, first, self._every_s)

    def _next(self, client: LogClient, number: int) -> LogCall | None:
        return None if self._stopped else self._begin(client, number)

    def _turn_until(self, end: float) -> None:
        next_look = 0.0
        look_every_s = _LOOK_EVERY_S * max(self._shape.connections, 8)
        if self._every_s:
            look_every_s = min(look_every_s, self._every_s / self._shape.connections)
        while (now := time.monotonic()) < end and self._drivers and not self._abandoned:
            if now >= next_look:  # what is due to be sent again, or has been given up
                next_look = now + look_every_s
                self._collect(list(self._drivers))
            touched: dict[int, LoadDriver] = {}
            for source in self._poller.poll(int(min(look_every_s, end - now) * 1000 + 0.999)):
                owner = self._owner(source)
                owner.client.receive(source)
                touched[id(owner)] = owner
            self._collect(list(touched.values()))

    def _owner(self, source: Any) -> LoadDriver:
        owner = self._owners.get(source)
        if owner is None:
            owner = self._owners[source] = next(driver for driver in self._drivers if driver.client.owns(source))
        return owner

    def _collect(self, drivers: list[LoadDriver]) -> None:
        now = time.monotonic()
        for driver in drivers:
            for began, call in driver.collect():
                if isinstance(call.outcome, Ok):
                    self._latencies_s.append(now - began)
                    self.done += 1
                    self._on_ok(call, now)
                else:
                    self._failed += 1
            driver.fill(now)
            if driver.finished and not driver.calls:
                self._replace(driver)

    def _replace(self, driver: LoadDriver) -> None:
        """The client has done its share: the next one follows, if there is more to do."""
        place = self._drivers.index(driver)
        driver.client.close()
        self._owners = {source: owner for source, owner in self._owners.items() if owner is not driver}
        if driver.exhausted:
            del self._drivers[place]
        else:
            self._drivers[place] = self._new_driver(driver.number)
            self._drivers[place].fill(time.monotonic())
