"""Every interleaving of the shipped classes, and of broken ones that it must catch."""

from collections import deque
from dataclasses import fields, replace

import pytest

from harness.mutants import majority_and_leader, paxos
from harness.replay.schedule import Schedule, load
from harness.virtual.bounds import Bounds
from harness.virtual.explorer import Exploration, run_explore
from harness.virtual.fault_model import FaultModel
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NodeState, freeze_node, thaw_node
from harness.virtual.search import Budget, search
from harness.virtual.space import ClusterSpace
from harness.virtual.steps import Crash, Deliver, Fire, Packet, Propose, Recover, Step, TakeOwnMessages
from node.algorithms import load_algorithm
from node.contract import Algorithm
from tests.rows import ROWS, Row


def name(bounds: Bounds) -> str:
    """Return the bounds that differ from the default, as the name of a test."""
    default = Bounds()
    return "-".join(
        f"{f.name}={getattr(bounds, f.name)}"
        for f in fields(bounds)
        if getattr(bounds, f.name) != getattr(default, f.name)
    )


# --- the shipped classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "bounds", "states"),
    [
        ("leader", Bounds(), 21),
        ("leader", Bounds(queries=1), 333),
        ("majority", Bounds(), 4568),
        ("majority", Bounds(queries=1), 55_871),
        ("paxos", Bounds(ballots=1), 1475),
        ("paxos", Bounds(ballots=1, crashes=1), 38_767),
        ("paxos", Bounds(proposals=1, crashes=1), 11_953),
        ("paxos", Bounds(nodes=2, proposals=1, crashes=2), 1586),
    ],
    ids=lambda item: name(item) if isinstance(item, Bounds) else str(item),
)
def test_every_interleaving_within_the_bounds_is_clean(algorithm: str, bounds: Bounds, states: int) -> None:
    report = run_explore(algorithm, bounds)
    assert report.found.states == states
    assert report.verdict.status == "valid", report.lines()


def test_paxos_of_two_nodes_with_two_competing_proposers_is_exhausted() -> None:
    report = run_explore("paxos", Bounds(nodes=2, proposals=2))
    assert (report.found.states, report.found.depth, report.found.exhausted) == (560, 16, True)
    assert report.sometimes == {
        "a decision was reached": True,
        "two clients proposed": True,
        "two ballots competed": True,
    }
    assert report.verdict.status == "valid"
    assert any("no violation within these bounds" in line for line in report.lines())


def test_paxos_of_three_nodes_is_clean_beyond_the_depth_of_each_break_with_two_ballots() -> None:
    """`consensus explore paxos` goes on to all 869,649 states."""
    two_ballots = [row for row in ROWS if row.bounds.nodes == 3 and row.bounds.ballots == 2 and not row.bounds.crashes]
    deepest = max(run_explore(row.algorithm, row.bounds).found.depth for row in two_ballots)
    report = run_explore("paxos", Bounds(), Budget(states=60_000))
    assert report.violations == []
    assert all(report.sometimes.values())
    assert report.found.depth > deepest


def test_a_node_whose_disk_is_lost_does_not_boot_and_violates_nothing() -> None:
    report = run_explore("paxos", Bounds(ballots=1, crashes=1, lose_disk=True))
    assert report.verdict.status == "valid", report.lines()


def test_a_node_may_also_receive_its_own_messages_late() -> None:
    report = run_explore("paxos", Bounds(ballots=1, fault_model=FaultModel(own_messages_wait=True)))
    assert report.verdict.status == "valid", report.lines()


# --- what the article says goes wrong -------------------------------------------------------------------------------


def kinds(report: Exploration) -> set[str]:
    return {violation.kind for violation in report.violations}


def test_a_leader_is_a_single_point_of_failure() -> None:
    report = run_explore("leader", Bounds(crashes=1))
    assert report.story == ["n1 crashes", "c2 proposes 'red' at n2: n2 passes the proposal 'red' on to leader n1"]
    assert [str(violation) for violation in report.violations] == [
        "fault tolerance: n2 can never answer while n1 is down"
    ]


def test_failover_splits_the_brain() -> None:
    report = run_explore("failover")
    assert kinds(report) == {"agreement"}
    assert report.story == [
        "c1 proposes 'blue' at n1: n1 reports to n2 and n3 that it is alive and holds nothing and passes the proposal 'blue' on "
        "to leader itself; answers itself that 'blue' is decided; replies to c1 that 'blue' is decided",
        "n2 learns that n1 is alive and holds nothing, and reports to n1 and n3 that it is alive and holds nothing",
        "n2's timer 'silent n1' expires",
        "c2 proposes 'red' at n2: n2 passes the proposal 'red' on to leader itself; answers itself that 'red' is decided; "
        "replies to c2 that 'red' is decided",
    ]


def test_majority_blocks_when_the_node_with_the_deciding_vote_is_down() -> None:
    report = run_explore("majority", Bounds(crashes=1))
    assert [str(violation) for violation in report.violations] == [
        "fault tolerance: n1 and n2 can never answer while n3 is down"
    ]
    assert sum("votes" in line for line in report.story) >= 2


def test_majority_blocks_on_three_proposals_though_no_node_is_down() -> None:
    report = run_explore("majority", Bounds(proposals=3))
    assert [str(violation) for violation in report.violations] == ["fault tolerance: n1, n2 and n3 can never answer"]


# --- mistakes of real systems: the rows of the table ----------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_break_is_found_by_a_shortest_schedule(row: Row, regenerate: bool) -> None:
    if row.takes_long and not regenerate:
        schedule = load(row.path)
        cluster = schedule.cluster()
        for step in schedule.read(cluster):
            cluster.apply(step)
        assert {violation.kind for violation in cluster.violations} >= {row.kind}
        assert len(cluster.story) == row.lines
        return
    report = run_explore(row.algorithm, row.bounds)
    assert kinds(report) == {row.kind}
    assert len(report.story) == row.lines, report.story
    assert (report.verdict.status, report.exit_code) == ("invalid", 1)
    found = Schedule.explored(report, row.algorithm)
    if regenerate:
        found.save(row.path)
    assert load(row.path) == found


@pytest.mark.parametrize(
    ("algorithm", "bounds", "kind", "lines"),
    [
        (paxos.AcceptIgnoresPromise, Bounds(), "promise", 7),
        (paxos.AcceptDoesNotRaise, Bounds(ballots=3), "promise", 7),
        (paxos.PromiseInMemory, Bounds(crashes=1), "promise", 2),
        (paxos.AcceptedInMemory, Bounds(crashes=1), "promise", 4),
        (paxos.ProposesADefault, Bounds(), "validity", 5),
        (majority_and_leader.QueriesAreAnsweredAtOnce, Bounds(proposals=1, queries=1), "stability", 3),
        (paxos.LateAcceptsKill, Bounds(), "contract", 5),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else None,
)
def test_a_break_shows_before_its_end(algorithm: type[Algorithm], bounds: Bounds, kind: str, lines: int) -> None:
    report = run_explore(algorithm, bounds)
    assert kinds(report) == {kind}
    assert len(report.story) == lines, report.story


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_report_of_a_search_that_was_cut_short_does_not_claim_no_violation() -> None:
    report = run_explore("paxos", Bounds(), Budget(states=5000))
    assert (report.verdict.status, report.exit_code) == ("unknown", 2)
    text = "\n".join(report.lines())
    assert "CUT SHORT" in text
    assert "no violation" not in text


def test_a_search_in_which_nothing_happened_has_shown_nothing() -> None:
    report = run_explore("paxos", Bounds(ballots=0))
    assert report.found.exhausted
    assert report.verdict.status == "unknown"
    assert "it NEVER happened that a decision was reached" in "\n".join(report.lines())


# --- the explorer against a plain search ----------------------------------------------------------------------------

Plain = tuple[tuple[NodeState, ...], frozenset[object]]


def plainly_explored(algorithm: type[Algorithm], bounds: Bounds) -> int:
    """Count the states without an encoding, and without caching the result of a step."""
    space = ClusterSpace(algorithm, bounds)
    clients = space.numbering.clients

    def start() -> Plain:
        nodes = [VirtualNode(algorithm, member, space.members) for member in space.members]
        for node in nodes:
            node.boot()
        return tuple(freeze_node(node) for node in nodes), frozenset()

    def after(state: Plain, place: int, step: Step, *facts: object) -> Plain:
        node = VirtualNode(algorithm, space.members[place], space.members)
        thaw_node(node, state[0][place])
        if isinstance(step, Crash):
            node.crash()
            return (*state[0][:place], freeze_node(node), *state[0][place + 1 :]), state[1] | set(facts)
        packets = list((node.boot() if isinstance(step, Recover) else node.turn(step)).packets)
        while node.to_self:
            packets += node.turn(TakeOwnMessages(node.id)).packets
        return (*state[0][:place], freeze_node(node), *state[0][place + 1 :]), state[1] | set(packets) | set(facts)

    def following(state: Plain) -> list[Plain]:
        found = []
        for place, local in enumerate(state[0]):
            member = space.members[place]
            steps = [Deliver(fact) for fact in state[1] if isinstance(fact, Packet) and fact.to == member]
            found += [after(state, place, step) for step in steps]
            found += [after(state, place, Fire(member, timer)) for timer, _ in local.timers]
            for client in clients:
                if client.node == member and client not in state[1]:
                    step = client.step()
                    assert isinstance(step, Propose)
                    found.append(after(state, place, step, client))
        return [each for each in found if len(ballots(each)) <= bounds.ballots]

    def ballots(state: Plain) -> set[object]:
        packets = [fact for fact in state[1] if isinstance(fact, Packet)]
        return {getattr(packet.message, "ballot", None) for packet in packets} - {None}

    states = {first := start()}
    waiting = deque([first])
    while waiting:
        for each in following(waiting.popleft()):
            if each not in states:
                states.add(each)
                waiting.append(each)
    return len(states)


@pytest.mark.parametrize(
    ("algorithm", "bounds"),
    [("majority", Bounds(proposals=1)), ("paxos", Bounds(ballots=1)), ("paxos", Bounds(nodes=2))],
    ids=["majority", "paxos", "paxos with two ballots"],
)
def test_the_explorer_meets_as_many_states_as_a_plain_search(algorithm: str, bounds: Bounds) -> None:
    cls = load_algorithm(algorithm)
    assert search(ClusterSpace(cls, bounds)).states == plainly_explored(cls, bounds)


# --- symmetry -------------------------------------------------------------------------------------------------------


class RecordingSpace(ClusterSpace):
    """Records every state that the met states represent."""

    def __init__(self, algorithm: type[Algorithm], bounds: Bounds) -> None:
        super().__init__(algorithm, bounds)
        self.represented: set[int] = set()

    def is_bad(self, state: int) -> bool:
        assert self.symmetry is not None
        self.represented.update(self.symmetry.renamed(state, which) for which in range(len(self.symmetry.renamings)))
        return super().is_bad(state)


@pytest.mark.parametrize(
    ("algorithm", "bounds", "states"),
    [
        ("majority", Bounds(), 2286),
        ("leader", Bounds(calls_at=("n2", "n3")), 18),
        ("paxos", Bounds(ballots=1, calls_at=("n1",)), 475),
    ],
    ids=["majority", "leader", "paxos"],
)
def test_each_state_represents_all_that_differ_only_in_names(algorithm: str, bounds: Bounds, states: int) -> None:
    cls = load_algorithm(algorithm)
    whole = search(ClusterSpace(cls, bounds))
    space = RecordingSpace(cls, replace(bounds, symmetry=True))
    assert search(space).states == states
    assert len(space.represented) == whole.states


def test_a_schedule_is_found_under_symmetry_too() -> None:
    plain, symmetric = (run_explore("majority", Bounds(crashes=1, symmetry=symmetry)) for symmetry in (False, True))
    assert len(symmetric.story) == len(plain.story)
    assert kinds(symmetric) == {"fault tolerance"}
    assert symmetric.found.states < plain.found.states


def test_nodes_whose_order_matters_are_not_exchanged() -> None:
    for algorithm in ("failover", "paxos"):
        space = ClusterSpace(load_algorithm(algorithm), Bounds(symmetry=True))
        assert space.symmetry is not None
        assert len(space.symmetry.renamings) == 1
