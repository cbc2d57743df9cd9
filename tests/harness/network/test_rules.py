"""Link rules and how they decide a message's fate: no sockets, no clock."""

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.network.rule_engine import InTransit, RuleEngine, Ruling
from harness.network.rules import (
    ACTIONS,
    Action,
    BadRule,
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


def letter(payload: bytes = b"m", link: Link = LINK, message: Message | None = None, variable: str = "x") -> InTransit:
    return InTransit(link, payload, Envelope(link[0], 1, variable, message or Promise(1)))


def fates(*rules: Rule, seed: int = 0) -> RuleEngine:
    one = RuleEngine(Random(seed))
    for rule in rules:
        one.add(rule)
    return one


def seen(steps: list[Ruling]) -> list[tuple[bytes, str, str | None]]:
    return [(step.letter.payload, step.fate, step.rule) for step in steps]


def arrivals(one: RuleEngine, count: int, now: float = 0.0, link: Link = LINK) -> list[tuple[bytes, str, str | None]]:
    return [entry for number in range(count) for entry in seen(one.arrive(letter(str(number).encode(), link), now))]


# --- what a rule is -------------------------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=8)
SECONDS = st.floats(0, 3600)
ACTION: st.SearchStrategy[Action] = st.one_of(
    st.sampled_from(list[Action]([Pass(), Cut(), Drop(), Hold()])),
    st.builds(Duplicate, st.integers(1, 3)),
    st.builds(Corrupt, st.none() | st.integers(-300, 300)),
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
def test_a_rule_comes_back_from_plain_data_as_it_was(rule: Rule) -> None:
    assert rule == Rule.from_plain(unpack(pack(rule.to_plain())))


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        ({"id": "a", "action": "explode"}, "there are pass, cut, drop"),
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
def test_what_cannot_be_a_rule_is_refused_with_a_reason(plain: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRule, match=reason):
        Rule.from_plain(plain)


# --- which messages -------------------------------------------------------------------------------------------------


def test_without_rules_everything_passes() -> None:
    assert arrivals(fates(), 2) == [(b"0", "passed", None), (b"1", "passed", None)]


def test_a_link_is_one_way() -> None:
    one = fates(Rule("r", Drop(), frozenset({LINK})))
    assert arrivals(one, 1) == [(b"0", "dropped", "r")]
    assert arrivals(one, 1, link=BACK) == [(b"0", "passed", None)]
    assert one.counts("r") == {LINK: {"matched": 1, "dropped": 1}}


def test_types_and_variables_narrow_a_rule() -> None:
    one = fates(Rule("r", Drop(), types=frozenset({"Accept"}), variables=frozenset({"x"})))
    undecodable = InTransit(LINK, b"m")
    letters = [letter(message=Accept(1)), letter(message=Accept(1), variable="y"), letter(), undecodable]
    assert [one.arrive(each, 0)[0].fate for each in letters] == ["dropped", "passed", "passed", "passed"]
    assert [step.fate for step in fates(Rule("r", Drop(), types=frozenset("?"))).arrive(undecodable, 0)] == ["dropped"]


def test_times_is_how_often_a_rule_acts_and_matches_go_on_being_counted() -> None:
    one = fates(Rule("r", Drop(), times=2))
    assert [fate for _, fate, _ in arrivals(one, 4)] == ["dropped", "dropped", "passed", "passed"]
    assert one.counts("r") == {LINK: {"matched": 4, "dropped": 2}}


def test_probability_is_drawn_for_each_message() -> None:
    drawn = Counter(fate for _, fate, _ in arrivals(fates(Rule("r", Drop(), probability=0.3)), 2000))
    assert 500 < drawn["dropped"] < 700


def test_what_is_lost_on_a_link_does_not_depend_on_other_links() -> None:
    rule = Rule("r", Drop(), probability=0.5)
    quiet, busy, other_seed = fates(rule), fates(rule), fates(rule, seed=1)
    expected = arrivals(quiet, 100)
    actual = []
    for number in range(100):
        arrivals(busy, number % 3, link=BACK)
        actual += seen(busy.arrive(letter(str(number).encode()), 0))
    assert expected == actual
    assert expected != arrivals(other_seed, 100)


def test_losses_come_before_delays_whichever_was_installed_first() -> None:
    one = fates(Rule("slow", Delay(1)), Rule("cut", Cut()))
    assert arrivals(one, 1) == [(b"0", "dropped", "cut")]
    assert one.counts("slow") == {}


# --- actions --------------------------------------------------------------------------------------------------------


def test_pass_only_counts() -> None:
    one = fates(Rule("r", Pass()))
    assert arrivals(one, 1) == [(b"0", "passed", None)]
    assert one.total("r", "matched") == 1


def test_a_held_message_is_released_repeated_or_lost_by_its_number() -> None:
    one = fates(Rule("hold", Hold()))
    for number, payload in enumerate((b"a", b"b", b"c")):
        one.arrive(replace(letter(payload), index=number), 0)
    assert seen(one.repeat("hold", 1)) == [(b"b", "duplicated", "hold")]
    assert seen(one.release_one("hold", 2)) == [(b"c", "released", "hold")]
    assert seen(one.release_one("hold", 1)) == [(b"b", "released", "hold")]
    assert seen(one.discard_one("hold", 0)) == [(b"a", "discarded", "hold")]
    assert one.total("hold", "keeps") == 0
    with pytest.raises(BadRule, match="keeps no message 1"):
        one.repeat("hold", 1)


def test_what_is_repeated_does_not_cross_a_cut() -> None:
    one = fates(Rule("hold", Hold()))
    one.arrive(replace(letter(), index=0), 0)
    one.add(Rule("cut", Cut()))
    assert seen(one.repeat("hold", 0)) == [(b"m", "dropped", "cut")]


def test_held_messages_are_released_in_order_all_or_the_first() -> None:
    one = fates(Rule("r", Hold()))
    assert [fate for _, fate, _ in arrivals(one, 4)] == ["held"] * 4
    assert (one.total("r", "keeps"), one.total("r", "keeps", [LINK]), one.total("r", "keeps", [BACK])) == (4, 4, 0)
    assert seen(one.release("r", 1)) == [(b"0", "released", "r")]
    assert seen(one.discard("r", 1)) == [(b"1", "discarded", "r")]
    assert seen(one.release("r")) == [(b"2", "released", "r"), (b"3", "released", "r")]
    assert one.counts("r") == {LINK: {"matched": 4, "held": 4, "released": 3, "discarded": 1}}
    assert one.wait_s(0) is None


def test_hold_the_next_one_only() -> None:
    assert [fate for _, fate, _ in arrivals(fates(Rule("r", Hold(), times=1)), 3)] == ["held", "passed", "passed"]


def test_a_delayed_message_leaves_when_it_is_due() -> None:
    one = fates(Rule("r", Delay(2.0)))
    assert arrivals(one, 2, now=10.0) == [(b"0", "delayed", "r"), (b"1", "delayed", "r")]
    assert one.wait_s(10.0) == 2.0
    assert one.due(11.9) == []
    assert seen(one.due(12.0)) == [(b"0", "passed", "r"), (b"1", "passed", "r")]
    assert one.wait_s(12.0) is None


def test_jitter_adds_up_to_as_much_and_can_change_the_order() -> None:
    one = fates(Rule("r", Delay(1.0, jitter_s=1.0)))
    arrivals(one, 50)
    assert one.due(0.99) == []
    left = [payload for payload, _, _ in seen(one.due(2.0))]
    assert len(left) == 50
    assert left != [str(number).encode() for number in range(50)]


def test_duplicates_follow_the_message_and_point_to_it() -> None:
    one = fates(Rule("r", Duplicate(2)))
    first, *copies = one.arrive(letter(), 0)
    assert [(b"m", "passed", None), *[(b"m", "duplicated", "r")] * 2] == seen([first, *copies])
    assert all(copy.letter.original is first.letter for copy in copies)
    assert one.counts("r") == {LINK: {"matched": 1, "duplicated": 2}}


def test_each_copy_is_delayed_by_itself() -> None:
    one = fates(Rule("twice", Duplicate()), Rule("slow", Delay(1.0)))
    assert arrivals(one, 1) == [(b"0", "delayed", "slow")] * 2
    assert seen(one.due(1.0)) == [(b"0", "passed", "slow"), (b"0", "duplicated", "twice")]


def test_a_copy_of_a_copy_points_to_the_message_itself() -> None:
    one = fates(Rule("a", Duplicate()), Rule("b", Duplicate()))
    first, *copies = one.arrive(letter(), 0)
    assert len(copies) == 3
    assert all(copy.letter.original is first.letter for copy in copies)


@given(st.binary(min_size=1), st.none() | st.integers(-500, 500), st.integers())
def test_corruption_changes_exactly_one_byte(payload: bytes, position: int | None, seed: int) -> None:
    (step,) = fates(Rule("r", Corrupt(position)), seed=seed).arrive(letter(payload), 0)
    changed = [place for place, byte in enumerate(payload) if byte != step.letter.payload[place]]
    assert ("corrupted", "r", len(payload)) == (step.fate, step.rule, len(step.letter.payload))
    assert len(changed) == 1
    if position is not None:
        assert [position % len(payload)] == changed


def test_an_empty_payload_has_nothing_to_corrupt() -> None:
    one = fates(Rule("r", Corrupt()))
    assert [step.fate for step in one.arrive(letter(b""), 0)] == ["passed"]
    assert one.counts("r") == {LINK: {"matched": 1}}


def test_a_reordered_message_waits_for_others_of_its_link() -> None:
    one = fates(Rule("r", Reorder(window=2, most_s=9.0), times=1))
    assert arrivals(one, 1) == [(b"0", "reordered", "r")]
    assert arrivals(one, 1, link=BACK) == [(b"0", "passed", None)]
    assert seen(one.arrive(letter(b"a"), 0)) == [(b"a", "passed", None)]
    assert seen(one.arrive(letter(b"b"), 0)) == [(b"b", "passed", None), (b"0", "passed", "r")]
    assert one.wait_s(0) is None


def test_a_reordered_message_leaves_when_its_time_is_over() -> None:
    one = fates(Rule("r", Reorder(window=2, most_s=9.0)))
    arrivals(one, 1)
    assert one.wait_s(0) == 9.0
    assert seen(one.due(9.0)) == [(b"0", "passed", "r")]


def test_reordering_every_message_swaps_neighbours() -> None:
    left = [payload for payload, fate, _ in arrivals(fates(Rule("r", Reorder())), 6) if fate == "passed"]
    assert left == [b"1", b"0", b"3", b"2", b"5", b"4"]


def test_nothing_crosses_a_cut_however_long_ago_it_was_sent() -> None:
    one = fates(Rule("slow", Delay(1.0), times=1), Rule("hold", Hold(), times=1, types=frozenset({"Accept"})))
    arrivals(one, 1)
    one.arrive(letter(b"held", message=Accept(1)), 0)
    one.add(Rule("cut", Cut(), frozenset({LINK})))
    assert seen(one.due(1.0)) == [(b"0", "dropped", "cut")]
    assert seen(one.release("hold")) == [(b"held", "dropped", "cut")]
    assert one.counts("cut") == {LINK: {"matched": 2, "dropped": 2}}


# --- rules come and go ----------------------------------------------------------------------------------------------


def test_removing_a_rule_releases_what_it_keeps_and_returns_its_last_counts() -> None:
    one = fates(Rule("slow", Delay(1.0)))
    arrivals(one, 2)
    steps, counts = one.remove("slow")
    assert seen(steps) == [(b"0", "released", "slow"), (b"1", "released", "slow")]
    assert counts == {LINK: {"matched": 2, "delayed": 2, "released": 2}}
    assert (one.due(9.0), one.wait_s(0)) == ([], None)
    assert arrivals(one, 1) == [(b"0", "passed", None)]


def test_heal_ends_cuts_before_it_releases_in_the_order_of_arrival() -> None:
    one = fates(Rule("a", Hold(), times=1), Rule("b", Hold(), times=1), Rule("c", Delay(5.0)))
    arrivals(one, 3)
    one.add(Rule("cut", Cut()))
    steps, counts = one.heal()
    assert seen(steps) == [(b"0", "released", "a"), (b"1", "released", "b"), (b"2", "released", "c")]
    assert list(counts) == ["a", "b", "c", "cut"]
    assert one.rules() == []


def test_an_unknown_rule_and_a_second_one_of_a_name_are_errors() -> None:
    one = fates(Rule("a", Hold()))
    with pytest.raises(BadRule, match="there are: a"):
        one.release("b")
    with pytest.raises(BadRule, match="another name"):
        one.add(Rule("a", Drop()))


def test_what_is_kept_is_bounded_in_number_and_in_bytes() -> None:
    one = RuleEngine(Random(0), kept_max=2, kept_bytes_max=100)
    one.add(Rule("r", Hold()))
    sizes = [b"a" * 90, b"b" * 20, b"c", b"d"]
    assert [one.arrive(letter(size), 0)[0].fate for size in sizes] == ["held", "dropped", "held", "dropped"]
    assert one.counts("r") == {LINK: {"matched": 4, "held": 2, "keeps": 2, "dropped": 2, "overflowed": 2}}
    one.discard("r")
    assert [step.fate for step in one.arrive(letter(), 0)] == ["held"]


# --- whatever happens -----------------------------------------------------------------------------------------------

LINKS = st.sampled_from([LINK, BACK])
DOING = st.one_of(
    st.tuples(st.just("arrive"), LINKS),
    st.tuples(st.just("add"), rules(LINKS)),
    st.tuples(st.sampled_from(["remove", "release", "discard"]), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.floats(0, 4000)),
)


@given(st.lists(DOING, max_size=40), st.integers())
def test_every_message_and_every_copy_ends_exactly_once(doings: list[tuple[str, Any]], seed: int) -> None:
    one, now, steps, arrived = fates(seed=seed), 0.0, list[Ruling](), 0
    for what, with_ in doings:
        in_force = [rule.id for rule in one.rules()]
        if what == "arrive":
            arrived += 1
            steps += one.arrive(letter(f"{arrived}".encode(), with_), now)
        elif what == "add" and with_.id not in in_force:
            one.add(with_)
        elif what == "wait":
            now += with_
            steps += one.due(now)
        elif in_force and what == "remove":
            steps += one.remove(in_force[with_ % len(in_force)])[0]
        elif in_force and what in ("release", "discard"):
            steps += getattr(one, what)(in_force[with_ % len(in_force)], with_ or None)
    steps += one.heal()[0]
    ended = Counter(id(step.letter) for step in steps if step.fate not in KEPT)
    assert set(ended.values()) <= {1}
    assert {id(step.letter) for step in steps} == set(ended)
    assert arrived == sum(1 for step in steps if step.fate not in KEPT and step.letter.original is None)
    assert (one.wait_s(now), one.due(now + 1e9)) == (None, [])


def test_every_fate_and_every_action_has_its_place() -> None:
    assert frozenset() == DELIVERED & KEPT | KEPT & LOST | LOST & DELIVERED
    assert set(ACTIONS) == {Pass, Cut, Drop, Hold, Duplicate, Corrupt, Reorder, Delay}
