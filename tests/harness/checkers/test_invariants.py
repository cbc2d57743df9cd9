import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import findings, invariants
from harness.checkers.properties import coherence, no_decoherence
from harness.checkers.verdict import Verdict, VerdictStatus, unknown
from harness.checkers.wire_record import read_record
from harness.network.in_transit import InTransit
from harness.records.messages import MessageRecorder
from harness.records.receipts import Receipt
from node.algorithms.leader import Leader
from node.algorithms.majority import Majority
from node.algorithms.paxos import Accept, Accepted, Decided, Paxos, Promise
from node.contract import Algorithm, Message, Stored, Value
from node.storage.disk import Contents
from node.wire import Codec, Envelope, encode_value

MEMBERS = ("n1", "n2", "n3")
FIVE = (*MEMBERS, "n4", "n5")
B1, B2, B3 = [1, "n1"], [2, "n2"], [3, "n3"]

Line = dict[str, Any]


def line(sender: str, to: str, type_: str, fate: str = "passed", incarnation: int = 1, /, **fields: Any) -> Line:
    about = {"from": sender, "to": to, "type": type_, "variable": "x", "incarnation": incarnation}
    return {**about, "fields": fields, "fate": fate, "rule": None}


def prepare(sender: str, to: str, ballot: Any, fate: str = "passed", incarnation: int = 1) -> Line:
    return line(sender, to, "Prepare", fate, incarnation, ballot=ballot)


def promise(sender: str, to: str, ballot: Any, accepted: Any = None, value: Any = None, incarnation: int = 1) -> Line:
    return line(sender, to, "Promise", "passed", incarnation, ballot=ballot, accepted=accepted, value=value)


def accept(sender: str, to: str, ballot: Any, value: Any, fate: str = "passed", incarnation: int = 1) -> Line:
    return line(sender, to, "Accept", fate, incarnation, ballot=ballot, value=value)


def accepted(sender: str, to: str, ballot: Any, incarnation: int = 1) -> Line:
    return line(sender, to, "Accepted", "passed", incarnation, ballot=ballot)


def decided(sender: str, to: str, value: Any) -> Line:
    return line(sender, to, "Decided", value=value)


def later(of: int, of_line: Line, fate: str) -> Line:
    return {**of_line, "fate": fate, "of": of}


def run_of(
    *lines: Line, members: Sequence[str] = MEMBERS, disks: dict[str, dict[str, Stored]] | None = None, **about: Any
) -> RunEvidence:
    contents = {node: Contents("", node, 1, {"x": stored}) for node, stored in (disks or {}).items()}
    # Every link has a line, so that no message can be hidden.
    greetings = [line(a, b, "Rejected") for a in members for b in members if a != b]
    messages = [{"index": index, "time": index, **entry} for index, entry in enumerate([*lines, *greetings])]
    return RunEvidence(tuple(members), about.pop("algorithm", Paxos), disks=contents, messages=messages, **about)


def assert_found(run: RunEvidence, property_: str, expected: str) -> None:
    assert expected in findings(run, property_)
    verdict = invariants(run)
    assert verdict.status == VerdictStatus.INVALID
    assert expected in (verdict.evidence, *verdict.more)
    judged: Verdict = {"coherence": coherence, "no decoherence": no_decoherence}[property_](run)
    assert judged.status == VerdictStatus.INVALID


#: n1 and n2 choose blue.
CHOICE = (
    prepare("n1", "n2", B1),
    promise("n2", "n1", B1),
    accept("n1", "n2", B1, "blue"),
    accepted("n2", "n1", B1),
    decided("n1", "n3", "blue"),
)


def test_a_correct_choice_is_valid() -> None:
    run = run_of(*CHOICE, disks={"n2": {"promised": (1, "n1"), "accepted": (1, "n1", encode_value("blue"))}})
    assert invariants(run) == Verdict(VerdictStatus.VALID, "5 messages and 1 disk keep to the protocol")


def test_a_run_without_known_messages_is_unknown() -> None:
    assert invariants(run_of()).evidence == "the record has no message of the protocol"
    assert invariants(run_of(algorithm=Leader)).evidence == "no invariants are known for Leader"


def test_a_users_algorithm_is_not_judged_by_the_rules_of_ours() -> None:
    """Its messages may have the same names."""

    @dataclass(frozen=True, slots=True)
    class Vote(Message):
        value: Value

    @dataclass(frozen=True, slots=True)
    class Prepare(Message):
        round: int

    class Own(Algorithm):
        messages = (Vote, Prepare, Promise, Accept, Accepted)

    votes = [line("n1", "n2", "Vote", value=value) for value in ("blue", "red")]
    verdict = invariants(run_of(*votes, *CHOICE, algorithm=Own))
    assert verdict == unknown("no invariants are known for Own")
    assert invariants(run_of(*votes, algorithm=Majority)).status == VerdictStatus.INVALID


def test_a_protocol_with_other_fields_is_not_judged() -> None:
    slots = [{**entry, "fields": {**entry["fields"], "slot": slot}} for slot in (1, 2) for entry in CHOICE]
    conflicting = [accept("n1", "n2", B1, "red"), *slots]
    assert findings(run_of(*conflicting), "coherence") == []


def test_a_checker_that_fails_is_unknown() -> None:
    run = run_of(*CHOICE)
    run.messages = [{"from": "n1"}]
    assert invariants(run) == unknown("the checker invariants failed: KeyError 'to'", no_test=True)


# --- coherence ------------------------------------------------------------------------------------------------------


def test_two_values_in_one_ballot() -> None:
    run = run_of(*CHOICE[:3], accept("n1", "n3", B1, "red"))
    expected = (
        "variable x: ballot 1 of n1 carries two values, 'blue' in an Accept from n1 and 'red' in an Accept from n1"
    )
    assert_found(run, "coherence", expected)


def test_two_values_in_one_ballot_by_a_promise_and_a_disk() -> None:
    reported = promise("n2", "n3", B3, B1, "blue")
    run = run_of(reported, disks={"n1": {"accepted": (1, "n1", encode_value("red"))}}, algorithm=Elsewhere)
    expected = "variable x: ballot 1 of n1 carries two values, 'blue' in a Promise from n2 and 'red' in the disk of n1"
    assert_found(run, "coherence", expected)


class Elsewhere(Leader):
    """It has the messages of Paxos and another layout of its state."""

    messages = Paxos.messages


def test_two_values_are_chosen() -> None:
    disks: dict[str, dict[str, Stored]] = {"n3": {"promised": (3, "n3"), "accepted": (3, "n3", encode_value("red"))}}
    run = run_of(
        *CHOICE[:4],
        accepted("n3", "n1", B1),
        promise("n2", "n3", B3, B1, "blue"),
        accept("n3", "n2", B3, "red"),
        accepted("n2", "n3", B3),
        disks=disks,
    )
    blue = "variable x: n2, n3 accepted 'blue' under ballot 1 of n1, and "
    expected = f"{blue}n2, n3 accepted 'red' under ballot 3 of n3"
    assert_found(run, "coherence", expected)
    expected = f"{blue}the later ballot 3 of n3 asked to accept 'red'"
    assert_found(run, "no decoherence", expected)


def test_two_values_are_announced_as_decided() -> None:
    run = run_of(*CHOICE, decided("n2", "n3", "red"))
    expected = "variable x: n1 announced that 'blue' is decided, and n2 announced that 'red' is decided"
    assert_found(run, "coherence", expected)


def test_a_decision_without_a_quorum() -> None:
    run = run_of(*CHOICE, members=FIVE)
    expected = (
        "variable x: n1 announced that 'blue' is decided when at most 2 of 5 nodes had accepted a ballot of its own"
    )
    assert_found(run, "coherence", expected)


def test_one_voter_with_two_votes() -> None:
    votes = [line("n1", "n2", "Vote", value="blue"), line("n1", "n3", "Vote", value="red")]
    run = run_of(*votes, algorithm=Majority)
    first = "variable x: n1 voted twice, for 'blue' (its message to n2) and for 'red' "
    assert_found(run, "coherence", f"{first}(its message to n3)")
    run = run_of(votes[0], algorithm=Majority, disks={"n3": {"vote of n1": encode_value("red")}})
    assert_found(run, "coherence", f"{first}(the disk of n3)")
    assert invariants(run_of(votes[0], votes[0], algorithm=Majority)).status == VerdictStatus.VALID


# --- no decoherence -------------------------------------------------------------------------------------------------


def test_an_accept_that_ignores_its_promises() -> None:
    run = run_of(promise("n2", "n3", B3, B1, "blue"), accept("n3", "n2", B3, "red"))
    accepted_red = "variable x: n3 asked to accept 'red' under ballot 3 of n3"
    expected = f"{accepted_red} although its promises reported 'blue' under ballot 1 of n1"
    assert_found(run, "no decoherence", expected)


def test_an_accept_with_too_few_promises() -> None:
    run = run_of(promise("n2", "n3", B3), accept("n3", "n2", B3, "red"), members=FIVE)
    expected = "variable x: n3 asked to accept 'red' under ballot 3 of n3 with at most 2 promises of 5 nodes"
    assert_found(run, "no decoherence", expected)


@pytest.mark.parametrize(
    "lines",
    [
        # n3 may have used its own promise and that of n1, which reported nothing.
        [promise("n1", "n3", B3), promise("n2", "n3", B3, B1, "blue"), accept("n3", "n2", B3, "red")],
        # The promise that reports blue comes after the Accept.
        [promise("n1", "n3", B3), accept("n3", "n2", B3, "red"), promise("n2", "n3", B3, B1, "blue")],
        # n3 may have accepted red itself, under a ballot above the one that is reported.
        [
            promise("n1", "n2", B2),
            accept("n2", "n3", B2, "red"),
            promise("n2", "n3", B3, B1, "blue"),
            accept("n3", "n2", B3, "red"),
        ],
        # n3 may have accepted red under a ballot of its own, whose Accept was lost before the proxy.
        [promise("n1", "n3", [2, "n3"]), promise("n2", "n3", B3, B1, "blue"), accept("n3", "n2", B3, "red")],
        # The value is the one that is reported.
        [promise("n2", "n3", B3, B1, "blue"), accept("n3", "n2", B3, "blue")],
    ],
)
def test_an_accept_that_may_be_innocent(lines: list[Line]) -> None:
    assert findings(run_of(*lines), "no decoherence") == []


def test_a_promise_that_was_held_does_not_count_before_it_was_delivered() -> None:
    held = {**promise("n2", "n3", B3), "fate": "held"}
    too_late = [held, accept("n3", "n1", B3, "red"), later(0, held, "released")]
    in_time = [held, later(0, held, "released"), accept("n3", "n1", B3, "red")]
    assert len(findings(run_of(*too_late), "no decoherence")) == 1
    assert findings(run_of(*in_time), "no decoherence") == []


def test_a_ballot_that_two_incarnations_use() -> None:
    run = run_of(prepare("n1", "n2", B1), prepare("n1", "n2", B1), prepare("n1", "n3", B1, incarnation=2))
    expected = "variable x: ballot 1 of n1 was used by two incarnations, 1 (Prepare) and 2 (Prepare)"
    assert_found(run, "no decoherence", expected)


@pytest.mark.parametrize("algorithm", [Paxos, Leader])
def test_an_incarnation_that_is_not_higher_than_the_one_before(algorithm: type[Algorithm]) -> None:
    def restarted(before: int, after: int) -> Receipt:
        evidence = {"wait_status": -9, "incarnation before": before, "incarnation": after}
        return Receipt("kill", 0, 1, True, ("n2",), evidence=evidence)

    assert findings(run_of(algorithm=algorithm, receipts=[restarted(1, 2)]), "no decoherence") == []
    for before, after in ((2, 1), (2, 2)):
        run = run_of(algorithm=algorithm, receipts=[restarted(1, 2), restarted(before, after)])
        assert_found(run, "no decoherence", f"n2 restarted as incarnation {after} after incarnation {before}")


def test_a_ballot_of_another_node() -> None:
    run = run_of(prepare("n2", "n3", B1))
    assert_found(run, "no decoherence", "variable x: n2 sent Prepare under ballot 1 of n1, which is not its own")


ACCEPTS_LOW = "variable x: n2 sent Accepted of ballot 1 of n1 after it had promised ballot 3 of n3"


def test_an_acceptance_below_a_promise() -> None:
    late = accept("n1", "n2", B1, "blue", "held")
    run = run_of(
        promise("n2", "n1", B1), late, promise("n2", "n3", B3), later(1, late, "released"), accepted("n2", "n1", B1)
    )
    assert_found(run, "no decoherence", ACCEPTS_LOW)


def test_a_promise_below_a_promise_of_an_earlier_incarnation() -> None:
    run = run_of(promise("n2", "n3", B3), promise("n2", "n1", B1, incarnation=2))
    assert_found(run, "no decoherence", ACCEPTS_LOW.replace("Accepted", "Promise"))


def test_answers_on_two_links_may_be_read_in_the_wrong_order() -> None:
    # n2 was asked to accept before the proxy read its promise to n3, so it may have accepted first.
    run = run_of(
        promise("n2", "n1", B1), accept("n1", "n2", B1, "blue"), promise("n2", "n3", B3), accepted("n2", "n1", B1)
    )
    assert findings(run, "no decoherence") == []


@pytest.mark.parametrize(
    ("lines", "stored", "expected"),
    [
        (
            [promise("n2", "n3", B3)],
            {"promised": (1, "n1")},
            "variable x: n2 sent Promise of ballot 3 of n3, but its disk shows ballot 1 of n1",
        ),
        (
            [accepted("n2", "n3", B3)],
            {},
            "variable x: n2 sent Accepted of ballot 3 of n3, but its disk shows nothing",
        ),
        (
            [decided("n2", "n3", "blue")],
            {},
            "variable x: n2 announced that 'blue' is decided, but its disk is undecided",
        ),
    ],
)
def test_a_disk_that_has_forgotten(lines: list[Line], stored: dict[str, Stored], expected: str) -> None:
    assert_found(run_of(*lines, disks={"n2": stored}), "no decoherence", expected)


# --- what the record may hide ---------------------------------------------------------------------------------------

IGNORES = (promise("n2", "n3", B3, B1, "blue"), accept("n3", "n2", B3, "red"))


def test_a_message_that_is_missing_in_a_record_that_begins_late_proves_nothing() -> None:
    late = [{**entry, "incarnation": 2} for entry in (*IGNORES, decided("n1", "n2", "red"))]
    run = run_of(*late, members=FIVE)
    run.messages = [entry for entry in run.messages if entry["type"] != "Rejected"]
    assert findings(run, "no decoherence") == []
    assert findings(run, "coherence") == []


def test_a_link_without_a_line_may_have_carried_any_message() -> None:
    run = run_of(*IGNORES, decided("n3", "n2", "red"))
    run.messages = [entry for entry in run.messages if {entry["from"], entry["to"]} != {"n1", "n3"}]
    assert findings(run, "no decoherence") == []
    assert findings(run, "coherence") == []


def test_a_corrupted_message_may_have_had_any_content() -> None:
    corrupted = {**promise("n1", "n3", B3, B1, "blue"), "fate": "corrupted"}
    assert findings(run_of(corrupted, *IGNORES), "no decoherence") == []


def test_messages_of_clients_and_messages_that_do_not_decode_are_skipped() -> None:
    strange = {**line("n1", "n2", "?"), "variable": None, "incarnation": None}
    client = {**line("client", "n1", "Decided", value="red"), "incarnation": 0}
    assert invariants(run_of(*CHOICE, strange, client)).status == VerdictStatus.VALID


def test_a_record_that_the_proxy_wrote_is_read(tmp_path: Path) -> None:
    recorder = MessageRecorder(tmp_path / "messages.jsonl")
    codec = Codec("c" * 32, Paxos.messages)
    envelope = Envelope("n1", 1, "x", Decided(encode_value("blue")))
    message = InTransit(("n1", "n2"), codec.encode(envelope), envelope)
    recorder.note(message, "held", "rule", 1)
    recorder.note(message, "released", "rule", 2)
    recorder.note(replace(message, index=None, original=message), "duplicated", "rule", 3)
    recorder.close()
    lines = [json.loads(text) for text in (tmp_path / "messages.jsonl").read_text().splitlines()]
    (sent,) = read_record(lines, MEMBERS).sent
    assert (sent.index, sent.sender, sent.to, sent.type, sent.variable) == (0, "n1", "n2", "Decided", "x")
    assert sent.delivered == (1, 2)
    assert sent.text() == '"blue"'
