"""What a protocol must never do, whether a client has noticed or not: from the wire's record and the disks.

Rules
-----
1. Nothing is reported that could be innocent. `wire_record` says which orders are certain and what may be hidden; where
   an innocent story fits, there is no finding.
2. A finding counts against the property that it endangers, and gives one line of evidence, one for each rule and variable.
3. An algorithm is taken to be Paxos if its messages have these names and these fields: somebody's own that has other ones
   is not judged here. A vote is one by the class only, since a message may be called so that may well be sent again with
   another value.

Single-decree Paxos (Lamport, *Paxos Made Simple*, section 2)
-------------------------------------------------------------
| finding | property |
|---|---|
| one ballot asks to accept two values | coherence |
| two values are chosen, or said to be decided | coherence |
| a value is said to be decided that no quorum can have accepted | coherence |
| an Accept of a ballot above one that chose has another value | no decoherence |
| an Accept whose sender can have had no quorum of promises that allows its value | no decoherence |
| a ballot is used by two incarnations, or by a node that does not own it | no decoherence |
| an acceptor promises or accepts below what it had promised | no decoherence |
| a disk shows less than its node has promised, accepted or said to be decided | no decoherence |

Multi-Paxos, slot by slot (same paper, section 3)
-------------------------------------------------
| finding | property |
|---|---|
| one ballot has two batches in a slot | coherence |
| two batches are chosen in a slot | coherence |
| a ballot above one that chose has another batch there | no decoherence |
| a ballot is used by two incarnations, or by a node that does not own it | no decoherence |
| an acceptor promises or accepts below what it had promised | no decoherence |
| a promise leaves out, or tells an older form of, what its sender had accepted | no decoherence |
| a disk shows less than its node has promised or accepted | no decoherence |

Majority vote: one voter with two votes (coherence). Any algorithm: a node that boots with the number of an earlier life of its
own (no decoherence), since peers tell lives apart by that number.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields

from harness.checkers import log_rules
from harness.checkers.chosen_log import keeps_log
from harness.checkers.evidence import Finding, RunEvidence
from harness.checkers.paxos_rules import FIELDS, paxos_findings, value_text
from harness.checkers.verdict import Verdict, checker, invalid, unknown, valid
from harness.records.jsonable import shown
from node.algorithms.majority import Majority


@checker
def invariants(run: RunEvidence) -> Verdict:
    """Whether every message and every disk is one that the protocol allows."""
    found = [finding.text for finding in _all(run)]
    if found:
        return invalid(*found)
    if not (_is_log(run) or _is_paxos(run) or _is_vote(run)):
        return unknown(f"no invariants are known for {run.algorithm.__name__}")
    known = log_rules.FIELDS if _is_log(run) else {**FIELDS, "Vote": frozenset({"value"})}
    judged = sum(known.get(sent.type) == frozenset(sent.fields) for sent in run.record.sent)
    if judged == 0:
        return unknown("the record has none of the protocol's messages")
    return valid(f"{judged:,} messages and {len(run.disks)} disks keep to the protocol")


def findings(run: RunEvidence, property_: str) -> list[str]:
    """The evidence against one of the properties."""
    return [finding.text for finding in _all(run) if finding.property == property_]


def _all(run: RunEvidence) -> list[Finding]:
    found = list(_lives(run))
    if _is_log(run):
        found += log_rules.log_findings(run, run.record)
    elif _is_paxos(run):
        found += paxos_findings(run, run.record)
    elif _is_vote(run):
        found += _one_vote_each(run)
    return found


def _lives(run: RunEvidence) -> Iterator[Finding]:
    """What nodes have said of themselves when they came back."""
    for receipt in run.receipts:
        match receipt.evidence:
            case {"incarnation before": int(before), "incarnation": int(after)} if after <= before:
                who = ", ".join(receipt.nodes_down)
                yield Finding("no decoherence", f"{who} came back as life {after}, after life {before}")


def _has(run: RunEvidence, wanted: Mapping[str, frozenset[str]]) -> bool:
    """Whether the algorithm has all of these messages, with these fields."""
    declared = {
        message.type_name(): frozenset(field.name for field in fields(message)) for message in run.algorithm.messages
    }
    return all(declared.get(name) == its_fields for name, its_fields in wanted.items())


def _is_log(run: RunEvidence) -> bool:
    return keeps_log(run.algorithm) and _has(run, log_rules.FIELDS)


def _is_paxos(run: RunEvidence) -> bool:
    return _has(run, {name: its_fields for name, its_fields in FIELDS.items() if name != "Decided"})


def _is_vote(run: RunEvidence) -> bool:
    return issubclass(run.algorithm, Majority)


def _one_vote_each(run: RunEvidence) -> Iterator[Finding]:
    """Nobody's vote ever changes. What a disk says of another's vote counts: it was told so."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for variable, voter, text, source in _votes(run):
        other, other_source = first.setdefault((variable, voter), (text, source))
        if other != text:
            yield Finding(
                "coherence",
                f"{voter} voted twice, {_say(other)} by {other_source} and {_say(text)} by {source}, for {variable}",
            )


def _votes(run: RunEvidence) -> Iterator[tuple[str, str, str, str]]:
    """Every vote that shows: variable, voter, value as text, and who shows it."""
    for sent in run.record.sent:
        if sent.type == "Vote" and set(sent.fields) == {"value"}:
            yield sent.variable, sent.sender, sent.text(), f"its message to {sent.to}"
    for node, contents in run.disks.items():
        for variable, stored in contents.variables.items():
            for key, value in stored.items():
                if key.startswith("vote of ") and isinstance(value, bytes):
                    yield variable, key.removeprefix("vote of "), value_text(value), f"the disk of {node}"


def _say(text: str) -> str:
    return shown(json.loads(text))
