"""The calls of workloads through the methods that people call, blocking and with asyncio, and the same as single operations.

All three take a `PlannedCall`, and return the answer as the history records it: `harness/checkers/asked.py` has the table. So
a judge sees what a caller of the API gets, after redirects, retries, pages and renewals.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from cluster.clients.group_operations import ASSIGNMENT, MEMBERS, GroupOperations, Share, TaskOwners, View
from cluster.clients.kv_operations import KeyChanges
from cluster.clients.operation import Operation
from cluster.clients.operations import (
    kv_delete,
    kv_get,
    kv_put,
    kv_version,
    kv_watch,
    lock_holder,
    task_add,
    task_mine,
    task_owners,
    task_remove,
)
from cluster.errors import ConsensusError, LeaseLost, Unknown
from harness.workloads.given_up import GIVEN_UP_BESIDE, one_given_up
from harness.workloads.late_keepers import AsyncLateLink, LateLink
from harness.workloads.planned_call import PlannedCall
from harness.workloads.waiting_thread import WaitingThread

# --- answers as the history records them ----------------------------------------------------------------------------


def plain(f: str, answer: Any) -> Any:
    """Return an answer of the API as plain data."""
    match answer:
        case KeyChanges():
            return {"seen": answer.seen, "changes": [list(change) for change in answer]}
        case View():
            return list(answer)
        case Share():
            return [answer.version, dict(answer.tasks)]
        case TaskOwners():
            return [answer.version, {task: owner and list(owner) for task, owner in answer.owners.items()}]
        case [*items] if f in ("range", "views"):
            return [list(item) for item in items]
        case tuple():
            return list(answer)
    return answer


# --- one operation --------------------------------------------------------------------------------------------------


def operation_of(call: PlannedCall) -> Operation[Any]:
    """Return a call as one operation, for calls that one operation serves."""
    value: Any = call.value
    found: Operation[Any] | None = None
    match call.f:
        case "put":
            found = kv_put(call.key, value)
        case "get":
            found = kv_get(call.key)
        case "delete":
            found = kv_delete(call.key)
        case "version":
            found = kv_version()
        case "watch":
            found = kv_watch(call.key, value["after"], call.wait_s)
        case "join":
            found = _group(value["group"]).join(call.key, value["details"], value["lease_s"])
        case "heartbeat":
            found = _group(value["group"]).heartbeat(call.key)
        case "leave":
            found = _group(value["group"]).leave(call.key)
        case "view":
            found = _group(call.key).view()
        case "views":
            found = _group(call.key).watch(View(*value["after"]), call.wait_s)
        case "add":
            found = task_add(call.key)
        case "remove":
            found = task_remove(call.key)
        case "mine":
            found = task_mine(call.key)
        case "owners":
            found = task_owners()
        case "holder":
            found = lock_holder(call.key)
    assert found is not None, f"no single operation serves a {call.f}"
    return found


def _group(name: str) -> GroupOperations:
    return MEMBERS if name == "members" else ASSIGNMENT


# --- methods that people call ---------------------------------------------------------------------------------------


def _method_of(client: Any, call: PlannedCall) -> Callable[[], Any] | None:
    """Return the method of a client that makes the call: of a blocking client, or of an asyncio client to be awaited."""
    value: Any = call.value
    limited: dict[str, Any] = {"timeout_s": call.timeout_s}
    found: Callable[[], Any] | None = None
    match call.f:
        case "put":
            found = partial(client.kv.put, call.key, value, **limited)
        case "get" | "delete":
            found = partial(getattr(client.kv, call.f), call.key, **limited)
        case "version":
            found = partial(client.kv.version, **limited)
        case "join":
            found = partial(_group_of(client, call).join, call.key, value["details"], value["lease_s"], **limited)
        case "heartbeat" | "leave":
            found = partial(getattr(_group_of(client, call), call.f), call.key, **limited)
        case "view":
            found = partial(_group_of(client, call).view, **limited)
        case "add" | "remove" | "mine":
            found = partial(getattr(client.assignment, call.f), call.key, **limited)
        case "owners":
            found = partial(client.assignment.owners, **limited)
        case "holder":
            found = partial(client.locks.holder, call.key, **limited)
        case "end":
            found = partial(client.end_session, call.timeout_s)
    return found


def _group_of(client: Any, call: PlannedCall) -> Any:
    value: Any = call.value
    return getattr(client, call.key if call.f in ("view", "views") else value["group"])


class _Caller:
    """What a caller keeps between calls: locks and memberships, by their names."""

    link_class: ClassVar[type[LateLink | AsyncLateLink]]

    def __init__(self, client: Any) -> None:
        self.client = client
        self.kept: dict[str, Any] = {}
        self._next: Any = None
        self._next_link: Any = None
        self._link: Any = None  # of what is kept: at most one thing at a time

    def prepared(self, call: PlannedCall) -> PlannedCall:
        """Return the call as it is to be recorded: a lock that is kept names its owner itself."""
        value: Any = call.value
        if call.f == "acquire":
            self._next = self.client.lock(call.key, value["lease_s"], call.wait_s, value["owner"])
            self._connect(call)
            return replace(call, value={**value, "owner": self._next.owner})
        if call.f == "join" and call.kept:
            self._next = _group_of(self.client, call).joined(call.key, value["details"], value["lease_s"])
            self._connect(call)
        return call

    def _connect(self, call: PlannedCall) -> None:
        """Put a link between a keeper and the client, if some of what it hears is to be late."""
        value: Any = call.value
        self._next_link = None
        if call.late:
            self._next._client = self._next_link = self.link_class(self.client, call.late, value["lease_s"])

    def _is_sure(self, call: PlannedCall) -> int | None:
        """Return how long a keeper may be sure of its lease, in milliseconds; None: unknown. Raises Unknown if it is not sure."""
        left_ms: int | None = (
            None if self._link is None else self._link.left_ms
        )  # first: by then the keeper has less time left
        if call.key not in self.kept or self.kept[call.key].lost:
            raise Unknown("the lease is lost, or may be")
        return left_ms

    def _begun(self, call: PlannedCall) -> Any:
        self.kept[call.key], self._link = self._next, self._next_link
        return self._next.token if call.f == "acquire" else None


class BlockingCaller(_Caller):
    """A caller of the blocking client."""

    link_class = LateLink

    def __init__(self, client: Any, *, shares: bool = False) -> None:
        """Make the caller of a client. `shares` says that another thread uses the client, too."""
        super().__init__(client)
        self._other = WaitingThread(client) if shares else None

    def do(self, call: PlannedCall) -> Any:
        """Make the call, and return its answer as plain data. Raises what the API raises."""
        return plain(call.f, self._do(call))

    def _do(self, call: PlannedCall) -> Any:
        value: Any = call.value
        answer: Any = None
        match call.f:
            case "acquire" | "join" if call.kept:
                self._next.start()
                answer = self._begun(call)
            case "release" | "leave" if call.kept:
                with _losses():
                    self.kept.pop(call.key).stop()
            case "holds" | "stays":
                answer = self._is_sure(call)
            case "range":
                answer = list(self.client.kv.range(call.key, timeout_s=call.timeout_s))
            case "watch":
                answer = self.client.kv.watch(call.key, value["after"], call.wait_s)
            case "views":
                answer = _group_of(self.client, call).watch(View(*value["after"]), call.wait_s)
            case _:
                method = _method_of(self.client, call)
                assert method is not None, f"no method serves a {call.f}"
                if self._other is not None:
                    self._other.wait()
                answer = method()
        return answer

    def close(self) -> None:
        """End what is kept, and close the client."""
        for kept in self.kept.values():
            with suppress(ConsensusError):
                kept.stop()
        self.client.close()


class AsyncCaller(_Caller):
    """A caller of the asyncio client. It follows changes by iterators, and gives calls up beside those that it makes."""

    link_class = AsyncLateLink
    _calls = 0

    async def do(self, call: PlannedCall) -> Any:
        """Make the call, and return its answer as plain data. Raises what the API raises."""
        return plain(call.f, await self._do(call))

    async def _do(self, call: PlannedCall) -> Any:
        value: Any = call.value
        answer: Any = None
        match call.f:
            case "acquire" | "join" if call.kept:
                await self._next.start()
                answer = self._begun(call)
            case "release" | "leave" if call.kept:
                with _losses():
                    await self.kept.pop(call.key).stop()
            case "holds" | "stays":
                answer = self._is_sure(call)
            case "range":
                answer = [entry async for entry in self.client.kv.range(call.key, timeout_s=call.timeout_s)]
            case "watch":
                changes = await _taken(self.client.kv.watch(call.key, value["after"]), call.wait_s)
                answer = KeyChanges(changes, changes[-1].version if changes else value["after"])
            case "views":
                answer = await _taken(_group_of(self.client, call).watch(View(*value["after"])), call.wait_s)
            case _:
                method = _method_of(self.client, call)
                assert method is not None, f"no method serves a {call.f}"
                self._calls += 1
                if call.f in GIVEN_UP_BESIDE and self._calls % 2:
                    async with one_given_up(self.client, call.f, self._calls // 2):
                        answer = await method()
                else:
                    answer = await method()
        return answer


async def _taken(stream: Any, wait_s: float) -> list[Any]:
    """Return what an endless iterator yields within a time. It is then given up in the middle of a wait, as by a user."""
    found = []
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            async for item in stream:
                found.append(item)  # noqa: PERF401 - what came before the time was up counts
    await stream.aclose()
    return found


@contextmanager
def _losses() -> Iterator[None]:
    """Have the end of a lease that was lost, or may have been, raise Unknown."""
    try:
        yield
    except LeaseLost as error:
        raise Unknown(str(error)) from error
