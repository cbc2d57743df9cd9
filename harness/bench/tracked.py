"""Puts that are remembered, so that reading all back shows whether one was lost; and a load that runs beside its trouble."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from harness.bench.load import Drive, Figures, Shape

_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1_000
_WIDTH: Final = 12

T = TypeVar("T")


class Tracked:
    """Numbered puts on keys in turn.

    Each connection has keys of its own, more than it has calls in flight. So no key has two puts under way, and what a key
    holds in the end is the last of its puts: at least the last that was acknowledged, at most the last that was begun.
    """

    def __init__(self, shape: Shape, keys: int, value_bytes: int = 100, most: int | None = None) -> None:
        """`most` puts in all, or until the load is stopped."""
        self._connections = shape.connections
        self._each = max(keys // shape.connections, shape.each + 1)
        self._value_bytes = value_bytes
        self._most = most
        self._turns = [0] * shape.connections
        self.begun: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.count = 0

    def begin(self, client: LogClient, number: int) -> LogCall | None:
        """The next put."""
        if self.count == self._most:
            return None
        self.count += 1
        key = f"{number}-{self._turns[number] % self._each}"
        self._turns[number] += 1
        self.begun[key] = self.count
        value = f"{self.count:0{_WIDTH}}".encode().ljust(self._value_bytes)
        return client.begin("kv", ["put", key, value], timeout_s=_TIMEOUT_S)

    def acknowledge(self, call: LogCall) -> None:
        """A put was done."""
        _, key, value = call.command
        self.acknowledged[key] = int(value[:_WIDTH])

    def read_back(self, client: LogClient) -> "ReadBack":
        """Compare all that is there with what was acknowledged. Nobody else may have put anything."""
        found: dict[str, int] = {}
        highest, after, more = 0, "", True
        while more:
            page, more = client.call("kv", ["range", "", after, _PAGE], read=True, timeout_s=_TIMEOUT_S)
            for key, value, version in page:
                found[key] = int(value[:_WIDTH])
                highest = max(highest, version)
                after = key
        lost = [key for key, number in self.acknowledged.items() if found.get(key, 0) < number]
        foreign = [key for key, number in found.items() if number > self.begun.get(key, 0)]
        return ReadBack(len(found), len(lost) + len(foreign), max(highest - self.count, 0))


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What reading back has shown. Each change of any key has a version of its own, so versions count what took effect."""

    keys: int
    lost: int  # keys that hold something older than was acknowledged, or that nobody put
    twice: int  # puts that took effect once more than they were made


class Background(Generic[T]):
    """Runs a function beside this thread, which keeps for itself whatever Ctrl-C must be able to end."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._outcome: tuple[T] | BaseException | None = None
        # What is left undone when this process ends must not keep it.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = (self._function(),)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asks
            self._outcome = error

    @property
    def running(self) -> bool:
        """Whether it has not returned yet."""
        return self._thread.is_alive()

    def result(self) -> T:
        """Wait, and return what it returned, or raise what it raised."""
        self._thread.join()
        if isinstance(self._outcome, tuple):
            return self._outcome[0]
        assert self._outcome is not None
        raise self._outcome


@contextmanager
def driving(drive: Drive) -> Iterator[Background[Figures]]:
    """Have a load run during the block. It is abandoned if it still runs at the end."""
    load = Background(drive.run)
    try:
        yield load
    finally:
        drive.abandon()
        load.result()
