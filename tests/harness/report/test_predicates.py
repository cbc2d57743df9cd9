"""Predicates turn red at the step that breaks them, and at no other."""

from typing import Any

import pytest

from harness.report.predicates import AGREEMENT, CHOSEN, PROMISES, REPLICAS, STAYS, TOKENS, Predicates
from node.algorithms import load_algorithm


def broken(watched: Predicates) -> list[tuple[int, str]]:
    return [(event["t"], event["name"]) for event in watched.take_broken()]


def decided(value: str) -> dict[str, Any]:
    return {"colour": {"decided": repr(value)}}


def test_agreement_breaks_at_the_second_value_and_not_at_the_same_one() -> None:
    watched = Predicates(load_algorithm("failover"), 5)
    watched.status(1, "n1", decided("blue"))
    watched.status(2, "n2", decided("blue"))
    watched.answer(1, 3, "query", "colour", "blue", "n2")
    watched.status(3, "n3", {"shape": {"decided": "'round'"}})
    assert broken(watched) == []
    watched.status(4, "n3", decided("red"))
    watched.status(5, "n4", decided("red"))
    (event,) = watched.take_broken()
    assert (event["t"], event["name"]) == (4, AGREEMENT)
    assert event["evidence"] == "colour: n1 shows 'blue', and n3 shows 'red'"


def test_a_decision_stays_only_for_queries_that_began_after_it() -> None:
    watched = Predicates(load_algorithm("leader"), 3)
    watched.answer(1, 5, "propose", "colour", "blue", "n1")
    watched.answer(4, 6, "query", "colour", None, "n2")  # it began before the answer
    assert broken(watched) == []
    watched.answer(7, 8, "query", "colour", None, "n2")
    assert broken(watched) == [(8, STAYS)]


def test_another_answer_to_a_later_call_breaks_agreement_and_that_a_decision_stays() -> None:
    watched = Predicates(load_algorithm("failover"), 5)
    watched.answer(1, 5, "propose", "colour", "red", "n4")
    watched.answer(4, 6, "query", "colour", "blue", "n1")  # at the same time as the first
    assert broken(watched) == [(6, AGREEMENT)]
    watched.answer(6, 8, "query", "shape", "round", "n4")
    assert broken(watched) == []
    watched.answer(7, 9, "query", "colour", "blue", "n4")
    (event,) = watched.take_broken()
    assert (event["t"], event["name"]) == (9, STAYS)
    assert event["evidence"] == "colour: n4 answered 'red', and n4 answers 'blue' to a later call"


def test_a_value_is_chosen_by_a_majority_of_acceptors_under_one_ballot() -> None:
    watched = Predicates(load_algorithm("paxos"), 3)
    for ballot, value in (([1, "n1"], "blue"), ([2, "n2"], "red")):
        watched.message(1, "n1", "Accept", "colour", {"ballot": ballot, "value": value})
    watched.message(2, "n1", "Accepted", "colour", {"ballot": [1, "n1"]})
    watched.message(3, "n2", "Accepted", "colour", {"ballot": [2, "n2"]})
    watched.message(4, "n2", "Accepted", "colour", {"ballot": [2, "n2"]})  # one voter twice
    watched.message(5, "n3", "Accepted", "colour", {"ballot": [1, "n1"]})
    assert broken(watched) == []  # blue is chosen
    watched.status(6, "n3", {"colour": {"ballot": [2, "n2"], "accepted": [2, "n2"]}})
    assert broken(watched) == [(6, CHOSEN)]


def test_votes_choose_a_value_and_one_that_was_cut_short_counts_for_none() -> None:
    watched = Predicates(load_algorithm("majority"), 3)
    watched.message(1, "n1", "Vote", "colour", {"value": {"bytes": 5000}})
    watched.message(1, "n2", "Vote", "colour", {"value": {"bytes": 5000}})
    watched.status(2, "n1", {"colour": {"vote": "'5,000 bytes, 1a2b3c4d'"}})
    for node in ("n1", "n2"):
        watched.status(3, node, {"colour": {"vote": "'blue'"}})
    assert broken(watched) == []
    for node in ("n1", "n3"):
        watched.message(4, node, "Vote", "colour", {"value": "red"})
    assert broken(watched) == [(4, CHOSEN)]


def test_a_second_decision_that_is_announced_counts_also_if_its_acceptors_died_unseen() -> None:
    watched = Predicates(load_algorithm("paxos"), 3)
    watched.message(1, "n2", "Accept", "colour", {"ballot": [2, "n2"], "value": "blue"})
    watched.message(2, "n3", "Accepted", "colour", {"ballot": [2, "n2"]})  # n2's own acceptance crosses no wire
    watched.message(3, "n2", "Decided", "colour", {"value": "blue"})
    watched.message(3, "n2", "Decided", "colour", {"value": {"bytes": 5000}})  # cut short
    watched.message(4, "n3", "Decided", "colour", {"value": "blue"})
    assert broken(watched) == []
    watched.message(5, "n3", "Decided", "colour", {"value": "red"})
    (event,) = watched.take_broken()
    assert (event["t"], event["name"]) == (5, CHOSEN)
    text = "colour: 'blue' was announced as decided by n2, and 'red' was announced as decided by n3"
    assert event["evidence"] == text


def test_an_acceptance_below_a_promise_is_found_if_it_was_asked_for_after_the_promise() -> None:
    for asked_for_late in (True, False):
        watched = Predicates(load_algorithm("paxos"), 3)
        old = ("Accept", "colour", {"ballot": [1, "n1"], "value": "blue"})
        watched.message(1, "n1", *old)
        if not asked_for_late:  # n3 accepted it before it promised, and its Accepted comes late
            watched.delivered("n3", *old)
        watched.message(2, "n2", "Prepare", "colour", {"ballot": [2, "n2"]})
        watched.delivered("n3", "Prepare", "colour", {"ballot": [2, "n2"]})
        watched.message(3, "n3", "Promise", "colour", {"ballot": [2, "n2"], "accepted": None, "value": {"bytes": 9}})
        watched.delivered("n3", *old)
        assert broken(watched) == []
        watched.message(4, "n3", "Accepted", "colour", {"ballot": [1, "n1"]})
        assert broken(watched) == ([(4, PROMISES)] if asked_for_late else [])


def test_a_promise_that_goes_back_is_found() -> None:
    watched = Predicates(load_algorithm("multipaxos"), 3)
    for t, ballot in ((1, [2, "n1"]), (2, [2, "n1"]), (3, [2, "n2"])):
        watched.status(t, "n3", {"": {"ballot": ballot}})
    assert broken(watched) == []
    watched.status(4, "n3", {"": {"ballot": [1, "n9"]}})
    assert broken(watched) == [(4, PROMISES)]


def test_replicas_that_differ_at_the_same_slot_and_tokens_that_do_not_rise() -> None:
    watched = Predicates(load_algorithm("multipaxos"), 3)
    watched.status(1, "n1", {"": {"applied": 5, "chain": "aa"}})
    watched.status(2, "n2", {"": {"applied": 4, "chain": "bb"}})
    watched.answer(1, 2, "acquire", "printer", 3, "n1")
    watched.answer(3, 4, "acquire", "other", 1, "n1")
    assert broken(watched) == []
    watched.status(3, "n2", {"": {"applied": 5, "chain": "cc"}})
    watched.answer(5, 6, "acquire", "printer", 3, "n2")
    assert broken(watched) == [(3, REPLICAS), (6, TOKENS)]


@pytest.mark.parametrize("value", [(1, 2), {"a": (1,)}, b"\x00", 1.5, "x" * 5000])
def test_the_same_value_is_the_same_from_each_source(value: Any) -> None:
    """A status shows a tuple as a list, and a large value by its size; a record shows both as they are."""
    from harness.records.jsonable import to_jsonable  # noqa: PLC0415
    from harness.report.events import value_text  # noqa: PLC0415

    watched = Predicates(load_algorithm("majority"), 1)
    watched.answer(1, 2, "propose", "x", value, "n1")
    watched.message(3, "n1", "Vote", "x", {"value": to_jsonable(value)})
    as_listed = (
        [1, 2]
        if value == (1, 2)
        else {"a": [1]}
        if isinstance(value, dict)
        else "5,002 bytes, 1a2b3c4d"
        if isinstance(value, str)
        else value
    )
    watched.status(4, "n1", {"x": {"vote": value_text(as_listed), "decided": value_text(as_listed)}})
    assert broken(watched) == []
