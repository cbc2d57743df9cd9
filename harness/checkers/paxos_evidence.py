"""What one run shows about one variable of single-decree Paxos: messages by type, disks, and what follows from both.

`paxos_rules.py` holds the rules that read it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from harness.checkers.evidence import Finding, RunEvidence
from harness.checkers.wire_record import SentMessage, WireRecord, ballot_of
from harness.records.jsonable import shown, wording
from harness.records.messages import readable_fields
from node.algorithms.paxos import Decided
from node.contract import NodeId, Stored, Value
from node.quorum import Ballot, majority


class StoredAcceptance(NamedTuple):
    """The last acceptance on a node's disk."""

    node: NodeId
    ballot: Ballot
    value_text: str


class SeenValue(NamedTuple):
    """A ballot and a value that stand together in a message or on a disk."""

    ballot: Ballot
    value_text: str
    source: str
    """The message or the disk, for people."""


class ChosenValue(NamedTuple):
    """The value of a ballot that a quorum has accepted."""

    value_text: str
    acceptors: tuple[NodeId, ...]


@dataclass
class PaxosEvidence:
    """What one run shows about one variable.

    Attributes:
        run: the evidence of the whole run.
        record: the messages of the whole run.
        variable: the variable.
        sent: the variable's messages by type, in the order of the record.
        disks: what each node's disk stores for the variable.
    """

    run: RunEvidence
    record: WireRecord
    variable: str
    sent: Mapping[str, list[SentMessage]]
    disks: Mapping[NodeId, Mapping[str, Stored]]

    @property
    def quorum(self) -> int:
        """The size of a quorum."""
        return majority(len(self.run.members))

    def finding(self, property_: str, text: str) -> Finding:
        """Return a finding about this variable."""
        return Finding(property_, f"variable {self.variable}: {text}")

    def accepted_on_disks(self) -> Iterator[StoredAcceptance]:
        """Yield the last acceptance on each disk that has one."""
        for node, stored in self.disks.items():
            match stored.get("accepted"):
                case (int(round_), str(owner), bytes(value)):
                    yield StoredAcceptance(node, Ballot(round_, owner), text_of_stored(value))

    def values(self) -> Iterator[SeenValue]:
        """Yield every ballot and value that stand together in a message or on a disk."""
        for accept in self.sent["Accept"]:
            yield SeenValue(ballot_of(accept), accept.text(), f"an Accept from {accept.sender}")
        for promise in self.sent["Promise"]:
            accepted = promise.ballot("accepted")
            if accepted is not None:
                yield SeenValue(accepted, promise.text(), f"a Promise from {promise.sender}")
        for node, ballot, text in self.accepted_on_disks():
            yield SeenValue(ballot, text, f"the disk of {node}")

    @cached_property
    def chosen(self) -> dict[Ballot, ChosenValue]:
        """Return, in order, the ballots that a quorum has accepted, as far as messages and disks show it."""
        acceptors: dict[Ballot, dict[NodeId, None]] = {}
        for accepted in self.sent["Accepted"]:
            acceptors.setdefault(ballot_of(accepted), {})[accepted.sender] = None
        for node, ballot, _ in self.accepted_on_disks():
            acceptors.setdefault(ballot, {})[node] = None
        texts = {ballot: text for ballot, text, _ in reversed(list(self.values()))}
        return {
            ballot: ChosenValue(texts[ballot], tuple(nodes))
            for ballot, nodes in sorted(acceptors.items())
            if len(nodes) >= self.quorum and ballot in texts
        }


def text_of_stored(value: bytes) -> str:
    """Return a value on a disk as the JSON text that stands in a record for it."""
    return json.dumps(readable_fields(Decided(Value(value)))["value"], sort_keys=True)


@wording
def value_for_people(text: str) -> str:
    """Return a value, given as JSON text, as it stands in a sentence."""
    return shown(json.loads(text))
