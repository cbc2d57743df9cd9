"""Tracked puts, whose keys are read back to find puts that were lost or done twice; and loads in the background."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from harness.bench.load import Figures, LoadGenerator, Shape

_TIMEOUT_S: Final = 60.0
#: How many keys one read returns.
_PAGE: Final = 1_000
#: How many bytes of a value hold the number of its put.
_WIDTH: Final = 12

T = TypeVar("T")


class Tracked:
    """Numbered puts, which take their keys in turn.

    Each connection has keys of its own, more than it has calls in flight. So no key has two puts in flight, and at the end a
    key holds the last of its puts: at least the last one that was acknowledged, at most the last one that was begun.
    """

    def __init__(self, shape: Shape, keys: int, value_bytes: int = 100, most: int | None = None) -> None:
        """Prepare puts for a load.

        Args:
            shape: the shape of the load.
            keys: how many keys there are, about.
            value_bytes: the size of a value.
            most: how many puts to begin; None for no limit.
        """
        self._connections = shape.connections
        self._each = max(keys // shape.connections, shape.each + 1)
        self._value_bytes = value_bytes
        self._most = most
        self._turns = [0] * shape.connections
        self.begun: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.count = 0

    def begin(self, client: LogClient, number: int) -> LogCall | None:
        """Begin the next put of a connection, and return it; None if no put is left. It is a `BeginCall`."""
        if self.count == self._most:
            return None
        self.count += 1
        key = f"{number}-{self._turns[number] % self._each}"
        self._turns[number] += 1
        self.begun[key] = self.count
        value = f"{self.count:0{_WIDTH}}".encode().ljust(self._value_bytes)
        return client.begin("kv", ["put", key, value], timeout_s=_TIMEOUT_S)

    def acknowledge(self, call: LogCall) -> None:
        """Record that a put was acknowledged."""
        _, key, value = call.command
        self.acknowledged[key] = int(value[:_WIDTH])

    def read_back(self, client: LogClient) -> "ReadBack":
        """Read all keys, and compare them with the acknowledged puts. No other client may have put a key."""
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
    """The result of reading all keys. Every change has a version of its own, so the highest version counts the changes.

    Attributes:
        keys: how many keys there are.
        lost: how many keys hold a value that is older than the last acknowledged one, or that was never put.
        twice: by how many the changes exceed the puts.
    """

    keys: int
    lost: int
    twice: int


class Background(Generic[T]):
    """Runs a function in a thread of its own, so that Ctrl-C, which reaches the main thread, can end what that thread does."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._outcome: tuple[T] | BaseException | None = None
        # A daemon, so that a function that still runs does not keep the process alive.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = (self._function(),)
        except BaseException as error:  # noqa: BLE001 - `result` raises it in its caller's thread
            self._outcome = error

    @property
    def running(self) -> bool:
        """Whether the function has not returned yet."""
        return self._thread.is_alive()

    def result(self) -> T:
        """Wait for the function. Return what it returned, or raise what it raised."""
        self._thread.join()
        if isinstance(self._outcome, tuple):
            return self._outcome[0]
        assert self._outcome is not None
        raise self._outcome


@contextmanager
def in_background(generator: LoadGenerator) -> Iterator[Background[Figures]]:
    """Run a load during the block. If it still runs at the end of the block, it is abandoned."""
    load = Background(generator.run)
    try:
        yield load
    finally:
        generator.abandon()
        load.result()
