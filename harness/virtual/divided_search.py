"""Goes on with a breadth-first search in several processes, each of which owns a part of the states.

Theory of operation
-------------------
`harness.virtual.search` begins the search. Once it has met enough states, `DividedSearch` forks: each process owns the states
with one remainder, and alone knows which of them were met, and from where. In a *round* each process computes the successors of
some of its states, and exchanges them with every other process, so that each gets those that it owns. A level ends when no
process has states of it left, so the levels are those of one process.

A state is an integer, whose bits stand for node states and facts in the order in which they were first met
(`numbering.py`). So that they stand for the same in every process, no process runs the algorithm's code when it meets a state
with a node in a new situation: it puts the state aside and names it in the round's exchange. After the exchange, all processes
run the code for all these states, in the same order. There are few such states.

Rules
-----
1. The number of states, the depth and what has happened are those of one process, if the search is exhausted.
2. A path to a bad state is a shortest one. If there are several, it may be another one than that of one process.
3. Processes whose numbers differ have met an algorithm that is not deterministic: `NumbersDiffer`.
"""

import contextlib
import marshal
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Protocol

from harness.virtual.search import Budget, SearchResult, Space, resident_bytes
from harness.virtual.watchdog import watch_in_fork
from node.launcher import die_with

#: How many states of its own a process takes up in a round.
_ROUND: Final = 2048
#: States are spread by the remainder of this prime: that of a power of two would depend on few bits.
_PRIME: Final = 1_000_003
_NONE: Final = -1


class NumbersDiffer(Exception):
    """The processes of a search do not mean the same by a state: the algorithm is not deterministic."""


class DivisibleSpace(Space[int], Protocol):
    """A space of integers that several processes can search together."""

    def knows(self, state: int) -> bool:
        """Return whether `successors` of `state` needs nothing that is not known yet."""

    def learn(self, states: list[int]) -> int:
        """Find out what `successors` of these states needs. Return a digest, which is equal in every process."""

    def size(self) -> int:
        """Return how many facts were met. If `successors` adds one, a state that it returned last is bad."""

    def begin_share(self) -> None:
        """Begin to count for this process alone."""

    def findings(self) -> tuple[int, bool, int]:
        """Return what `add_findings` takes."""

    def add_findings(self, findings: tuple[int, bool, int]) -> None:
        """Add what another process has found in its states."""


class _Status(NamedTuple):
    """What a process says of itself in a round."""

    taken: int
    """How many states it has taken up in this round."""
    left: int
    """How many states of this level it has left."""
    waiting: int
    """How many states it has met whose successors it has not computed."""
    met: int
    """How many of its states it has met since the fork."""
    memory: int
    """By how many bytes it has grown since the fork."""
    bad_depth: int
    """The depth of the first bad state that it has met; `_NONE` if none."""
    bad_parent: int
    digest: int
    """What `DivisibleSpace.learn` has returned last."""
    stop: int
    """1 if as much time has passed, or as many states were met, as may be. Only the first process decides that."""


_Statuses = list[_Status]


class DividedSearch:
    """Goes on with a search. It is the argument `divide` of `harness.virtual.search.search`."""

    def __init__(
        self, space: DivisibleSpace, workers: int, budget: Budget, progress: Callable[[int, int], object]
    ) -> None:
        self._space, self._workers, self._budget, self._progress = space, workers, budget, progress

    def __call__(self, began: float, parents: dict[int, int | None], level: list[int], depth: int) -> SearchResult[int]:
        """Search on from `level`. The arguments are the variables of `search`.

        Raises:
            NumbersDiffer: the algorithm is not deterministic.
        """
        ends: list[dict[int, Connection]] = [{} for _ in range(self._workers)]
        for first in range(self._workers):
            for second in range(first + 1, self._workers):
                ends[first][second], ends[second][first] = Pipe()
        shares = [
            _Share(self._space, self._budget, links, number, parents, level, depth, began)
            for number, links in enumerate(ends)
        ]
        mine = shares[0]
        children = [self._fork(share, ends) for share in shares[1:]]
        _close_all(ends, but=mine.links)
        try:
            return self._lead(mine)
        except (KeyboardInterrupt, EOFError, OSError):  # EOFError, OSError: another process was killed
            return mine.result(exhausted=False)
        finally:
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            _close_all([mine.links])

    def _fork(self, share: "_Share", ends: list[dict[int, Connection]]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            die_with(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _close_all(ends, but=share.links)
            watch_in_fork()
            self._space.begin_share()
            share.search(lambda _states, _depth: None)
            share.serve()
        finally:
            os._exit(0)

    def _lead(self, mine: "_Share") -> SearchResult[int]:
        """Search in this process, the first one, and put the results of all together."""
        mine.search(self._progress)
        for link in mine.links.values():
            met, waiting, findings = _received(link)
            mine.add(met, waiting)
            self._space.add_findings(findings)
        result = mine.result(exhausted=mine.exhausted)
        if mine.bad_parent != _NONE:
            path = mine.path_to(mine.bad_parent)
            bad = next(after for after in self._space.successors(path[-1]) if self._space.is_bad(after))
            result.bad = [*path, bad]
        return result


class _Share:
    """The states that one process owns, and its part of the search."""

    def __init__(
        self,
        space: DivisibleSpace,
        budget: Budget,
        links: dict[int, Connection],
        number: int,
        parents: dict[int, int | None],
        level: list[int],
        depth: int,
        began: float,
    ) -> None:
        self._space, self._budget, self._number, self.links = space, budget, number, links
        self._parents, self._depth, self._began = parents, depth, began
        self._processes = len(links) + 1
        self._before, self._bytes_before = len(parents), resident_bytes()
        self._level = [state for state in level if self._owner(state) == number]
        self._at = 0  # the place in the level of the next state to take up
        self._aside: list[int] = []  # states of this level that wait for `learn`
        self._following: list[int] = []
        self._outgoing: list[tuple[list[int], list[int]]] = []  # by process: states, and the parent of each
        self._sent: list[set[int]] = [set() for _ in range(self._processes)]  # by process, in this level
        self._bad = (_NONE, _NONE)
        self._digest = 0
        self._met_by_all = self._waiting_of_all = 0
        self._memory_full = False
        self.bad_parent = _NONE
        self.exhausted = False

    def _owner(self, state: int) -> int:
        return state % _PRIME % self._processes

    # --- results ------------------------------------------------------------------------------------------------------

    @property
    def _met(self) -> int:
        return len(self._parents) - self._before

    @property
    def _waiting(self) -> int:
        return len(self._level) - self._at + len(self._aside) + len(self._following)

    def add(self, met: int, waiting: int) -> None:
        """Add how many states another process has met in the end, and how many of them wait."""
        self._met_by_all, self._waiting_of_all = self._met_by_all + met, self._waiting_of_all + waiting

    def result(self, *, exhausted: bool) -> SearchResult[int]:
        """Return how the search of all processes has ended, without a path."""
        seconds = time.perf_counter() - self._began
        states = self._before + self._met_by_all
        return SearchResult(states, self._depth, seconds, exhausted, self._waiting_of_all, None, self._memory_full)

    def path_to(self, state: int) -> list[int]:
        """Return the states from an initial one to `state`. The other processes must `serve`."""
        path = [state]
        while True:
            owner = self._owner(path[-1])
            if owner == self._number:
                parent = self._parents[path[-1]]
            else:
                self.links[owner].send_bytes(marshal.dumps(path[-1]))
                parent = _received(self.links[owner])
            if parent is None:
                return path[::-1]
            path.append(parent)

    def serve(self) -> None:
        """Report the results of this process to the first one, and answer its questions about parents until it ends."""
        first = self.links[0]
        first.send_bytes(marshal.dumps((self._met, self._waiting, self._space.findings())))
        while True:
            first.send_bytes(marshal.dumps(self._parents[_received(first)]))

    # --- the search ---------------------------------------------------------------------------------------------------

    def search(self, progress: Callable[[int, int], object]) -> None:
        """Search until the search of all processes ends. They all end after the same round.

        Raises:
            NumbersDiffer: the algorithm is not deterministic.
        """
        is_new = False  # whether the next round is the first one of its level
        while True:
            taken = self._take_up()
            statuses = self._exchange(taken)
            progress(self._before + sum(status.met for status in statuses), self._depth)
            if is_new and not any(status.taken for status in statuses):
                self.exhausted = True  # the level is empty
                break
            self._depth += is_new
            if self._is_over(statuses):
                break
            is_new = not any(status.left for status in statuses)
            if is_new:
                self._level, self._following, self._at = self._following, [], 0
                for sent in self._sent:
                    sent.clear()
        self._met_by_all, self._waiting_of_all = self._met, self._waiting

    def _take_up(self) -> int:
        """Compute the successors of some states of this level. Return how many were taken up."""
        space, parents, sent, following = self._space, self._parents, self._sent, self._following
        processes, mine = self._processes, self._number
        states = self._aside + self._level[self._at : self._at + _ROUND]
        self._at += len(states) - len(self._aside)
        self._aside = []
        outgoing: list[tuple[list[int], list[int]]] = [([], []) for _ in range(processes)]
        self._outgoing = outgoing
        for state in states:
            if not space.knows(state):
                self._aside.append(state)
                continue
            size = space.size()
            found = space.successors(state)
            for after in found:
                owner = after % _PRIME % processes
                if owner == mine:
                    if after not in parents:
                        parents[after] = state
                        following.append(after)
                        if space.is_bad(after):
                            self._note_bad(state)
                elif after not in sent[owner]:
                    sent[owner].add(after)
                    outgoing[owner][0].append(after)
                    outgoing[owner][1].append(state)
            if space.size() > size and any(map(space.is_bad, found)):
                self._note_bad(state)
        return len(states)

    def _note_bad(self, parent: int) -> None:
        if self._bad[1] == _NONE:
            self._bad = (self._depth, parent)

    def _exchange(self, taken: int) -> _Statuses:
        """Exchange states and statuses with every other process, and learn what any of them has put aside."""
        stop = self._number == 0 and self._is_spent()
        own = _Status(
            taken,
            len(self._level) - self._at + len(self._aside),
            self._waiting,
            self._met,
            resident_bytes() - self._bytes_before,
            *self._bad,
            self._digest,
            int(stop),
        )
        statuses, aside = [own] * self._processes, set(self._aside)
        for peer, link in sorted(self.links.items()):  # all pairs in one order, so that no two wait for each other
            message = marshal.dumps((*self._outgoing[peer], self._aside, tuple(own)))
            if self._number < peer:
                link.send_bytes(message)
                states, parents, unknown, status = _received(link)
            else:
                states, parents, unknown, status = _received(link)
                link.send_bytes(message)
            self._take_in(states, parents)
            aside.update(unknown)
            statuses[peer] = _Status(*status)
        if any(status.digest != own.digest for status in statuses):
            raise NumbersDiffer
        if aside:
            self._digest = self._space.learn(sorted(aside))
        return statuses

    def _take_in(self, states: list[int], from_: list[int]) -> None:
        parents, following, space = self._parents, self._following, self._space
        for state, parent in zip(states, from_, strict=True):
            if state not in parents:
                parents[state] = parent
                following.append(state)
                if space.is_bad(state):
                    self._note_bad(parent)

    def _is_spent(self) -> bool:
        budget = self._budget
        late = budget.seconds is not None and time.perf_counter() - self._began > budget.seconds
        return late or (budget.states is not None and self._before + self._met_by_all >= budget.states)

    def _is_over(self, statuses: _Statuses) -> bool:
        """Return whether the search ends after a round, which every process decides alike."""
        self._met_by_all = sum(status.met for status in statuses)
        self._waiting_of_all = sum(status.waiting for status in statuses)
        bad = [(status.bad_depth, status.bad_parent) for status in statuses if status.bad_parent != _NONE]
        if bad:
            self.bad_parent = min(bad)[1]
            return True
        most = self._budget.memory_bytes
        self._memory_full = most is not None and self._bytes_before + sum(each.memory for each in statuses) > most
        return self._memory_full or bool(statuses[0].stop)


def _close_all(ends: list[dict[int, Connection]], but: dict[int, Connection] | None = None) -> None:
    for links in ends:
        if links is not but:
            for link in links.values():
                link.close()


def _received(link: Connection) -> Any:
    return marshal.loads(link.recv_bytes())  # noqa: S302 - from another process of this search
