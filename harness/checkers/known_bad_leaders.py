"""What leaders say if a rule of `leader_rules.py` is broken, one case or more for each rule, and the runs that record it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.evidence import RunEvidence
from harness.checkers.leader_rules import (
    APPEND_ONLY,
    COMPLETENESS,
    ELECTION_SAFETY,
    LOG_MATCHING,
    STATE_MACHINE_SAFETY,
)
from harness.records.messages import readable_fields
from node.algorithms.multipaxos import MultiPaxos
from node.contract import Message, NodeId
from node.log_contract import LeaderMessage, Record, RecordId
from node.quorum import Ballot
from node.wire import pack_unchecked

_MEMBERS: Final = ("n1", "n2", "n3")
A: Final = pack_unchecked((0, ((1, 1, 1, "kv", b"a"),)))
B: Final = pack_unchecked((0, ((1, 2, 1, "kv", b"b"),)))
#: What leaders say in a case, each with the node that says it.
Said = tuple[tuple[NodeId, LeaderMessage], ...]


@dataclass(frozen=True, slots=True)
class PlainAppend(Message):
    """A `LeaderMessage` as it is."""

    ballot: Ballot
    records: tuple[Record, ...]
    commit: int
    previous: RecordId | None


class KeepsBallots(MultiPaxos):
    """A log on paper, whose records keep their ballots."""

    messages = (PlainAppend,)  # type: ignore[assignment]  # a log on paper sends nothing else
    records_keep_ballots = True

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        match message:
            case PlainAppend(ballot, records, commit, previous):
                return LeaderMessage(ballot, records, commit, previous)
        return None


def leads(
    node: NodeId, round_: int, *records: tuple[int, int, bytes], commit: int = 0, after: tuple[int, int] | None = None
) -> tuple[NodeId, LeaderMessage]:
    """Return what the leader of a round says: its records, as slot, round and batch, after the record of a slot and a round."""
    previous = None if after is None else RecordId(after[0], Ballot(after[1], ""))
    kept = tuple(Record(slot, of, "", batch) for slot, of, batch in records)
    return node, LeaderMessage(Ballot(round_, node), kept, commit, previous)


#: By rule, the cases that break it.
KNOWN_BREAKS: Final[dict[str, tuple[Said, ...]]] = {
    ELECTION_SAFETY: ((leads("n1", 1), leads("n2", 1)),),
    APPEND_ONLY: (
        (leads("n1", 2, (1, 1, A)), leads("n1", 2, (1, 2, A))),
        (leads("n1", 2, (1, 1, A)), leads("n1", 2, (2, 2, B), after=(1, 2))),
    ),
    LOG_MATCHING: (
        (leads("n1", 1, (1, 1, A)), leads("n2", 2, (1, 1, B))),
        (leads("n1", 2, (3, 2, A), after=(2, 1)), leads("n2", 3, (3, 2, A), after=(2, 2))),
        (leads("n1", 3, (1, 1, A), (2, 3, A)), leads("n2", 4, (1, 2, B), (2, 3, A))),
    ),
    COMPLETENESS: (
        (leads("n1", 1, (1, 1, A), commit=1), leads("n2", 2, (1, 2, B))),
        (leads("n2", 2, (1, 2, B)), leads("n1", 1, (1, 1, A)), leads("n1", 1, commit=1)),
        (leads("n1", 1, (1, 1, A), commit=1), leads("n2", 3, (2, 3, B), after=(1, 2))),
    ),
    STATE_MACHINE_SAFETY: ((leads("n1", 1, (1, 1, A), commit=1), leads("n2", 2, (1, 2, B), commit=1)),),
}


def run_of(said: Said) -> RunEvidence:
    """Return the evidence of a run in which leaders say this, each to all others."""
    return RunEvidence(_MEMBERS, KeepsBallots, messages=[*_lines(said)])


def _lines(said: Said) -> Iterable[dict[str, Any]]:
    for index, (node, message) in enumerate(said):
        yield {
            "index": index,
            "time": index,
            "from": node,
            "to": next(member for member in _MEMBERS if member != node),
            "type": PlainAppend.type_name(),
            "variable": "",
            "incarnation": 1,
            "fields": readable_fields(
                PlainAppend(message.ballot, tuple(message.records), message.commit, message.previous)
            ),
            "fate": "passed",
            "rule": None,
        }
