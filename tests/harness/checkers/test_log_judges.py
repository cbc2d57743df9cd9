"""The checkers of replicated logs: each finds its violation in evidence that differs from a good run in one respect."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from harness.checkers.answers import answers
from harness.checkers.chosen_log import ChosenLog
from harness.checkers.durability import durability
from harness.checkers.evidence import COMMIT_LOST, RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.known_bad import known_bad, undetected
from harness.checkers.linearizable import linearizable
from harness.checkers.liveness import liveness
from harness.checkers.log_rules import RULES
from harness.checkers.models import KvModel
from harness.checkers.properties import fault_tolerance
from harness.checkers.replicas import agreement, effects
from harness.checkers.verdict import Verdict, VerdictStatus
from harness.records.disks import decided_on_disk
from harness.records.history import Event, History
from harness.records.jsonable import to_jsonable
from harness.records.receipts import Receipt
from node.algorithms.multipaxos import MultiPaxos
from node.contract import Stored
from node.log_contract import Record
from node.storage.disk import Contents
from node.tuning import tuning_of
from node.wire import encode_value, pack_unchecked, unpack_unchecked

MEMBERS = ("n1", "n2", "n3")
S = 1_000_000_000


def batch(session: int, sequence: int, *commands: list[Any], machine: str = "kv") -> bytes:
    return pack_unchecked((0, ((session, sequence, 1, machine, pack_unchecked(list(commands))),)))


OPEN = batch(0, 0, ["open"], machine="session")
PUT = batch(1, 1, ["put", "x", encode_value("blue")])
CAS = batch(1, 2, ["cas", "x", 1, encode_value("red")])
#: A log that contains a frame twice, because a client sent it again.
LOG = (OPEN, PUT, PUT, CAS)


def disk(node: str, log: Iterable[bytes] = LOG, *, commit: int = 4, promised: Stored = (1, "n1")) -> Contents:
    contents = Contents(node=node, cluster="0" * 32, incarnation=1)
    contents.variables = {"": {"commit": commit, "promised": promised}}
    for slot, each in enumerate(log, 1):
        contents.log.put(Record(slot, 1, "n1", each))
    return contents


def call(f: str, value: Any, type_: str = "ok", answer: Any = None, error: str | None = None) -> tuple[Any, ...]:
    return f, value, type_, answer, error


def history(*calls: tuple[Any, ...]) -> History:
    events: list[Event] = []
    for f, value, type_, answer, error in calls:
        about: dict[str, Any] = {"process": f"c{len(events)}", "f": f, "key": "x"}
        at = len(events) * S
        events.append(Event(len(events), at, type="invoke", value=value, timeout_s=9.0, **about))
        events.append(Event(len(events), at + S, type=type_, value=answer, error=error, **about))
    return History(events)


GOOD = history(call("put", "blue", answer=1), call("cas", ["blue", "red"], answer=2), call("get", None, answer="red"))
HASHES = ChosenLog(MultiPaxos, MEMBERS, {"n1": disk("n1")}, {}).applied.hashes


def replica(slot: int = 4, chain: int | None = None) -> dict[str, Any]:
    marks = {"2": HASHES[2]}
    return {"applied": slot, "commit": slot, "chain": HASHES[slot] if chain is None else chain, "marks": marks}


def run(events: History = GOOD, **about: Any) -> RunEvidence:
    whole: dict[str, Any] = {
        "disks": {node: disk(node) for node in MEMBERS},
        "replicas": {node: replica() for node in MEMBERS},
    }
    return RunEvidence(MEMBERS, MultiPaxos, events, **{**whole, **about})


def test_every_checker_finds_a_good_run_valid() -> None:
    for check in (agreement, effects, durability):
        verdict = check(run())
        assert verdict.status is VerdictStatus.VALID, verdict
    assert linearizable(run(), KvModel()).status is VerdictStatus.VALID
    assert "1 repeated frame had no effect" in effects(run()).evidence


def test_the_checkers_find_their_known_bad_runs() -> None:
    checkers = {
        "fault tolerance": fault_tolerance,
        "linearizability": lambda made: linearizable(made, KvModel()),
        "invariants": invariants,
        "durability": durability,
        "agreement": agreement,
        "effects": effects,
        "liveness": lambda made: liveness(made, 0, 5.0),
    }
    assert undetected(checkers, known_bad(MultiPaxos, KvModel())) is None


def bad(verdict: Verdict, expected: str) -> None:
    assert verdict.status is VerdictStatus.INVALID, verdict
    assert expected in verdict.evidence


# --- what was chosen ------------------------------------------------------------------------------------------------


def test_two_batches_that_are_known_as_chosen_in_a_slot_are_found() -> None:
    disks = {"n1": disk("n1"), "n2": disk("n2"), "n3": disk("n3", (OPEN, PUT, CAS, CAS))}
    bad(agreement(run(disks=disks)), "n1 and n3 know different batches as chosen in slot 3")


def test_a_batch_that_no_node_knows_as_chosen_counts_if_a_quorum_has_it() -> None:
    disks = {"n1": disk("n1", commit=0), "n2": disk("n2", commit=0), "n3": disk("n3", LOG[:2], commit=0)}
    made = run(disks=disks, replicas={})
    assert list(made.log.chosen) == [1, 2, 3, 4]
    alone = {"n1": disk("n1", commit=0), "n2": disk("n2", LOG[:1], commit=0)}
    assert list(run(disks=alone, replicas={}).log.chosen) == [1]


def test_a_replica_whose_state_differs_is_found() -> None:
    bad(agreement(run(replicas={**run().replicas, "n2": replica(chain=7)})), "n2 has the hash 00000007 after slot 4")
    assert agreement(run(replicas={}, disks={})).status is VerdictStatus.UNKNOWN


def test_a_snapshot_that_differs_from_the_log_is_found() -> None:
    for log, status in ((LOG, VerdictStatus.VALID), ((OPEN, CAS, PUT, PUT), VerdictStatus.INVALID)):
        other = ChosenLog(MultiPaxos, MEMBERS, {"n3": disk("n3", log)}, {})
        state = other.empty_state()
        for slot, each in enumerate(log, 1):
            state.apply(slot, each)
        snapshot = disk("n3", ())
        snapshot.variables[""]["snapshot"] = (4, 1)
        snapshot.log.put_part(4, 0, state.snapshot())
        verdict = agreement(run(disks={"n1": disk("n1"), "n2": disk("n2"), "n3": snapshot}))
        assert verdict.status is status, verdict


def snapshot_of(node: str, slot: int, first_kept: int) -> Contents:
    """Return a disk with a snapshot after `slot`, and the log from `first_kept` on."""
    state = ChosenLog(MultiPaxos, MEMBERS, {"n1": disk("n1")}, {}).empty_state()
    for number, each in enumerate(LOG[:slot], 1):
        state.apply(number, each)
    made = disk(node)
    made.log.truncate(first_kept)
    made.variables[""]["snapshot"] = (slot, 1)
    made.log.put_part(slot, 0, state.snapshot())
    return made


def proposal(slot: int, of: bytes, ballot: tuple[int, str] = (1, "n1")) -> dict[str, Any]:
    return accept("n2", [*ballot], slot, to_jsonable(unpack_unchecked(of)) if of else "")


def test_a_log_that_begins_with_a_snapshot_is_judged_from_there() -> None:
    made_run = run(disks={node: snapshot_of(node, 2, 3) for node in MEMBERS})
    assert (made_run.log.applied.first, made_run.log.applied.last) == (3, 4)
    for check in (agreement, effects, durability):
        assert check(made_run).status is VerdictStatus.VALID, check(made_run)


def test_slots_that_no_disk_holds_are_taken_from_the_messages() -> None:
    lost = [proposal(1, OPEN), proposal(2, CAS), proposal(2, PUT, (2, "n2")), proposal(3, b""), proposal(5, PUT)]
    made_run = run(disks={node: snapshot_of(node, 2, 3) for node in MEMBERS}, messages=lost)
    assert list(made_run.log.chosen.values()) == list(LOG)
    assert (made_run.log.applied.first, made_run.log.applied.last) == (1, 4)
    for check in (agreement, effects, durability):
        assert check(made_run).status is VerdictStatus.VALID, check(made_run)
    other = history(call("put", "green", answer=1))
    bad(effects(run(other, disks=made_run.disks, messages=lost)), "put of 'green' for x was answered with version 1")
    changed = run(disks=made_run.disks, messages=[proposal(1, OPEN), proposal(2, CAS)])
    bad(agreement(changed), f"n1 has the hash {HASHES[2]:08x} after slot 2 instead of")


def test_a_log_with_a_gap_is_judged_above_the_gap() -> None:
    early = disk("n1", LOG[:1], commit=1)  # it missed the rest, and the others' logs begin later
    made_run = run(disks={"n1": early, "n2": snapshot_of("n2", 2, 3), "n3": snapshot_of("n3", 3, 4)})
    assert (made_run.log.applied.first, made_run.log.applied.last) == (3, 4)
    assert effects(made_run).status is VerdictStatus.VALID


# --- durability -----------------------------------------------------------------------------------------------------


def test_an_acknowledged_write_that_is_on_one_disk_only_is_found() -> None:
    disks = {"n1": disk("n1"), "n2": disk("n2", LOG[:3], commit=3), "n3": disk("n3", LOG[:3], commit=3)}
    bad(
        durability(run(disks=disks)),
        "cas of 'red' for x was acknowledged at 3.00 s, but it is on 1 of 3 disks (n1; chosen slots: 4) and must be on 2",
    )
    nowhere = {node: disk(node, LOG[:3], commit=3) for node in MEMBERS}
    bad(durability(run(disks=nowhere)), "it is on 0 of 3 disks (none; chosen slots: none)")


def test_durability_finds_a_decided_variable_in_the_log() -> None:
    proposal = batch(0, 0, ["propose", "x", encode_value("blue")], machine="once")
    answered = history(call("propose", "red", answer="blue"))
    disks = {node: disk(node, (proposal,), commit=1) for node in MEMBERS}
    assert durability(run(answered, disks=disks)).status is VerdictStatus.VALID
    bad(durability(run(answered)), "'blue'")


def test_a_disk_shows_all_of_its_many_decided_variables() -> None:
    slots = [batch(0, 0, ["propose", f"x{each}", encode_value(each)], machine="once") for each in range(150)]
    decided = decided_on_disk(MultiPaxos, MEMBERS, disk("n1", slots, commit=150))
    assert decided == {f"x{each}": each for each in range(150)}


# --- effects --------------------------------------------------------------------------------------------------------


def test_a_command_that_took_effect_twice_is_found() -> None:
    again = batch(1, 3, ["put", "x", encode_value("blue")])
    disks = {node: disk(node, (OPEN, PUT, again)) for node in MEMBERS}
    bad(effects(run(history(call("put", "blue", answer=1)), disks=disks)), "'blue' took effect 2 times for x")


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (
            call("put", "blue", "fail", error="not_sent: no leader"),
            "was refused (not_sent: no leader), and took effect",
        ),
        (call("put", "blue", answer=2), "was answered with version 2, which in the log is 'red' for x"),
        (call("put", "green", answer=9), "was answered with version 9, and the log has no change with this version"),
    ],
)
def test_an_answer_that_differs_from_the_log_is_found(answered: tuple[Any, ...], expected: str) -> None:
    bad(effects(run(history(answered))), expected)


def test_effects_are_unknown_without_an_acknowledged_change() -> None:
    assert effects(run(history(call("put", "blue", "info")))).status is VerdictStatus.UNKNOWN


# --- the wire -------------------------------------------------------------------------------------------------------


def message(type_: str, sender: str, to: str, incarnation: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "from": sender,
        "to": to,
        "type": type_,
        "variable": "",
        "incarnation": incarnation,
        "fields": fields,
        "fate": "passed",
    }


def prepare(to: str, ballot: list[Any], commit: int = 0, incarnation: int = 1) -> dict[str, Any]:
    return message("Prepare", ballot[1], to, incarnation, ballot=ballot, commit=commit, doubts=[])


def promise(sender: str, ballot: list[Any], *records: list[Any], commit: int = 0) -> dict[str, Any]:
    fields: dict[str, Any] = {"ballot": ballot, "part": 0, "parts": 1, "commit": commit, "records": list(records)}
    return message("Promise", sender, ballot[1], **fields, doubt=0, doubts=[])


def accept(to: str, ballot: list[Any], slot: int, of: Any, commit: int = 0, incarnation: int = 1) -> dict[str, Any]:
    return message("Accept", ballot[1], to, incarnation, ballot=ballot, slot=slot, batch=of, commit=commit)


def accepted(sender: str, ballot: list[Any], *slots: int) -> dict[str, Any]:
    return message("Accepted", sender, ballot[1], ballot=ballot, slots=list(slots))


def heartbeat(to: str, ballot: list[Any], commit: int) -> dict[str, Any]:
    return message("Heartbeat", ballot[1], to, ballot=ballot, round=1, commit=commit, beat=1, wait_ms=0)


ONE, TWO = [1, "n1"], [2, "n2"]


def wire(*lines: dict[str, Any], **about: Any) -> Verdict:
    numbered = [{**line, "index": number, "time": number, "rule": None} for number, line in enumerate(lines)]
    return invariants(RunEvidence(MEMBERS, MultiPaxos, GOOD, messages=numbered, **about))


FINE = (
    prepare("n3", ONE),
    promise("n3", ONE),
    accept("n3", ONE, 1, "aa"),
    accepted("n3", ONE, 1),
    prepare("n3", TWO),
    promise("n3", TWO, [1, 1, "n1", "aa"]),
    accept("n3", TWO, 1, "aa"),
    accepted("n3", TWO, 1),
)


def test_a_correct_change_of_leaders_is_valid() -> None:
    assert wire(*FINE).status is VerdictStatus.VALID
    assert wire(message("Canvass", "n1", "n2", attempt=1, commit=0)).status is VerdictStatus.UNKNOWN


@pytest.mark.parametrize(
    ("rule", "lines", "expected"),
    [
        ("one_batch_a_ballot", (accept("n2", ONE, 1, "aa"), accept("n3", ONE, 1, "bb")), "has two batches in slot 1"),
        (
            "one_choice_a_slot",
            (
                *(accept("n3", ONE, 1, "aa"), heartbeat("n3", ONE, 1)),
                *(accept("n3", TWO, 1, "bb"), heartbeat("n3", TWO, 1)),
            ),
            "two batches are chosen in slot 1: under ballot 1 of n1",
        ),
        (
            "later_ballots_keep_the_choice",
            (accept("n2", ONE, 1, "aa"), accepted("n2", ONE, 1), accepted("n3", ONE, 1), accept("n3", TWO, 1, "bb")),
            "slot 1 was chosen under ballot 1 of n1 (n2, n3 accepted it), and the later ballot 2 of n2 has another",
        ),
        (
            "ballots_are_used_once",
            (prepare("n2", ONE), prepare("n2", ONE, incarnation=2)),
            "was used by two incarnations, 1",
        ),
        (
            "promises_are_kept",
            (prepare("n3", TWO), promise("n3", TWO), accept("n3", ONE, 1, "aa"), accepted("n3", ONE, 1)),
            "n3 sent Accepted of ballot 1 of n1 after it had promised ballot 2 of n2",
        ),
        (
            "promises_are_complete",
            (accept("n3", ONE, 1, "aa"), accepted("n3", ONE, 1), prepare("n3", TWO), promise("n3", TWO)),
            "n3 had accepted slot 1 under ballot 1 of n1, and its promise of ballot 2 of n2 leaves it out",
        ),
    ],
)
def test_each_rule_finds_its_violation(rule: str, lines: tuple[dict[str, Any], ...], expected: str) -> None:
    assert rule in {each.__name__ for each in RULES}
    bad(wire(*lines), expected)


def test_a_disk_that_forgot_is_found() -> None:
    disks = {"n3": disk("n3", (), commit=0, promised=(1, "n1"))}
    bad(wire(*FINE, disks=disks), "n3 answered ballot 2 of n2, but its disk shows only a promise of ballot 1 of n1")
    disks = {"n3": disk("n3", (), commit=0, promised=(2, "n2"))}
    bad(wire(*FINE, disks=disks), "n3 accepted slot 1 under ballot 1 of n1, but its disk has nothing there")


def test_a_disk_whose_last_commit_was_damaged_may_lack_it_also_if_nobody_asks_the_node_again() -> None:
    damaged = [Receipt("damage-last-commit", 9, None, True, ("n3",), evidence={COMMIT_LOST: ["n3"]})]
    booted_again = replace(disk("n3", (), commit=0, promised=(2, "n2")), incarnation=2)
    assert wire(*FINE, disks={"n3": booted_again}, receipts=damaged).status is VerdictStatus.VALID
    later = {**accepted("n3", TWO, 1), "incarnation": 2}
    bad(wire(*FINE, later, disks={"n3": booted_again}, receipts=damaged), "its disk has nothing there")


def test_there_is_a_violation_for_each_rule() -> None:
    tried = {mark.args[1][number][0] for mark in test_each_rule_finds_its_violation.pytestmark for number in range(6)}
    assert {rule.__name__ for rule in RULES} == tried | {"disks_remember"}


# --- fault tolerance ------------------------------------------------------------------------------------------------


def is_blamed(*receipts: Receipt) -> bool:
    """Whether `fault_tolerance` is invalid for a put that was answered and a get from 1 s to 9 s that was not."""
    events = list(history(call("put", "blue", answer=1)).events)
    about: dict[str, Any] = {"process": "c9", "f": "get", "key": "x"}
    events.append(Event(2, S, type="invoke", timeout_s=8.0, **about))
    events.append(Event(3, 9 * S, type="info", error="no answer", **about))
    return fault_tolerance(run(History(events), receipts=list(receipts))).status is VerdictStatus.INVALID


def cut(began: int, ended: int, *links: tuple[str, str]) -> Receipt:
    return Receipt("cut", began * S, ended * S, bit=True, links_cut=links)


def test_an_answer_is_owed_while_every_node_that_may_lead_is_within_reach() -> None:
    assert is_blamed()
    assert is_blamed(Receipt("kill", S, 9 * S, bit=True, nodes_down=("n3",)))
    assert not is_blamed(Receipt("kill", S, 9 * S, bit=True, nodes_down=("n2", "n3")))
    assert not is_blamed(cut(1, 9, ("client", "n2")))  # n2 may lead, and no client can reach it
    assert is_blamed(cut(1, 9, ("client", "n2")), Receipt("kill", S, 9 * S, bit=True, nodes_down=("n2",)))


def test_a_fault_at_the_beginning_of_a_call_excuses_it_only_for_a_while() -> None:
    both_ways = [(a, b) for a in MEMBERS for b in MEMBERS if a != b]
    assert is_blamed(cut(0, 3, *both_ways))
    assert not is_blamed(cut(0, 8, *both_ways))
    assert not is_blamed(cut(0, 3, *both_ways), cut(6, 8, *both_ways))


# --- answers ----------------------------------------------------------------------------------------------------------


def test_the_answer_to_a_claim_may_be_of_a_state_within_its_slot() -> None:
    """The claim waited when it was made, and the next command of the same slot handed the lock to it."""
    owner = {"owner": "b", "lease_s": 0.6, "waits": True}
    frames = [
        (session, 1, 1, "locks", pack_unchecked([command]))
        for session, command in (
            (1, ["acquire", "x", "a", 600]),
            (2, ["acquire", "x", "b", 600]),
            (1, ["give_up", "x", "a"]),
        )
    ]
    frames[2] = (1, 2, 1, *frames[2][3:])
    log = (OPEN, OPEN, pack_unchecked((0, frames)))
    waits = call("acquire", owner, "fail", error="held: another claim holds the lock; ticket 2 waits in the queue")
    made = run(history(waits, call("holder", None, answer=["b", 2, 0])))
    made.disks = {node: disk(node, log, commit=3) for node in MEMBERS}
    made.replicas = {}
    assert answers(made).status is VerdictStatus.VALID
    made.history = history(call("acquire", owner, "fail", error="held: 'x' is held by 'c'"), waits)
    assert answers(made).status is VerdictStatus.VALID  # both may be of the same moment
    made.history = history(call("holder", None, answer=["b", 2, 0]), waits)
    assert answers(made).status is VerdictStatus.INVALID


def test_the_pages_of_a_range_may_be_of_different_moments_only_if_the_settings_make_pages_small() -> None:
    puts = [
        batch(1, number, ["put", key, encode_value(value)])
        for number, (key, value) in enumerate([("x1", "blue"), ("x2", "blue"), ("x1", "red"), ("x2", "red")], 1)
    ]
    mixed = [["x1", "blue", 1], ["x2", "red", 4]]
    made = run(history(call("range", None, answer=mixed)))
    made.disks = {node: disk(node, [OPEN, *puts], commit=5) for node in MEMBERS}
    made.replicas = {}
    assert answers(made).status is VerdictStatus.INVALID
    made.settings = tuning_of({"kv_answer_entries": 1})
    assert answers(made).status is VerdictStatus.VALID
    made.history = history(call("version", None, answer=4), call("range", None, answer=mixed[1:]))
    assert (
        answers(made).status is VerdictStatus.INVALID
    )  # x1 was there before the range began, and has not changed since
