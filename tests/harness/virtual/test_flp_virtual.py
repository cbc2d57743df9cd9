"""The adversary in virtual time: nothing decided for a hundred rounds, nothing lost, and both values possible throughout."""

import json
from collections import Counter

import pytest

from harness.cli.convention import EXIT_BAD_ARGUMENTS
from harness.cli.main import run
from harness.mutants.paxos import AcceptIgnoresPromise
from harness.virtual.flp import BLUE, RED, Adversary, StandOff, favour, fork, stand_off
from harness.virtual.flp_majority import explore_tie
from node.algorithms.majority import Vote


def test_a_hundred_rounds_and_no_decision() -> None:
    seen: list[tuple[int, int]] = []
    report = stand_off(100, progress=lambda now: seen.append((now.ballot.round, now.decisions)))
    assert (report.rounds, report.decisions, report.violations) == (100, 0, [])
    assert all(decisions == 0 for _, decisions in seen)
    rounds = [round_ for round_, _ in seen]
    assert rounds == sorted(rounds)
    assert report.ballot.round >= 99
    assert report.bivalent == 100
    assert report.decided in ("blue", "red")
    assert report.deliveries_to_decision < 20
    assert (report.shown, report.exit_code) == (True, 0)


def test_every_message_has_arrived_and_no_node_has_crashed() -> None:
    report = stand_off(50)
    assert report.nothing_broken
    assert report.sent == report.delivered > 50 * 10
    assert {"Propose", "Deliver", "Fire", "HearSelf"} == set(report.steps)


@pytest.mark.parametrize("nodes", [3, 4, 5, 7])
def test_the_adversary_succeeds_in_clusters_of_any_size(nodes: int) -> None:
    assert stand_off(20, nodes).shown


def test_each_message_is_late_by_a_round_at_most() -> None:
    adversary = Adversary()
    adversary.round()  # n2's first Prepares wait for its turn
    adversary.round()
    for _ in range(10):
        before = set(adversary.cluster.pending)
        assert before
        adversary.round()
        assert not before & set(adversary.cluster.pending)


def test_a_schedule_to_each_value_leads_there_and_leaves_the_cluster_alone() -> None:
    adversary = Adversary()
    for _ in range(7):
        adversary.round()
    before = adversary.cluster.key()
    assert favour(fork(adversary.cluster, (BLUE, RED)), "n1", "n2") == BLUE
    assert favour(fork(adversary.cluster, (BLUE, RED)), "n2", "n1") == RED
    assert before == adversary.cluster.key()
    assert "replies to c1 that 'blue' is decided" in adversary.report.ways["blue"][-1]
    assert "replies to c2 that 'red' is decided" in adversary.report.ways["red"][-1]


def test_an_algorithm_that_accepts_under_a_lower_ballot_is_found() -> None:
    report = stand_off(100, algorithm=AcceptIgnoresPromise)
    assert report.violations
    assert report.rounds < 100
    assert (report.shown, report.exit_code) == (False, 1)


@pytest.mark.parametrize("broken", ["Drop", "Duplicate", "Crash", "LoseDisk"])
def test_a_run_with_a_fault_has_shown_nothing(broken: str) -> None:
    report = StandOff(5, rounds=1, bivalent=1, decided="blue", sent=4, steps=Counter(Deliver=4))
    assert (report.shown, report.exit_code) == (True, 0)
    report.steps[broken] += 1
    assert (report.shown, report.exit_code) == (False, 2)


def test_at_a_tie_a_majority_vote_hangs_on_one_message() -> None:
    tie = explore_tie()
    assert frozenset({"blue", "red"}) == tie.valence
    assert [(packet.sender, packet.to) for packet in tie.critical] == [("n1", "n3"), ("n2", "n3")]
    assert [Vote(BLUE), Vote(RED)] == [packet.message for packet in tie.critical]
    assert [{"blue"}, {"red"}] == [set(tie.after[packet]) for packet in tie.critical]
    assert list(tie.ways) == ["blue", "red"]
    assert all(tie.ways.values())
    assert (tie.held, 0) == (tie.held_bivalent, tie.held_decided)
    assert 1 < tie.held < tie.states
    assert tie.shown


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["flp", "--rounds", "20", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["rounds"], data["bivalent_rounds"], data["decisions"], data["lost"]) == (20, 20, 0, 0)
    assert data["sent"] == data["delivered"]
    assert run(["flp", "--algorithm", "majority"]) == 0
    output = " ".join(capsys.readouterr().out.split())  # wherever the lines are broken
    assert "everything depends on which of two messages to n3 is late" in output
    assert "Vote(value 'blue') from n1 to n3 first: 'blue'. Vote(value 'red') from n2 to n3 first: 'red'." in output
    assert "Fischer, Lynch and Paterson" in output
    assert run(["flp", "--algorithm", "majority", "--real", "2"]) == EXIT_BAD_ARGUMENTS
