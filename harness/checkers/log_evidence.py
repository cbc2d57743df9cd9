"""What one run of Multi-Paxos shows: messages by type, batches by slot and ballot, and the ballots that chose them.

`log_rules.py` holds the rules that read it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from harness.checkers.evidence import RunEvidence
from harness.checkers.protocols import of_log
from harness.checkers.wire_record import SentMessage, WireRecord, ballot_of
from harness.records.messages import readable
from node.contract import NodeId
from node.quorum import Ballot, majority


class SeenBatch(NamedTuple):
    """A ballot, a slot and a batch that stand together in a message or on a disk."""

    ballot: Ballot
    slot: int
    batch_text: str
    source: str
    """The message or the disk, for people."""


class FirstBatch(NamedTuple):
    """The first batch that the evidence shows for a slot and a ballot."""

    batch_text: str
    source: str


class ChosenBatch(NamedTuple):
    """A ballot that chose a batch in a slot."""

    ballot: Ballot
    batch_text: str
    reason: str
    """How the evidence shows it, as a clause for people."""


@dataclass
class LogEvidence:
    """What one run shows.

    Attributes:
        run: the evidence of the run.
        record: its messages.
        sent: the messages by type, in the order of the record.
    """

    run: RunEvidence
    record: WireRecord
    sent: dict[str, list[SentMessage]] = field(default_factory=lambda: {type_: [] for type_ in of_log()})

    def answers(self, node: NodeId) -> list[SentMessage]:
        """Return the Promises and Accepteds that a node sent."""
        return [sent for type_ in ("Promise", "Accepted") for sent in self.sent[type_] if sent.sender == node]

    @cached_property
    def remembered_from(self) -> dict[NodeId, int]:
        """By node whose last commit a fault damaged: the latest incarnation that said that its disk was in doubt, or the last.

        The rules do not hold such a node to what it sent before. What others have accepted, they are still held to.
        """
        doubtful = [promise for promise in self.sent["Promise"] if promise.fields["doubt"]]
        found: dict[NodeId, int] = {}
        for sent in (*doubtful, *self.sent["InDoubt"]):
            if sent.sender in self.run.lost_commits:
                found[sent.sender] = max(sent.incarnation, found.get(sent.sender, 0))
        for node in self.run.lost_commits - found.keys():  # no leader asks a node that was removed
            if node in self.run.disks:
                found[node] = self.run.disks[node].incarnation
        return found

    def batches(self) -> Iterator[SeenBatch]:
        """Yield every ballot, slot and batch that stand together in a message or on a disk."""
        for accept in self.sent["Accept"]:
            slot = accept.fields["slot"]
            yield SeenBatch(ballot_of(accept), slot, accept.text("batch"), f"an Accept from {accept.sender}")
        for promise in self.sent["Promise"]:
            for slot, round_, owner, batch in promise.fields["records"]:
                text = json.dumps(batch, sort_keys=True)
                yield SeenBatch(Ballot(round_, owner), slot, text, f"a Promise from {promise.sender}")
        for node, contents in self.run.disks.items():
            for record in contents.log.records.values():
                ballot = Ballot(record.round, record.owner)
                yield SeenBatch(ballot, record.slot, text_of_stored_batch(record.batch), f"the disk of {node}")

    @cached_property
    def first_batches(self) -> dict[tuple[int, Ballot], FirstBatch]:
        """The first batch of each slot and ballot."""
        found: dict[tuple[int, Ballot], FirstBatch] = {}
        for ballot, slot, text, source in self.batches():
            found.setdefault((slot, ballot), FirstBatch(text, source))
        return found

    @cached_property
    def chosen(self) -> dict[int, list[ChosenBatch]]:
        """By slot, the ballots that chose a batch there.

        A quorum of Accepted messages and disks shows it, or the leader does: each Accept and Heartbeat names the slot up to
        which every slot is chosen, and there the leader's own ballot has chosen what the leader proposed.
        """
        acceptors: dict[tuple[int, Ballot], dict[NodeId, None]] = {}
        for accepted in self.sent["Accepted"]:
            for slot in accepted.fields["slots"]:
                acceptors.setdefault((slot, ballot_of(accepted)), {})[accepted.sender] = None
        for node, contents in self.run.disks.items():
            for record in contents.log.records.values():
                acceptors.setdefault((record.slot, Ballot(record.round, record.owner)), {})[node] = None
        commit: dict[Ballot, int] = {}
        for message in (*self.sent["Accept"], *self.sent["Heartbeat"]):
            ballot = ballot_of(message)
            commit[ballot] = max(message.fields["commit"], commit.get(ballot, 0))
        found: dict[int, list[ChosenBatch]] = {}
        for (slot, ballot), (text, _) in sorted(self.first_batches.items()):
            nodes = acceptors.get((slot, ballot), {})
            if slot <= commit.get(ballot, 0):
                reason = f"{ballot.node} announced that it is chosen"
                found.setdefault(slot, []).append(ChosenBatch(ballot, text, reason))
            elif len(nodes) >= majority(self.run.timeline.voters_max):
                found.setdefault(slot, []).append(ChosenBatch(ballot, text, f"{', '.join(nodes)} accepted it"))
        return found


@lru_cache(maxsize=65_536)  # the same batch stands on every disk
def text_of_stored_batch(batch: bytes) -> str:
    """Return a batch on a disk as the JSON text that stands in a record for it."""
    return json.dumps(readable(batch), sort_keys=True)
