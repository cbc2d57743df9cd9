"""What leaders say of their logs, and the rules that they keep: for every log, whatever its algorithm is.

The rules are those of figure 3 of Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014). A log that
proposes each record again under the ballot of its present leader keeps them as Multi-Paxos does (Lamport, *Paxos Made Simple*,
P2b): then "the same record" is the same batch, and nothing follows for earlier slots.

| rule | meaning |
|---|---|
| election safety | under one ballot, one node leads; if records keep their ballots, one node in one round, which is a term |
| leader append-only | under one ballot, a leader's log has one record in a slot, in all that it sends |
| log matching | a slot and a ballot name one batch, in messages and on disks; if records keep ballots, also the record before |
| leader completeness | a record that is chosen under a ballot stands in the logs of the leaders of all higher ballots |
| state machine safety | no two leaders say that different batches are chosen in a slot |

A record is chosen if a leader whose log has it says that its slot is chosen. Each rule is about all messages in any order, so it
does not matter that a record of several links shows no order.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from node.contract import NodeId
from node.log_contract import LeaderMessage, LogAlgorithm, Record
from node.quorum import Ballot

ELECTION_SAFETY: Final = "election safety"
APPEND_ONLY: Final = "leader append-only"
LOG_MATCHING: Final = "log matching"
COMPLETENESS: Final = "leader completeness"
STATE_MACHINE_SAFETY: Final = "state machine safety"
RULES: Final = (ELECTION_SAFETY, APPEND_ONLY, LOG_MATCHING, COMPLETENESS, STATE_MACHINE_SAFETY)
#: The rules that endanger the article's coherence. The others endanger that a decision stays.
OF_COHERENCE: Final = (LOG_MATCHING, STATE_MACHINE_SAFETY)


class BrokenRule(NamedTuple):
    """That a rule was broken. `text` says how, in a sentence for people."""

    rule: str
    text: str


class RecordKey(NamedTuple):
    """What tells a record apart: its slot and its ballot; the ballot's round alone if that is a term."""

    slot: int
    round: int
    owner: NodeId


class KeptRecord(NamedTuple):
    """What a leader's log has in a slot. The batch is None if only the record's id is known."""

    id: RecordKey
    batch: bytes | None


class _Chosen(NamedTuple):
    """What is chosen in a slot, by what the leader under `ballot` says."""

    ballot: Ballot
    kept: KeptRecord


class _Led:
    """What is known of one leader's log: its records by slot, and how far it is chosen."""

    __slots__ = ("commit", "kept")

    def __init__(self) -> None:
        self.kept: dict[int, KeptRecord] = {}
        self.commit = 0


class LeaderLogs:
    """The logs of all leaders of a run. Holds plain data only."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        self._keeps = algorithm.records_keep_ballots
        self._leaders: dict[Ballot | int, NodeId] = {}
        self._led: dict[Ballot, _Led] = {}
        self._batches: dict[RecordKey, tuple[bytes, str]] = {}  # the batch of each record, and who showed it first
        self._before: dict[
            RecordKey, tuple[RecordKey, str]
        ] = {}  # the record before each record, and who showed it first
        self._chosen: dict[int, _Chosen] = {}
        self.announced = 0
        """The highest slot that a leader has said to be chosen."""
        self.messages = 0
        """How many messages of leaders were taken in."""

    # --- what is seen -------------------------------------------------------------------------------------------------

    def leads(self, node: NodeId, ballot: Ballot) -> Iterator[BrokenRule]:
        """Take in that a node leads under a ballot."""
        first = self._leaders.setdefault(ballot.round if self._keeps else ballot, node)
        if first != node:
            yield BrokenRule(ELECTION_SAFETY, f"{first} and {node} both lead in round {ballot.round}")

    def say(self, node: NodeId, said: LeaderMessage) -> Iterator[BrokenRule]:
        """Take in a message of a leader."""
        self.messages += 1
        ballot = said.ballot
        led = self._led.get(ballot)
        if led is None:
            yield from self.leads(node, ballot)
            led = self._led[ballot] = _Led()
        elif self._leaders[ballot.round if self._keeps else ballot] != node:
            yield from self.leads(node, ballot)
        before = None
        if said.previous is not None:
            before = self._id(said.previous.slot, said.previous.ballot.round, said.previous.ballot.node)
            yield from self._keep(node, ballot, led, KeptRecord(before, None))
        for record in said.records:
            here = self._id(record.slot, record.round, record.owner)
            yield from self._show(f"a message of {node}", here, record.batch, before)
            yield from self._keep(node, ballot, led, KeptRecord(here, record.batch))
            before = here
        if said.commit > led.commit:
            self.announced = max(self.announced, said.commit)
            first, led.commit = led.commit + 1, said.commit
            known = range(first, said.commit + 1) if said.commit - first < len(led.kept) else sorted(led.kept)
            for slot in known:
                if first <= slot <= said.commit and slot in led.kept:
                    yield from self._choose(node, ballot, led.kept[slot])

    def disk(self, node: NodeId, records: Iterable[Record]) -> Iterator[BrokenRule]:
        """Take in the log on a disk, in the order of its slots."""
        before = None
        for record in records:
            here = self._id(record.slot, record.round, record.owner)
            yield from self._show(f"the disk of {node}", here, record.batch, before)
            before = here

    def _id(self, slot: int, round_: int, owner: NodeId) -> RecordKey:
        return RecordKey(slot, round_, "" if self._keeps else owner)

    def _show(self, source: str, here: RecordKey, batch: bytes, before: RecordKey | None) -> Iterator[BrokenRule]:
        """Take in a record, and the one before it if that is known."""
        known, by = self._batches.setdefault(here, (batch, source))
        if known != batch:
            yield BrokenRule(
                LOG_MATCHING, f"{_name(here)} has two batches in slot {here.slot}, one in {by}, another in {source}"
            )
        if self._keeps and before is not None and before.slot == here.slot - 1:
            first, by = self._before.setdefault(here, (before, source))
            if first != before:
                yield BrokenRule(
                    LOG_MATCHING,
                    f"before {_name(here)} in slot {here.slot} stands {_name(first)} in {by}, and {_name(before)} in {source}",
                )

    def _keep(self, node: NodeId, ballot: Ballot, led: _Led, kept: KeptRecord) -> Iterator[BrokenRule]:
        """Take in that the log of the leader under a ballot has a record."""
        slot = kept.id.slot
        first = led.kept.get(slot)
        if first is None or (first.batch is None and kept.batch is not None):
            led.kept[slot] = kept
        if first is not None:
            if self._differ(first, kept):
                yield BrokenRule(
                    APPEND_ONLY,
                    f"{node}, which leads under {_under(ballot)}, sends two different records of slot {slot}",
                )
            return
        chosen = self._chosen.get(slot)
        if chosen is not None and ballot > chosen.ballot and self._differ(chosen.kept, kept):
            yield self._incomplete(chosen, node, ballot)
        if slot <= led.commit:
            yield from self._choose(node, ballot, kept)

    def _choose(self, node: NodeId, ballot: Ballot, kept: KeptRecord) -> Iterator[BrokenRule]:
        """Take in that a record is chosen, by what the leader under a ballot says, whose log has it."""
        slot = kept.id.slot
        known = self._chosen.get(slot)
        if known is not None and self._differ(known.kept, kept):
            both = f"{_under(known.ballot)} and {_under(ballot)}"
            yield BrokenRule(STATE_MACHINE_SAFETY, f"different records are chosen in slot {slot}, under {both}")
            return
        if known is not None and known.ballot <= ballot:
            return
        self._chosen[slot] = chosen = _Chosen(ballot, kept)
        for other, led in self._led.items():
            if other > ballot and slot in led.kept and self._differ(led.kept[slot], kept):
                yield self._incomplete(chosen, self._leaders[other.round if self._keeps else other], other)

    def _differ(self, one: KeptRecord, other: KeptRecord) -> bool:
        """Whether two leaders, or one at two times, have different records in a slot."""
        if self._keeps and one.id != other.id:
            return True
        return one.batch is not None and other.batch is not None and one.batch != other.batch

    def _incomplete(self, chosen: _Chosen, node: NodeId, ballot: Ballot) -> BrokenRule:
        return BrokenRule(
            COMPLETENESS,
            f"slot {chosen.kept.id.slot} was chosen under {_under(chosen.ballot)}, and {node}, which leads under the later "
            f"{_under(ballot)}, has another record there",
        )

    # --- what follows -------------------------------------------------------------------------------------------------

    def batches(self, chosen: Sequence[Record] = ()) -> dict[int, bytes]:
        """Return the batch of each slot that was seen. In a slot that is known as chosen, it is the chosen one, if all is seen.

        That is the record which a leader says to be chosen; or the one before a chosen record, if records keep their ballots; or
        else the one that the leader of the highest ballot has sent.

        Args:
            chosen: records that are known as chosen otherwise.
        """
        known = {record.slot: self._id(record.slot, record.round, record.owner) for record in chosen}
        latest: dict[int, RecordKey] = {}
        for ballot in sorted(self._led):
            latest.update((slot, kept.id) for slot, kept in self._led[ballot].kept.items())
        found = {record.slot: record.batch for record in chosen}
        above: RecordKey | None = None
        for slot in range(max([*latest, *known], default=0), 0, -1):
            here = self._chosen[slot].kept.id if slot in self._chosen else known.get(slot)
            if here is None and above in self._before:
                here = self._before[above][0]
            if here is None:
                here = latest.get(slot)
            if here in self._batches and slot not in known:
                found[slot] = self._batches[here][0]
            above = here
        return dict(sorted(found.items()))


def _under(ballot: Ballot) -> str:
    return f"ballot {ballot.round} of {ballot.node}"


def _name(record: RecordKey) -> str:
    return f"ballot {record.round} of {record.owner}" if record.owner else f"the record of round {record.round}"
