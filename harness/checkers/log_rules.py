"""The rules of Multi-Paxos: Paxos, slot by slot, under one promise. Each is a function from one run's evidence to findings.

`invariants.py` lists the rules in a table. `wire_record.py` says which orders of messages are certain.
Source: Lamport, *Paxos Made Simple* (2001), section 3. P1a and P2b are names of section 2.2.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from harness.checkers.ballot_rules import broken_promise, misused_ballots
from harness.checkers.evidence import COHERENCE, NO_DECOHERENCE, Finding, RunEvidence
from harness.checkers.log_evidence import LogEvidence, text_of_stored_batch
from harness.checkers.protocols import of_log
from harness.checkers.wire_record import SentMessage, WireRecord, as_ballot, ballot_name, ballot_of
from node.contract import NodeId
from node.quorum import NO_BALLOT, Ballot


def one_batch_a_ballot(evidence: LogEvidence) -> Iterator[Finding]:
    """A ballot proposes one batch in a slot."""
    for ballot, slot, text, source in evidence.batches():
        other, other_source = evidence.first_batches[slot, ballot]
        if other != text:
            what = f"{ballot_name(ballot)} has two batches in slot {slot}, one in {other_source}, another in {source}"
            yield Finding(COHERENCE, what)


def one_choice_a_slot(evidence: LogEvidence) -> Iterator[Finding]:
    """All ballots that chose a batch in a slot chose the same batch."""
    for slot, choices in evidence.chosen.items():
        for ballot, text, reason in choices:
            first, other, other_reason = choices[0]
            if text != other:
                what = f"two batches are chosen in slot {slot}: under {ballot_name(first)} ({other_reason}), and under "
                yield Finding(COHERENCE, f"{what}{ballot_name(ballot)} ({reason})")


def later_ballots_keep_the_choice(evidence: LogEvidence) -> Iterator[Finding]:
    """P2b: once a batch is chosen in a slot, every higher ballot proposes it there."""
    for (slot, ballot), (text, source) in evidence.first_batches.items():
        for chosen, other, reason in evidence.chosen.get(slot, ()):
            if ballot > chosen and text != other:
                yield Finding(
                    NO_DECOHERENCE,
                    f"slot {slot} was chosen under {ballot_name(chosen)} ({reason}), and the later {ballot_name(ballot)} "
                    f"has another batch there, in {source}",
                )


def ballots_are_used_once(evidence: LogEvidence) -> Iterator[Finding]:
    """A ballot belongs to one node and one of its incarnations."""
    sent = (sent for type_ in ("Prepare", "Accept", "Heartbeat") for sent in evidence.sent[type_])
    for what in misused_ballots(sent):
        yield Finding(NO_DECOHERENCE, what)


def promises_are_kept(evidence: LogEvidence) -> Iterator[Finding]:
    """P1a: an acceptor promises and accepts nothing below a ballot that it has promised."""
    first_requests = _first_requests(evidence)

    def first_request(answer: SentMessage) -> int:
        slot = max(answer.fields["slots"], default=0) if answer.type == "Accepted" else 0
        return first_requests.get((answer.sender, answer.type, ballot_of(answer), slot), 0)

    for node in evidence.run.timeline.everyone:
        answers, since = evidence.answers(node), evidence.remembered_from.get(node, 0)
        for held_to in (
            [answer for answer in answers if answer.incarnation < since],
            [answer for answer in answers if answer.incarnation >= since],
        ):
            if (what := broken_promise(node, held_to, first_request)) is not None:
                yield Finding(NO_DECOHERENCE, what)


def _first_requests(evidence: LogEvidence) -> dict[tuple[NodeId, str, Ballot, int], int]:
    """Return, by acceptor, type of answer, ballot and slot, the first line that delivered a request for the answer.

    The slot of a Promise is 0.
    """
    if not evidence.record.is_complete:
        return {}
    found: dict[tuple[NodeId, str, Ballot, int], int] = {}
    for request, answer in (("Prepare", "Promise"), ("Accept", "Accepted")):
        for sent in evidence.sent[request]:
            if sent.delivered and (sent.sender, sent.to) not in evidence.record.corrupted_links:
                key = sent.to, answer, ballot_of(sent), sent.fields["slot"] if request == "Accept" else 0
                found[key] = min(sent.delivered[0], found.get(key, sent.delivered[0]))
    return found


def promises_are_complete(evidence: LogEvidence) -> Iterator[Finding]:
    """Phase 1b: a promise reports everything that its sender accepted above the commit index that the candidate named."""
    if not evidence.record.is_complete:
        return
    requests: dict[
        tuple[NodeId, Ballot], tuple[int, int]
    ] = {}  # acceptor, ballot: first delivery, highest commit asked
    for prepare in evidence.sent["Prepare"]:
        if prepare.delivered:
            key = prepare.to, ballot_of(prepare)
            line, commit = requests.get(key, (prepare.delivered[0], 0))
            requests[key] = min(line, *prepare.delivered), max(commit, prepare.fields["commit"])
    accepted = [
        (sent.sender, sent.index, ballot_of(sent), slot)
        for sent in evidence.sent["Accepted"]
        for slot in sent.fields["slots"]
        if sent.incarnation >= evidence.remembered_from.get(sent.sender, 0)
    ]
    for node, ballot, reported in _complete_promises(evidence):
        line, commit = requests.get((node, ballot), (0, 0))
        for sender, index, of, slot in accepted:
            if sender != node or index >= line or slot <= commit or of >= ballot:
                continue
            what = f"{node} had accepted slot {slot} under {ballot_name(of)}, and its promise of {ballot_name(ballot)} "
            if slot not in reported:
                yield Finding(NO_DECOHERENCE, f"{what}leaves it out")
            elif _is_older(evidence, slot, of, reported[slot]):
                yield Finding(NO_DECOHERENCE, f"{what}has an older batch there")


class _KeptBatch(NamedTuple):
    """What an acceptor keeps in a slot."""

    ballot: Ballot
    batch_text: str


def _is_older(evidence: LogEvidence, slot: int, accepted: Ballot, kept: _KeptBatch) -> bool:
    """Whether an acceptor keeps an older batch in a slot than the one that it accepted last, under `accepted`.

    An acceptor that knows a slot as chosen answers a later Accept and keeps its record: an older ballot, and the same batch.
    """
    known = evidence.first_batches.get((slot, accepted))
    return kept.ballot < accepted and known is not None and known.batch_text != kept.batch_text


class _WholePromise(NamedTuple):
    """A promise of which the record shows all parts."""

    sender: NodeId
    ballot: Ballot
    reported: dict[int, _KeptBatch]
    """By slot, what the sender reported."""


def _complete_promises(evidence: LogEvidence) -> Iterator[_WholePromise]:
    """Yield every promise whose parts the record shows in full. A promise that is sent again is yielded again."""
    corrupted = {link[0] for link in evidence.record.corrupted_links}
    parts: dict[tuple[NodeId, Ballot, int], dict[int, Any]] = {}
    for promise in evidence.sent["Promise"]:
        fields = promise.fields
        if promise.sender in evidence.run.lost_disks | corrupted:
            continue
        key = promise.sender, ballot_of(promise), fields["commit"]
        parts_of_promise = parts.setdefault(key, {})
        parts_of_promise[fields["part"]] = fields["records"]
        if len(parts_of_promise) == fields["parts"]:
            reported = {
                slot: _KeptBatch(Ballot(round_, owner), json.dumps(batch, sort_keys=True))
                for records in parts_of_promise.values()
                for slot, round_, owner, batch in records
            }
            yield _WholePromise(promise.sender, ballot_of(promise), reported)


def disks_remember(evidence: LogEvidence) -> Iterator[Finding]:
    """A node saves each promise and each acceptance before it sends it, and its disk never loses one."""
    for node, contents in evidence.run.disks.items():
        if node in evidence.run.lost_disks:
            continue
        since = evidence.remembered_from.get(node, 0)
        answers = [answer for answer in evidence.answers(node) if answer.incarnation >= since]
        promised = contents.variables.get("", {}).get("promised")
        on_disk = (as_ballot(list(promised)) if isinstance(promised, tuple) else None) or NO_BALLOT
        highest = max(map(ballot_of, answers), default=NO_BALLOT)
        if highest > on_disk:
            shown = "no promise" if on_disk == NO_BALLOT else f"only a promise of {ballot_name(on_disk)}"
            yield Finding(NO_DECOHERENCE, f"{node} answered {ballot_name(highest)}, but its disk shows {shown}")
        snapshot = evidence.run.log.snapshot_slot(node)
        for sent in evidence.sent["Accepted"]:
            for slot in sent.fields["slots"] if sent.sender == node and sent.incarnation >= since else ():
                if slot <= snapshot:
                    continue
                record, ballot = contents.log.records.get(slot), ballot_of(sent)
                what = f"{node} accepted slot {slot} under {ballot_name(ballot)}, but its disk has "
                if record is None:
                    yield Finding(NO_DECOHERENCE, f"{what}nothing there")
                    continue
                kept = _KeptBatch(Ballot(record.round, record.owner), text_of_stored_batch(record.batch))
                if _is_older(evidence, slot, ballot, kept):
                    yield Finding(NO_DECOHERENCE, f"{what}an older batch there")


LogRule: TypeAlias = Callable[[LogEvidence], Iterator[Finding]]

RULES: Final[tuple[LogRule, ...]] = (
    one_batch_a_ballot,
    one_choice_a_slot,
    later_ballots_keep_the_choice,
    ballots_are_used_once,
    promises_are_kept,
    promises_are_complete,
    disks_remember,
)


def log_findings(run: RunEvidence, record: WireRecord, rules: Sequence[LogRule] = RULES) -> Iterator[Finding]:
    """Yield the first finding of each rule for a run."""
    evidence = LogEvidence(run, record)
    for message in record.sent:
        if of_log().get(message.type) == frozenset(message.fields):
            evidence.sent[message.type].append(message)
    for rule in rules:
        finding = next(rule(evidence), None)
        if finding is not None:
            yield finding
