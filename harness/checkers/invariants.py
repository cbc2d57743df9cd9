"""The checker of protocol invariants: what a protocol must never do, whether a client notices or not, by messages and disks.

Rules
-----
1. The checker reports nothing that could be innocent. `wire_record.py` says which orders of messages are certain and which
   messages a record may not show. If an innocent course of events fits the evidence, there is no finding.
2. A finding counts against the article's property that it endangers. There is at most one finding for each rule and variable.
3. An algorithm counts as Paxos or as a majority vote if all messages of that protocol are among its messages, with the same
   fields. An algorithm of a user's own with other messages is not judged here. A message called `Vote` alone makes no majority
   vote, since another algorithm may well have one and send it again with another value.

Single-decree Paxos (Lamport, *Paxos Made Simple*, section 2)
-------------------------------------------------------------
| finding | property |
|---|---|
| one ballot asks to accept two values | coherence |
| two values are chosen, or announced as decided | coherence |
| a node announces a decision that no quorum can have accepted | coherence |
| an Accept of a ballot above one that chose a value carries another value | no decoherence |
| an Accept whose sender cannot have had a quorum of promises that allows its value | no decoherence |
| a ballot is used by two incarnations, or by a node that does not own it | no decoherence |
| an acceptor promises or accepts below a ballot that it has promised | no decoherence |
| a disk shows less than its node has promised, accepted or announced as decided | no decoherence |

Multi-Paxos, slot by slot (same paper, section 3)
-------------------------------------------------
| finding | property |
|---|---|
| one ballot has two batches in a slot | coherence |
| two batches are chosen in a slot | coherence |
| a ballot above one that chose a batch has another batch there | no decoherence |
| a ballot is used by two incarnations, or by a node that does not own it | no decoherence |
| an acceptor promises or accepts below a ballot that it has promised | no decoherence |
| a promise leaves out what its sender had accepted, or reports an older batch | no decoherence |
| a disk shows less than its node has promised or accepted | no decoherence |

Every log, as far as its messages say who leads and what a leader's log has
---------------------------------------------------------------------------
The five rules of `leader_rules.py`: election safety, leader append-only, log matching, leader completeness and state machine
safety. The last one and log matching count against coherence, the others against no decoherence.

Other algorithms
----------------
Majority vote: a voter with two votes (coherence). Any algorithm: a node that restarts with the incarnation of an earlier boot
(no decoherence), since its peers tell boots apart by this number.
"""

from collections.abc import Iterator
from typing import NamedTuple

from harness.checkers import log_rules, paxos_rules
from harness.checkers.evidence import COHERENCE, NO_DECOHERENCE, Finding, ProtocolFindings, RunEvidence
from harness.checkers.leader_rules import OF_COHERENCE, RULES
from harness.checkers.log_rules import log_findings
from harness.checkers.paxos_evidence import text_of_stored, value_for_people
from harness.checkers.paxos_rules import paxos_findings
from harness.checkers.protocols import PAXOS, is_log, is_paxos, is_vote, of_log
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from node.contract import NodeId
from node.wording import count


@checker
def invariants(run: RunEvidence) -> Verdict:
    """Check that the protocol allows every message and every disk of a run.

    Unknown if the algorithm is none whose rules are known, or if the record has no message of the protocol.
    """
    with Found() as found:
        found.extend(finding.text for finding in _all_findings(run))
    if found:
        return invalid(*found)
    if run.algorithm.keeps_log and not is_log(run.algorithm):
        return _of_leaders(run)
    if not (is_log(run.algorithm) or is_paxos(run.algorithm) or is_vote(run.algorithm)):
        return unknown(f"no invariants are known for {run.algorithm.__name__}")
    known = of_log() if is_log(run.algorithm) else {**PAXOS, "Vote": frozenset({"value"})}
    judged = sum(known.get(sent.type) == frozenset(sent.fields) for sent in run.record.sent)
    if judged == 0:
        return unknown("the record has no message of the protocol")
    return valid(f"{count(judged, 'message')} and {count(len(run.disks), 'disk')} keep to the protocol")


def _of_leaders(run: RunEvidence) -> Verdict:
    """Return the verdict on a log without a violation, of which only the leaders' messages can be read."""
    said = run.log.leaders.messages
    if said == 0:
        return unknown("the record has no message of which the log says what a leader states by it")
    what = f"{count(said, 'message')} of leaders and {count(len(run.disks), 'disk')}"
    return valid(f"{what} keep to {', '.join(RULES)}")


def findings(run: RunEvidence, property_: str) -> list[str]:
    """Return one sentence for each finding that counts against one of the article's properties."""
    with Found() as found:
        found.extend(finding.text for finding in _all_findings(run) if finding.property == property_)
    return found


def _all_findings(run: RunEvidence) -> Iterator[Finding]:
    """Yield the findings of a run. Three checkers ask for them, and they are computed once."""
    if run.protocol is None:
        found: list[Finding] = []
        error = None
        try:
            found.extend(_computed_findings(run))
        except Exception as failure:  # noqa: BLE001 - each checker meets it after what was found before
            error = failure
        run.protocol = ProtocolFindings(tuple(found), error)
    yield from run.protocol.findings
    if run.protocol.error is not None:
        raise run.protocol.error


def _computed_findings(run: RunEvidence) -> Iterator[Finding]:
    yield from _reused_incarnations(run)
    if is_log(run.algorithm):
        yield from log_findings(run, run.record)
    if run.algorithm.keeps_log:
        yield from _leader_findings(run)
    elif is_paxos(run.algorithm):
        yield from paxos_findings(run, run.record)
    elif is_vote(run.algorithm):
        yield from _repeated_votes(run)


def _leader_findings(run: RunEvidence) -> Iterator[Finding]:
    """Yield the first finding of each rule about leaders' logs."""
    first = {broken.rule: broken for broken in reversed(run.log.broken_rules)}
    for rule in RULES:
        if rule in first:
            yield Finding(COHERENCE if rule in OF_COHERENCE else NO_DECOHERENCE, f"{rule}: {first[rule].text}")


def broken_promises(run: RunEvidence) -> Iterator[Finding]:
    """Yield each finding that an acceptor has promised or accepted below a ballot that it had promised."""
    if is_log(run.algorithm):
        yield from log_findings(run, run.record, (log_rules.promises_are_kept,))
    elif is_paxos(run.algorithm):
        yield from paxos_findings(run, run.record, (paxos_rules.promises_are_kept,))


def _reused_incarnations(run: RunEvidence) -> Iterator[Finding]:
    """Yield a finding for each node that restarted with an incarnation that is not higher, by the receipts of kills."""
    for receipt in run.receipts:
        match receipt.evidence:
            case {"incarnation before": int(before), "incarnation": int(after)} if after <= before:
                nodes = ", ".join(receipt.nodes_down)
                yield Finding(NO_DECOHERENCE, f"{nodes} restarted as incarnation {after} after incarnation {before}")


class _SeenVote(NamedTuple):
    """A vote that a message or a disk shows."""

    variable: str
    voter: NodeId
    value_text: str
    source: str


def _repeated_votes(run: RunEvidence) -> Iterator[Finding]:
    """Yield a finding for each voter with two different votes.

    A vote of another node on a disk counts too: that node sent it.
    """
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for variable, voter, text, source in _votes(run):
        other, other_source = first.setdefault((variable, voter), (text, source))
        if other != text:
            both = f"{value_for_people(other)} ({other_source}) and for {value_for_people(text)} ({source})"
            yield Finding(COHERENCE, f"variable {variable}: {voter} voted twice, for {both}")


def _votes(run: RunEvidence) -> Iterator[_SeenVote]:
    for sent in run.record.sent:
        if sent.type == "Vote" and set(sent.fields) == {"value"}:
            yield _SeenVote(sent.variable, sent.sender, sent.text(), f"its message to {sent.to}")
    for node, contents in run.disks.items():
        for variable, stored in contents.variables.items():
            for key, value in stored.items():
                if key.startswith("vote of ") and isinstance(value, bytes):
                    voter = key.removeprefix("vote of ")
                    yield _SeenVote(variable, voter, text_of_stored(value), f"the disk of {node}")
