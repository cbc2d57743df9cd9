"""How a cell is computed, from verdicts made by hand."""

from pathlib import Path

import pytest

from harness.checkers.properties import PROPERTIES
from harness.checkers.verdict import Verdict, invalid, unknown, valid
from harness.runs.scenarios import ALL, scenarios
from harness.runs.scorecard import Job, NoSuchScenario, ScorecardRun, cells, jobs

SCENARIO = scenarios()[0]
KEPT, UNTRIED = valid("kept"), unknown("it was not tried")
BROKEN, NO_TEST = invalid("broken"), unknown("it did not bite", no_test=True)


def result(verdict: Verdict, variant: str) -> ScorecardRun:
    return ScorecardRun(Job(SCENARIO, variant, "paxos"), Path(variant), dict.fromkeys(PROPERTIES, verdict), 0.1)


@pytest.mark.parametrize(
    ("verdicts", "holds", "evidence"),
    [
        ([KEPT], True, "kept"),
        ([KEPT, UNTRIED], True, "kept"),
        ([KEPT, BROKEN], False, "broken"),
        ([NO_TEST, BROKEN], False, "broken"),
        ([KEPT, NO_TEST], None, "it did not bite"),
        ([UNTRIED], None, "it was not tried"),
    ],
)
def test_a_cell_is_what_its_runs_showed(verdicts: list[Verdict], holds: bool | None, evidence: str) -> None:
    table = cells([result(verdict, str(number)) for number, verdict in enumerate(verdicts)])
    assert [holds] * len(PROPERTIES) == [cell.holds for cell in table]
    assert all(cell.evidence.endswith(evidence) for cell in table)


def test_every_scenario_has_an_algorithm_and_every_algorithm_has_scenarios() -> None:
    made = jobs()
    assert {scenario.name for scenario in scenarios()} == {job.scenario.name for job in made}
    assert set(ALL) == {job.algorithm for job in made}
    assert len({job.name for job in made}) == len(made)


def test_a_users_algorithm_gets_the_scenarios_that_are_for_all() -> None:
    names = {job.scenario.name for job in jobs(["mine:Mine"])}
    assert "race" in names
    assert "window-of-vulnerability" not in names


def test_a_part_of_a_name_selects_scenarios() -> None:
    assert {"split-brain"} == {job.scenario.name for job in jobs(only="brain")}


@pytest.mark.parametrize(
    ("algorithms", "only", "says"),
    [
        (
            ["paxos"],
            "window",
            "window-of-vulnerability is for majority. For paxos there are first-proposal-wins, race, ",
        ),
        (None, "split brain", "no scenario has 'split brain' in its name: did you mean split-brain?"),
        (None, "xyz", "there are first-proposal-wins, race, "),
    ],
)
def test_a_name_that_no_scenario_has_is_told_from_one_of_another_algorithm(
    algorithms: list[str] | None, only: str, says: str
) -> None:
    with pytest.raises(NoSuchScenario) as raised:
        jobs(algorithms, only)
    assert says in str(raised.value)
