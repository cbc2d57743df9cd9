import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import cluster.clients.client
import node.dispatch
import node.turn
import node.wire
from harness.checkers import properties
from harness.checkers.evidence import Stall
from harness.checkers.properties import (
    EXCUSED,
    RunEvidence,
    coherence,
    conflict_resolution,
    fault_tolerance,
    judge,
    no_decoherence,
)
from harness.checkers.verdict import Verdict, VerdictStatus
from harness.records.history import Event, EventType, History
from harness.records.receipts import Receipt
from node.algorithms.leader import Leader
from node.algorithms.majority import Majority
from node.storage.disk import Contents
from node.wire import encode_value

MEMBERS = ("n1", "n2", "n3")
CHECKS = (coherence, conflict_resolution, no_decoherence, fault_tolerance)


@dataclass
class Call:
    """One call of a history. `began_s` and `ended_s` are in seconds; `ended_s` is None for a call without a completion."""

    began_s: float
    ended_s: float | None
    node: str | None
    f: str
    value: object
    type: EventType
    answer: object = None
    error: str | None = None
    key: str = "x"
    timeout_s: float = 2.0


def propose(began_s: float, ended_s: float, node: str | None, value: object, answer: object, **about: Any) -> Call:
    return Call(began_s, ended_s, node, "propose", value, "ok", answer, **about)


def query(began_s: float, ended_s: float, node: str | None, answer: object, **about: Any) -> Call:
    return Call(began_s, ended_s, node, "query", None, "ok", answer, **about)


def silent(began_s: float, ended_s: float | None, node: str | None, value: object = None, **about: Any) -> Call:
    f = "query" if value is None else "propose"
    return Call(began_s, ended_s, node, f, value, "info", error="no answer", **about)


def refused(began_s: float, ended_s: float, node: str | None, value: object, error: str, **about: Any) -> Call:
    f = "query" if value is None else "propose"
    return Call(began_s, ended_s, node, f, value, "fail", error=error, **about)


def history_of(*calls: Call) -> History:
    moments: list[tuple[float, str, Call, bool]] = []
    for number, call in enumerate(calls, start=1):
        moments.append((call.began_s, f"c{number}", call, True))
        if call.ended_s is not None:
            moments.append((call.ended_s, f"c{number}", call, False))
    moments.sort(key=lambda moment: moment[0])
    events = []
    for index, (at_s, process, call, begins) in enumerate(moments):
        time = int(at_s * 1e9)
        if begins:
            event = Event(index, time, process, "invoke", call.f, call.key, call.value, None, call.node, call.timeout_s)
        else:
            event = Event(index, time, process, call.type, call.f, call.key, call.answer, call.error)
        events.append(event)
    return History(events)


def run_of(*calls: Call, **about: Any) -> RunEvidence:
    return RunEvidence(MEMBERS, Leader, history_of(*calls), **about)


def disk_of(node: str, **decided: object) -> Contents:
    variables: dict[str, dict[str, Any]] = {
        key: {} if value is None else {"value": encode_value(value)} for key, value in decided.items()
    }
    return Contents("c" * 32, node, 1, variables)


def seconds(at_s: float) -> int:
    return int(at_s * 1e9)


#: On a healthy cluster, two clients propose, one value is decided, and a third client queries it later.
GOOD = (propose(0, 0.5, "n1", "blue", "blue"), propose(0.1, 0.6, "n2", "red", "blue"), query(1, 1.2, "n3", "blue"))


def assert_invalid(verdict: Verdict, evidence: str) -> None:
    assert (VerdictStatus.INVALID, evidence) == (verdict.status, verdict.evidence)


def assert_unknown(verdict: Verdict, evidence: str) -> None:
    assert (VerdictStatus.UNKNOWN, evidence) == (verdict.status, verdict.evidence)


# --- all four -------------------------------------------------------------------------------------------------------


def test_a_good_run_is_valid() -> None:
    verdicts = judge(run_of(*GOOD, disks={"n1": disk_of("n1", x="blue")}))
    assert {name: verdict.evidence for name, verdict in verdicts.items()} == {
        "coherence": "all answers and disks agree for each of 1 variable that has two or more",
        "conflict resolution": "one proposal was picked for each of 1 variable with different proposals",
        "no decoherence": "1 later answer showed the decision that had been seen before",
        "fault tolerance": "3 operations received the answer that was owed",
    }
    assert all(verdict.status == VerdictStatus.VALID for verdict in verdicts.values())


def test_a_good_run_with_a_fault_that_bit_is_valid() -> None:
    fault = Receipt("kill", seconds(0.55), seconds(0.9), bit=True, nodes_down=("n1",))
    verdicts = judge(run_of(*GOOD, receipts=[fault], faults_expected=True))
    assert all(verdict.status == VerdictStatus.VALID for verdict in verdicts.values())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("calls", "evidence"),
    [
        ([], "none of 0 operations succeeded"),
        ([silent(0, 0.5, "n1", "blue", timeout_s=0.5)], "none of 1 operation succeeded"),
    ],
)
def test_an_empty_run_is_unknown(check: Callable[[RunEvidence], Verdict], calls: list[Call], evidence: str) -> None:
    assert_unknown(check(run_of(*calls)), evidence)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("receipts", "evidence"),
    [
        ([], "faults were expected, and the run has no receipt"),
        ([Receipt("kill", 0, None, bit=False)], "kill did not bite: no observer other than its injector saw an effect"),
        ([Receipt("kill", seconds(5), None, bit=True)], "every operation was over when kill began"),
    ],
)
def test_a_run_without_its_faults_is_unknown(
    check: Callable[[RunEvidence], Verdict], receipts: list[Receipt], evidence: str
) -> None:
    assert_unknown(check(run_of(*GOOD, receipts=receipts, faults_expected=True)), evidence)


@pytest.mark.parametrize("check", CHECKS)
def test_a_checker_that_fails_is_unknown(check: Callable[[RunEvidence], Verdict]) -> None:
    class Broken(Leader):
        def start(self) -> None:
            raise RuntimeError("no such state")

    run = run_of(*GOOD, receipts=[Receipt("kill", 0, None, nodes_down=("n9",))])
    run.algorithm = Broken
    run.disks = {"n1": disk_of("n1", x="blue")}
    verdict = check(run)
    assert verdict.status == VerdictStatus.UNKNOWN
    assert f"the checker {check.__name__} failed: " in verdict.evidence


def test_a_malformed_line_of_the_record_is_unknown() -> None:
    run = run_of(*GOOD, messages=[{"index": 0}])
    run.algorithm = Majority
    assert_unknown(coherence(run), "the checker coherence failed: KeyError 'from'")


# --- coherence ------------------------------------------------------------------------------------------------------


def test_two_answers_that_differ_are_incoherent() -> None:
    run = run_of(propose(0, 0.81, "n2", "blue", "blue"), propose(0, 1.93, "n4", "red", "red"))
    assert_invalid(coherence(run), "n2 answered 'blue' at 0.81 s and n4 answered 'red' at 1.93 s for x")


def test_two_disks_that_differ_are_incoherent() -> None:
    run = run_of(disks={"n1": disk_of("n1", x="blue"), "n2": disk_of("n2", x=None), "n3": disk_of("n3", x="red")})
    assert_invalid(coherence(run), "the disk of n1 shows 'blue' and the disk of n3 shows 'red' for x")


def test_an_answer_and_a_disk_that_differ_are_incoherent() -> None:
    run = run_of(query(0, 1, None, "blue"), disks={"n1": disk_of("n1", x="red")})
    assert_invalid(coherence(run), "c1 received 'blue' at 1.00 s and the disk of n1 shows 'red' for x")


def test_values_that_are_equal_in_python_still_differ() -> None:
    assert coherence(run_of(query(0, 1, "n1", 1), query(0, 1, "n2", True))).status == VerdictStatus.INVALID


def test_undecided_is_not_incoherent() -> None:
    assert coherence(run_of(*GOOD, query(0, 0.1, "n3", None))).status == VerdictStatus.VALID


def test_different_variables_may_differ() -> None:
    run = run_of(query(0, 1, "n1", "blue", key="x"), query(0, 1, "n1", "red", key="y"))
    assert_unknown(coherence(run), "no variable has two answers or disks to compare")


def test_a_violation_stands_even_if_the_fault_did_not_bite() -> None:
    run = run_of(query(0, 1, "n1", "blue"), query(0, 1, "n2", "red"), faults_expected=True)
    assert coherence(run).status == VerdictStatus.INVALID


# --- conflict resolution --------------------------------------------------------------------------------------------


def test_a_value_that_no_client_proposed() -> None:
    run = run_of(propose(0, 1, "n1", "blue", "green"))
    assert_invalid(
        conflict_resolution(run), "n1 answered 'green' at 1.00 s for x, and no client had proposed that value"
    )


def test_a_value_that_was_proposed_later() -> None:
    run = run_of(propose(0, 1, "n1", "blue", "red"), propose(2, 3, "n1", "red", "red"))
    assert_invalid(conflict_resolution(run), "n1 answered 'red' at 1.00 s for x, and no client had proposed that value")


def test_a_value_on_a_disk_that_no_client_proposed() -> None:
    run = run_of(query(0, 1, "n1", None), disks={"n1": disk_of("n1", x="blue")})
    assert_invalid(conflict_resolution(run), "the disk of n1 shows 'blue' for x, and no client had proposed that value")


def test_a_variable_that_is_older_than_the_history_is_not_judged() -> None:
    assert conflict_resolution(run_of(*GOOD, disks={"n1": disk_of("n1", old="blue")})).status == VerdictStatus.VALID


def test_a_proposal_of_unknown_outcome_counts_as_proposed() -> None:
    run = run_of(silent(0, 2, "n1", "blue"), silent(0, None, "n2", "red"), query(3, 4, "n3", "blue"))
    assert conflict_resolution(run).status == VerdictStatus.VALID


def test_a_value_whose_only_proposal_was_refused() -> None:
    run = run_of(refused(0, 1, "n1", "blue", "n1: requests are waiting here already"), query(2, 3, "n1", "blue"))
    expected = "n1 answered 'blue' at 3.00 s for x, and every proposal of that value had been refused as never done"
    assert_invalid(conflict_resolution(run), expected)


def test_a_proposal_that_was_refused_because_of_another() -> None:
    run = run_of(propose(0, 1, "n1", "blue", "blue"), refused(2, 3, "n2", "red", "already decided"))
    expected = "c2's propose of 'red' for x was refused at 3.00 s (already decided), and c1 had proposed a value too"
    assert_invalid(conflict_resolution(run), expected)


@pytest.mark.parametrize("excuse", EXCUSED)
def test_bad_input_and_a_full_node_are_no_conflict(excuse: str) -> None:
    run = run_of(*GOOD, refused(2, 3, "n2", "yellow", f"n2: well, {excuse}, sorry"))
    assert conflict_resolution(run).status == VerdictStatus.VALID
    assert fault_tolerance(run).status == VerdictStatus.VALID


def test_nodes_and_clients_really_use_each_excuse() -> None:
    sources = "".join(
        inspect.getsource(module) for module in (node.turn, node.dispatch, node.wire, cluster.clients.client)
    )
    assert [excuse for excuse in EXCUSED if excuse not in sources] == []


def test_a_refusal_without_a_rival_is_no_conflict() -> None:
    run = run_of(refused(0, 1, "n2", "red", "not now"), propose(2, 3, "n1", "blue", "blue"))
    assert_unknown(conflict_resolution(run_of(*GOOD[:1])), "no variable that was decided had two different proposals")
    assert conflict_resolution(run).status == VerdictStatus.VALID
    assert fault_tolerance(run).status == VerdictStatus.INVALID


def test_a_refusal_by_a_node_that_was_cut_off_is_excused() -> None:
    cut = Receipt("isolate", 0, None, bit=True, links_cut=(("n2", "n1"), ("n2", "n3")))
    run = run_of(*GOOD, refused(2, 3, "n2", "red", "no quorum"), receipts=[cut])
    assert conflict_resolution(run).status == VerdictStatus.VALID
    run.receipts = []
    del run.timeline
    assert conflict_resolution(run).status == VerdictStatus.INVALID


# --- no decoherence -------------------------------------------------------------------------------------------------


def test_an_answer_that_changes() -> None:
    run = run_of(query(0, 0.5, "n1", "blue"), query(1, 1.5, "n2", "red"))
    expected = "n1 answered 'blue' at 0.50 s, but in a later operation n2 answered 'red' at 1.50 s for x"
    assert_invalid(no_decoherence(run), expected)


def test_an_answer_that_goes_back_to_undecided() -> None:
    run = run_of(propose(0, 0.5, "n1", "blue", "blue"), query(1, 1.5, "n2", None))
    expected = "n1 answered 'blue' at 0.50 s, but in a later operation n2 answered undecided at 1.50 s for x"
    assert_invalid(no_decoherence(run), expected)


def test_an_answer_that_changes_back_is_still_found() -> None:
    run = run_of(query(0, 1, "n1", "blue"), query(0, 2, "n2", "red"), query(3, 4, "n3", "blue"))
    expected = "n2 answered 'red' at 2.00 s, but in a later operation n3 answered 'blue' at 4.00 s for x"
    assert_invalid(no_decoherence(run), expected)


def test_overlapping_operations_may_see_before_and_after() -> None:
    run = run_of(propose(0, 1, "n1", "blue", "blue"), query(0.5, 2, "n2", None))
    assert_unknown(no_decoherence(run), "no operation that began after a decision had been seen was answered")


def test_undecided_before_a_decision_is_no_decoherence() -> None:
    assert no_decoherence(run_of(query(-2, -1, "n1", None), *GOOD)).status == VerdictStatus.VALID


def test_a_disk_that_forgets() -> None:
    before, after = {"n1": disk_of("n1", x="blue")}, {"n1": disk_of("n1", x=None)}
    run = run_of(earlier_disks=[before], disks=after)
    assert_invalid(no_decoherence(run), "the disk of n1 showed 'blue' and later showed no decision for x")
    run = run_of(earlier_disks=[before, before], disks={"n1": disk_of("n1", x="red")})
    assert_invalid(no_decoherence(run), "the disk of n1 showed 'blue' and later showed 'red' for x")


# --- fault tolerance ------------------------------------------------------------------------------------------------

MINORITY = Receipt("kill", seconds(1), seconds(9), bit=True, nodes_down=("n1",))
MAJORITY = Receipt("kill", seconds(1), seconds(9), bit=True, nodes_down=("n1", "n2"))


def test_no_answer_though_a_majority_was_up() -> None:
    run = run_of(*GOOD, silent(2, 4, "n2", "red"), receipts=[MINORITY], faults_expected=True)
    expected = (
        "c4's propose for x, sent to n2 at 2.00 s, had no answer by 4.00 s, although a majority was up and connected"
    )
    assert_invalid(fault_tolerance(run), expected)


def test_no_answer_with_no_fault_at_all() -> None:
    assert fault_tolerance(run_of(*GOOD, silent(2, 4, "n2"))).status == VerdictStatus.INVALID


@pytest.mark.parametrize(
    "call",
    [
        silent(2, 4, "n1"),  # it was down
        silent(0.5, 2.5, "n1"),  # it went down during the call
        silent(2, 2.9, "n2", timeout_s=0.9),  # too short to be owed
        silent(2, 3, "n2"),  # the client gave up before its timeout
        silent(2, None, "n2"),  # the history does not show when the client gave up
    ],
)
def test_calls_that_are_owed_no_answer(call: Call) -> None:
    run = run_of(*GOOD, query(2, 3, "n3", "blue"), call, receipts=[MINORITY], faults_expected=True)
    assert fault_tolerance(run).status == VerdictStatus.VALID


def test_nothing_is_owed_without_a_majority() -> None:
    run = run_of(*GOOD, silent(2, 4, "n3"), query(10, 11, "n3", "blue"), receipts=[MAJORITY], faults_expected=True)
    assert fault_tolerance(run).status == VerdictStatus.VALID


def test_a_call_to_any_node_is_owed_an_answer_only_if_it_has_time_for_each_node() -> None:
    def run(timeout_s: float) -> RunEvidence:
        return run_of(*GOOD, silent(2, 2 + timeout_s, None, timeout_s=timeout_s), receipts=[MINORITY])

    assert fault_tolerance(run(1.9)).status == VerdictStatus.VALID
    assert fault_tolerance(run(2.0)).status == VerdictStatus.INVALID


def test_a_majority_that_keeps_changing_owes_nothing() -> None:
    flapping = [
        Receipt("cut", seconds(2 + turn * 0.5), seconds(2.5 + turn * 0.5), bit=True, nodes_down=(f"n{2 + turn % 2}",))
        for turn in range(4)
    ]
    run = run_of(*GOOD, silent(2, 4, "n1"), query(5, 6, "n1", "blue"), receipts=flapping)
    assert fault_tolerance(run).status == VerdictStatus.VALID


def test_a_refusal_though_a_majority_was_up() -> None:
    run = run_of(*GOOD, refused(2, 2.1, "n2", None, "no leader"), receipts=[MINORITY])
    refusal = "c4's query for x, sent to n2 at 2.00 s, was refused at 2.10 s (no leader)"
    expected = f"{refusal}, although a majority was up and connected"
    assert_invalid(fault_tolerance(run), expected)


def test_a_refusal_is_judged_by_the_whole_timeout_of_the_call() -> None:
    run = run_of(*GOOD, refused(0.5, 0.6, "n3", None, "no leader"), receipts=[MAJORITY])
    assert fault_tolerance(run).status == VerdictStatus.VALID


def test_an_answer_must_have_been_owed() -> None:
    cut = Receipt("cut", 0, None, bit=True, links_disturbed=(("client", "n1"), ("client", "n2"), ("n3", "client")))
    assert_unknown(fault_tolerance(run_of(*GOOD, receipts=[cut])), "no operation that was owed an answer received one")


def test_an_answer_must_have_been_owed_during_or_after_each_fault() -> None:
    kill = Receipt("kill", seconds(3), seconds(4), bit=True, nodes_down=("n1", "n2"))
    run = run_of(*GOOD, silent(3.1, 5.1, "n3"), receipts=[kill], faults_expected=True)
    expected = "no operation that was owed an answer received one during or after kill"
    assert_unknown(fault_tolerance(run), expected)


# --- late and lossy links ---------------------------------------------------------------------------------------------

LINKS = tuple((one, other) for one in MEMBERS for other in MEMBERS if one != other)


def asking(began_s: float, ended_s: float, timeout_s: float = 4.0) -> list[Call]:
    """Calls of one client that asks any node again and again, and gets no answer."""
    times = [began_s + (timeout_s + 0.1) * number for number in range(int((ended_s - began_s) / (timeout_s + 0.1)))]
    return [silent(at_s, at_s + timeout_s, None, timeout_s=timeout_s) for at_s in times]


@pytest.mark.parametrize(
    ("late_s", "loss", "owed_s"), [(0.1, 0.0, 4.5), (0.3, 0.0, 8.5), (0.0, 0.2, 11.875), (0.1, 0.2, 13.875)]
)
def test_over_late_and_lossy_links_an_answer_is_owed_later(late_s: float, loss: float, owed_s: float) -> None:
    """At the latest 2.5 s + 20 times the delay + 6 s / (1 - loss)^2 after the question, some call must be answered."""
    receipt = Receipt("delay", 0, None, bit=True, links_disturbed=LINKS, late_s=late_s, loss=loss)
    early = [*GOOD, *asking(3, 3 + owed_s - 0.5), query(3 + owed_s - 0.5, 3 + owed_s - 0.2, None, "blue")]
    assert fault_tolerance(run_of(*early, receipts=[receipt])).status is VerdictStatus.VALID
    never = fault_tolerance(run_of(*GOOD, *asking(3, 3 + owed_s + 12), receipts=[receipt]))
    assert never.status is VerdictStatus.INVALID


def test_links_that_may_lose_everything_excuse_everything() -> None:
    receipt = Receipt("hold", 0, None, bit=True, links_disturbed=LINKS)
    assert fault_tolerance(run_of(*GOOD, *asking(3, 60), receipts=[receipt])).status is not VerdictStatus.INVALID


def test_calls_that_waited_while_nothing_was_owed_are_named_beside_those_that_were_answered() -> None:
    held = Receipt("adversary", seconds(2), seconds(5), bit=True, links_disturbed=LINKS)
    over = Receipt("kill", seconds(0.1), seconds(0.2), bit=True, nodes_down=("n3",))
    waited = (propose(2.1, 5.1, "n1", "red", "blue", timeout_s=9.0), silent(3, 5, "n2"))
    quick = query(2.2, 2.3, "n2", "blue")
    verdict = fault_tolerance(run_of(*GOOD, *waited, quick, query(6, 6.1, "n3", "blue"), receipts=[over, held]))
    assert (VerdictStatus.VALID, verdict.evidence) == (
        verdict.status,
        "4 operations received the answer that was owed; none was owed to 2 others, which waited for up to 3.0 s while faults "
        "were in force: adversary",
    )


def test_a_silence_in_which_clients_hardly_asked_breaks_nothing() -> None:
    receipt = Receipt("delay", 0, None, bit=True, links_disturbed=LINKS, late_s=0.3, loss=0.0)
    calls = [silent(at_s, at_s + 2, None, timeout_s=2.0) for at_s in (5, 12, 19)]
    assert fault_tolerance(run_of(*GOOD, *calls, query(30, 30.1, None, "blue"), receipts=[receipt])).status is (
        VerdictStatus.VALID
    )


def test_faults_on_one_link_add_up_and_those_on_different_links_do_not() -> None:
    one = Receipt("delay", 0, None, bit=True, links_disturbed=(("n1", "n2"),), late_s=0.1, loss=0.0)
    other = Receipt("delay", 0, None, bit=True, links_disturbed=(("n2", "n3"),), late_s=0.2, loss=0.0)
    assert run_of(*GOOD, receipts=[one, other]).timeline.allowance_s(0, 1) == pytest.approx(4.0)
    assert run_of(*GOOD, receipts=[one, one]).timeline.allowance_s(0, 1) == pytest.approx(4.0)
    assert run_of(*GOOD, receipts=[]).timeline.allowance_s(0, 1) == 0


def test_properties_have_the_names_of_the_article() -> None:
    assert list(properties.PROPERTIES) == ["coherence", "conflict resolution", "no decoherence", "fault tolerance"]


def test_a_machine_that_stalls_excuses_a_late_answer_and_no_missing_one() -> None:
    def judged(timeout_s: float, *stalls: Stall) -> Verdict:
        calls = (propose(0, 1, "n1", "blue", "blue"), silent(2, 2 + timeout_s, "n1", timeout_s=timeout_s))
        return fault_tolerance(run_of(*calls, stalls=stalls))

    stall = Stall(2_500_000_000, 2_600_000_000)
    assert judged(2.0).status is VerdictStatus.INVALID
    assert judged(2.0, stall).status is not VerdictStatus.INVALID
    assert judged(9.0, stall).status is VerdictStatus.INVALID
    assert judged(2.0, Stall(0, 100_000_000)).status is VerdictStatus.INVALID
