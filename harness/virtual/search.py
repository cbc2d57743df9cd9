"""Breadth-first search of a state space: explicit states, each visited once, with a budget.

Theory of operation
-------------------
A `Space` says where to start, what follows a state, and what is wrong with one. Because the search goes level by level, the
first bad state that it meets is at the end of a shortest path. Only states and their parents are kept; a path is
walked back through the parents.

A search that was cut short says so: `SearchResult.exhausted` is True only if every state that the space can reach was looked at.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_State = TypeVar("_State", bound=Hashable)


class Space(Protocol[_State]):
    """What is searched."""

    def initial(self) -> Iterable[_State]:
        """Where to start."""

    def successors(self, state: _State) -> Iterable[_State]:
        """What may follow. Repeats, and the state itself, do no harm."""

    def is_bad(self, state: _State) -> bool:
        """Called once for each state, when it is first met; True ends the search."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Where to stop, done or not."""

    states: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class SearchResult(Generic[_State]):
    """How a search ended. `depth` counts the levels whose every state was looked at, the initial states being level 1.

    (TLC counts so, too.)
    """

    states: int
    depth: int
    seconds: float
    exhausted: bool
    waiting: int
    bad: list[_State] | None
    """A shortest path from an initial state to a bad one."""


def search(
    space: Space[_State],
    budget: Budget = Budget(),
    progress: Callable[[int, int], object] = lambda _states, _depth: None,
) -> SearchResult[_State]:
    """Visit every state that can be reached, or stop at the first bad one, at the end of the budget or at Ctrl-C.

    `progress` is told every so many states how many there are, and at what depth.
    """
    began = time.perf_counter()
    parents: dict[_State, _State | None] = {}
    level: list[_State] = []
    depth = 1

    def found(waiting: int, bad: _State | None = None) -> SearchResult[_State]:
        path = None if bad is None else _path(parents, bad)
        done = bad is None and not waiting
        return SearchResult(len(parents), depth, time.perf_counter() - began, done, waiting, path)

    for state in space.initial():
        if state not in parents:
            parents[state] = None
            level.append(state)
            if space.is_bad(state):
                return found(len(level), state)
    states_max = budget.states if budget.states is not None else 1 << 62
    deadline = began + budget.seconds if budget.seconds is not None else float("inf")
    successors, is_bad = space.successors, space.is_bad
    try:
        while level:
            following: list[_State] = []
            for done, state in enumerate(level):
                if len(parents) >= states_max:
                    return found(len(level) - done + len(following))
                if not done & 1023:
                    progress(len(parents), depth)
                    if time.perf_counter() > deadline:
                        return found(len(level) - done + len(following))
                for after in successors(state):
                    if after not in parents:
                        parents[after] = state
                        following.append(after)
                        if is_bad(after):
                            return found(len(following), after)
            level = following
            depth += bool(level)
    except KeyboardInterrupt:
        return found(len(level))
    return found(0)


def _path(parents: dict[_State, _State | None], last: _State) -> list[_State]:
    path = [last]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path[::-1]
