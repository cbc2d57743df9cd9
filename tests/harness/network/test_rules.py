"""Link rules, and how the rule engine decides a message's fate, without sockets and without a clock."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.network.in_transit import InTransit, Ruling
from harness.network.rule_engine import RuleEngine
from harness.network.rules import (
    ACTIONS,
    Action,
    BadRule,
    Burst,
    Corrupt,
    Cut,
    Delay,
    Drop,
    Duplicate,
    Hold,
    Pass,
    Reorder,
    Rule,
)
from harness.records.links import DELIVERED, KEPT, LOST, Link
from node.contract import Message
from node.wire import Envelope, pack, unpack

LINK: Link = ("n1", "n2")
BACK: Link = ("n2", "n1")


@dataclass(frozen=True, slots=True)
class Promise(Message):
    ballot: int


@dataclass(frozen=True, slots=True)
class Accept(Message):
    ballot: int


def message_on_link(
    payload: bytes = b"m", link: Link = LINK, message: Message | None = None, variable: str = "x"
) -> InTransit:
    return InTransit(link, payload, Envelope(link[0], 1, variable, message or Promise(1)))


def engine_with(*rules: Rule, seed: int = 0) -> RuleEngine:
    engine = RuleEngine(Random(seed))
    for rule in rules:
        engine.add(rule)
    return engine


def summary(rulings: list[Ruling]) -> list[tuple[bytes, str, str | None]]:
    return [(ruling.message.payload, ruling.fate, ruling.rule) for ruling in rulings]


def arrivals(
    engine: RuleEngine, count: int, now: float = 0.0, link: Link = LINK
) -> list[tuple[bytes, str, str | None]]:
    return [
        entry
        for number in range(count)
        for entry in summary(engine.arrive(message_on_link(str(number).encode(), link), now))
    ]


# --- rules as data --------------------------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=8)
SECONDS = st.floats(0, 3600)
ACTION: st.SearchStrategy[Action] = st.one_of(
    st.sampled_from(list[Action]([Pass(), Cut(), Drop(), Hold()])),
    st.builds(Duplicate, st.integers(1, 3)),
    st.builds(Corrupt, st.none() | st.integers(-300, 300)),
    st.builds(Burst, st.floats(0.01, 0.99), st.floats(1, 50)),
    st.builds(Reorder, st.integers(1, 4), SECONDS),
    st.builds(Delay, SECONDS, SECONDS),
)


@st.composite
def rules(draw: st.DrawFn, links: st.SearchStrategy[Link] = st.tuples(NAMES, NAMES)) -> Rule:  # noqa: B008 - a strategy is a constant
    action = draw(ACTION)
    always = isinstance(action, Cut)
    return Rule(
        draw(NAMES),
        action,
        draw(st.none() | st.frozensets(links, min_size=1)),
        draw(st.none() | st.frozensets(st.sampled_from(["Promise", "Accept", "?"]), min_size=1)),
        draw(st.none() | st.frozensets(st.sampled_from(["x", "y"]), min_size=1)),
        1.0 if always else draw(st.floats(0, 1)),
        None if always else draw(st.none() | st.integers(1, 5)),
    )


@given(rules())
def test_a_rule_survives_a_round_trip_through_plain_data(rule: Rule) -> None:
    assert rule == Rule.from_plain(unpack(pack(rule.to_plain())))


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        ({"id": "a", "action": "explode"}, "must be one of pass, cut, drop"),
        ({"action": "drop"}, "not a rule"),
        ({"id": "a", "action": "drop", "copies": 2}, "not a rule"),
        ({"id": "a", "action": "drop", "links": [["n1"]]}, "not a rule"),
        ({"id": "", "action": "drop"}, "needs a name"),
        ({"id": "a", "action": "drop", "probability": 1.5}, "between 0 and 1"),
        ({"id": "a", "action": "drop", "times": 0}, "at least 1"),
        ({"id": "a", "action": "drop", "types": []}, "no message can match"),
        ({"id": "a", "action": "cut", "probability": 0.5}, "use drop"),
        ({"id": "a", "action": "duplicate", "copies": 0}, "copies"),
        ({"id": "a", "action": "reorder", "window": 0}, "at least 1 other"),
        ({"id": "a", "action": "delay", "seconds": -1}, "seconds"),
        ({"id": "a", "action": "delay", "seconds": float("inf")}, "seconds"),
        ({"id": "a", "action": "delay"}, "not a rule"),
    ],
)
def test_the_error_for_data_that_is_no_rule_has_the_reason(plain: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRule, match=reason):
        Rule.from_plain(plain)


# --- matching -------------------------------------------------------------------------------------------------------


def test_without_rules_everything_passes() -> None:
    assert arrivals(engine_with(), 2) == [(b"0", "passed", None), (b"1", "passed", None)]


def test_a_link_has_one_direction() -> None:
    engine = engine_with(Rule("r", Drop(), frozenset({LINK})))
    assert arrivals(engine, 1) == [(b"0", "dropped", "r")]
    assert arrivals(engine, 1, link=BACK) == [(b"0", "passed", None)]
    assert engine.counts("r") == {LINK: {"matched": 1, "dropped": 1}}


def test_types_and_variables_limit_a_rule() -> None:
    engine = engine_with(Rule("r", Drop(), types=frozenset({"Accept"}), variables=frozenset({"x"})))
    undecodable = InTransit(LINK, b"m")
    messages = [
        message_on_link(message=Accept(1)),
        message_on_link(message=Accept(1), variable="y"),
        message_on_link(),
        undecodable,
    ]
    assert [engine.arrive(each, 0)[0].fate for each in messages] == ["dropped", "passed", "passed", "passed"]
    assert [ruling.fate for ruling in engine_with(Rule("r", Drop(), types=frozenset("?"))).arrive(undecodable, 0)] == [
        "dropped"
    ]


def test_times_limits_how_often_a_rule_acts_and_not_its_count_of_matches() -> None:
    engine = engine_with(Rule("r", Drop(), times=2))
    assert [fate for _, fate, _ in arrivals(engine, 4)] == ["dropped", "dropped", "passed", "passed"]
    assert engine.counts("r") == {LINK: {"matched": 4, "dropped": 2}}


def test_probability_is_drawn_for_each_message() -> None:
    drawn = Counter(fate for _, fate, _ in arrivals(engine_with(Rule("r", Drop(), probability=0.3)), 2000))
    assert 500 < drawn["dropped"] < 700


def test_losses_on_a_link_do_not_depend_on_messages_of_other_links() -> None:
    rule = Rule("r", Drop(), probability=0.5)
    quiet, busy, other_seed = engine_with(rule), engine_with(rule), engine_with(rule, seed=1)
    expected = arrivals(quiet, 100)
    actual = []
    for number in range(100):
        arrivals(busy, number % 3, link=BACK)
        actual += summary(busy.arrive(message_on_link(str(number).encode()), 0))
    assert expected == actual
    assert expected != arrivals(other_seed, 100)


def test_losses_come_before_delays_whichever_was_installed_first() -> None:
    engine = engine_with(Rule("slow", Delay(1)), Rule("cut", Cut()))
    assert arrivals(engine, 1) == [(b"0", "dropped", "cut")]
    assert engine.counts("slow") == {}


# --- actions --------------------------------------------------------------------------------------------------------


def test_pass_only_counts() -> None:
    engine = engine_with(Rule("r", Pass()))
    assert arrivals(engine, 1) == [(b"0", "passed", None)]
    assert engine.total("r", "matched") == 1


def test_a_held_message_is_released_repeated_or_discarded_by_its_index() -> None:
    engine = engine_with(Rule("hold", Hold()))
    for number, payload in enumerate((b"a", b"b", b"c")):
        engine.arrive(replace(message_on_link(payload), index=number), 0)
    assert summary(engine.repeat("hold", 1)) == [(b"b", "duplicated", "hold")]
    assert summary(engine.release_one("hold", 2)) == [(b"c", "released", "hold")]
    assert summary(engine.release_one("hold", 1)) == [(b"b", "released", "hold")]
    assert summary(engine.discard_one("hold", 0)) == [(b"a", "discarded", "hold")]
    assert engine.total("hold", "keeps") == 0
    with pytest.raises(BadRule, match="keeps no message 1"):
        engine.repeat("hold", 1)


def test_a_copy_of_a_held_message_does_not_cross_a_cut() -> None:
    engine = engine_with(Rule("hold", Hold()))
    engine.arrive(replace(message_on_link(), index=0), 0)
    engine.add(Rule("cut", Cut()))
    assert summary(engine.repeat("hold", 0)) == [(b"m", "dropped", "cut")]


def test_held_messages_are_released_in_order_and_in_part() -> None:
    engine = engine_with(Rule("r", Hold()))
    assert [fate for _, fate, _ in arrivals(engine, 4)] == ["held"] * 4
    assert [engine.total("r", "keeps", links) for links in (None, [LINK], [BACK])] == [4, 4, 0]
    assert summary(engine.release("r", 1)) == [(b"0", "released", "r")]
    assert summary(engine.discard("r", 1)) == [(b"1", "discarded", "r")]
    assert summary(engine.release("r")) == [(b"2", "released", "r"), (b"3", "released", "r")]
    assert engine.counts("r") == {LINK: {"matched": 4, "held": 4, "released": 3, "discarded": 1}}
    assert engine.wait_s(0) is None


def test_hold_the_next_one_only() -> None:
    assert [fate for _, fate, _ in arrivals(engine_with(Rule("r", Hold(), times=1)), 3)] == ["held", "passed", "passed"]


def test_a_delayed_message_leaves_when_it_is_due() -> None:
    engine = engine_with(Rule("r", Delay(2.0)))
    assert arrivals(engine, 2, now=10.0) == [(b"0", "delayed", "r"), (b"1", "delayed", "r")]
    assert engine.wait_s(10.0) == 2.0
    assert engine.due(11.9) == []
    assert summary(engine.due(12.0)) == [(b"0", "passed", "r"), (b"1", "passed", "r")]
    assert engine.wait_s(12.0) is None


def test_jitter_adds_up_to_its_seconds_and_can_change_the_order() -> None:
    engine = engine_with(Rule("r", Delay(1.0, jitter_s=1.0)))
    arrivals(engine, 50)
    assert engine.due(0.99) == []
    left = [payload for payload, _, _ in summary(engine.due(2.0))]
    assert len(left) == 50
    assert left != [str(number).encode() for number in range(50)]


def test_duplicates_follow_the_message_and_point_to_it() -> None:
    engine = engine_with(Rule("r", Duplicate(2)))
    first, *copies = engine.arrive(message_on_link(), 0)
    assert [(b"m", "passed", None), *[(b"m", "duplicated", "r")] * 2] == summary([first, *copies])
    assert all(copy.message.original is first.message for copy in copies)
    assert engine.counts("r") == {LINK: {"matched": 1, "duplicated": 2}}


def test_each_copy_is_delayed_by_itself() -> None:
    engine = engine_with(Rule("twice", Duplicate()), Rule("slow", Delay(1.0)))
    assert arrivals(engine, 1) == [(b"0", "delayed", "slow")] * 2
    assert summary(engine.due(1.0)) == [(b"0", "passed", "slow"), (b"0", "duplicated", "twice")]


def test_a_copy_of_a_copy_points_to_the_message_itself() -> None:
    engine = engine_with(Rule("a", Duplicate()), Rule("b", Duplicate()))
    first, *copies = engine.arrive(message_on_link(), 0)
    assert len(copies) == 3
    assert all(copy.message.original is first.message for copy in copies)


@given(st.binary(min_size=1), st.none() | st.integers(-500, 500), st.integers())
def test_corruption_changes_exactly_one_byte(payload: bytes, position: int | None, seed: int) -> None:
    (ruling,) = engine_with(Rule("r", Corrupt(position)), seed=seed).arrive(message_on_link(payload), 0)
    changed = [place for place, byte in enumerate(payload) if byte != ruling.message.payload[place]]
    assert ("corrupted", "r", len(payload)) == (ruling.fate, ruling.rule, len(ruling.message.payload))
    assert len(changed) == 1
    if position is not None:
        assert [position % len(payload)] == changed


def test_an_empty_payload_is_not_corrupted() -> None:
    engine = engine_with(Rule("r", Corrupt()))
    assert [ruling.fate for ruling in engine.arrive(message_on_link(b""), 0)] == ["passed"]
    assert engine.counts("r") == {LINK: {"matched": 1}}


def test_a_reordered_message_waits_for_others_of_its_link() -> None:
    engine = engine_with(Rule("r", Reorder(window=2, most_s=9.0), times=1))
    assert arrivals(engine, 1) == [(b"0", "reordered", "r")]
    assert arrivals(engine, 1, link=BACK) == [(b"0", "passed", None)]
    assert summary(engine.arrive(message_on_link(b"a"), 0)) == [(b"a", "passed", None)]
    assert summary(engine.arrive(message_on_link(b"b"), 0)) == [(b"b", "passed", None), (b"0", "passed", "r")]
    assert engine.wait_s(0) is None


def test_a_reordered_message_leaves_when_its_time_is_over() -> None:
    engine = engine_with(Rule("r", Reorder(window=2, most_s=9.0)))
    arrivals(engine, 1)
    assert engine.wait_s(0) == 9.0
    assert summary(engine.due(9.0)) == [(b"0", "passed", "r")]


def test_reordering_every_message_swaps_neighbours() -> None:
    left = [payload for payload, fate, _ in arrivals(engine_with(Rule("r", Reorder())), 6) if fate == "passed"]
    assert left == [b"1", b"0", b"3", b"2", b"5", b"4"]


def test_nothing_crosses_a_cut_however_long_ago_it_was_sent() -> None:
    engine = engine_with(Rule("slow", Delay(1.0), times=1), Rule("hold", Hold(), times=1, types=frozenset({"Accept"})))
    arrivals(engine, 1)
    engine.arrive(message_on_link(b"held", message=Accept(1)), 0)
    engine.add(Rule("cut", Cut(), frozenset({LINK})))
    assert summary(engine.due(1.0)) == [(b"0", "dropped", "cut")]
    assert summary(engine.release("hold")) == [(b"held", "dropped", "cut")]
    assert engine.counts("cut") == {LINK: {"matched": 2, "dropped": 2}}


# --- installing and removing ----------------------------------------------------------------------------------------


def test_removing_a_rule_releases_its_messages_and_returns_its_last_counts() -> None:
    engine = engine_with(Rule("slow", Delay(1.0)))
    arrivals(engine, 2)
    rulings, counts = engine.remove("slow")
    assert summary(rulings) == [(b"0", "released", "slow"), (b"1", "released", "slow")]
    assert counts == {LINK: {"matched": 2, "delayed": 2, "released": 2}}
    assert (engine.due(9.0), engine.wait_s(0)) == ([], None)
    assert arrivals(engine, 1) == [(b"0", "passed", None)]


def test_heal_ends_cuts_before_it_releases_in_the_order_of_arrival() -> None:
    engine = engine_with(Rule("a", Hold(), times=1), Rule("b", Hold(), times=1), Rule("c", Delay(5.0)))
    arrivals(engine, 3)
    engine.add(Rule("cut", Cut()))
    rulings, counts = engine.heal()
    assert summary(rulings) == [(b"0", "released", "a"), (b"1", "released", "b"), (b"2", "released", "c")]
    assert list(counts) == ["a", "b", "c", "cut"]
    assert engine.rules() == []


def test_an_unknown_rule_and_a_repeated_name_are_errors() -> None:
    engine = engine_with(Rule("a", Hold()))
    with pytest.raises(BadRule, match="there are: a"):
        engine.release("b")
    with pytest.raises(BadRule, match="another name"):
        engine.add(Rule("a", Drop()))


def test_kept_messages_are_bounded_in_number_and_in_bytes() -> None:
    engine = RuleEngine(Random(0), kept_max=2, kept_bytes_max=100)
    engine.add(Rule("r", Hold()))
    sizes = [b"a" * 90, b"b" * 20, b"c", b"d"]
    assert [engine.arrive(message_on_link(size), 0)[0].fate for size in sizes] == ["held", "dropped", "held", "dropped"]
    assert engine.counts("r") == {LINK: {"matched": 4, "held": 2, "keeps": 2, "dropped": 2, "overflowed": 2}}
    engine.discard("r")
    assert [ruling.fate for ruling in engine.arrive(message_on_link(), 0)] == ["held"]


# --- any sequence ---------------------------------------------------------------------------------------------------

LINKS = st.sampled_from([LINK, BACK])
ACTIVITIES = st.one_of(
    st.tuples(st.just("arrive"), LINKS),
    st.tuples(st.just("add"), rules(LINKS)),
    st.tuples(st.sampled_from(["remove", "release", "discard"]), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.floats(0, 4000)),
)


@given(st.lists(ACTIVITIES, max_size=40), st.integers())
def test_every_message_and_every_copy_ends_exactly_once(activities: list[tuple[str, Any]], seed: int) -> None:
    engine, now, rulings, arrived = engine_with(seed=seed), 0.0, list[Ruling](), 0
    for what, with_ in activities:
        in_force = [rule.id for rule in engine.rules()]
        if what == "arrive":
            arrived += 1
            rulings += engine.arrive(message_on_link(f"{arrived}".encode(), with_), now)
        elif what == "add" and with_.id not in in_force:
            engine.add(with_)
        elif what == "wait":
            now += with_
            rulings += engine.due(now)
        elif in_force and what == "remove":
            rulings += engine.remove(in_force[with_ % len(in_force)])[0]
        elif in_force and what in ("release", "discard"):
            rulings += getattr(engine, what)(in_force[with_ % len(in_force)], with_ or None)
    rulings += engine.heal()[0]
    ended = Counter(id(ruling.message) for ruling in rulings if ruling.fate not in KEPT)
    assert set(ended.values()) <= {1}
    assert {id(ruling.message) for ruling in rulings} == set(ended)
    assert arrived == sum(1 for ruling in rulings if ruling.fate not in KEPT and ruling.message.original is None)
    assert (engine.wait_s(now), engine.due(now + 1e9)) == (None, [])


def test_every_fate_has_one_kind_and_every_action_has_an_order() -> None:
    assert frozenset() == DELIVERED & KEPT | KEPT & LOST | LOST & DELIVERED
    assert set(ACTIONS) == {Pass, Cut, Drop, Burst, Hold, Duplicate, Corrupt, Reorder, Delay}


def test_a_burst_rule_loses_its_share_of_messages_in_runs_of_its_length() -> None:
    fates = [fate for _, fate, _ in arrivals(engine_with(Rule("b", Burst(loss=0.2, length=5))), 20_000)]
    runs = [len(list(run)) for fate, run in groupby(fates) if fate == "dropped"]
    assert 0.17 < fates.count("dropped") / len(fates) < 0.23
    assert 4 < sum(runs) / len(runs) < 6


def test_a_burst_on_one_link_is_none_on_another() -> None:
    engine = engine_with(Rule("b", Burst(loss=0.5, length=50)))
    here, there = ([fate for _, fate, _ in arrivals(engine, 300, link=link)] for link in (LINK, BACK))
    assert here != there
