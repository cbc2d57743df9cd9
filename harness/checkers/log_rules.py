"""The rules of Multi-Paxos, each a function from one run's evidence to findings: Paxos, slot by slot, under one promise.

`harness.checkers.invariants` lists them; `wire_record.py` says which orders are certain. Source: Lamport, *Paxos Made Simple*
(2001), section 3.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, Final

from harness.checkers.durability import DISK_LOST
from harness.checkers.evidence import Finding, RunEvidence
from harness.checkers.wire_record import Sent, WireRecord, as_ballot
from harness.records.messages import readable_fields
from node.algorithms.multipaxos.messages import Chosen, Heartbeat, LogAccept, LogAccepted, LogPrepare, LogPromise
from node.contract import NodeId
from node.quorum import NO_BALLOT, Ballot, majority

COHERENCE: Final = "coherence"
NO_DECOHERENCE: Final = "no decoherence"

#: The messages that the rules are about, and their fields.
FIELDS: Final = {
    message.type_name(): frozenset(message.__slots__)
    for message in (LogPrepare, LogPromise, LogAccept, LogAccepted, Heartbeat, Chosen)
}


@dataclass
class LogEvidence:
    """The messages by type, in order."""

    run: RunEvidence
    record: WireRecord
    sent: dict[str, list[Sent]] = field(default_factory=lambda: {type_: [] for type_ in FIELDS})

    def batches(self) -> Iterator[tuple[Ballot, int, str, str]]:
        """Every ballot, slot and batch that were seen together, with who showed it."""
        for accept in self.sent["Accept"]:
            yield _ballot(accept), accept.fields["slot"], accept.text("batch"), f"an Accept of {accept.sender}"
        for promise in self.sent["Promise"]:
            for slot, round_, owner, batch in promise.fields["records"]:
                yield Ballot(round_, owner), slot, json.dumps(batch, sort_keys=True), f"a Promise of {promise.sender}"
        for node, contents in self.run.disks.items():
            for record in contents.log.records.values():
                ballot = Ballot(record.round, record.owner)
                yield ballot, record.slot, _text(record.batch), f"the disk of {node}"

    @cached_property
    def first_batches(self) -> dict[tuple[int, Ballot], tuple[str, str]]:
        """The first batch that was seen of each slot and ballot, and who showed it."""
        found: dict[tuple[int, Ballot], tuple[str, str]] = {}
        for ballot, slot, text, source in self.batches():
            found.setdefault((slot, ballot), (text, source))
        return found

    @cached_property
    def chosen(self) -> dict[int, list[tuple[Ballot, str, str]]]:
        """By slot, the ballots that are known to have chosen: by a quorum of Accepted and disks, or by what a leader said.

        A leader says with each message up to which slot all is chosen; what it had proposed there itself, it has chosen.
        """
        acceptors: dict[tuple[int, Ballot], dict[NodeId, None]] = {}
        for accepted in self.sent["Accepted"]:
            for slot in accepted.fields["slots"]:
                acceptors.setdefault((slot, _ballot(accepted)), {})[accepted.sender] = None
        for node, contents in self.run.disks.items():
            for record in contents.log.records.values():
                acceptors.setdefault((record.slot, Ballot(record.round, record.owner)), {})[node] = None
        said: dict[Ballot, int] = {}
        for message in (*self.sent["Accept"], *self.sent["Heartbeat"]):
            said[_ballot(message)] = max(message.fields["commit"], said.get(_ballot(message), 0))
        found: dict[int, list[tuple[Ballot, str, str]]] = {}
        for (slot, ballot), (text, _) in sorted(self.first_batches.items()):
            nodes = acceptors.get((slot, ballot), {})
            if slot <= said.get(ballot, 0):
                found.setdefault(slot, []).append((ballot, text, f"{ballot.node} said that it is chosen"))
            elif len(nodes) >= majority(len(self.run.members)):
                found.setdefault(slot, []).append((ballot, text, f"{', '.join(nodes)} accepted it"))
        return found


def _ballot(sent: Sent) -> Ballot:
    return sent.ballot() or NO_BALLOT


@lru_cache(maxsize=65_536)  # the same batch is on every disk
def _text(batch: bytes) -> str:
    """A batch on a disk, as it would stand in a record."""
    return json.dumps(readable_fields(LogAccept(NO_BALLOT, 0, batch, 0))["batch"], sort_keys=True)


def _name(ballot: Ballot) -> str:
    return f"ballot {ballot.round} of {ballot.node}"


def one_batch_a_ballot(evidence: LogEvidence) -> Iterator[Finding]:
    """A ballot proposes one batch in a slot."""
    for ballot, slot, text, source in evidence.batches():
        other, other_source = evidence.first_batches[slot, ballot]
        if other != text:
            what = f"{_name(ballot)} has two batches in slot {slot}, one in {other_source}, another in {source}"
            yield Finding(COHERENCE, what)


def one_choice_a_slot(evidence: LogEvidence) -> Iterator[Finding]:
    """Whatever is known as chosen in a slot is one batch."""
    for slot, choices in evidence.chosen.items():
        for ballot, text, why in choices:
            first, other, other_why = choices[0]
            if text != other:
                what = f"two batches are chosen in slot {slot}: under {_name(first)} ({other_why}), and under "
                yield Finding(COHERENCE, f"{what}{_name(ballot)} ({why})")


def later_ballots_keep_the_choice(evidence: LogEvidence) -> Iterator[Finding]:
    """P2b: once a batch is chosen in a slot, every higher ballot proposes it there."""
    for (slot, ballot), (text, source) in evidence.first_batches.items():
        for chosen, other, why in evidence.chosen.get(slot, ()):
            if ballot > chosen and text != other:
                what = (
                    f"slot {slot} was chosen under {_name(chosen)} ({why}), and the later {_name(ballot)} has another"
                )
                yield Finding(NO_DECOHERENCE, f"{what} batch there, in {source}")


def ballots_are_used_once(evidence: LogEvidence) -> Iterator[Finding]:
    """A ballot belongs to one node and one of its lives."""
    lives: dict[Ballot, Sent] = {}
    for type_ in ("Prepare", "Accept", "Heartbeat"):
        for sent in evidence.sent[type_]:
            ballot = _ballot(sent)
            first = lives.setdefault(ballot, sent)
            if sent.sender != ballot.node:
                yield Finding(NO_DECOHERENCE, f"{sent.sender} sent {sent.type} under {_name(ballot)}, not its own")
            elif sent.incarnation != first.incarnation:
                lived = f"incarnations {first.incarnation} ({first.type}) and {sent.incarnation} ({sent.type})"
                yield Finding(NO_DECOHERENCE, f"{_name(ballot)} was used by {lived}")


def promises_are_kept(evidence: LogEvidence) -> Iterator[Finding]:
    """P1a: an acceptor promises and accepts nothing below what it has promised."""
    asked = _asked(evidence)
    for node in evidence.run.members:
        answers = [sent for type_ in ("Promise", "Accepted") for sent in evidence.sent[type_] if sent.sender == node]
        answers.sort(key=lambda sent: sent.index)
        lines = [answer.index for answer in answers]
        highest = list(accumulate(map(_ballot, answers), max))
        lives: dict[int, Ballot] = {}
        for answer in answers:
            lives[answer.incarnation] = max(_ballot(answer), lives.get(answer.incarnation, NO_BALLOT))
        for answer in answers:
            # Sent before `answer`, for certain: in an earlier life, or before anybody had asked for it.
            slot = max(answer.fields["slots"], default=0) if answer.type == "Accepted" else 0
            earlier = bisect_left(lines, asked.get((node, answer.type, _ballot(answer), slot), 0))
            before = [ballot for life, ballot in lives.items() if life < answer.incarnation]
            before += highest[earlier - 1 : earlier] if earlier else []
            if before and max(before) > _ballot(answer):
                what = f"{node} sent {answer.type} of {_name(_ballot(answer))} after it had answered"
                yield Finding(NO_DECOHERENCE, f"{what} {_name(max(before))}")
                break


def promises_tell_all(evidence: LogEvidence) -> Iterator[Finding]:
    """Phase 1b: a promise reports everything that its sender had accepted above what the candidate knows."""
    if not evidence.record.is_complete:
        return
    asked: dict[tuple[NodeId, Ballot], tuple[int, int]] = {}  # acceptor, ballot: first delivery, highest commit asked
    for prepare in evidence.sent["Prepare"]:
        if prepare.delivered:
            key = prepare.to, _ballot(prepare)
            line, commit = asked.get(key, (prepare.delivered[0], 0))
            asked[key] = min(line, *prepare.delivered), max(commit, prepare.fields["commit"])
    accepted = [
        (sent.sender, sent.index, _ballot(sent), slot)
        for sent in evidence.sent["Accepted"]
        for slot in sent.fields["slots"]
    ]
    for node, ballot, told in _whole_promises(evidence):
        line, commit = asked.get((node, ballot), (0, 0))
        for sender, index, of, slot in accepted:
            if sender != node or index >= line or slot <= commit or of >= ballot:
                continue
            what = f"{node} had accepted slot {slot} under {_name(of)}, and its promise of {_name(ballot)} "
            if slot not in told:
                yield Finding(NO_DECOHERENCE, f"{what}leaves it out")
            elif _is_older(evidence, slot, of, *told[slot]):
                yield Finding(NO_DECOHERENCE, f"{what}has an older batch there")


def _is_older(evidence: LogEvidence, slot: int, accepted: Ballot, kept: Ballot, text: str) -> bool:
    """Whether what is kept in a slot is not what was accepted there last.

    Who knows a slot as chosen answers a later Accept and keeps the record that it has: an older ballot, and the same batch.
    """
    known = evidence.first_batches.get((slot, accepted))
    return kept < accepted and known is not None and known[0] != text


def _whole_promises(evidence: LogEvidence) -> Iterator[tuple[NodeId, Ballot, dict[int, tuple[Ballot, str]]]]:
    """Who promised which ballot in full, and what it told: by slot a ballot and a batch. A repeated one counts anew."""
    lost = {node for receipt in evidence.run.receipts for node in receipt.evidence.get(DISK_LOST, ())}
    corrupted = {link[0] for link in evidence.record.corrupted_links}
    parts: dict[tuple[NodeId, Ballot, int], dict[int, Any]] = {}
    for promise in evidence.sent["Promise"]:
        fields = promise.fields
        if promise.sender in lost | corrupted:
            continue
        key = promise.sender, _ballot(promise), fields["commit"]
        of = parts.setdefault(key, {})
        of[fields["part"]] = fields["records"]
        if len(of) == fields["parts"]:
            yield (
                promise.sender,
                _ballot(promise),
                {
                    slot: (Ballot(round_, owner), json.dumps(batch, sort_keys=True))
                    for records in of.values()
                    for slot, round_, owner, batch in records
                },
            )


def _asked(evidence: LogEvidence) -> dict[tuple[NodeId, str, Ballot, int], int]:
    """By acceptor, type of answer, ballot and slot: the first line that delivered what asks for it."""
    if not evidence.record.is_complete:
        return {}
    found: dict[tuple[NodeId, str, Ballot, int], int] = {}
    for request, answer in (("Prepare", "Promise"), ("Accept", "Accepted")):
        for sent in evidence.sent[request]:
            if sent.delivered and (sent.sender, sent.to) not in evidence.record.corrupted_links:
                key = sent.to, answer, _ballot(sent), sent.fields["slot"] if request == "Accept" else 0
                found[key] = min(sent.delivered[0], found.get(key, sent.delivered[0]))
    return found


def disks_remember(evidence: LogEvidence) -> Iterator[Finding]:
    """What a node has said it had on disk first, and it never takes it back."""
    lost = {node for receipt in evidence.run.receipts for node in receipt.evidence.get(DISK_LOST, ())}
    for node, contents in evidence.run.disks.items():
        if node in lost:
            continue
        said = [sent for type_ in ("Promise", "Accepted") for sent in evidence.sent[type_] if sent.sender == node]
        held = as_ballot(list(_stored(contents.variables.get("", {}).get("promised")))) or NO_BALLOT
        highest = max(map(_ballot, said), default=NO_BALLOT)
        if highest > held:
            yield Finding(
                NO_DECOHERENCE, f"{node} answered {_name(highest)}, and its disk has promised {_name(held)} at most"
            )
        snapshot = evidence.run.log.snapshot_slot(node)
        for sent in evidence.sent["Accepted"]:
            for slot in sent.fields["slots"] if sent.sender == node else ():
                if slot <= snapshot:
                    continue
                record, ballot = contents.log.records.get(slot), _ballot(sent)
                what = f"{node} accepted slot {slot} under {_name(ballot)}, and its disk has "
                if record is None:
                    yield Finding(NO_DECOHERENCE, f"{what}nothing there")
                elif _is_older(evidence, slot, ballot, Ballot(record.round, record.owner), _text(record.batch)):
                    yield Finding(NO_DECOHERENCE, f"{what}an older batch there")


def _stored(item: Any) -> tuple[Any, ...]:
    return item if isinstance(item, tuple) else ()


RULES: Final = (
    one_batch_a_ballot,
    one_choice_a_slot,
    later_ballots_keep_the_choice,
    ballots_are_used_once,
    promises_are_kept,
    promises_tell_all,
    disks_remember,
)


def log_findings(run: RunEvidence, record: WireRecord) -> Iterator[Finding]:
    """The first finding of each rule."""
    evidence = LogEvidence(run, record)
    for message in record.sent:
        if FIELDS.get(message.type) == frozenset(message.fields):
            evidence.sent[message.type].append(message)
    for rule in RULES:
        finding = next(rule(evidence), None)
        if finding is not None:
            yield finding
