"""What a number of runs has shown."""

from math import comb

import pytest

from harness.checkers.confidence import failing_share_at_most, shown_by


@pytest.mark.parametrize(("failures", "runs"), [(0, 1), (0, 59), (0, 1000), (1, 20), (3, 100), (40, 50)])
def test_the_share_is_the_end_of_the_exact_interval(failures: int, runs: int) -> None:
    share = failing_share_at_most(failures, runs)
    tail = sum(comb(runs, k) * share**k * (1 - share) ** (runs - k) for k in range(failures + 1))
    assert tail == pytest.approx(0.05, rel=1e-6)


def test_runs_that_all_failed_exclude_nothing() -> None:
    assert failing_share_at_most(5, 5) == 1.0
    assert shown_by(1, 1) == ["1 of 1 run failed: at most 100 % of such runs fail, with 95 % confidence"]
    assert shown_by(400, 401)[0].startswith("400 of 401 runs failed: at most 100 % ")


def test_few_runs_are_warned_of() -> None:
    assert shown_by(0, 1000) == ["0 of 1,000 runs failed: at most 0.3 % of such runs fail, with 95 % confidence"]
    assert shown_by(0, 8)[1] == "8 runs would miss a bug that shows once in 5 runs 1 time in 6: make more"
    assert len(shown_by(2, 8)) == 1
    assert shown_by(0, 0) == []
