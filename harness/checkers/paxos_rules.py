"""The rules of single-decree Paxos. Each is a function from one variable's evidence to findings.

`invariants.py` lists the rules in a table. A rule whose finding might look innocent carries the proof that it cannot be.
Source: Lamport, *Paxos Made Simple* (2001), section 2.2. P1a and P2b are the paper's names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from harness.checkers.ballot_rules import broken_promise, misused_ballots
from harness.checkers.evidence import COHERENCE, NO_DECOHERENCE, Finding, RunEvidence
from harness.checkers.paxos_evidence import PaxosEvidence, value_for_people
from harness.checkers.protocols import PAXOS
from harness.checkers.wire_record import SentMessage, WireRecord, ballot_name, ballot_of
from node.authors import status_of
from node.contract import NodeId
from node.offline import replica_on_disk
from node.quorum import NO_BALLOT, Ballot


def one_value_a_ballot(evidence: PaxosEvidence) -> Iterator[Finding]:
    """A ballot proposes one value."""
    first: dict[Ballot, tuple[str, str]] = {}
    for ballot, text, source in evidence.values():
        other, other_source = first.setdefault(ballot, (text, source))
        if other != text:
            yield evidence.finding(
                COHERENCE,
                f"{ballot_name(ballot)} carries two values, {value_for_people(other)} in {other_source} and "
                f"{value_for_people(text)} in {source}",
            )


def one_decision(evidence: PaxosEvidence) -> Iterator[Finding]:
    """All values that quorums have accepted, or that nodes announce as decided, are equal."""
    decisions = [
        (text, f"{', '.join(nodes)} accepted {value_for_people(text)} under {ballot_name(ballot)}")
        for ballot, (text, nodes) in evidence.chosen.items()
    ]
    decisions += [
        (sent.text(), f"{sent.sender} announced that {value_for_people(sent.text())} is decided")
        for sent in evidence.sent["Decided"]
    ]
    for text, sentence in decisions:
        if text != decisions[0][0]:
            yield evidence.finding(COHERENCE, f"{decisions[0][1]}, and {sentence}")


def later_ballots_keep_the_choice(evidence: PaxosEvidence) -> Iterator[Finding]:
    """P2b: once a value is chosen, every higher ballot proposes it."""
    for chosen, (text, nodes) in evidence.chosen.items():
        for accept in evidence.sent["Accept"]:
            if ballot_of(accept) > chosen and accept.text() != text:
                yield evidence.finding(
                    NO_DECOHERENCE,
                    f"{', '.join(nodes)} accepted {value_for_people(text)} under {ballot_name(chosen)}, and the later "
                    f"{ballot_name(ballot_of(accept))} asked to accept {value_for_people(accept.text())}",
                )


def decided_by_a_quorum(evidence: PaxosEvidence) -> Iterator[Finding]:
    """The first node that announces a decision has counted a quorum itself.

    The first Decided in the record is from the node that announced it first: any other node would have it from a message whose
    line stands before (order 1 of `wire_record.py`), unless that message came over a link that is not recorded. The node may
    count itself, which the record does not show.
    """
    if not evidence.sent["Decided"] or not evidence.record.is_complete:
        return
    first = evidence.sent["Decided"][0]
    if len(evidence.record.hidden_from(first.sender, evidence.run.members)) > 1:
        return
    acceptors: dict[Ballot, dict[NodeId, None]] = {}
    for accepted in evidence.sent["Accepted"]:
        if accepted.to == first.sender and accepted.delivered and accepted.delivered[0] < first.index:
            acceptors.setdefault(ballot_of(accepted), {})[accepted.sender] = None
    most = max(map(len, acceptors.values()), default=0)
    if most + 1 < evidence.quorum:
        yield evidence.finding(
            COHERENCE,
            f"{first.sender} announced that {value_for_people(first.text())} is decided when at most {most + 1} of "
            f"{len(evidence.run.members)} nodes had accepted a ballot of its own",
        )


def accepts_follow_promises(evidence: PaxosEvidence) -> Iterator[Finding]:
    """An Accept carries the value of the highest ballot that its quorum of promises reported, or any if none was reported.

    The sender used some quorum of the nodes whose promises had been delivered, and of itself, whose promise does not cross the
    wire. For a value v, let T be the highest ballot from which the sender can have v: one that a promise reports with v; one
    with v that the sender may have accepted itself; or none, if v is the sender's own choice. A quorum in which T is the highest
    exists exactly if enough of these nodes have accepted nothing above T. If they have not, no innocent course of events fits.
    """
    if not evidence.record.is_complete:
        return
    first: dict[Ballot, SentMessage] = {}
    for accept in evidence.sent["Accept"]:
        first.setdefault(ballot_of(accept), accept)
    for ballot, accept in first.items():
        hidden = evidence.record.hidden_from(accept.sender, evidence.run.members)
        reported = _reported_in_promises(evidence, ballot, accept)
        highest = max([NO_BALLOT, *(accepted for accepted, text in reported.values() if text == accept.text())])
        highest = max(highest, ballot if len(hidden) > 1 else _accepted_by_itself(evidence, ballot, accept))
        fitting = sum(accepted <= highest for accepted, _ in reported.values())
        if fitting + len(hidden) >= evidence.quorum:
            continue
        what = f"{accept.sender} asked to accept {value_for_people(accept.text())} under {ballot_name(ballot)}"
        if len(reported) + len(hidden) < evidence.quorum:
            what += f" with at most {len(reported) + len(hidden)} promises of {len(evidence.run.members)} nodes"
        else:
            accepted, text = max(reported.values())
            what += f" although its promises reported {value_for_people(text)} under {ballot_name(accepted)}"
        yield evidence.finding(NO_DECOHERENCE, what)


class _Reported(NamedTuple):
    """What one promise reports: the last ballot that its sender accepted (`NO_BALLOT` if none), and the value."""

    accepted: Ballot
    value_text: str


def _reported_in_promises(evidence: PaxosEvidence, ballot: Ballot, accept: SentMessage) -> dict[NodeId, _Reported]:
    """Return what the promises of `ballot` reported that were delivered to the sender of `accept` before it."""
    return {
        promise.sender: _Reported(promise.ballot("accepted") or NO_BALLOT, promise.text())
        for promise in evidence.sent["Promise"]
        if promise.ballot() == ballot
        and promise.to == accept.sender
        and promise.delivered
        and promise.delivered[0] < accept.index
    }


def _accepted_by_itself(evidence: PaxosEvidence, ballot: Ballot, accept: SentMessage) -> Ballot:
    """Return the highest ballot below `ballot` with this value that the sender may have accepted without a trace."""
    possible = [NO_BALLOT]
    asked: dict[Ballot, None] = {}
    for other in evidence.sent["Accept"]:
        asked[ballot_of(other)] = None
        if ballot_of(other) < ballot and other.text() == accept.text():
            possible.append(ballot_of(other))
    # A ballot of its own whose Accept was lost before the proxy: only if the sender had the promises for it.
    promised: dict[Ballot, dict[NodeId, None]] = {}
    for promise in evidence.sent["Promise"]:
        if promise.to == accept.sender and promise.delivered:
            promised.setdefault(ballot_of(promise), {})[promise.sender] = None
    possible += [
        own
        for own, senders in promised.items()
        if own < ballot and own not in asked and len(senders) + 1 >= evidence.quorum
    ]
    return max(possible)


def ballots_are_used_once(evidence: PaxosEvidence) -> Iterator[Finding]:
    """A ballot belongs to one node and one of its incarnations: after a restart the node takes a new ballot."""
    for what in misused_ballots((*evidence.sent["Prepare"], *evidence.sent["Accept"])):
        yield evidence.finding(NO_DECOHERENCE, what)


def promises_are_kept(evidence: PaxosEvidence) -> Iterator[Finding]:
    """P1a: an acceptor promises and accepts nothing below a ballot that it has promised."""
    first_requests = _first_requests(evidence)

    def first_request(answer: SentMessage) -> int:
        return first_requests.get((answer.sender, answer.type, ballot_of(answer)), 0)

    for node in evidence.run.members:
        answers = [sent for type_ in ("Promise", "Accepted") for sent in evidence.sent[type_] if sent.sender == node]
        if (what := broken_promise(node, answers, first_request)) is not None:
            yield evidence.finding(NO_DECOHERENCE, what)


def _first_requests(evidence: PaxosEvidence) -> dict[tuple[NodeId, str, Ballot], int]:
    """Return, by acceptor, type of answer and ballot, the first line that delivered a request for the answer."""
    if not evidence.record.is_complete:
        return {}
    return {
        (sent.to, answer, ballot_of(sent)): sent.delivered[0]
        for request, answer in (("Prepare", "Promise"), ("Accept", "Accepted"))
        for sent in sorted(evidence.sent[request], key=lambda sent: -sent.delivered[0] if sent.delivered else 0)
        if sent.delivered and (sent.sender, sent.to) not in evidence.record.corrupted_links
    }


def disks_remember(evidence: PaxosEvidence) -> Iterator[Finding]:
    """A node saves each promise and each acceptance before it sends it, and its disk never loses one."""
    for node, stored in evidence.disks.items():
        status = status_of(replica_on_disk(evidence.run.algorithm, node, evidence.run.members, stored))
        if status.ballot is None:  # the algorithm does not report ballots
            continue
        sent_by_node = {
            type_: [sent for sent in evidence.sent[type_] if sent.sender == node]
            for type_ in ("Promise", "Accepted", "Decided")
        }
        for type_, on_disk in (("Promise", status.ballot), ("Accepted", status.accepted_ballot or NO_BALLOT)):
            highest = max(map(ballot_of, sent_by_node[type_]), default=NO_BALLOT)
            if highest > on_disk:
                what = "nothing" if on_disk == NO_BALLOT else ballot_name(on_disk)
                yield evidence.finding(
                    NO_DECOHERENCE, f"{node} sent {type_} of {ballot_name(highest)}, but its disk shows {what}"
                )
        if sent_by_node["Decided"] and status.decided is None:
            value = value_for_people(sent_by_node["Decided"][0].text())
            yield evidence.finding(
                NO_DECOHERENCE, f"{node} announced that {value} is decided, but its disk is undecided"
            )


Rule: TypeAlias = Callable[[PaxosEvidence], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    one_value_a_ballot,
    one_decision,
    decided_by_a_quorum,
    later_ballots_keep_the_choice,
    accepts_follow_promises,
    ballots_are_used_once,
    promises_are_kept,
    disks_remember,
)


def paxos_findings(run: RunEvidence, record: WireRecord, rules: Sequence[Rule] = RULES) -> Iterator[Finding]:
    """Yield the first finding of each rule for each variable of a run."""
    by_variable = record.by_variable()
    on_disks = {variable: None for contents in run.disks.values() for variable in contents.variables}
    for variable in dict.fromkeys((*by_variable, *on_disks)):
        sent: dict[str, list[SentMessage]] = {type_: [] for type_ in PAXOS}
        for message in by_variable.get(variable, ()):
            if PAXOS.get(message.type) == frozenset(message.fields):
                sent[message.type].append(message)
        disks: dict[NodeId, Mapping[str, Any]] = {
            node: contents.variables.get(variable, {}) for node, contents in run.disks.items()
        }
        evidence = PaxosEvidence(run, record, variable, sent, disks)
        for rule in rules:
            finding = next(rule(evidence), None)
            if finding is not None:
                yield finding
