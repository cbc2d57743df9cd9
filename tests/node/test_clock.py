"""A clock that a test steers."""

import pytest

from node.clock import SteeredClock


class Real:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def real() -> Real:
    return Real()


@pytest.fixture
def clock(real: Real) -> SteeredClock:
    return SteeredClock(real)


def test_it_runs_as_the_real_clock_until_it_is_steered(clock: SteeredClock, real: Real) -> None:
    real.now += 7
    assert clock() == 107.0


def test_it_stands_still_and_goes_on_from_there(clock: SteeredClock, real: Real) -> None:
    clock.steer(0.0, 0.0)
    real.now += 7
    assert clock() == 100.0
    clock.steer(1.0, 0.0)
    assert clock() == 100.0
    real.now += 7
    assert clock() == 107.0


def test_it_runs_fast_from_the_moment_at_which_it_is_steered(clock: SteeredClock, real: Real) -> None:
    real.now += 1
    clock.steer(3.0, 0.0)
    real.now += 2
    assert clock() == 107.0


def test_the_move_is_a_total(clock: SteeredClock) -> None:
    clock.steer(1.0, -5.0)
    assert (clock(), clock()) == (95.0, 95.0)
    clock.steer(1.0, 20.0)
    assert clock() == 120.0


@pytest.mark.parametrize(("rate", "expected_s"), [(1.0, 6.0), (2.0, 3.0), (0.5, 10.0), (0.0, 10.0)])
def test_a_wait_takes_as_long_as_the_clock_is_slow(clock: SteeredClock, rate: float, expected_s: float) -> None:
    clock.steer(rate, 0.0)
    assert clock.real_s(6.0, 10.0) == expected_s
