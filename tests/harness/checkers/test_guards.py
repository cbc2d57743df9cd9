from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from harness.checkers.durability import durability
from harness.checkers.evidence import DISK_LOST, Checker, RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.invariants import invariants
from harness.checkers.known_bad import known_bad, undetected
from harness.checkers.linearizable import linearizable
from harness.checkers.liveness import liveness
from harness.checkers.properties import PROPERTIES, contract_verdict
from harness.checkers.verdict import Verdict, VerdictStatus, checker, unknown, valid
from harness.records.history import Event, History
from harness.records.receipts import Receipt
from node.algorithms.failover import Failover
from node.algorithms.majority import Majority
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, Stored
from node.storage.disk import Contents
from node.wire import encode_value

MEMBERS = ("n1", "n2", "n3")
S = 1_000_000_000
CHECKERS: dict[str, Checker] = {
    **PROPERTIES,
    "linearizability": linearizable,
    "invariants": invariants,
    "durability": durability,
    "liveness": partial(liveness, healed_ns=0, within_s=5.0),
}


def history(*calls: tuple[str, int, int, str, Any, Any]) -> History:
    """Return a history of calls, each (f, begin in s, end in s, node, value, answer); `...` means no answer."""
    events: list[Event] = []
    for f, began, ended, node, value, answer in calls:
        about: dict[str, Any] = {"process": f"c{len(events)}", "f": f, "key": "x", "node": node}
        events.append(Event(len(events), began * S, type="invoke", value=value, timeout_s=5.0, **about))
        done: dict[str, Any] = {"type": "info"} if answer is ... else {"type": "ok", "value": answer}
        events.append(Event(len(events), ended * S, **about, **done))
    return History(events)


GOOD = history(("propose", 0, 1, "n1", "blue", "blue"), ("query", 2, 3, "n2", None, "blue"))


def disk(node: str, stored: dict[str, Stored] | None = None) -> Contents:
    return Contents(node=node, cluster="0" * 32, incarnation=1, variables={"x": stored} if stored else {})


def run(events: History = GOOD, algorithm: type[Algorithm] = Paxos, **about: Any) -> RunEvidence:
    return RunEvidence(MEMBERS, algorithm, events, **about)


# --- the checkers are checked ---------------------------------------------------------------------------------------


def test_every_checker_has_a_known_bad_run_and_finds_it() -> None:
    assert set(CHECKERS) == set(known_bad())
    assert undetected(CHECKERS) is None


@pytest.mark.parametrize("name", CHECKERS)
def test_a_checker_that_passes_everything_is_named(name: str) -> None:
    blind = {**CHECKERS, name: lambda _run: valid("all is well")}
    assert f"the checker of {name} returned valid for a run that is known to be bad" in (undetected(blind) or "")


def test_a_checker_that_raises_is_named() -> None:
    @checker
    def crashing(_run: RunEvidence) -> Verdict:
        raise ZeroDivisionError

    assert "the checker of coherence returned unknown" in (undetected({**CHECKERS, "coherence": crashing}) or "")


def test_a_checker_without_a_known_bad_run_is_named() -> None:
    assert "no known bad run for the checker of taste" in (undetected({"taste": invariants}) or "")


# --- guards ---------------------------------------------------------------------------------------------------------

KILL = Receipt("kill", 0, S * 2, bit=True, nodes_down=("n3",))


def guarded(
    made: RunEvidence, execution: PlanExecution | None = None, checkers: Mapping[str, Checker] = CHECKERS
) -> tuple[VerdictStatus, str, bool]:
    verdict = guards(made, execution or PlanExecution(1, 1), ("propose", "query"), checkers)
    return verdict.status, verdict.evidence, verdict.no_test


def test_a_run_that_was_a_test_passes() -> None:
    assert guarded(run(receipts=[KILL]))[0] is VerdictStatus.VALID


def test_a_run_of_a_plan_without_faults_passes() -> None:
    assert guarded(run(), PlanExecution(0, 0))[0] is VerdictStatus.VALID


def test_a_fault_of_a_node_that_others_kept_down_all_the_time_had_nothing_to_strike() -> None:
    skew = Receipt("clock-skew", 2 * S, 6 * S, evidence={"node": "n3"})
    cut = Receipt("cut", 2 * S, 6 * S, links_cut=(("n1", "n3"), ("n3", "n1")))
    down = [Receipt("suspend", S, 3 * S, True, ("n3",)), Receipt("kill", 3 * S, 7 * S, True, ("n3", "n2"))]
    assert run(receipts=[*down, skew, cut]).why_unbitten() is None
    assert "clock-skew" in (run(receipts=[down[0], skew]).why_unbitten() or "")
    assert "cut did not bite" in (run(receipts=[*down[1:], cut]).why_unbitten() or "")


def test_a_kind_of_call_that_was_asked_a_few_times_in_vain_may_have_met_a_fault() -> None:
    few = history(
        ("propose", 0, 1, "n1", 1, 1),
        *[("query", 2 * number, 2 * number + 1, "n1", None, ...) for number in range(1, 5)],
    )
    assert guarded(run(few), PlanExecution(0, 0))[0] is VerdictStatus.VALID


def test_a_watch_that_is_told_of_no_history_has_worked() -> None:
    about: dict[str, Any] = {"f": "watch", "key": "k"}
    told = [
        event
        for number in range(5)
        for event in (
            Event(2 * number, 2 * number * S, f"c{number}", "invoke", timeout_s=5.0, **about),
            Event(
                2 * number + 1,
                (2 * number + 1) * S,
                f"c{number}",
                "fail",
                error="compacted: read the range again",
                **about,
            ),
        )
    ]
    verdict = guards(run(History(told)), PlanExecution(0, 0), ("watch",), CHECKERS)
    assert verdict.status is VerdictStatus.VALID


@pytest.mark.parametrize(
    ("made", "execution", "checkers", "expected"),
    [
        (run(receipts=[KILL]), PlanExecution(2, 1, ["kill at 1 s: n1 is down"]), CHECKERS, "kill at 1 s: n1 is down"),
        (run(), PlanExecution(2, 0), CHECKERS, "none of 2 steps fired"),
        (run(receipts=[Receipt("cut", 0, S, bit=False)]), PlanExecution(1, 1), CHECKERS, "cut did not bite"),
        (
            run(receipts=[Receipt("kill", S + 1, 2 * S, bit=True)]),
            PlanExecution(1, 1),
            CHECKERS,
            "no call was in flight",
        ),
        (run(receipts=[KILL]), PlanExecution(1, 1, (), ["n3"]), CHECKERS, "n3 had not come back"),
        (run(receipts=[KILL]), PlanExecution(1, 1), {"coherence": lambda _: unknown("?")}, "the checker of coherence"),
        (run(history(("query", 0, 1, "n1", None, None))), PlanExecution(0, 0), CHECKERS, "no propose succeeded, of 0"),
        (
            run(
                history(
                    ("propose", 0, 1, "n1", 1, 1),
                    *[("query", 2 * number, 2 * number + 1, "n1", None, ...) for number in range(1, 6)],
                )
            ),
            PlanExecution(0, 0),
            CHECKERS,
            "no query succeeded, of 5",
        ),
    ],
)
def test_a_run_that_was_no_test_is_unknown(
    made: RunEvidence, execution: PlanExecution, checkers: Mapping[str, Checker], expected: str
) -> None:
    status, evidence, no_test = guarded(made, execution, checkers)
    assert status is VerdictStatus.UNKNOWN
    assert expected in evidence
    assert no_test


# --- durability -----------------------------------------------------------------------------------------------------

BLUE = encode_value("blue")


def disks(*stored: dict[str, Stored] | None) -> dict[str, Contents]:
    return {node: disk(node, each) for node, each in zip(MEMBERS, stored, strict=True)}


def test_how_many_copies_an_algorithm_owes() -> None:
    assert 3 == Paxos.copies_owed(5) == Majority.copies_owed(5)
    assert Failover.copies_owed(5) == 1


@pytest.mark.parametrize(
    ("algorithm", "stored", "expected"),
    [
        (Paxos, ({"accepted": (1, "n1", BLUE)}, {"decided": BLUE}, None), VerdictStatus.VALID),
        (Paxos, ({"decided": BLUE}, {"accepted": (1, "n1", encode_value("red"))}, None), VerdictStatus.INVALID),
        (Paxos, (None, None, None), VerdictStatus.INVALID),
        (Majority, ({"vote of n1": BLUE}, {"vote of n2": BLUE}, None), VerdictStatus.VALID),
        (Failover, ({"value": BLUE}, None, None), VerdictStatus.VALID),
        (Failover, (None, None, None), VerdictStatus.INVALID),
    ],
)
def test_an_acknowledged_value_must_be_on_enough_disks(
    algorithm: type[Algorithm], stored: tuple[dict[str, Stored] | None, ...], expected: VerdictStatus
) -> None:
    verdict = durability(run(algorithm=algorithm, disks=disks(*stored)))
    assert expected is verdict.status, verdict
    if expected is VerdictStatus.INVALID:
        assert "'blue'" in verdict.evidence


def test_no_copy_is_owed_for_a_disk_that_a_fault_took_away() -> None:
    lost = Receipt("wiped", 0, S, bit=True, evidence={DISK_LOST: ["n2"]})
    made = run(disks=disks({"decided": BLUE}, None, None), receipts=[lost])
    assert durability(made).status is VerdictStatus.VALID


def test_durability_is_unknown_without_an_acknowledged_value_or_without_a_disk() -> None:
    nothing = history(("query", 0, 1, "n1", None, None))
    assert durability(run(nothing, disks=disks(None, None, None))).status is VerdictStatus.UNKNOWN
    some = {node: disk(node, {"decided": BLUE}) for node in MEMBERS[:2]}
    assert "of 3 disks 2 were read" in durability(run(disks=some)).evidence


# --- liveness -------------------------------------------------------------------------------------------------------


def test_a_call_after_the_heal_must_be_answered_in_time() -> None:
    late = history(("propose", 0, 1, "n1", "blue", ...), ("query", 2, 9, "n2", None, "blue"))
    assert liveness(run(), 0, 5.0).status is VerdictStatus.VALID
    assert liveness(run(late), 2 * S, 8.0).status is VerdictStatus.VALID
    verdict = liveness(run(late), 2 * S, 5.0)
    assert verdict.status is VerdictStatus.INVALID
    assert "query for x at n2 had no answer within 5 s" in verdict.evidence
    assert liveness(run(late), 0, 8.0).status is VerdictStatus.INVALID
    assert liveness(run(), 10 * S, 5.0).status is VerdictStatus.UNKNOWN


def test_a_node_that_failed_by_itself_breaks_the_contract() -> None:
    assert contract_verdict(run()) == {}
    assert contract_verdict(run(failures=["n1 failed"]))["contract"].status is VerdictStatus.INVALID
