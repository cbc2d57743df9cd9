"""What rules do to pieces of streams, without sockets: times are given, and every count is the rules' own."""

import math
from typing import Any

import pytest

from harness.network.rules import (
    Action,
    BadRule,
    Bandwidth,
    Burst,
    Corrupt,
    Cut,
    Delay,
    Drop,
    Duplicate,
    HalfOpen,
    Hold,
    Pause,
    Reorder,
    Reset,
    Rule,
    SlowClose,
)
from harness.network.stream_rules import Look, Piece, StreamMeter, StreamRules, What

LINK, OTHER = ("n1", "n2"), ("n2", "n1")


def rules(action: Action, **about: Any) -> StreamRules:
    found = StreamRules(seed=7)
    found.add(Rule("r", action, frozenset({LINK}), **about))
    return found


def piece(what: What = "bytes", size: int = 100, *, link: tuple[str, str] = LINK, arrived_s: float = 10.0) -> Piece:
    return Piece(link, what, arrived_s, stream=1, size=size if what == "bytes" else 0)


def test_a_cut_keeps_bytes_ends_and_new_connections_of_its_direction_until_it_is_removed() -> None:
    cut = rules(Cut())
    pieces = [piece(), piece("close"), piece("reset"), piece("connection")]
    assert [cut.look(each, 10.0).wait_until_s for each in pieces] == [math.inf] * 4
    assert cut.look(piece(link=OTHER), 10.0) == Look(0.0, 100)
    assert cut.counts("r")[LINK]["held"] == 4
    cut.remove("r")
    assert [cut.look(each, 10.0).wait_until_s for each in pieces] == [0.0] * 4


def test_a_delay_counts_from_the_arrival() -> None:
    assert rules(Delay(0.5)).look(piece(), 10.2).wait_until_s == 10.5
    assert rules(Delay(0.5)).look(piece(), 10.6).wait_until_s == 0.0


def test_a_lost_piece_is_late_by_the_time_after_which_tcp_sends_again() -> None:
    found = rules(Drop(), probability=0.5)
    waits = {round(found.look(piece(), 10.0).wait_until_s - 10.0, 3) for _ in range(200)}
    assert {-10.0, 0.2, 0.6, 1.4} <= waits <= {-10.0, 0.2, 0.6, 1.4, 3.0, 6.2, 12.6}
    counts = found.counts("r")[LINK]
    assert 60 < counts["dropped"] < 140
    assert counts["matched"] == 200


def test_bursts_lose_about_their_share() -> None:
    found = rules(Burst(loss=0.3, length=5))
    late = sum(found.look(piece(), 10.0).wait_until_s > 0 for _ in range(2000))
    assert 400 < late < 800


def test_a_line_of_limited_bandwidth_is_busy_for_as_long_as_the_bytes_take() -> None:
    found = rules(Bandwidth(10_000))
    one = piece(size=1000)
    assert found.look(one, 10.0) == Look(0.0, 200)
    found.left(one, 200, 10.0)
    assert found.look(one, 10.0).wait_until_s == pytest.approx(10.02)


def test_a_pause_stands_still_in_the_middle_of_a_piece() -> None:
    found = rules(Pause(30, 2.0))
    one = piece(size=100)
    assert found.look(one, 10.0) == Look(0.0, 30)
    found.left(one, 30, 10.0)
    assert found.look(one, 10.0).wait_until_s == 12.0
    assert found.look(one, 12.0).bytes_max == 30
    assert found.counts("r")[LINK]["paused"] == 1


def test_a_half_open_connection_hides_its_end_and_nothing_else() -> None:
    found = rules(HalfOpen())
    assert found.look(piece(), 10.0).wait_until_s == 0.0
    assert found.look(piece("close"), 10.0).wait_until_s == math.inf
    assert found.look(piece("reset"), 10.0).wait_until_s == math.inf


def test_a_slow_close_is_late() -> None:
    found = rules(SlowClose(3.0))
    assert found.look(piece(), 10.0).wait_until_s == 0.0
    assert found.look(piece("close"), 10.0).wait_until_s == 13.0


def test_corruption_changes_one_byte_of_some_pieces() -> None:
    found = rules(Corrupt(), probability=0.5)
    pieces = [piece() for _ in range(100)]
    for each in pieces:
        found.look(each, 10.0)
    damaged = [each for each in pieces if each.damaged_at >= 0]
    assert 20 < len(damaged) < 80
    assert found.counts("r")[LINK]["corrupted"] == len(damaged)


def test_a_reset_resets() -> None:
    assert rules(Reset()).look(piece("connection"), 10.0).reset


def test_a_hold_for_connections_keeps_those_after_a_number() -> None:
    found = rules(Hold(after=2), types=frozenset({"connection"}))
    assert found.look(piece(), 10.0).wait_until_s == 0.0
    events = [piece("connection") for _ in range(3)]
    assert [found.look(each, 10.0).wait_until_s for each in events] == [0.0, 0.0, math.inf]
    assert found.counts("r")[LINK]["keeps"] == 1
    assert found.release("r", None) == 1
    assert found.look(events[2], 10.0).wait_until_s == 0.0


def test_a_hold_for_bytes_keeps_exactly_those_after_a_number() -> None:
    found = rules(Hold(after=150), types=frozenset({"byte"}))
    first, second = piece(size=100), piece(size=100)
    assert found.look(first, 10.0) == Look(0.0, 100)
    found.left(first, 100, 10.0)
    assert found.look(second, 10.0) == Look(0.0, 50)
    found.left(second, 50, 10.0)
    second.size = 50
    assert found.look(second, 10.0).wait_until_s == math.inf


def test_a_forgotten_piece_is_kept_no_longer() -> None:
    found = rules(Hold())
    one = piece()
    found.look(one, 10.0)
    found.forget(one)
    assert found.counts("r")[LINK]["keeps"] == 0


@pytest.mark.parametrize("action", [Duplicate(), Reorder()])
def test_what_is_for_messages_is_refused(action: Action) -> None:
    with pytest.raises(BadRule, match="streams of bytes, which TCP keeps in order"):
        rules(action)


def test_types_and_variables_of_messages_are_refused() -> None:
    with pytest.raises(BadRule, match="byte and connection"):
        rules(Hold(), types=frozenset({"Promise"}))
    with pytest.raises(BadRule, match="whole streams"):
        rules(Delay(1.0), types=frozenset({"byte"}))


def test_the_same_seed_draws_the_same() -> None:
    def waits() -> list[float]:
        found = rules(Delay(0.0, 1.0))
        return [found.look(piece(), 10.0).wait_until_s for _ in range(20)]

    assert waits() == waits()


# --- the observer -----------------------------------------------------------------------------------------------------


def metered(action: Action) -> tuple[StreamRules, StreamMeter]:
    found = rules(action)
    meter = StreamMeter(found)
    meter.claimed(Rule("r", action, frozenset({LINK})), now_s=10.0)
    return found, meter


def test_the_meter_sees_what_crosses_a_cut() -> None:
    found, meter = metered(Cut())
    meter.left(OTHER, 40, 10.0, 10.1)
    assert found.counts("r") == {}
    meter.left(LINK, 40, 10.0, 10.1)
    assert found.counts("r")[LINK]["crossed"] == 40
    meter.withdrawn("r")
    meter.left(LINK, 40, 10.0, 10.1)
    assert found.counts("r")[LINK]["crossed"] == 40
    assert meter.totals[LINK]["bytes"] == 80


def test_the_meter_sees_what_leaves_before_its_delay_is_over() -> None:
    found, meter = metered(Delay(0.5))
    meter.left(LINK, 40, 10.2, 10.7)
    assert found.counts("r") == {}
    meter.left(LINK, 40, 10.2, 10.4)
    assert found.counts("r")[LINK]["early"] == 1
