"""Which changes a campaign draws, and what a sample of them says of all."""

import pytest

from harness.mutation.campaign import MutationReport, drawn
from harness.mutation.changes import SourceChange, changes_of
from harness.mutation.trial import Fate, Outcome

#: Two modules, one of which has ten times as many changes as the other.
CHANGES = [*changes_of("large", "A = 0\n" * 100), *changes_of("small", "A = 0\n" * 10)]


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_has_of_each_module_its_share(seed: int) -> None:
    sample = drawn(CHANGES, 22, seed)
    assert len(set(sample)) == 22
    assert [change.module for change in sample].count("small") == 2
    assert sample == sorted(sample, key=CHANGES.index)


def test_another_seed_draws_another_sample_and_the_same_seed_the_same() -> None:
    assert drawn(CHANGES, 22, 1) == drawn(CHANGES, 22, 1) != drawn(CHANGES, 22, 2)
    assert drawn(CHANGES, 1000, 1) == CHANGES


def outcomes(killed: int, survived: int, equivalent: int) -> list[Outcome]:
    change: SourceChange = CHANGES[0]
    fates = (
        [Fate.KILLED] * killed + [Fate.SURVIVED] * (survived - 1) + [Fate.NOT_REACHED] + [Fate.EQUIVALENT] * equivalent
    )
    return [Outcome(change, fate, "") for fate in fates]


def test_the_score_counts_no_equivalents_and_has_an_interval() -> None:
    report = MutationReport(1000, 110, outcomes(killed=95, survived=5, equivalent=10))
    assert report.score == 0.95
    low, high = report.interval  # of Clopper and Pearson, for 95 of 100
    assert [low, high] == pytest.approx([0.8872, 0.9836], abs=1e-4)
