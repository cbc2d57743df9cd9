"""Mutants that no script knows: the clients of "mixed" show them, here in memory. The README has the runs on real processes."""

from pathlib import Path

import pytest

from cluster.clients.pipeline import Pipeline
from harness import mutants
from harness.checkers.answers import answers
from harness.checkers.verdict import VerdictStatus
from harness.mutants import unasked, unasked_restores
from harness.mutants.clients import BROKEN_CLIENTS
from harness.mutants.unasked import UNASKED
from harness.mutants.unasked_clients import UNASKED_CLIENTS, ConfirmingPipeline, HastyPipeline
from harness.mutants.unasked_faults import UNASKED_FAULTS, RemovalsLeaveNoMajority
from harness.mutants.unasked_restores import UNASKED_RESTORES
from harness.mutants.unasked_simulated import UNASKED_SIMULATED, AskTimerLost, FetchTimerLost
from harness.mutants.unasked_states import (
    UNASKED_STATES,
    FullWatchesHaveSeenAll,
    LeasesWaitForCommands,
    TimeRunsTwiceAsFast,
    UsesRenewNoSession,
)
from harness.virtual import log_simulation
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


def is_found(broken: type[LogReplica], seeds: range, expected: str) -> bool:
    """Return whether one of some seeds fails with `expected` in what is found."""
    return any(expected in str(SimulationSettings().simulate(broken, seed).violations) for seed in seeds)


@pytest.mark.parametrize("broken", OF_SETTINGS, ids=lambda broken: broken.__name__)
def test_drawn_settings_show_it(broken: type[MultiPaxos]) -> None:
    assert is_found(broken, range(20), "agreement")


@pytest.mark.parametrize("broken", [AskTimerLost, FetchTimerLost])
def test_simulations_show_a_timer_that_is_lost(broken: type[MultiPaxos]) -> None:
    assert is_found(broken, range(10_000, 10_020), "its timer")


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
    assert is_found(broken, range(20), expected)


@pytest.mark.parametrize(
    ("broken", "first", "expected"),
    [
        (unasked_restores.SharesAreNewAfterRestore, 0, "not the one that was saved"),
        (unasked_restores.ResumptionsAreForgotten, 40, "not the one that was saved"),
        (unasked_restores.TokensAreThoseOfHolders, 5, "not the one that was saved"),
        (unasked_restores.RestoresAddToWhatIsThere, 5, "another state"),
        (unasked_restores.ReplacedEntriesStayOnDisk, 0, "after one of round"),
        (unasked_restores.TermsWithoutVotesAreInMemory, 690, "had promised"),
        (unasked_restores.SessionsEndABeatEarly, 10, "the sessions"),
        (unasked_restores.LeasesKeepTheirLength, 5, "claims"),
        (unasked_restores.DetailsMayDiffer, 10, "no place in the log"),
        (unasked_restores.LateFramesAreStale, 0, "the sessions"),
        (unasked_restores.ClosedSessionsKeepTheirLocks, 20, "last ticket and token"),
        (unasked_restores.CompactionIsOffByOne, 15, "no place in the log"),
        (unasked_restores.LearnersConfirm, 345, "read at n"),
        (unasked_restores.AnyAnswerConfirms, 290, "read at n"),
        (unasked_restores.AnyAnswerConfirmsInRaft, 290, "read at n"),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_what_is_restored_and_who_is_asked_while_another_leads_show_it(
    broken: type[LogReplica], first: int, expected: str
) -> None:
    assert is_found(broken, range(first, first + 60), expected)


def test_a_siege_in_which_a_member_is_to_be_removed_shows_it() -> None:
    assert is_found(RemovalsLeaveNoMajority, range(30, 40), "is owed an answer")


@pytest.mark.parametrize(
    ("broken", "first", "expected"),
    [(HastyPipeline, 480, "was not put"), (ConfirmingPipeline, 10, "no place in the log")],
)
def test_clients_of_simulations_show_what_becomes_of_frames_that_are_sent_again(
    broken: type[Pipeline], first: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_found(MultiPaxos, range(first, first + 10), expected)
    monkeypatch.setattr(log_simulation, "Pipeline", broken)
    assert is_found(MultiPaxos, range(first, first + 10), expected)


def test_there_are_two_of_each_kind_and_the_readme_has_them() -> None:
    readme = (Path(mutants.__file__).parent / "README.md").read_text()
    assert {len(kind) for kinds in (UNASKED, UNASKED_CLIENTS) for kind in kinds.values()} == {2}
    assert all(f"`{broken.__name__}`" in readme for broken in BROKEN_CLIENTS)
    assert all(f"`{broken.__name__}`" in readme for kind in UNASKED_CLIENTS.values() for broken in kind)
    for kinds in (UNASKED, UNASKED_FAULTS, UNASKED_RESTORES, UNASKED_SIMULATED, UNASKED_STATES):
        assert all(f"`{broken.__name__}`" in readme for kind in kinds.values() for broken in kind)
