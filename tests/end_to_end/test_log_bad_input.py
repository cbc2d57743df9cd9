"""What a client of a log asks amiss: each has its own error and changes nothing, in the blocking client and its twin."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import BadValue, Cluster, Unknown
from cluster.clients import operations
from cluster.clients.async_client import AsyncLogClient
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation
from cluster.errors import ClientClosed, CommandRefused, WindowFull
from node.tuning import SHIPPED, Tuning

#: Has a client ask something and waits for the answer.
Do = Callable[[Operation[Any]], Any]


class Either:
    """Makes clients of one kind, and has them ask."""

    def __init__(self, cluster: Cluster, kind: str, runner: asyncio.Runner) -> None:
        self._cluster, self._kind, self._runner = cluster, kind, runner
        self._clients: list[LogClient | AsyncLogClient] = []

    def client(self, resume: int | None = None, tuning: Tuning = SHIPPED) -> LogClient | AsyncLogClient:
        settings, addresses = self._cluster.spec.settings, self._cluster.client_addresses

        async def make() -> AsyncLogClient:
            return AsyncLogClient(settings.cluster, addresses, resume=resume, tuning=tuning)

        client = (
            self._runner.run(make())
            if self._kind == "asyncio"
            else LogClient(settings.cluster, addresses, resume=resume, tuning=tuning)
        )
        self._clients.append(client)
        return client

    def do(self, client: LogClient | AsyncLogClient, ask: Operation[Any]) -> Any:
        return self._runner.run(client.do(ask)) if isinstance(client, AsyncLogClient) else client.do(ask)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


@pytest.fixture(params=["blocking", "asyncio"])
def either(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Either]:
    with asyncio.Runner() as runner:
        either = Either(cluster, request.param, runner)
        yield either
        either.close()


def test_a_key_that_is_not_there(either: Either) -> None:
    client = either.client()
    assert either.do(client, operations.kv_get_with_version("nosuch")) is None
    assert either.do(client, operations.kv_delete("nosuch")) is False
    with pytest.raises(CommandRefused, match="the version of 'nosuch' is 0, not 3") as refused:
        either.do(client, operations.kv_compare_and_set("nosuch", 3, 1))
    assert refused.value.kind == "mismatch"
    assert either.do(client, operations.kv_get_with_version("nosuch")) is None


def test_a_value_or_a_key_over_the_limit(either: Either) -> None:
    client = either.client()
    version = either.do(client, operations.kv_put("k", "before"))
    with pytest.raises(BadValue, match="the limit is 262,144"):
        operations.kv_put("k", "x" * 300_000)
    with pytest.raises(BadValue, match="None"):
        operations.kv_put("k", None)
    with pytest.raises(CommandRefused, match="1 to 1,024 characters, but this one has 2,000") as refused:
        either.do(client, operations.kv_put("k" * 2_000, 1))
    assert refused.value.kind == "bad_key"
    assert either.do(client, operations.kv_get_with_version("k")) == ("before", version)


def test_a_full_window(either: Either) -> None:
    client, narrow = either.client(), either.client(tuning=Tuning(client_calls_max=1))
    version = either.do(client, operations.kv_put("k", "before"))
    pipeline = narrow.pipeline if isinstance(narrow, LogClient) else narrow._pipeline
    pipeline.call("kv", ["get", "k"], 0.0, 1e9, read=True)
    with pytest.raises(WindowFull, match=r"1 calls are waiting already.* Nothing was sent"):
        either.do(narrow, operations.kv_put("k", "after"))
    assert either.do(client, operations.kv_get_with_version("k")) == ("before", version)


def test_a_session_that_has_ended(either: Either) -> None:
    client = either.client()
    version = either.do(client, operations.kv_put("k", "before"))
    session = client.session
    assert session is not None
    resumed = either.client(resume=session)
    assert either.do(resumed, operations.kv_put("k", "in the same session")) == version + 1
    assert resumed.session == session
    other = either.client()
    assert either.do(other, Operation("session", ["close", session], bool))
    with pytest.raises(Unknown, match="the session has ended"):
        either.do(resumed, operations.kv_put("k", "under a session that has ended"))
    late = either.client(resume=session)
    with pytest.raises(CommandRefused, match=f"session {session} has ended, so it cannot be resumed") as refused:
        either.do(late, operations.kv_put("k", "in a session that has ended"))
    assert refused.value.kind == "session_expired"
    assert either.do(late, operations.kv_get_with_version("k")) == ("in the same session", version + 1)
    for client in (resumed, late):  # both go on in a new one
        version = either.do(client, operations.kv_put("k", "after"))
    assert either.do(other, operations.kv_get_with_version("k")) == ("after", version)


def test_a_client_that_is_closed(either: Either) -> None:
    client = either.client()
    either.do(client, operations.kv_put("k", "before"))
    client.close()
    with pytest.raises(ClientClosed, match="Make another one"):
        either.do(client, operations.kv_put("k", "after"))
    assert either.do(either.client(), operations.kv_get_with_version("k"))[0] == "before"
