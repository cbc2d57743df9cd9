"""Broken on purpose, on real processes: each break must be caught, and the unbroken original must not be."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checkers.verdict import VerdictStatus
from harness.faults.power_loss_vfs import SLOW_SYNC
from harness.records.links import CLIENT
from harness.runs.experiment import Experiment
from harness.runs.scenarios import proposer_killed
from tests.waiting import WAIT_S

EARLY_REPLIES = (sys.executable, "-P", "-m", "harness.mutants.broken_node", "replies-before-the-commit")


def violated(run: Experiment, tell: Callable[[Experiment], None]) -> set[str]:
    """The properties that the run violates."""
    with run:
        tell(run)
    return {name for name, verdict in run.judge().items() if verdict.status is VerdictStatus.INVALID}


def power_cut_after_the_answer(run: Experiment) -> None:
    """The leader's disk is slow; a proposal that n2 passes on is answered; the leader loses power at once, and returns."""
    slow = run.spec.settings.directory("n1") / SLOW_SYNC
    run.propose("warm", "up", at="n2")
    slow.write_text("0.3")
    run.propose("colour", "blue", at="n2")
    run.faults.kill("n1")
    slow.unlink()
    run.faults.restart("n1")
    run.query("colour", at="n3")
    run.query("warm", at="n3")


def test_a_reply_before_its_commit_is_caught(tmp_path: Path) -> None:
    broken = Experiment(
        tmp_path / "broken",
        nodes=3,
        algorithm="leader",
        command=EARLY_REPLIES,
        vfs="harness.faults.power_loss_vfs:powerloss",
    )
    assert {"no decoherence"} == violated(broken, power_cut_after_the_answer)


def test_a_reply_after_its_commit_outlives_the_power_cut(tmp_path: Path) -> None:
    whole = Experiment(tmp_path / "whole", nodes=3, algorithm="leader", vfs="harness.faults.power_loss_vfs:powerloss")
    assert set() == violated(whole, power_cut_after_the_answer)


def kill_the_proposer_at_each_step(run: Experiment) -> None:
    proposer_killed.play(run, "")


def test_accepted_values_ignored_is_caught(tmp_path: Path) -> None:
    broken = Experiment(tmp_path / "broken", algorithm="harness.mutants.paxos:IgnoresAccepted")
    assert {"coherence", "no decoherence"} & violated(broken, kill_the_proposer_at_each_step)


def promise_then_restart_then_an_old_accept(run: Experiment) -> None:
    """n1's Accepts are held; n3 promises n2 a higher ballot with n1 cut out, restarts, and gets n1's old Accept."""
    with run.faults.hold([("n1", "n2"), ("n1", "n3")], "Accept") as old_accepts:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=0.5)
        old_accepts.rules[0].wait_held(2, timeout_s=WAIT_S)
        # n2 goes through with n3 alone: n1 must not learn of it, nor tell of what it has accepted.
        with run.faults.partition(["n1"], ["n2", "n3"]):
            with run.faults.hold([("n2", "n3")], "Accept") as new_accepts:
                second = run.begin_propose("colour", "red", at="n2", timeout_s=0.5)
                new_accepts.rules[0].wait_held(1, timeout_s=WAIT_S)
                run.faults.kill("n3")
                run.faults.restart("n3")
                new_accepts.rules[0].discard()
            run.settle(first, second)
        old_accepts.rules[0].release()
    run.query_all("colour")
    run.propose("colour", "green", at="n3")
    run.query_all("colour")


def test_a_promise_that_is_not_saved_is_caught(tmp_path: Path) -> None:
    broken = Experiment(tmp_path / "broken", nodes=3, algorithm="harness.mutants.paxos:PromiseInMemory")
    assert violated(broken, promise_then_restart_then_an_old_accept)


def propose_again_under_an_old_ballot(run: Experiment) -> None:
    """n1 proposes blue and its Accepts are held back; it is killed, restarted, and proposes red."""
    with run.faults.hold([("n1", "n2"), ("n1", "n3")], "Accept") as held:
        first = run.begin_propose("colour", "blue", at="n1", timeout_s=0.5)
        held.rules[0].wait_held(2, timeout_s=WAIT_S)
        run.faults.kill("n1")
        run.settle(first)
        held.rules[0].release(1)  # one of the two is delivered after its sender's death
        held.rules[0].discard()
    run.faults.restart("n1")
    run.propose("colour", "red", at="n1")
    run.query_all("colour")


def test_a_ballot_used_again_after_a_restart_is_caught(tmp_path: Path) -> None:
    broken = Experiment(tmp_path / "broken", nodes=3, algorithm="harness.mutants.paxos:ReusesBallots")
    assert violated(broken, propose_again_under_an_old_ballot)


@pytest.mark.parametrize(
    "tell", [kill_the_proposer_at_each_step, promise_then_restart_then_an_old_accept, propose_again_under_an_old_ballot]
)
def test_the_unbroken_paxos_passes_the_same(tmp_path: Path, tell: Callable[[Experiment], None]) -> None:
    assert set() == violated(Experiment(tmp_path / "whole", nodes=3, algorithm="paxos"), tell)


def test_clients_have_a_link_of_their_own(tmp_path: Path) -> None:
    with Experiment(tmp_path / "run", nodes=1, algorithm="paxos") as run:
        run.propose("colour", "blue")
        assert {(CLIENT, "n1"), ("n1", CLIENT)} == set(run.network.links())
