"""Scripts about judges. Each gives histories with a known flaw to a judge, or to a broken judge, which must name every flaw."""

from typing import Final

from harness.checkers.client_calls import CallJudge, as_checker
from harness.checkers.dependency_graph import DependencyGraph
from harness.checkers.grow_only_sets import SET, CollectedSet, judge_set
from harness.checkers.jit_linearizability import judge_window
from harness.checkers.known_bad_calls import known_flaws
from harness.checkers.known_bad_leaders import KNOWN_BREAKS, KeepsBallots
from harness.checkers.leader_rules import LeaderLogs
from harness.checkers.list_append import judge_list_append
from harness.checkers.models import CasRegisterModel
from harness.checkers.return_events import ReturnEvents
from harness.checkers.sequential_model import DONE, ObjectCall
from harness.checkers.suspect_windows import Window
from harness.checkers.transactions import Isolation
from harness.mutants.part_scripts import PartScript


def _must_name_each_flaw(judge: CallJudge, name: str) -> None:
    """Raise an AssertionError if the judge does not name a flaw of a history that is known to have it."""
    check = as_checker(judge)
    for flaw, run in known_flaws(name).items():
        verdict = check(run)
        if not any(line.startswith(f"{flaw}: ") for line in (verdict.evidence, *verdict.more)):
            raise AssertionError(
                f"known bad runs: the judge {name} returned {verdict.status} for a history with {flaw}"
            )


def transactions_with_each_anomaly(graph: type[DependencyGraph]) -> None:
    """Transactions on lists, with each published anomaly in turn."""
    strict = Isolation.STRICT_SERIALIZABLE
    judge = CallJudge(("txn",), lambda calls, context: judge_list_append(calls, context, strict, graph), whole=True)
    _must_name_each_flaw(judge, "list-append")


def sets_with_each_flaw(kind: type[CollectedSet]) -> None:
    """A set that loses an element, hides one for a while, invents one, or returns one twice."""
    _must_name_each_flaw(CallJudge(SET.functions, lambda calls, context: judge_set(calls, context, kind)), "set")


def logs_that_break_each_rule(kind: type[LeaderLogs]) -> None:
    """Messages of leaders that break each rule about their logs in turn."""
    for rule, cases in KNOWN_BREAKS.items():
        for said in cases:
            leaders = kind(KeepsBallots)
            broken = [each.rule for node, message in said for each in leaders.say(node, message)]
            if rule not in broken:
                raise AssertionError(f"known bad runs: {rule} was broken, and found were {broken}")


def a_part_with_an_order(kind: type[ReturnEvents]) -> None:
    """Four calls of a register that have an order, if the first of two equal swaps took effect before them."""
    before = ObjectCall("cas", ("a", "b"), DONE, 0, 20, None, 1)
    calls = [
        before,
        ObjectCall("read", None, "a", 10, 11, None, 3),
        ObjectCall("cas", ("a", "b"), DONE, 12, 22, None, 2),
        ObjectCall("read", None, "b", 14, 15, None, 3),
    ]
    window = Window(calls, ["a", "b"], {before}, {call: call for call in calls})
    found, _ = judge_window(window, CasRegisterModel(), None, kind)
    if found is not None:
        raise AssertionError("known good parts: no order was found for calls that have one")


TRANSACTIONS_WITH_EACH_ANOMALY: Final = PartScript("transactions-with-each-anomaly", transactions_with_each_anomaly)
SETS_WITH_EACH_FLAW: Final = PartScript("sets-with-each-flaw", sets_with_each_flaw)
LOGS_THAT_BREAK_EACH_RULE: Final = PartScript("logs-that-break-each-rule", logs_that_break_each_rule)
A_PART_WITH_AN_ORDER: Final = PartScript("a-part-with-an-order", a_part_with_an_order)
