"""The rules of single-decree Paxos, each a function from one variable's evidence to findings.

`harness.checkers.invariants` lists them. The proof that a finding cannot be innocent stands at the rule that needs one.
Source: Lamport, *Paxos Made Simple* (2001), section 2.2; P1a and P2b are its names.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from harness.checkers.evidence import Finding, RunEvidence
from harness.checkers.wire_record import Sent, WireRecord, as_ballot
from harness.records.jsonable import shown
from harness.records.messages import readable_fields
from node.algorithms.paxos import Decided, Paxos
from node.contract import NodeId, Stored, Value
from node.quorum import NO_BALLOT, Ballot, majority

COHERENCE: Final = "coherence"
NO_DECOHERENCE: Final = "no decoherence"

#: The messages of the protocol, and their fields.
FIELDS: Final[dict[str, frozenset[str]]] = {
    "Prepare": frozenset({"ballot"}),
    "Promise": frozenset({"ballot", "accepted", "value"}),
    "Accept": frozenset({"ballot", "value"}),
    "Accepted": frozenset({"ballot"}),
    "Decided": frozenset({"value"}),
}


@dataclass
class PaxosEvidence:
    """What there is about one variable: its messages by type, in order, and what each disk holds of it."""

    run: RunEvidence
    record: WireRecord
    variable: str
    sent: Mapping[str, list[Sent]]
    disks: Mapping[NodeId, Mapping[str, Stored]]

    @property
    def needed(self) -> int:
        """The size of a quorum."""
        return majority(len(self.run.members))

    def find(self, property_: str, text: str) -> Finding:
        """A finding about this variable."""
        return Finding(property_, f"{text} for {self.variable}")

    def accepted_on_disks(self) -> Iterator[tuple[NodeId, Ballot, str]]:
        """Who shows on its disk which ballot accepted, and its value as text."""
        for node, stored in self.disks.items():
            match stored.get("accepted"):
                case (int(round_), str(owner), bytes(value)):
                    yield node, Ballot(round_, owner), value_text(value)

    def values(self) -> Iterator[tuple[Ballot, str, str]]:
        """Every ballot and value that was seen together, with who showed it."""
        for accept in self.sent["Accept"]:
            yield _ballot(accept), accept.text(), f"an Accept of {accept.sender}"
        for promise in self.sent["Promise"]:
            accepted = promise.ballot("accepted")
            if accepted is not None:
                yield accepted, promise.text(), f"a Promise of {promise.sender}"
        for node, ballot, text in self.accepted_on_disks():
            yield ballot, text, f"the disk of {node}"

    def chosen(self) -> dict[Ballot, tuple[str, tuple[NodeId, ...]]]:
        """The ballots that a quorum has accepted, as far as it shows: the value, and by whom."""
        acceptors: dict[Ballot, dict[NodeId, None]] = {}
        for accepted in self.sent["Accepted"]:
            acceptors.setdefault(_ballot(accepted), {})[accepted.sender] = None
        for node, ballot, _ in self.accepted_on_disks():
            acceptors.setdefault(ballot, {})[node] = None
        texts = {ballot: text for ballot, text, _ in reversed(list(self.values()))}
        return {
            ballot: (texts[ballot], tuple(nodes))
            for ballot, nodes in sorted(acceptors.items())
            if len(nodes) >= self.needed and ballot in texts
        }


def value_text(value: bytes) -> str:
    """A value on a disk, as it would stand in a record."""
    return json.dumps(readable_fields(Decided(Value(value)))["value"], sort_keys=True)


def _ballot(sent: Sent) -> Ballot:
    return sent.ballot() or NO_BALLOT


def _name(ballot: Ballot) -> str:
    return f"ballot {ballot.round} of {ballot.node}"


def _say(text: str) -> str:
    return shown(json.loads(text))


def one_value_a_ballot(evidence: PaxosEvidence) -> Iterator[Finding]:
    """A ballot proposes one value."""
    first: dict[Ballot, tuple[str, str]] = {}
    for ballot, text, source in evidence.values():
        other, other_source = first.setdefault(ballot, (text, source))
        if other != text:
            what = f"{_name(ballot)} has two values, {_say(other)} in {other_source} and {_say(text)} in {source},"
            yield evidence.find(COHERENCE, what)


def one_decision(evidence: PaxosEvidence) -> Iterator[Finding]:
    """What quorums have accepted, and what nodes say is decided, is one value."""
    said = [
        (text, f"{', '.join(nodes)} accepted {_say(text)} under {_name(ballot)}")
        for ballot, (text, nodes) in evidence.chosen().items()
    ]
    said += [
        (sent.text(), f"{sent.sender} said that {_say(sent.text())} is decided") for sent in evidence.sent["Decided"]
    ]
    for text, words in said:
        if text != said[0][0]:
            yield evidence.find(COHERENCE, f"{said[0][1]}, and {words},")


def later_ballots_keep_the_choice(evidence: PaxosEvidence) -> Iterator[Finding]:
    """P2b: once a value is chosen, every higher ballot proposes it."""
    for chosen, (text, nodes) in evidence.chosen().items():
        for accept in evidence.sent["Accept"]:
            if _ballot(accept) > chosen and accept.text() != text:
                yield evidence.find(
                    NO_DECOHERENCE,
                    f"{', '.join(nodes)} accepted {_say(text)} under {_name(chosen)}, and the later "
                    f"{_name(_ballot(accept))} asked to accept {_say(accept.text())}",
                )


def decided_by_a_quorum(evidence: PaxosEvidence) -> Iterator[Finding]:
    """Whoever is the first to say "decided" has counted a quorum itself.

    The first in the record is the first that said it, or else had it from one whose line would precede (rule 1 of
    `wire_record`), unless it came over a link that is not recorded. It may count itself, unseen.
    """
    if not evidence.sent["Decided"] or not evidence.record.is_complete:
        return
    first = evidence.sent["Decided"][0]
    if len(evidence.record.hidden_from(first.sender, evidence.run.members)) > 1:
        return
    acceptors: dict[Ballot, dict[NodeId, None]] = {}
    for accepted in evidence.sent["Accepted"]:
        if accepted.to == first.sender and accepted.delivered and accepted.delivered[0] < first.index:
            acceptors.setdefault(_ballot(accepted), {})[accepted.sender] = None
    most = max(map(len, acceptors.values()), default=0)
    if most + 1 < evidence.needed:
        yield evidence.find(
            COHERENCE,
            f"{first.sender} said that {_say(first.text())} is decided when at most {most + 1} of "
            f"{len(evidence.run.members)} nodes had accepted a ballot of its own",
        )


def accepts_follow_promises(evidence: PaxosEvidence) -> Iterator[Finding]:
    """An Accept has the value of the highest ballot that its quorum of promises reported, or any if they reported none.

    Its sender has used some quorum out of those whose promise had been delivered, and itself, whose promise is not on the
    wire. For a value v let T be the highest ballot by which v can have been had: one that a promise reports with v; one
    with v that the sender may have accepted itself; or none at all, if v is free. A quorum in which T is the highest
    exists exactly if enough of them have accepted nothing above T. If not, no story fits.
    """
    if not evidence.record.is_complete:
        return
    first: dict[Ballot, Sent] = {}
    for accept in evidence.sent["Accept"]:
        first.setdefault(_ballot(accept), accept)
    for ballot, accept in first.items():
        hidden = evidence.record.hidden_from(accept.sender, evidence.run.members)
        told = _promises(evidence, ballot, accept)
        highest = max([NO_BALLOT, *(accepted for accepted, text in told.values() if text == accept.text())])
        highest = max(highest, ballot if len(hidden) > 1 else _accepted_by_itself(evidence, ballot, accept))
        fitting = sum(accepted <= highest for accepted, _ in told.values())
        if fitting + len(hidden) >= evidence.needed:
            continue
        what = f"{accept.sender} asked to accept {_say(accept.text())} under {_name(ballot)}"
        if len(told) + len(hidden) < evidence.needed:
            what += f" with at most {len(told) + len(hidden)} promises of {len(evidence.run.members)} nodes"
        else:
            accepted, text = max(told.values())
            what += f" although its promises reported {_say(text)} under {_name(accepted)}"
        yield evidence.find(NO_DECOHERENCE, what)


def _promises(evidence: PaxosEvidence, ballot: Ballot, accept: Sent) -> dict[NodeId, tuple[Ballot, str]]:
    """What the sender of `accept` had been told in promises of `ballot` by then."""
    return {
        promise.sender: (promise.ballot("accepted") or NO_BALLOT, promise.text())
        for promise in evidence.sent["Promise"]
        if promise.ballot() == ballot
        and promise.to == accept.sender
        and promise.delivered
        and promise.delivered[0] < accept.index
    }


def _accepted_by_itself(evidence: PaxosEvidence, ballot: Ballot, accept: Sent) -> Ballot:
    """The highest lower ballot with this value that the sender may have accepted, though it does not show."""
    possible = [NO_BALLOT]
    asked: dict[Ballot, None] = {}
    for other in evidence.sent["Accept"]:
        asked[_ballot(other)] = None
        if _ballot(other) < ballot and other.text() == accept.text():
            possible.append(_ballot(other))
    # A ballot of its own whose Accept was lost before the wire: only if it had the promises for it.
    promised: dict[Ballot, dict[NodeId, None]] = {}
    for promise in evidence.sent["Promise"]:
        if promise.to == accept.sender and promise.delivered:
            promised.setdefault(_ballot(promise), {})[promise.sender] = None
    possible += [
        own
        for own, senders in promised.items()
        if own < ballot and own not in asked and len(senders) + 1 >= evidence.needed
    ]
    return max(possible)


def ballots_are_used_once(evidence: PaxosEvidence) -> Iterator[Finding]:
    """A ballot belongs to one node and one of its lives: after a restart it takes a new one."""
    lives: dict[Ballot, Sent] = {}
    for sent in (*evidence.sent["Prepare"], *evidence.sent["Accept"]):
        ballot = _ballot(sent)
        first = lives.setdefault(ballot, sent)
        if sent.sender != ballot.node:
            yield evidence.find(NO_DECOHERENCE, f"{sent.sender} sent {sent.type} under {_name(ballot)}, not its own,")
        elif sent.incarnation != first.incarnation:
            yield evidence.find(
                NO_DECOHERENCE,
                f"{_name(ballot)} was used by two incarnations, {first.incarnation} ({first.type}) and "
                f"{sent.incarnation} ({sent.type}),",
            )


def promises_are_kept(evidence: PaxosEvidence) -> Iterator[Finding]:
    """P1a: an acceptor promises and accepts nothing below what it has promised."""
    asked = _asked(evidence)
    for node in evidence.run.members:
        answers = [sent for type_ in ("Promise", "Accepted") for sent in evidence.sent[type_] if sent.sender == node]
        answers.sort(key=lambda sent: sent.index)
        lines = [answer.index for answer in answers]
        highest = list(accumulate(map(_ballot, answers), max))  # up to and with each line
        lives: dict[int, Ballot] = {}
        for answer in answers:
            lives[answer.incarnation] = max(_ballot(answer), lives.get(answer.incarnation, NO_BALLOT))
        for answer in answers:
            # Sent before `answer`, for certain: in an earlier life, or before anybody had asked for it.
            earlier = bisect_left(lines, asked.get((node, answer.type, _ballot(answer)), 0))
            before = [ballot for life, ballot in lives.items() if life < answer.incarnation]
            before += highest[earlier - 1 : earlier] if earlier else []
            if before and max(before) > _ballot(answer):
                what = (
                    f"{node} sent {answer.type} of {_name(_ballot(answer))} after it had promised {_name(max(before))},"
                )
                yield evidence.find(NO_DECOHERENCE, what)
                break


def _asked(evidence: PaxosEvidence) -> dict[tuple[NodeId, str, Ballot], int]:
    """By acceptor, type of answer and ballot: the first line that delivered what asks for it."""
    if not evidence.record.is_complete:
        return {}
    return {
        (sent.to, answer, _ballot(sent)): sent.delivered[0]
        for request, answer in (("Prepare", "Promise"), ("Accept", "Accepted"))
        for sent in sorted(evidence.sent[request], key=lambda sent: -sent.delivered[0] if sent.delivered else 0)
        if sent.delivered and (sent.sender, sent.to) not in evidence.record.corrupted_links
    }


def disks_remember(evidence: PaxosEvidence) -> Iterator[Finding]:
    """What a node has said it had on disk first, and it never takes it back."""
    if not issubclass(evidence.run.algorithm, Paxos):
        return
    for node, stored in evidence.disks.items():
        said = {
            type_: [sent for sent in evidence.sent[type_] if sent.sender == node]
            for type_ in ("Promise", "Accepted", "Decided")
        }
        promised = as_ballot(stored.get("promised")) or NO_BALLOT
        accepted = next((ballot for name, ballot, _ in evidence.accepted_on_disks() if name == node), NO_BALLOT)
        for type_, held in (("Promise", promised), ("Accepted", accepted)):
            highest = max(map(_ballot, said[type_]), default=NO_BALLOT)
            if highest > held:
                what = "nothing" if held == NO_BALLOT else _name(held)
                yield evidence.find(
                    NO_DECOHERENCE, f"{node} sent {type_} of {_name(highest)}, and its disk says {what}"
                )
        if said["Decided"] and "decided" not in stored:
            text = _say(said["Decided"][0].text())
            yield evidence.find(NO_DECOHERENCE, f"{node} said that {text} is decided, and its disk is undecided")


RULES: Final = (
    one_value_a_ballot,
    one_decision,
    decided_by_a_quorum,
    later_ballots_keep_the_choice,
    accepts_follow_promises,
    ballots_are_used_once,
    promises_are_kept,
    disks_remember,
)


def paxos_findings(run: RunEvidence, record: WireRecord) -> Iterator[Finding]:
    """The first finding of each rule for each variable."""
    by_variable = record.by_variable()
    on_disks = {variable: None for contents in run.disks.values() for variable in contents.variables}
    for variable in dict.fromkeys((*by_variable, *on_disks)):
        sent: dict[str, list[Sent]] = {type_: [] for type_ in FIELDS}
        for message in by_variable.get(variable, ()):
            if FIELDS.get(message.type) == frozenset(message.fields):
                sent[message.type].append(message)
        disks: dict[NodeId, Mapping[str, Any]] = {
            node: contents.variables.get(variable, {}) for node, contents in run.disks.items()
        }
        evidence = PaxosEvidence(run, record, variable, sent, disks)
        for rule in RULES:
            finding = next(rule(evidence), None)
            if finding is not None:
                yield finding
