"""Parts of judges, broken one at a time. `judge_scripts.py` has the scripts in which the known bad runs show each break."""

from collections.abc import Iterator, Sequence

from harness.checkers.client_calls import ClientCall
from harness.checkers.dependency_graph import RW, WR, DependencyGraph
from harness.checkers.grow_only_sets import AddedElement, CollectedSet
from harness.checkers.leader_rules import BrokenRule, KeptRecord, LeaderLogs, RecordKey
from harness.checkers.return_events import Bits, OpenCall, ReturnEvent, ReturnEvents
from harness.checkers.transactions import Transaction
from node.contract import NodeId
from node.log_contract import LeaderMessage
from node.quorum import Ballot


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


class _WaitsForAny(ReturnEvent):
    def _waited_for(self, one: OpenCall, earlier: Bits, required_earlier: Bits) -> Bits:
        return earlier


class WaitsForCallsThatNeedNot(ReturnEvents):
    """Of calls with equal effects, one that has to take effect is tried last, after those that need not: orders are missed."""

    event_class = _WaitsForAny


class MissesElections(LeaderLogs):
    """Each node may lead in any round: no break of election safety is found."""

    def leads(self, node: NodeId, ballot: Ballot) -> Iterator[BrokenRule]:
        self._leaders.setdefault(ballot.round, node)
        yield from ()


class MissesOverwrittenRecords(LeaderLogs):
    """Only the first message of each leader counts: none is found that overwrites its log."""

    def say(self, node: NodeId, said: LeaderMessage) -> Iterator[BrokenRule]:
        if said.ballot in self._led:
            said = said._replace(records=(), previous=None)
        yield from super().say(node, said)


class MissesWhatIsBefore(LeaderLogs):
    """Two logs that share a record may differ below it."""

    def _show(self, source: str, here: RecordKey, batch: bytes, before: RecordKey | None) -> Iterator[BrokenRule]:
        yield from super()._show(source, here, batch, None)


class MissesEarlierLeaders(LeaderLogs):
    """What is chosen counts for the leaders that speak later, and not for those that have spoken: the order of lines matters."""

    def _choose(self, node: NodeId, ballot: Ballot, kept: KeptRecord) -> Iterator[BrokenRule]:
        led, self._led = self._led, {}
        yield from super()._choose(node, ballot, kept)
        self._led = led


class MissesCommits(LeaderLogs):
    """What a leader says to be chosen does not count."""

    def say(self, node: NodeId, said: LeaderMessage) -> Iterator[BrokenRule]:
        yield from super().say(node, said._replace(commit=0))
