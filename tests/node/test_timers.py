from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from node.timers import Timers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def timers() -> tuple[Timers[str], Clock]:
    clock = Clock()
    return Timers(clock, Random(7)), clock


def test_timers_expire_in_order_and_once() -> None:
    some, clock = timers()
    some.set("late", 3, 3)
    some.set("early", 1, 1)
    some.set("later", 4, 4)
    assert list(some.take_expired()) == []
    clock.now += 3
    assert list(some.take_expired()) == ["early", "late"]
    assert list(some.take_expired()) == []
    clock.now += 1
    assert list(some.take_expired()) == ["later"]


def test_those_due_at_once_expire_in_the_order_in_which_they_were_set() -> None:
    some, _ = timers()
    for name in "cab":
        some.set(name, 0, 0)
    assert list(some.take_expired()) == ["c", "a", "b"]


def test_a_timer_set_again_is_replaced_by_an_earlier_or_a_later_one() -> None:
    some, clock = timers()
    some.set("a", 1, 1)
    some.set("a", 5, 5)
    some.set("b", 5, 5)
    some.set("b", 1, 1)
    clock.now += 2
    assert list(some.take_expired()) == ["b"]
    clock.now += 3
    assert list(some.take_expired()) == ["a"]


def test_a_timer_set_twice_for_the_same_moment_expires_once() -> None:
    some, clock = timers()
    some.set("a", 1, 1)
    some.set("a", 1, 1)
    clock.now += 1
    assert list(some.take_expired()) == ["a"]


def test_a_cancelled_timer_does_not_expire() -> None:
    some, clock = timers()
    some.set("a", 1, 1)
    some.cancel("a")
    some.cancel("never set")
    clock.now += 1
    assert list(some.take_expired()) == []
    some.set("a", 1, 1)
    clock.now += 1
    assert list(some.take_expired()) == ["a"]


def test_the_wait_is_until_the_next_one() -> None:
    some, clock = timers()
    assert some.wait_s(60) == 60
    some.set("b", 9, 9)
    some.set("a", 2, 2)
    assert some.wait_s(60) == 2
    assert some.wait_s(1) == 1
    some.cancel("a")
    assert some.wait_s(60) == 9
    clock.now += 10
    assert some.wait_s(60) == 0  # overdue, and not below zero
    list(some.take_expired())
    assert some.wait_s(60) == 60


def test_the_time_is_drawn_from_the_whole_range_by_the_generator_that_was_given() -> None:
    def waits(seed: int) -> list[float]:
        clock = Clock()
        some: Timers[int] = Timers(clock, Random(seed))
        drawn = []
        for number in range(200):
            some.set(number, 0.1, 0.3)
            drawn.append(some.wait_s(9))
            some.cancel(number)
        return drawn

    drawn = waits(1)
    assert waits(1) == drawn
    assert waits(2) != drawn
    assert 0.1 <= min(drawn) < 0.12
    assert 0.28 < max(drawn) <= 0.3001


# --- what happens while timers expire  ------------------------------------------------------------------------------


def test_one_that_cancels_another_keeps_it_from_expiring() -> None:
    some, clock = timers()
    some.set("a", 1, 1)
    some.set("b", 1, 1)
    some.set("c", 2, 2)
    clock.now += 2
    came = []
    for name in some.take_expired():
        came.append(name)
        some.cancel("b")
    assert came == ["a", "c"]


def test_one_that_sets_itself_again_at_once_does_not_starve_the_turn() -> None:
    some, _ = timers()
    some.set("a", 0, 0)
    some.set("b", 0, 0)
    came = []
    for name in some.take_expired():
        came.append(name)
        some.set(name, 0, 0)
    assert came == ["a", "b"]
    assert list(some.take_expired()) == ["a", "b"]


def test_one_that_puts_off_another_keeps_it_from_expiring() -> None:
    some, clock = timers()
    some.set("a", 1, 1)
    some.set("b", 2, 2)
    clock.now += 2
    came = []
    for name in some.take_expired():
        came.append(name)
        some.set("b", 5, 5)
    assert came == ["a"]
    clock.now += 5
    assert list(some.take_expired()) == ["b"]


def test_cancelled_timers_take_no_room() -> None:
    some, clock = timers()
    some.set("kept", 5000, 5000)
    for number in range(10_000):  # requests that were answered long before their deadline
        some.set(f"request {number}", 3600, 3600)
        some.cancel(f"request {number}")
    assert len(some._heap) < 200
    clock.now += 5000
    assert list(some.take_expired()) == ["kept"]


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["set", "cancel", "pass"]), st.sampled_from("abcdefgh"), st.integers(0, 5))))
def test_timers_do_as_a_plain_map_would(steps: list[tuple[str, str, int]]) -> None:
    some, clock = timers()
    due: dict[str, float] = {}
    todo: dict[str, Callable[[str, int], None]] = {
        "set": lambda name, seconds: some.set(name, seconds, seconds),
        "cancel": lambda name, _: some.cancel(name),
        "pass": lambda *_: None,
    }
    for what, name, seconds in steps:
        todo[what](name, seconds)
        match what:
            case "set":
                due[name] = clock.now + seconds
            case "cancel":
                due.pop(name, None)
            case "pass":
                clock.now += seconds
                expected = {name for name, when in due.items() if when <= clock.now}
                assert expected == set(some.take_expired())
                for name in expected:  # noqa: PLW2901 - the outer one is done with
                    del due[name]
        assert min([max(when - clock.now, 0) for when in due.values()], default=60) == some.wait_s(60)
