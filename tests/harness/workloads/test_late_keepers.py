"""The link of a keeper, and calls that are given up: with clients that answer at once, and without processes."""

import asyncio
import time
from typing import Any

import pytest

from cluster.clients.lock_operations import lock_renew, lock_resume
from cluster.errors import Unknown
from harness.workloads import given_up, late_keepers
from harness.workloads.late_keepers import AsyncLateLink, LateLink

LEASE_S = 10.0


class Answers:
    """A client that answers at once."""

    id = "client"

    def __init__(self) -> None:
        self.commands: list[str] = []

    def call(self, _machine: str, command: list[Any], **_: Any) -> int:
        self.commands.append(command[0])
        return 7


class AnswersAwaited(Answers):
    async def call(self, machine: str, command: list[Any], **more: Any) -> int:  # type: ignore[override]
        return super().call(machine, command, **more)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_keepers, "_LATE_S", (0.0,))


def test_a_lease_counts_from_when_its_last_request_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_keepers, "_LATE_S", (0.02,))
    monkeypatch.setattr(late_keepers, "_SILENT", 0.0)
    link = LateLink(Answers(), "seed", LEASE_S)
    began = time.monotonic()
    assert link.do(lock_resume("l", 3, "me")) == 7
    assert time.monotonic() >= began + 0.02
    assert link.left_ms <= (began + LEASE_S + 0.001 - time.monotonic()) * 1000 + 1
    link._asked_at -= 2 * LEASE_S
    assert link.left_ms < 0
    link.do(lock_renew("l", 7))
    assert link.left_ms > 0


def test_a_silent_link_lets_no_renewal_pass_and_the_lease_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_keepers, "_SILENT", 1.0)
    client = Answers()
    link = LateLink(client, "seed", LEASE_S)
    link.do(lock_resume("l", 3, "me"))
    asked_at = link._asked_at
    with pytest.raises(Unknown, match="silent"):
        link.do(lock_renew("l", 7, 0.001))
    assert client.commands == ["resume"]
    assert link._asked_at == asked_at


def test_so_does_that_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_keepers, "_SILENT", 1.0)
    client = AnswersAwaited()

    async def main() -> None:
        link = AsyncLateLink(client, "seed", LEASE_S)
        assert await link.do(lock_resume("l", 3, "me")) == 7
        with pytest.raises(Unknown, match="silent"):
            await link.do(lock_renew("l", 7, 0.001))

    asyncio.run(main())
    assert client.commands == ["resume"]


class Kv:
    """Notes when calls begin, and which were cancelled. It answers none."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    async def get(self, key: str) -> None:
        self.noted.append(key)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.noted.append(f"{key} is given up")


class Client:
    def __init__(self) -> None:
        self.kv = Kv()


def test_the_call_that_is_given_up_begins_first_and_ends_with_the_block() -> None:
    client = Client()

    async def main() -> None:
        async with given_up.one_given_up(client, "get", 0):
            client.kv.noted.append("the other")

    asyncio.run(main())
    assert client.kv.noted == ["given-up", "the other", "given-up is given up"]
