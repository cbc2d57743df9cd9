"""Loads: a fixed number of calls in flight on a fixed number of connections, and their figures.

A `LoadGenerator` keeps the calls in flight from one thread, with one client for each connection. `figures` turns latencies
into a rate, percentiles and a histogram.
"""

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

#: How often a client is checked for calls to send again and calls that timed out, in seconds, for each connection. A check costs
#: microseconds.
_CHECK_INTERVAL_S: Final = 0.0006
#: The upper bounds of the histogram's buckets, in milliseconds.
_BOUNDS_MS: Final = tuple(step * 10**power for power in range(-2, 5) for step in (1, 2, 5))

#: Takes a client and the number of its connection, begins the client's next call, and returns it; None if no call is left.
BeginCall = Callable[[LogClient, int], LogCall | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """How many calls are in flight, spread evenly over how many connections."""

    in_flight: int
    connections: int

    @property
    def each(self) -> int:
        """The number of calls in flight on one connection."""
        return self.in_flight // self.connections

    def __str__(self) -> str:
        return f"{self.in_flight} in flight on {self.connections} connection{'s' if self.connections > 1 else ''}"


#: The shapes that the benchmarks of throughput use.
SHAPES: Final = (Shape(256, 16), Shape(256, 256), Shape(1, 1))


@dataclass(frozen=True, slots=True)
class Load:
    """The calls of clients, and how long they are measured.

    Attributes:
        shape: how many calls are in flight, on how many connections.
        seconds: how long the load is measured.
        value_bytes: the size of a value.
        reads: the share of calls that are linearizable reads; the others are puts.
    """

    shape: Shape
    seconds: float
    value_bytes: int = 100
    reads: float = 0.0

    def __str__(self) -> str:
        kind = (
            "puts" if self.reads == 0 else "reads" if self.reads == 1 else f"{self.reads:.0%} reads and the rest puts"
        )
        return f"{kind} of {self.value_bytes:,} bytes, {self.shape}"


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a load.

    Attributes:
        per_s: successful calls per second.
        p50_ms: the median latency, in milliseconds; `p90_ms`, `p99_ms` and `max_ms` likewise.
        done: how many calls succeeded.
        failed: how many were refused or timed out.
        histogram: pairs of an upper bound in milliseconds (None for the last bucket) and the number of calls up to it.
    """

    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    done: int
    failed: int
    histogram: tuple[tuple[float | None, int], ...]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values are below; 0 if there are no values."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def figures(latencies_s: Sequence[float], seconds: float, failed: int = 0) -> Figures:
    """Return the figures of successful calls.

    Args:
        latencies_s: the latency of each successful call, in seconds.
        seconds: how long the calls were measured.
        failed: how many further calls failed.
    """
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


class ConnectionLoad:
    """The calls in flight on one connection: always `in_flight`, or fewer if `every_s` limits how often one begins."""

    def __init__(
        self,
        client: LogClient,
        number: int,
        in_flight: int,
        begin: BeginCall,
        most: int | None,
        due: float,
        every_s: float,
    ) -> None:
        """Take over a client.

        Args:
            client: the client of the connection.
            number: the number of the connection.
            in_flight: how many calls to keep in flight.
            begin: begins a call.
            most: how many calls to begin in all; None for no limit.
            due: when the first call may begin.
            every_s: how long after one call the next may begin, in seconds; 0 for no limit.
        """
        self.client, self.number, self.in_flight, self.begin = client, number, in_flight, begin
        self.left, self.due, self.every_s = most, due, every_s
        self.exhausted = False
        self.calls: deque[tuple[float, LogCall]] = deque()  # each with the time at which it began, or was due

    def fill(self, now: float) -> None:
        """Begin calls until as many are in flight as should be, and send them."""
        while len(self.calls) < self.in_flight and not self.finished and now >= self.due:
            began = (
                self.due if self.every_s else now
            )  # a call that begins late is late, also if this process is to blame
            self.due += self.every_s
            call = self.begin(self.client, self.number)
            if call is None:
                self.exhausted = True
            else:
                self.calls.append((began, call))
                self.left = None if self.left is None else self.left - 1
        self.client.send(now)

    @property
    def finished(self) -> bool:
        """Whether no further call will begin."""
        return self.exhausted or self.left == 0

    def collect(self) -> list[tuple[float, LogCall]]:
        """Remove and return the first calls that have an outcome, each with the time at which it began."""
        done = []
        while self.calls and self.calls[0][1].outcome is not None:
            done.append(self.calls.popleft())
        return done


class LoadGenerator:
    """Keeps the calls of a shape in flight on a cluster.

    Args:
        cluster, addresses: as for `LogClient`.
        shape: how many calls, on how many connections.
        begin: begins a call. When it has returned None for each connection, `run` returns.
        each_client: after this number of calls a new client, with a session of its own, replaces the client of a connection.
        per_s: how many calls begin per second at most, however long earlier ones take, as long as calls may be in flight.
        on_ok: called with each successful call and the time at which its outcome was seen.
        monitors: whether a connection that closes is noticed at once. It costs descriptors, so not for hundreds of connections.
    """

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        shape: Shape,
        begin: BeginCall,
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
        self._owners: dict[Any, ConnectionLoad] = {}  # socket to the connection that it belongs to
        self._latencies_s: list[float] = []
        self._failed = 0
        self._stopped = self._abandoned = False
        self.done = 0  # successful calls so far, including those of the warm-up
        self.clients = 0  # clients so far

    def stop(self) -> None:
        """Begin no further call. `run` returns when every call has an outcome. Any thread may call this."""
        self._stopped = True

    def abandon(self) -> None:
        """Make `run` return at once. Any thread may call this."""
        self._abandoned = True

    def run(
        self, seconds: float = float("inf"), warm_up_s: float = 0.0, on_edge: Callable[[], object] = lambda: None
    ) -> Figures:
        """Run the load and return its figures.

        Args:
            seconds: how long to measure.
            warm_up_s: how long to run before, in seconds.
            on_edge: called when the measured time begins, and when it ends.
        """
        self._loads = [self._new_load(number) for number in range(self._shape.connections)]
        try:
            if warm_up_s:
                self._run_until(time.monotonic() + warm_up_s)
                self._latencies_s.clear()
                self._failed = 0
            on_edge()
            start = time.monotonic()
            self._run_until(start + seconds)
            took_s = time.monotonic() - start
            on_edge()
            return figures(self._latencies_s, took_s, self._failed)
        finally:
            for load in self._loads:
                load.client.close()

    def _new_load(self, number: int) -> ConnectionLoad:
        client = LogClient(self._cluster, self._addresses, poller=self._poller, monitors=self._monitors)
        self.clients += 1
        first = time.monotonic() + self._every_s * number / self._shape.connections
        return ConnectionLoad(client, number, self._shape.each, self._next, self._each_client, first, self._every_s)

    def _next(self, client: LogClient, number: int) -> LogCall | None:
        return None if self._stopped else self._begin(client, number)

    def _run_until(self, end: float) -> None:
        next_check = 0.0
        check_every_s = _CHECK_INTERVAL_S * max(self._shape.connections, 8)
        if self._every_s:
            check_every_s = min(check_every_s, self._every_s / self._shape.connections)
        while (now := time.monotonic()) < end and self._loads and not self._abandoned:
            if now >= next_check:  # for calls to send again, and calls that timed out
                next_check = now + check_every_s
                self._collect(list(self._loads))
            touched: dict[int, ConnectionLoad] = {}
            for source in self._poller.poll(int(min(check_every_s, end - now) * 1000 + 0.999)):
                owner = self._owner(source)
                owner.client.receive(source)
                touched[id(owner)] = owner
            self._collect(list(touched.values()))

    def _owner(self, source: Any) -> ConnectionLoad:
        owner = self._owners.get(source)
        if owner is None:
            owner = self._owners[source] = next(load for load in self._loads if load.client.owns(source))
        return owner

    def _collect(self, loads: list[ConnectionLoad]) -> None:
        now = time.monotonic()
        for load in loads:
            for began, call in load.collect():
                if isinstance(call.outcome, Ok):
                    self._latencies_s.append(now - began)
                    self.done += 1
                    self._on_ok(call, now)
                else:
                    self._failed += 1
            load.fill(now)
            if load.finished and not load.calls:
                self._replace(load)

    def _replace(self, load: ConnectionLoad) -> None:
        """Close the client of a load that begins no further call. A new client follows, unless no call is left."""
        place = self._loads.index(load)
        load.client.close()
        self._owners = {source: owner for source, owner in self._owners.items() if owner is not load}
        if load.exhausted:
            del self._loads[place]
        else:
            self._loads[place] = self._new_load(load.number)
            self._loads[place].fill(time.monotonic())
