"""Breadth-first search of a state space: explicit states, each visited once, with a budget.

Theory of operation
-------------------
A `Space` defines the initial states, the successors of a state, and which states are bad. Because the search goes level by
level, the first bad state that it meets is at the end of a shortest path. The search keeps only the states and their parents,
and follows the parents back to find the path.

`SearchResult.exhausted` is True only if the search has checked every state that can be reached.
"""

import resource
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

_State = TypeVar("_State", bound=Hashable)


class Space(Protocol[_State]):
    """A state space."""

    def initial(self) -> Iterable[_State]:
        """Return the initial states."""

    def successors(self, state: _State) -> Iterable[_State]:
        """Return the states that may follow `state`. They may include repetitions and `state` itself."""

    def is_bad(self, state: _State) -> bool:
        """Return whether `state` is bad, which ends the search. Called once for each state, when it is first met."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When a search stops even if it is not exhausted. None is no limit."""

    states: int | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    """How much memory this process may use, as the kernel counts its resident pages."""


@dataclass(slots=True)
class SearchResult(Generic[_State]):
    """How a search ended."""

    states: int
    """How many distinct states the search has met."""
    depth: int
    """How many levels it has checked completely. The initial states are level 1, as in TLC."""
    seconds: float
    exhausted: bool
    """Whether it has checked every state that can be reached."""
    waiting: int
    """How many states it has met whose successors it has not computed."""
    bad: list[_State] | None
    """A shortest path from an initial state to a bad state."""
    memory_full: bool = False
    """Whether it stopped because the memory of its budget was used up."""


#: Goes on with a search, from: when it began, each state that was met with its parent, the level to visit, and its depth.
Divide = Callable[[float, dict[_State, _State | None], list[_State], int], SearchResult[_State]]
#: How many states one process meets before a search is divided: with fewer it is over before processes are worth their start.
DIVIDE_STATES: Final = 20_000


def search(
    space: Space[_State],
    budget: Budget = Budget(),
    progress: Callable[[int, int], object] = lambda _states, _depth: None,
    divide: Divide[_State] | None = None,
) -> SearchResult[_State]:
    """Visit every state that can be reached. Stop at the first bad state, at the end of the budget, or at Ctrl-C.

    Args:
        space: what to search.
        budget: when to stop at the latest.
        progress: called at the start of each level and after each 1024 states of it, with the number of states met and the
            depth.
        divide: goes on with the search, in several processes, at the first level before which `DIVIDE_STATES` states were met.
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
            if divide is not None and len(parents) >= DIVIDE_STATES:
                return divide(began, parents, level, depth)
            following: list[_State] = []
            for done, state in enumerate(level):
                if len(parents) >= states_max:
                    return found(len(level) - done + len(following))
                if not done & 1023:
                    progress(len(parents), depth)
                    full = budget.memory_bytes is not None and resident_bytes() > budget.memory_bytes
                    if full or time.perf_counter() > deadline:
                        result = found(len(level) - done + len(following))
                        result.memory_full = full
                        return result
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


def resident_bytes() -> int:
    """Return how much memory this process uses, in bytes."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _path(parents: dict[_State, _State | None], last: _State) -> list[_State]:
    path = [last]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path[::-1]
