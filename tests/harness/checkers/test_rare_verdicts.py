"""Verdicts and sentences that few runs lead to: what is not shown, what was given up, and answers of rare kinds."""

from typing import Any

import pytest

from harness.checkers.answers import answers
from harness.checkers.answers_again import answers_again
from harness.checkers.asked import AskedQuestion
from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.certificate import describe_action, describe_value
from harness.checkers.client_calls import CallContext, ClientCall
from harness.checkers.dependency_graph import Cycle
from harness.checkers.evidence import PROXY, ProcessorWait, RefusedStart, RunEvidence, Stall
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.isolation_verdict import cycle_sentence
from harness.checkers.leading import HandOver, leading
from harness.checkers.minority_down import minority_down
from harness.checkers.models import LogModel
from harness.checkers.node_changes import node_changes
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.other_models import Permits, TxnStep, Versioned
from harness.checkers.recovery import recovery
from harness.checkers.rw_register import judge_rw_register
from harness.checkers.sequential_model import ObjectCall
from harness.checkers.task_tokens import contradicting_owners
from harness.checkers.transactions import Isolation
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History, RecordedCall
from harness.records.receipts import Receipt
from node.algorithms.paxos import Paxos
from tests.harness.checkers.test_log_judges import run
from tests.harness.checkers.test_transactions import in_turn, registers, together

S = 1_000_000_000
SOME = RunEvidence(("n1", "n2", "n3"), Paxos)


def test_what_a_run_does_not_show_is_unknown_and_why_is_said() -> None:
    assert answers(run(disks={})).status is VerdictStatus.UNKNOWN
    for verdict, why in (
        (recovery(SOME), "no node has refused to start again"),
        (node_changes(run()), "no node was to join or to leave"),
        (answers_again(SOME, 0, 1.0), "no client made a call after all faults had healed"),
        (minority_down(SOME, 1.0), "no fault of a minority lasted 1 s"),
        (guards(SOME, PlanExecution(3, 2), (), {}, {}), "2 steps fired and left no receipt"),
        (guards(SOME, PlanExecution(3, 0), (), {}, {}), "none of 3 steps fired"),
        (guards(SOME, PlanExecution(3, 1, ("the disk is full",)), (), {}, {}), "the disk is full"),
    ):
        assert (verdict.status, verdict.evidence) == (VerdictStatus.UNKNOWN, why)


def asked(at_s: float, took_s: float | None, error: str | None = None, f: str = "get", node: str = "n1") -> list[Event]:
    """Return the events of a call that was answered, or failed, after a while; None: never."""
    about: dict[str, Any] = {"process": f"c{at_s}", "f": f, "key": "x", "node": node}
    events = [Event(0, int(at_s * S), type="invoke", timeout_s=1.0, **about)]
    if took_s is not None:
        end: Any = {"type": "info", "error": error} if error else {"type": "ok", "value": "blue"}
        events.append(Event(0, int((at_s + took_s) * S), **end, **about))
    return events


def of(*calls: list[Event], **about: Any) -> RunEvidence:
    events = sorted((event for one in calls for event in one), key=lambda event: event.time)
    numbered = [Event(**{**{name: getattr(event, name) for name in Event.__slots__}, "index": number})
                for number, event in enumerate(events)]  # fmt: skip
    return RunEvidence(("n1", "n2", "n3"), Paxos, History(numbered), **about)


def test_a_call_that_is_made_again_after_the_heal_is_answered_once_or_counts() -> None:
    early = asked(1.0, 9.5)  # it began before the heal
    for calls, about, status, evidence in (
        ([early, asked(2.0, 0.25)], {}, "valid", "1 call after the heal were answered, the slowest in 0.25 s"),
        ([asked(2.0, 0.5, "x"), asked(3.0, 0.25)], {}, "valid", "1 call after the heal were answered, the slowest in 1.25 s"),
        ([asked(2.0, 0.5, "x"), asked(3.0, 0.25, "y"), asked(4.0, 0.5, f="put")], {}, "invalid",
         "get for x at n1 had no answer within 3 s, in 2 attempts, although all faults had healed by 0.00 s; the last: y"),
        ([asked(2.0, None)], {}, "invalid",
         "get for x at n1 had no answer within 3 s, in 1 attempt, although all faults had healed by 0.00 s; the last: no answer"),
        ([asked(2.0, 0.5, "x")], {"stalls": (Stall(int(4.9 * S), 6 * S),)}, "unknown",
         "1 call had no answer within 3 s, and the machine stalled meanwhile"),
        ([asked(2.0, 0.5, "x")], {"stalls": (Stall(5 * S, 6 * S),)}, "invalid",
         "get for x at n1 had no answer within 3 s, in 1 attempt, although all faults had healed by 0.00 s; the last: x"),
    ):  # fmt: skip
        verdict = answers_again(of(*calls, **about), 2 * S, 3.0)
        assert (verdict.status, verdict.evidence) == (status, evidence)


def test_what_processes_waited_for_a_processor_counts_while_it_overlaps() -> None:
    waits = [ProcessorWait(n * S, (n + 1) * S, {PROXY: S // 4, "n1": n * S // 10, "n2": S // 10}) for n in range(5)]
    evidence = RunEvidence(("n1", "n2"), Paxos, waits=waits)
    assert evidence.allowance_s(2 * S, 3 * S) == pytest.approx(0.25 + 0.2)
    assert evidence.allowance_s(2 * S, 3 * S + 1) == pytest.approx(0.5 + 0.5)
    assert evidence.allowance_s(2 * S - 1, 3 * S) == pytest.approx(0.5 + 0.3)
    assert evidence.allowance_s(9 * S, 10 * S) == 0


def test_a_refused_start_is_excused_by_a_damaged_disk_alone() -> None:
    refused = [RefusedStart("n1", S, "it cannot be read"), RefusedStart("n2", 2 * S, "it is another's")]
    damaged = [Receipt("damage", 0, 1, bit=True, evidence={"disk_damaged": ["n1", "n2"]})]
    verdict = recovery(RunEvidence(("n1", "n2"), Paxos, refusals=refused, receipts=damaged))
    assert verdict.evidence == "n1, n2 refused to start again, as it must on a disk that a fault had damaged"
    verdict = recovery(RunEvidence(("n1", "n2"), Paxos, refusals=refused))
    assert (verdict.status, len(verdict.more)) == (VerdictStatus.INVALID, 1)


def test_links_that_let_through_what_they_should_not_are_named() -> None:
    leaked = Receipt("cut", 0, S, bit=True, links_cut=(("n1", "n2"),), evidence={"leaked": ["n1 to n2", "n2 to n1"]})
    assert RunEvidence(("n1", "n2"), Paxos, receipts=[leaked]).why_unbitten() == (
        "cut did not bite: its links let through what they should not: n1 to n2, n2 to n1"
    )


def test_a_voter_that_did_not_lead_or_did_not_hear_is_named_unless_the_machine_stalled() -> None:
    late = HandOver("n1", S, None, ("n2",), ("n1", "n2", "n3"), "n2 leads")
    verdict = leading(SOME, [late, HandOver("n2", S, 3 * S)])
    assert verdict.evidence == (
        "n1 did not hear n3 although it was asked to lead from 0.00 s on, when all faults had healed: n2 leads"
    )
    assert leading(SOME, [HandOver("n1", S, None)]).evidence.startswith("n1 did not lead although")
    assert leading(SOME, [HandOver("n1", S, 3 * S), HandOver("n2", S, 2 * S)]).evidence.endswith("within 2.00 s")


@pytest.mark.parametrize(
    ("f", "argument", "answer", "ended", "expected"),
    [
        ("propose", '"a"', '"b"', 1, "received 'b'"),
        ("propose", '"a"', None, None, "called propose 'a' and received no answer"),
        ("query", None, None, 1, "received undecided"),
        ("acquire", Permits(2), None, None, "called acquire of 2 permits and received no answer"),
        ("acquire", Permits(1), None, 1, "acquired 1 permit"),
        ("release", Permits(3), "not held", 1, 'called release of 3 permits and received "not held"'),
        ("acquire", "c1", 7, 1, "acquired the lock with token 7"),
        ("release", "c1", None, 1, "released the lock"),
        ("acquire", "c1", None, None, "called acquire and received no answer"),
        ("delete", None, "done", 1, "deleted the value"),
        ("delete", None, "not found", 1, 'called delete and received "not found"'),
        ("cas", ("1", "2"), "mismatch", 1, 'called cas 2 for 1 and received "mismatch"'),
        ("cas", ("1", "2"), 4, 1, "swapped 2 for 1 as version 4"),
        ("write", "5", 3, 1, "wrote 5 as version 3"),
        ("append", "5", 3, 1, "appended 5"),
        ("read", None, (), 1, "read 0 entries"),
        ("read", None, ("5",), 1, "read 1 entry (5)"),
        ("read", None, ("4", "5"), 1, "read 2 entries (the last is 5)"),
        ("read", None, None, 1, "read nothing"),
        ("read", None, Versioned(0, None), 1, "read nothing"),
        ("read", None, Versioned(2, "5"), 1, "read 5 as version 2"),
        ("txn", (), (), 1, "did nothing in one transaction"),
        ("txn", (), None, None, "called txn to do nothing and received no answer"),
        ("txn", (TxnStep("w", "x", "1"),), (), 1, "wrote 1 to x"),
        ("txn", tuple(TxnStep("r", "x", None) for _ in range(8)), tuple("12345678"), 1,
         "read 1 from x and 2 from x and 3 from x and 4 from x and 5 from x and 6 from x and 2 steps more in one transaction"),
        ("txn", (TxnStep("r", "x", None), TxnStep("w", "y", "1")), None, None,
         "called txn to read x and write 1 to y and received no answer"),
    ],
)  # fmt: skip
def test_an_action_in_words(f: str, argument: Any, answer: Any, ended: int | None, expected: str) -> None:
    assert describe_action(ObjectCall(f, argument, answer, 0, ended)) == expected


def test_a_value_in_words_is_cut_after_60_characters() -> None:
    assert describe_value("1" * 60) == "1" * 60
    assert describe_value("1" * 61) == f"{'1' * 59}…"
    assert describe_value(("1", "2", "3")) == "3 entries"
    assert describe_value('"it') == '"it'
    assert describe_value(None) == describe_value(None, "read") == "nothing"


def shares(*rows: tuple[str, str, int, dict[str, Any]]) -> list[str]:
    """Return what is said of answers about tasks, one after the other: f, member, version, tasks."""
    placed = []
    for number, (f, member, version, tasks) in enumerate(rows):
        about: dict[str, Any] = {"process": "c", "f": f, "key": member}
        begin = Event(2 * number, 2 * number, type="invoke", **about)
        end = Event(2 * number + 1, 2 * number + 1, type="ok", value=[version, tasks], **about)
        placed.append(AskedQuestion(RecordedCall(begin, end), lambda _log: True))
    return list(contradicting_owners(placed, lambda event: f"event {event.index}"))


def test_a_token_has_one_owner_and_rises() -> None:
    assert shares(("mine", "a", 1, {"t": 1}), ("mine", "b", 2, {"t": 2}), ("mine", "b", 2, {"t": 2, "u": 3})) == []
    assert shares(("mine", "a", 1, {"t": 1}), ("owners", "", 1, {"t": ["a", 1], "u": None})) == []
    assert shares(("mine", "a", 1, {"t": 5}), ("mine", "b", 2, {"u": 5})) == [
        "a had t with token 5 by event 1, and b had u with token 5 by event 3: two owners with one token"
    ]
    rose = "a had t with token 5 by event 1, and then {} by event 3: the token did not rise"
    assert shares(("mine", "a", 1, {"t": 5}), ("mine", "a", 2, {"t": 4})) == [rose.format("a had t with token 4")]
    assert shares(("mine", "a", 1, {"t": 5}), ("mine", "b", 1, {"t": 6})) == [rose.format("b had t with token 6")]
    assert shares(("mine", "a", 1, {"t": 5}), ("mine", "a", 2, {"t": 6}), ("mine", "b", 3, {"t": 7})) == []
    assert shares(("mine", "a", 1, {"t": 5}), ("mine", "b", 2, {"t": 5}))[1] == rose.format("b had t with token 5")


def test_an_answer_about_one_members_tasks_is_not_older_than_one_about_all_before_it() -> None:
    all_of = ("owners", "", 3, {"t": ["a", 1], "u": ["b", 2], "v": None})
    for version, tasks, stale in (
        (3, {"t": 1}, False),
        (3, {}, True),
        (2, {}, True),
        (4, {}, False),
        (2, {"t": 1}, False),
    ):
        assert bool(shares(all_of, ("mine", "a", version, tasks))) is stale
        assert shares(("mine", "a", version, tasks), all_of) == []
    assert shares(all_of, ("mine", "a", 2, {})) == [
        "mine of a, begun at event 2, shows version 2 with [], but an answer before it shows version 3 with ['t']"
    ]


def test_what_the_judge_of_registers_has_not_decided_it_says() -> None:
    no_cycle = cycle_sentence(Cycle("G0", [], Isolation.SERIALIZABLE), [], CallContext(), lambda _edge, _names: "")
    assert no_cycle == "transactions depend on each other in circles, and the search for a short one was given up"
    for more, evidence in (
        (15, "20 transactions have no anomaly that serializable forbids, and an order that explains every read"),
        (16, "21 transactions have no anomaly that serializable forbids; whether an order explains all reads was not decided: "
         "they are more than 20"),
    ):  # fmt: skip
        some = together("w x 1", "w x 2", "r x 1", "r x 2, w y 1", "r y 1, r x 1", *(f"w z{n} 1" for n in range(more)))
        verdict = judge_rw_register(list(map(registers, some)), CallContext(), Isolation.SERIALIZABLE)
        assert (verdict.status, verdict.evidence) == (VerdictStatus.VALID, evidence)


def test_an_order_that_time_alone_forbids_is_named_so() -> None:
    some = list(map(registers, in_turn("w x 1", "w y 1", "r y 1, r x 1", "w x 2", "r x 1")))
    for level in Isolation:
        verdict = judge_rw_register(some, CallContext(), level)
        assert (verdict.status is VerdictStatus.INVALID) == (level is Isolation.STRICT_SERIALIZABLE), verdict


def test_a_log_whose_entries_were_appended_once_each_holds_none_twice() -> None:
    calls = [ObjectCall("append", "1", None, 0, 1, None, "a"), ObjectCall("read", None, ("1", "1"), 2, 3, None, "r")]
    found = find_contradiction(calls, LogModel())
    assert found is not None
    assert certify(calls, LogModel(), found, lambda _: None).sentence == (
        "r read 2 entries (the last is 1) at line 4, and entry number 2 of it repeats 1, which was appended once"
    )


def test_what_was_left_of_a_queue_is_a_list() -> None:
    calls = [ClientCall("enqueue", 1, None, "ok", 0, 1, "c"), ClientCall("drain", None, 7, "ok", 2, 3, "c")]
    assert CALL_JUDGES["queue"].judge(calls, CallContext()).evidence == (
        "c at line 4 received 7 from drain, which must be the list of what was left"
    )
