"""A clock that somebody else steers."""

from pathlib import Path

import pytest

from node.clock import SteeredClock, steer


class Real:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def real() -> Real:
    return Real()


@pytest.fixture
def clock(tmp_path: Path, real: Real) -> SteeredClock:
    return SteeredClock(tmp_path / "n1", real)


def test_it_is_true_when_nobody_steers(clock: SteeredClock, real: Real) -> None:
    real.now += 7
    assert clock() == 107.0


def test_it_stands_still_and_goes_on_from_there(clock: SteeredClock, real: Real, tmp_path: Path) -> None:
    steer(tmp_path / "n1", 0.0)
    assert clock() == 100.0
    real.now += 7
    assert clock() == 100.0
    steer(tmp_path / "n1", 1.0)
    assert clock() == 100.0
    real.now += 7
    assert clock() == 107.0


def test_it_runs_fast(clock: SteeredClock, real: Real, tmp_path: Path) -> None:
    steer(tmp_path / "n1", 3.0)
    clock()
    real.now += 2
    assert clock() == 106.0


def test_it_is_moved_once_for_each_change(clock: SteeredClock, real: Real, tmp_path: Path) -> None:
    steer(tmp_path / "n1", 1.0, -5.0)
    assert (clock(), clock()) == (95.0, 95.0)
    steer(tmp_path / "n1", 1.0, 20.0)
    assert clock() == 120.0


def test_without_its_file_it_is_as_it_was(clock: SteeredClock, real: Real, tmp_path: Path) -> None:
    steer(tmp_path / "n1", 0.0, 5.0)
    assert clock() == 105.0
    (tmp_path / "n1").unlink()
    assert clock() == 100.0
    real.now += 1
    assert clock() == 101.0


def test_it_goes_on_as_it_was_when_its_file_cannot_be_read(clock: SteeredClock, real: Real, tmp_path: Path) -> None:
    steer(tmp_path / "n1", 2.0)
    clock()
    (tmp_path / "n1").unlink()
    (tmp_path / "n1").mkdir()
    real.now += 1
    assert clock() == 102.0
