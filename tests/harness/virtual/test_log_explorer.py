"""Every interleaving of logs: whatever the algorithm is, by what it says of itself."""

import inspect
from dataclasses import replace

import pytest

from harness.mutants import raft as broken
from harness.virtual import log_node_state, log_space
from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster
from harness.virtual.explorer import NoSuchBound, run_explore
from harness.virtual.fault_model import FaultModel
from harness.virtual.judge import Violation
from harness.virtual.log_node_state import freeze_log_node, keep_image, thaw_log_node
from harness.virtual.log_space import LogSpace
from harness.virtual.steps import Deliver, ElectionTimeout, Packet, from_json, to_json
from node.algorithms import load_algorithm
from node.log_contract import LogAlgorithm
from tests.fixed_leader_log import FixedLeaderLog

TIMELESS = FaultModel(time_stands_still=True)


@pytest.mark.parametrize(
    ("algorithm", "bounds", "states"),
    [
        ("raft", Bounds(ballots=1, proposals=0), 599),
        ("raft", Bounds(nodes=2, ballots=2, proposals=1), 407),
        ("multipaxos", Bounds(nodes=2, ballots=1, proposals=1, queries=1), 171),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_every_interleaving_within_the_bounds_is_clean(algorithm: str, bounds: Bounds, states: int) -> None:
    """`consensus explore raft --crashes 1` goes on to the 534,176 states of three nodes with two terms and a crash."""
    report = run_explore(algorithm, bounds)
    assert report.verdict.status == "valid", report.lines()
    assert report.found.states == states


def test_a_node_may_crash_also_between_its_early_output_and_its_commit() -> None:
    report = run_explore("raft", Bounds(nodes=2, ballots=1, proposals=0, crashes=1))
    assert report.verdict.status == "valid", report.lines()
    assert report.sometimes["a node crashed"]


def test_a_log_of_ones_own_is_explored_like_any_other() -> None:
    report = run_explore(FixedLeaderLog, Bounds(nodes=2, ballots=1, proposals=1))
    assert report.verdict.status == "valid", report.lines()
    for module in (log_space, log_node_state):
        assert "node.algorithms.raft" not in inspect.getsource(module)
        assert "node.algorithms.multipaxos" not in inspect.getsource(module)


@pytest.mark.parametrize("bounds", [Bounds(symmetry=True), Bounds(calls_at=("n1",))])
def test_a_bound_that_no_log_has_is_refused(bounds: Bounds) -> None:
    with pytest.raises(NoSuchBound, match="an exploration of a log has no --"):
        run_explore("raft", bounds)


# --- what is found --------------------------------------------------------------------------------------------------


def test_half_of_the_voters_is_no_majority() -> None:
    report = run_explore(broken.HalfIsEnough, Bounds(proposals=0, look_for=("agreement",)))
    assert [violation.kind for violation in report.violations] == ["agreement"]
    assert report.violations[0].text.startswith("leader completeness: slot 1 was chosen under ballot 1 of n1")
    assert [line.partition(",")[0] for line in report.story] == [
        "n1's election timeout ends: n1 asks n2",
        "n2 is asked by n1 for a vote in term 1",
        "n1 has the vote of n2 in term 1",
        "n1's timer 'beat' expires: n1 reports to n2 and n3 that it leads under ballot 1·n1 and that all up to slot 2 is chosen "
        "and asks n2 and n3 to append form [n1",
        "n2's election timeout ends: n2 asks n1",
        "n3 is asked by n2 for a vote in term 2",
        "n2 has the vote of n3 in term 2",
    ]


@pytest.mark.parametrize(
    ("mutant", "bounds", "kind", "lines"),
    [
        (broken.RaftVotesInMemory, Bounds(proposals=0, crashes=1, look_for=("promise",)), "promise", 3),
        (broken.VotesEndWithARole, Bounds(proposals=0), "promise", 4),
        (broken.CandidatesKeepTheirVote, Bounds(proposals=0, look_for=("leader",)), "leader", 6),
    ],
)
def test_a_vote_that_is_lost_shows_in_a_few_steps(
    mutant: type[LogAlgorithm], bounds: Bounds, kind: str, lines: int
) -> None:
    report = run_explore(mutant, bounds)
    assert ({violation.kind for violation in report.violations}, len(report.story)) == ({kind}, lines)


# --- the encoding ---------------------------------------------------------------------------------------------------


def _reached(algorithm: str, bounds: Bounds, *, merges: bool) -> tuple[int, set[object]]:
    """Return how many states a space has; and what all nodes together show in them, while they are up, with what is judged."""
    cls = load_algorithm(algorithm)
    assert issubclass(cls, LogAlgorithm)
    space = LogSpace(cls, replace(bounds, fault_model=TIMELESS), merges=merges)
    numbering = space.numbering
    met = set(space.initial())
    level = list(met)
    while level:
        level = list({after for state in level for after in space.successors(state)} - met)
        met.update(level)
        assert not any(map(space.is_bad, level))
    shown: set[object] = {
        fact for fact in numbering.facts_in(space.findings()[0]) if not isinstance(fact, Packet | Violation)
    }
    for state in met:
        nodes = [numbering.states[place][numbering.number_in(state, place)] for place in range(bounds.nodes)]
        if all(node.up for node in nodes):
            shown.add(tuple((n.incarnation, n.promised, n.leading, n.serving, n.applied, n.records) for n in nodes))
    return len(met), shown


@pytest.mark.parametrize(
    ("algorithm", "bounds", "states", "without"),
    [
        ("raft", Bounds(nodes=2, ballots=2, proposals=1), 407, 1666),
        ("raft", Bounds(nodes=2, ballots=1, proposals=0, crashes=1), 144, 437),
        ("raft", Bounds(ballots=1, proposals=0), 599, 1549),
        ("multipaxos", Bounds(nodes=2, ballots=1, proposals=1, queries=1), 171, 803),
        ("multipaxos", Bounds(nodes=2, ballots=1, proposals=0, crashes=1), 291, 1405),
    ],
)
def test_the_states_that_stand_for_others_show_the_same(
    algorithm: str, bounds: Bounds, states: int, without: int
) -> None:
    counts, shown = zip(*(_reached(algorithm, bounds, merges=merges) for merges in (True, False)), strict=True)
    assert shown[0] == shown[1]
    assert counts == (states, without)


def test_a_node_is_restored_to_the_state_that_it_was_in() -> None:
    cluster = VirtualCluster(load_algorithm("raft"), ("n1", "n2", "n3"), TIMELESS)
    cluster.apply(ElectionTimeout("n1"))
    for _ in range(12):
        for step in cluster.own_turns():
            cluster.apply(step)
        node = cluster.nodes["n1"]
        state = freeze_log_node(node)
        keep_image(state, node)
        thaw_log_node(node, state)
        assert freeze_log_node(node) == state
        cluster.apply(Deliver(next(iter(cluster.pending))))
    assert len(cluster.nodes["n1"].disk.log.records) == 2
    assert cluster.violations == []


def test_an_election_timeout_is_a_step_in_schedules() -> None:
    step = ElectionTimeout("n1")
    assert to_json(step) == {"step": "ElectionTimeout", "node": "n1"}
    cluster = VirtualCluster(load_algorithm("raft"), ("n1", "n2", "n3"), TIMELESS)
    assert from_json(to_json(step), cluster.possible()) == step
