"""The comparison of puts beside numbers of idle watchers: intervals and verdicts from figures that are made up here."""

from random import Random

import pytest

from harness.bench.watchers import PutCosts, compared, nodes_us, puts_per_s, verdict_on_all


def rounds(per_s: float, spread: float = 0.02, cost_us: float = 1000, count: int = 60) -> list[PutCosts]:
    """Return turns of about so many puts per second. In a quarter of them the machine is twice as fast."""
    rng = Random(f"{per_s}/{count}")
    rates = [per_s * rng.uniform(1 - spread, 1 + spread) * rng.choice((1, 1, 1, 2)) for _ in range(count)]
    return [PutCosts(round(rate), rate, 0.0, round(rate) * cost_us / 1e6, 1.0) for rate in rates]


@pytest.mark.parametrize(
    ("per_s", "spread", "verdict"),
    [
        (100, 0.02, "shown"),
        (97, 0.02, "shown"),
        (91, 0.3, "not shown"),
        (80, 0.02, "refuted"),
        (130, 0.02, "refuted"),
    ],
)
def test_a_tenth_is_shown_refuted_or_neither(per_s: float, spread: float, verdict: str) -> None:
    one, other = rounds(per_s, spread), rounds(100.5, spread)
    found = compared(one, other, puts_per_s)
    assert found.low <= found.ratio <= found.high
    assert found.verdict == verdict
    assert verdict_on_all({0: other, 10: one}, puts_per_s) == verdict


def test_one_pair_decides_for_all() -> None:
    near, far, noisy = rounds(100), rounds(70), rounds(91, 0.9)
    assert verdict_on_all({0: near, 1: near, 2: near}, puts_per_s) == "shown"
    assert verdict_on_all({0: near, 1: near, 2: far}, puts_per_s) == "refuted"
    assert verdict_on_all({0: near, 1: near, 2: noisy}, puts_per_s) == "not shown"


def test_the_processor_time_of_a_put_does_not_follow_the_rate() -> None:
    one, other = rounds(50, 0.5, cost_us=1050), rounds(400, 0.5, cost_us=1000)
    assert compared(one, other, puts_per_s).verdict == "refuted"
    assert compared(one, other, nodes_us).verdict == "shown"
    assert compared(one, other, nodes_us).ratio == pytest.approx(1.05)
    assert compared(rounds(50, 0.5, cost_us=1300), other, nodes_us).verdict == "refuted"


def test_no_put_shows_nothing() -> None:
    nothing = [PutCosts(0, 0.0, 0.0, 0.0, 0.0)] * 9
    assert verdict_on_all({0: nothing, 10: nothing}, puts_per_s) != "shown"
    assert verdict_on_all({0: nothing, 10: nothing}, nodes_us) != "shown"
