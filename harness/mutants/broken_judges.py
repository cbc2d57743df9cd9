"""Parts of judges, broken one at a time. `judge_scripts.py` has the scripts in which the known bad runs show each break."""

from collections.abc import Sequence

from harness.checkers.client_calls import ClientCall
from harness.checkers.dependency_graph import RW, WR, DependencyGraph
from harness.checkers.grow_only_sets import AddedElement, CollectedSet
from harness.checkers.transactions import Transaction


class MissesReads(DependencyGraph):
    """A transaction does not come after those that it read from: no G1c is found."""

    def add(self, source: int, target: int, kind: int) -> None:
        if kind != WR:
            super().add(source, target, kind)


class MissesOverwrites(DependencyGraph):
    """A reader does not come before those that overwrote what it read: no G-single and no write skew is found."""

    def add(self, source: int, target: int, kind: int) -> None:
        if kind != RW:
            super().add(source, target, kind)


class MissesTime(DependencyGraph):
    """A transaction that had ended does not come before one that began then: stale reads are strictly serializable."""

    def add_time(self, committed: Sequence[Transaction]) -> None:
        pass


class MissesLostElements(CollectedSet):
    """An element counts only if a read has shown it: one that was acknowledged and lost is not missed."""

    def acknowledge(self, element: AddedElement, call: ClientCall) -> None:
        pass
