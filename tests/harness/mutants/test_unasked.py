"""Mutants that no script knows: the clients of "mixed" show them, here in memory. The README has the runs on real processes."""

from pathlib import Path

import pytest

from harness import mutants
from harness.checkers.answers import answers
from harness.checkers.verdict import VerdictStatus
from harness.mutants import unasked, unasked_restores
from harness.mutants.clients import BROKEN_CLIENTS
from harness.mutants.unasked import UNASKED
from harness.mutants.unasked_clients import UNASKED_CLIENTS
from harness.mutants.unasked_faults import UNASKED_FAULTS
from harness.mutants.unasked_restores import UNASKED_RESTORES
from harness.mutants.unasked_simulated import UNASKED_SIMULATED, AskTimerLost, FetchTimerLost
from harness.mutants.unasked_states import (
    UNASKED_STATES,
    FullWatchesHaveSeenAll,
    LeasesWaitForCommands,
    TimeRunsTwiceAsFast,
    UsesRenewNoSession,
)
from harness.virtual.simulation_settings import SimulationSettings
from harness.workloads.mixed import MixedWorkload
from node.algorithms.multipaxos import MultiPaxos
from node.replication.replica import LogReplica
from tests.harness.workloads.in_memory import NODES, InMemory

#: These show only with processes: their clients wait at a leader, send several frames at once, or meet a leader that was deposed.
OF_PROCESSES = (
    unasked.DeletesWakeNoWatch,
    unasked.AnswersAreForgottenTooSoon,
    unasked.LateCopiesAreDone,
    unasked.QuestionsAreAnsweredUnconfirmed,
)
#: These show only with several nodes and small settings, which simulations draw.
OF_SETTINGS = UNASKED["promises"]
IN_MEMORY = [each for kind in UNASKED.values() for each in kind if each not in (*OF_PROCESSES, *OF_SETTINGS)]
TIME_S = 2.0


@pytest.mark.parametrize("broken", IN_MEMORY, ids=lambda broken: broken.__name__)
def test_what_clients_ask_anyway_shows_it(broken: type[MultiPaxos]) -> None:
    verdicts = (answers(InMemory(broken, seed).work(MixedWorkload(NODES, seed, TIME_S), TIME_S)) for seed in (1, 2, 3))
    assert any(verdict.status is VerdictStatus.INVALID for verdict in verdicts)


@pytest.mark.parametrize("broken", OF_SETTINGS, ids=lambda broken: broken.__name__)
def test_drawn_settings_show_it(broken: type[MultiPaxos]) -> None:
    assert SimulationSettings().simulate(broken, 27).violations


@pytest.mark.parametrize(("broken", "seed"), [(AskTimerLost, 10_001), (FetchTimerLost, 10_004)])
def test_simulations_show_a_timer_that_is_lost(broken: type[MultiPaxos], seed: int) -> None:
    assert SimulationSettings().simulate(broken, seed).violations


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (UsesRenewNoSession, "last use in ms"),
        (TimeRunsTwiceAsFast, "faster than the clock"),
        (LeasesWaitForCommands, "is overdue"),
        (FullWatchesHaveSeenAll, "no place in the log"),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_states_time_and_small_answers_show_it(broken: type[MultiPaxos], expected: str) -> None:
    runs = (SimulationSettings().simulate(broken, seed).violations for seed in range(20))
    assert expected in str(next(found for found in runs if found))


@pytest.mark.parametrize(
    ("broken", "seed", "expected"),
    [
        (unasked_restores.SharesAreNewAfterRestore, 5, "not the one that was saved"),
        (unasked_restores.ResumptionsAreForgotten, 46, "not the one that was saved"),
        (unasked_restores.TokensAreThoseOfHolders, 8, "other answers"),
        (unasked_restores.RestoresAddToWhatIsThere, 33, "another state"),
        (unasked_restores.ReplacedEntriesStayOnDisk, 8, "record of round 1 in slot 7, after one of round 3"),
        (unasked_restores.TermsWithoutVotesAreInMemory, 1, "had promised"),
        (unasked_restores.SessionsEndABeatEarly, 14, "the sessions"),
        (unasked_restores.LeasesKeepTheirLength, 34, "claims"),
        (unasked_restores.DetailsMayDiffer, 14, "no place in the log"),
        (unasked_restores.LateFramesAreStale, 2, "the sessions"),
        (unasked_restores.ClosedSessionsKeepTheirLocks, 26, "last ticket and token"),
        (unasked_restores.CompactionIsOffByOne, 10, "no place in the log"),
        (unasked_restores.LearnersConfirm, 349, "read at n2"),
        (unasked_restores.AnyAnswerConfirms, 292, "read at n3"),
        (unasked_restores.AnyAnswerConfirmsInRaft, 292, "read at n1"),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_what_is_restored_and_who_is_asked_while_another_leads_show_it(
    broken: type[LogReplica], seed: int, expected: str
) -> None:
    assert expected in str(SimulationSettings().simulate(broken, seed).violations)


def test_there_are_two_of_each_kind_and_the_readme_has_them() -> None:
    readme = (Path(mutants.__file__).parent / "README.md").read_text()
    assert {len(kind) for kinds in (UNASKED, UNASKED_CLIENTS) for kind in kinds.values()} == {2}
    assert all(f"`{broken.__name__}`" in readme for broken in BROKEN_CLIENTS)
    assert all(f"`{broken.__name__}`" in readme for kind in UNASKED_CLIENTS.values() for broken in kind)
    for kinds in (UNASKED, UNASKED_FAULTS, UNASKED_RESTORES, UNASKED_SIMULATED, UNASKED_STATES):
        assert all(f"`{broken.__name__}`" in readme for kind in kinds.values() for broken in kind)
