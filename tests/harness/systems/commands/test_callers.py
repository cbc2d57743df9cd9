"""The threads of clients: what a client does against its rules is said, and never counts as an answer."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.systems.commands import callers
from harness.systems.commands.callers import CallInThread, ClientThreads
from harness.systems.commands.client import Call, Outcome, SystemClient, ok, refused, unknown

GET = Call("get", "x", node="n1", timeout_s=0.02)
SOON_S = 20.0


@pytest.fixture
def threads_of() -> Iterator[Callable[[Callable[[Call], Any]], ClientThreads]]:
    found: list[ClientThreads] = []

    def make(function: Callable[[Call], Any]) -> ClientThreads:
        class Made(SystemClient):
            def perform(self, call: Call) -> Outcome:
                result: Outcome = function(call)
                return result

        found.append(ClientThreads(Made, {"n1": {"client": "127.0.0.1:1", "peer": "127.0.0.1:2"}}))
        return found[-1]

    yield make
    for each in found:
        each.close()


def outcome_of(threads: ClientThreads, call: CallInThread) -> Outcome:
    deadline = time.monotonic() + SOON_S
    while call.outcome is None:
        assert time.monotonic() < deadline
        threads.poll()
        time.sleep(0.001)
    threads.poll()
    return call.outcome


@pytest.mark.parametrize("outcome", [ok(5), refused("mismatch"), unknown("no answer")])
def test_an_outcome_is_passed_on(threads_of: Any, outcome: Outcome) -> None:
    threads = threads_of(lambda _: outcome)
    assert outcome_of(threads, threads.begin("c1", GET)) == outcome
    assert threads.failures == []


def test_a_reason_may_be_an_exception(threads_of: Any) -> None:
    threads = threads_of(lambda _: unknown(OSError("no route")))
    assert outcome_of(threads, threads.begin("c1", GET)) == NotKnown("no route")
    assert refused(ValueError("full")) == NotDone("", "full")


def test_a_value_that_cannot_be_recorded_is_a_mistake_of_the_client(threads_of: Any) -> None:
    threads = threads_of(lambda _: ok(object()))
    assert isinstance(outcome_of(threads, threads.begin("c1", GET)), NotKnown)
    (failure,) = threads.failures
    assert "a value of type object cannot be recorded" in failure


def test_a_client_that_raises_makes_the_run_invalid_and_says_where(threads_of: Any) -> None:
    def perform(call: Call) -> Outcome:
        raise KeyError(call.key)

    threads = threads_of(perform)
    assert isinstance(outcome_of(threads, threads.begin("c1", GET)), NotKnown)
    (failure,) = threads.failures
    assert failure.startswith("the client Made raised KeyError: 'x' at ")
    assert "test_callers.py:" in failure


def test_a_client_that_returns_something_else_makes_the_run_invalid(threads_of: Any) -> None:
    threads = threads_of(lambda _: True)
    assert isinstance(outcome_of(threads, threads.begin("c1", GET)), NotKnown)
    assert threads.failures == ["the client Made returned True, where ok(...), refused(...) or unknown(...) is wanted"]


def test_a_client_that_hangs_makes_the_run_invalid_and_what_it_returns_late_counts_for_nothing(
    threads_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "GRACE_S", 0.01)
    over = threading.Event()

    def perform(_: Call) -> Outcome:
        over.wait(SOON_S)
        return ok("late")

    threads = threads_of(perform)
    call = threads.begin("c1", GET)
    assert isinstance(outcome_of(threads, call), NotKnown)
    over.set()
    assert "hangs: its perform has not returned from get of x at n1 within 0.02 s" in threads.failures[0]
    assert isinstance(call.outcome, NotKnown)


def test_one_client_performs_its_calls_with_one_object(threads_of: Any) -> None:
    seen: list[str] = []

    def perform(call: Call) -> Outcome:
        seen.append(threading.current_thread().name)
        return ok(call.key)

    threads = threads_of(perform)
    first = outcome_of(threads, threads.begin("c1", GET))
    assert (first, outcome_of(threads, threads.begin("c1", GET))) == (Ok("x"), Ok("x"))
    assert seen == ["c1", "c1"]


def test_a_client_knows_the_ports_of_each_node() -> None:
    class Made(SystemClient):
        def perform(self, call: Call) -> Outcome:
            return refused(self.address(call.node, "peer"))

    client = Made({"n1": {"client": "127.0.0.1:1", "peer": "127.0.0.1:2"}})
    assert client.perform(GET) == NotDone("", "127.0.0.1:2")
    assert client.address("n1") == "127.0.0.1:1"
