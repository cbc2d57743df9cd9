"""The search on an independent model of Paxos whose number of states is published."""

from collections.abc import Iterator
from itertools import combinations, permutations

import pytest

from harness.virtual.search import Budget, search

State = tuple[tuple[tuple[int, int, int], ...], frozenset[tuple[int, ...]]]
ACCEPTORS, QUORUM = range(3), 2
P1A, P1B, P2A, P2B = range(4)


class LamportsPaxos:
    """Lamport's TLA+ specification of Paxos (Paxos.tla), step by step: the messages are a set that only grows.

    A state is (acceptors, messages); an acceptor is (maxBal, maxVBal, maxVal), -1 for none.
    """

    def __init__(self, ballots: int, values: int, *, symmetric: bool = False) -> None:
        self.ballots, self.values, self.symmetric = range(ballots), range(values), symmetric
        self.chosen_at_all = False

    def initial(self) -> list[State]:
        return [(((-1, -1, -1),) * len(ACCEPTORS), frozenset())]

    def successors(self, state: State) -> list[State]:
        found = [(acceptors, messages | {message}) for acceptors, messages, message in self._steps(*state)]
        return [self._canonical(after) for after in found] if self.symmetric else found

    def _steps(
        self, acceptors: tuple[tuple[int, int, int], ...], messages: frozenset[tuple[int, ...]]
    ) -> Iterator[tuple[tuple[tuple[int, int, int], ...], frozenset[tuple[int, ...]], tuple[int, ...]]]:
        for ballot in self.ballots:
            yield acceptors, messages, (P1A, ballot)
            if not any(message[:2] == (P2A, ballot) for message in messages):
                for value in self.values:
                    if self._may_propose(messages, ballot, value):
                        yield acceptors, messages, (P2A, ballot, value)
        for acceptor, (promised, voted, vote) in enumerate(acceptors):
            before, after = acceptors[:acceptor], acceptors[acceptor + 1 :]
            for message in messages:
                match message:
                    case (0, ballot) if ballot > promised:
                        yield (
                            (*before, (ballot, voted, vote), *after),
                            messages,
                            (P1B, acceptor, ballot, voted, vote),
                        )
                    case (2, ballot, value) if ballot >= promised:
                        yield (
                            (*before, (ballot, ballot, value), *after),
                            messages,
                            (P2B, acceptor, ballot, value),
                        )

    def _may_propose(self, messages: frozenset[tuple[int, ...]], ballot: int, value: int) -> bool:
        promises = [message for message in messages if message[0] == P1B and message[2] == ballot]
        for quorum in combinations(ACCEPTORS, QUORUM):
            of_quorum = [message for message in promises if message[1] in quorum]
            if {message[1] for message in of_quorum} == set(quorum):
                votes = [message[3:] for message in of_quorum if message[3] >= 0]
                if not votes or max(votes)[1] == value:
                    return True
        return False

    def is_bad(self, state: State) -> bool:
        chosen = set()
        for ballot in self.ballots:
            for value in self.values:
                if sum(message[0] == P2B and message[2:] == (ballot, value) for message in state[1]) >= QUORUM:
                    chosen.add(value)
        self.chosen_at_all |= bool(chosen)
        return len(chosen) > 1

    def _canonical(self, state: State) -> State:
        return min(
            (
                self._renamed(state, nodes, values)
                for nodes in permutations(ACCEPTORS)
                for values in permutations(self.values)
            ),
            key=lambda renamed: (renamed[0], sorted(renamed[1])),
        )

    def _renamed(self, state: State, nodes: tuple[int, ...], values: tuple[int, ...]) -> State:
        def value(old: int) -> int:
            return values[old] if old >= 0 else old

        def message(old: tuple[int, ...]) -> tuple[int, ...]:
            match old:
                case (1, acceptor, ballot, voted, vote):
                    return P1B, nodes[acceptor], ballot, voted, value(vote)
                case (2, ballot, vote):
                    return P2A, ballot, value(vote)
                case (3, acceptor, ballot, vote):
                    return P2B, nodes[acceptor], ballot, value(vote)
            return old

        acceptors = {nodes[place]: (a, b, value(v)) for place, (a, b, v) in enumerate(state[0])}
        return tuple(acceptors[place] for place in ACCEPTORS), frozenset(map(message, state[1]))


def test_lamports_paxos_has_the_published_number_of_states() -> None:
    space = LamportsPaxos(ballots=2, values=2)
    found = search(space)
    assert (found.states, found.depth, found.exhausted, found.bad) == (3921, 17, True, None)
    assert space.chosen_at_all


def test_symmetry_of_acceptors_and_values_leaves_fewer_states() -> None:
    found = search(LamportsPaxos(ballots=2, values=2, symmetric=True))
    assert (found.exhausted, found.bad) == (True, None)
    assert found.states < 3921 / 6


class Counter:
    """The numbers from 0 to 9. A step adds one or two; 7 is bad."""

    def initial(self) -> list[int]:
        return [0]

    def successors(self, state: int) -> list[int]:
        return [after for after in (state + 1, state + 2) if after < 10]

    def is_bad(self, state: int) -> bool:
        return state == 7


def test_a_bad_state_is_reached_by_a_shortest_path() -> None:
    found = search(Counter())
    assert found.bad is not None
    assert len(found.bad) == 5
    assert (found.bad[0], found.bad[-1]) == (0, 7)
    assert not found.exhausted


class Fine(Counter):
    def is_bad(self, state: int) -> bool:
        return False


def test_a_search_that_ends_is_exhausted() -> None:
    found = search(Fine())
    assert (found.states, found.depth, found.exhausted, found.waiting) == (10, 6, True, 0)


@pytest.mark.parametrize("budget", [Budget(states=5), Budget(seconds=0)])
def test_a_search_that_was_cut_short_says_so(budget: Budget) -> None:
    found = search(Fine(), budget)
    assert not found.exhausted
    assert found.waiting > 0
    assert found.bad is None


def test_an_interrupted_search_is_not_exhausted() -> None:
    class Interrupted(LamportsPaxos):
        def successors(self, state: State) -> list[State]:
            if len(state[1]) == 4:
                raise KeyboardInterrupt
            return super().successors(state)

    progress: list[tuple[int, int]] = []
    found = search(Interrupted(2, 2), progress=lambda states, depth: progress.append((states, depth)))
    assert not found.exhausted
    assert found.waiting > 0
    assert found.depth == 5
    assert progress[:2] == [(1, 1), (progress[1][0], 2)]
