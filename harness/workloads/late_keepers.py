"""The link between the keeper of a lease and its client, over which some answers come late, and for a while none.

A keeper is sure of its lease for as long as the lease lasts from the moment at which the last request that was answered began. By
itself a cluster is so quick that this moment and that of the answer are nearly the same, and renewals seldom fail for as long as
a lease. Here both are common, and the link notes when the requests began. So a keeper that is sure for too long is seen at once
(`harness/checkers/keepers.py`), by another reckoning than its own.

An answer comes no later than its caller waits for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any, Final, TypeVar, cast

from cluster.clients.async_client import AsyncLogClient
from cluster.clients.log_client import LogClient
from cluster.clients.operation import TIMEOUT_S, Operation, Steps, Stream
from cluster.errors import Unknown

T = TypeVar("T")

#: The commands that begin a lease anew. The first two renew it.
_RENEWALS: Final = ("renew", "heartbeat")
_LEASES: Final = (*_RENEWALS, "acquire", "resume", "join")
#: How late an answer comes, in seconds.
_LATE_S: Final = (0.0, 0.1, 0.19)
#: How likely no renewal is answered from one on, and for how many leases.
_SILENT: Final = 0.25
_SILENT_LEASES: Final = 1.5
_NO_REPLY: Final = "no reply in time: the keeper's link was silent"


class _Link:
    """What is known of one lease, and what becomes of its requests."""

    def __init__(self, client: Any, seed: str, lease_s: float) -> None:
        """Make the link of one keeper.

        Args:
            client: the client through which it keeps.
            seed: what all draws depend on.
            lease_s: how long its lease lasts, in seconds.
        """
        self._client, self._rng, self._lease_s = client, Random(seed), lease_s
        self._silent_until = 0.0
        self._asked_at = time.monotonic()

    @property
    def id(self) -> str:
        """The client's name."""
        return cast(str, self._client.id)

    @property
    def left_ms(self) -> int:
        """How long the keeper may be sure of its lease from now on, in milliseconds; below 0: it may not be sure any more."""
        return int((self._asked_at + self._lease_s - time.monotonic()) * 1000)

    def _is_silent(self, command: list[Any], began_s: float) -> bool:
        """Draw whether a request is lost that begins now."""
        if command[0] not in _RENEWALS:
            return False
        if began_s >= self._silent_until and self._rng.random() < _SILENT:
            self._silent_until = began_s + _SILENT_LEASES * self._lease_s
        return began_s < self._silent_until

    def _late_s(self, command: list[Any], began_s: float, timeout_s: float) -> float:
        """Draw how late the answer comes that is here now."""
        left_s = began_s + timeout_s - time.monotonic()
        return max(min(self._rng.choice(_LATE_S), left_s), 0.0) if command[0] in _LEASES else 0.0

    def _answered(self, command: list[Any], began_s: float) -> None:
        if command[0] in _LEASES:
            self._asked_at = began_s


class LateLink(_Link):
    """The link of a keeper that is a thread."""

    def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps, as the client does."""
        return LogClient.do(cast(LogClient, self), operation)

    def each(self, stream: Stream[T]) -> Iterator[T]:
        """Carry out a stream, as the client does."""
        return LogClient.each(cast(LogClient, self), stream)

    def call(self, machine: str, command: list[Any], *, timeout_s: float = TIMEOUT_S, **more: Any) -> Any:
        """Carry out a command of any machine, and wait for its answer over the link."""
        began_s = time.monotonic()
        if self._is_silent(command, began_s):
            time.sleep(timeout_s)
            raise Unknown(_NO_REPLY)
        answer = self._client.call(machine, command, timeout_s=timeout_s, **more)
        time.sleep(self._late_s(command, began_s, timeout_s))
        self._answered(command, began_s)
        return answer


class AsyncLateLink(_Link):
    """The link of a keeper that is a task."""

    async def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps, as the client does."""
        return await AsyncLogClient.do(cast(AsyncLogClient, self), operation)

    def each(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Carry out a stream, as the client does."""
        return AsyncLogClient.each(cast(AsyncLogClient, self), stream)

    async def call(self, machine: str, command: list[Any], *, timeout_s: float = TIMEOUT_S, **more: Any) -> Any:
        """Carry out a command of any machine, and wait for its answer over the link."""
        began_s = time.monotonic()
        if self._is_silent(command, began_s):
            await asyncio.sleep(timeout_s)
            raise Unknown(_NO_REPLY)
        answer = await self._client.call(machine, command, timeout_s=timeout_s, **more)
        await asyncio.sleep(self._late_s(command, began_s, timeout_s))
        self._answered(command, began_s)
        return answer
