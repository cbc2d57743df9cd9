"""A search by several processes visits the states of one process, and finds a path that is as short."""

import os
from dataclasses import dataclass

import pytest

from harness.virtual import search as search_module
from harness.virtual.bounds import Bounds
from harness.virtual.divided_search import DividedSearch, NumbersDiffer
from harness.virtual.explorer import run_explore
from harness.virtual.search import Budget, SearchResult, search
from harness.virtual.space import ClusterSpace
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, Message, NodeId, Request, Value

_NO_LIMIT = Budget()


@pytest.fixture(autouse=True)
def _divided_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "DIVIDE_STATES", 20)


def searched(
    algorithm: type[Algorithm], bounds: Bounds, workers: int, budget: Budget = _NO_LIMIT
) -> tuple[ClusterSpace, SearchResult[int]]:
    space = ClusterSpace(algorithm, bounds)
    divide = DividedSearch(space, workers, budget, lambda _states, _depth: None) if workers > 1 else None
    return space, search(space, budget, divide=divide)


@pytest.mark.parametrize("workers", [2, 3])
def test_several_processes_visit_the_states_of_one(workers: int) -> None:
    bounds = Bounds(nodes=2, proposals=1, queries=1)
    one_space, one = searched(Paxos, bounds, 1)
    space, several = searched(Paxos, bounds, workers)
    assert one.exhausted
    assert several.exhausted
    assert one.states > 500
    assert (several.states, several.depth, several.waiting) == (one.states, one.depth, 0)
    assert space.cut == one_space.cut > 0
    assert space.sometimes() == one_space.sometimes()


def test_several_processes_find_a_schedule_as_short_as_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds(crashes=1)
    several = run_explore("failover", bounds, workers=2)
    monkeypatch.setattr(search_module, "DIVIDE_STATES", 10**9)
    one = run_explore("failover", bounds)
    assert one.found.bad is not None
    assert several.found.bad is not None
    assert len(several.found.bad) == len(one.found.bad)
    assert several.schedule  # it was replayed on a cluster, and violates there, too
    assert [violation.kind for violation in several.violations] == [violation.kind for violation in one.violations]


def test_a_state_from_which_nothing_leads_on_is_found_by_several_processes() -> None:
    report = run_explore("majority", Bounds(nodes=2), workers=2)
    assert [violation.kind for violation in report.violations] == ["fault tolerance"]


def test_a_divided_search_keeps_to_its_budget() -> None:
    _, found = searched(Paxos, Bounds(), 2, Budget(states=500))
    assert not found.exhausted
    assert 500 <= found.states < 50_000
    assert found.waiting > 0
    _, found = searched(Paxos, Bounds(), 2, Budget(memory_bytes=1 << 20))
    assert found.memory_full


@dataclass(frozen=True, slots=True)
class Told(Message):
    """A message that says which process has made it."""

    process: int
    value: Value


class TellsItsProcess(Algorithm):
    """An algorithm that does not do the same in each process."""

    messages = (Told,)

    def start(self) -> None:
        self.heard: dict[int, int] = {}

    def propose(self, request: Request, value: Value) -> None:
        for member in self.node.members:
            self.node.send(member, Told(0, value))

    def query(self, request: Request) -> None:
        self.node.reply(request, None)

    def receive(self, sender: NodeId, message: Message) -> None:
        assert isinstance(message, Told)
        if message.process < 9:
            self.node.send(sender, Told(message.process + 1 if len(self.heard) < 2 else os.getpid(), message.value))
        self.heard[len(self.heard)] = message.process


def test_an_algorithm_that_is_not_deterministic_is_explored_by_one_process() -> None:
    bounds = Bounds(nodes=2, look_for=("agreement",))
    with pytest.raises(NumbersDiffer):
        searched(TellsItsProcess, bounds, 2, Budget(states=3000))
    assert run_explore(TellsItsProcess, bounds, Budget(states=300), workers=2).found.states >= 300
