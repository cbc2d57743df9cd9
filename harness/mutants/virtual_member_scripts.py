"""Scripts in virtual time about changes of the members of a replicated log."""

from cluster.clients.outcomes import NotDone, Ok
from harness.mutants.virtual_script import start, virtual_script
from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos.messages import LogAccept, LogAccepted, LogPrepare
from node.contract import Message, NodeId
from node.log_contract import LogAlgorithm
from node.replication.messages import Heartbeat, TakeOver
from node.replication.state import is_change


@virtual_script
def members_change_unheard_of(algorithm: type[LogAlgorithm]) -> None:
    """Two of five members are removed and do not receive the changes; these two and a third must not elect a leader."""
    world, first, (second, third, late, gone) = start(algorithm, nodes=5, seed=3)
    world.isolate(late)
    world.isolate(gone)
    world.pass_s(0.7)
    for node in (gone, late):
        outcome = world.change("remove", node)
        assert isinstance(outcome, Ok), outcome
    world.pass_s(0.3)  # the third member applies both changes
    world.cut((third, late, gone), (first, second))
    world.do("c", "put", "k", b"by two of three", first)
    world.heal()
    world.cut((third, late, gone), (first, second))
    change = world.replica(late).log.commit + 1
    world.drop_rules.append(
        lambda sender, _, message: sender == late and isinstance(message, LogAccept) and message.slot == change
    )
    world.take_over(late)  # the promises must not make it a leader above the changes
    world.pass_s(0.1)
    world.drop_rules.clear()
    world.pass_s(3.0)
    world.heal()
    world.pass_s(3.0)
    world.check()


@virtual_script
def asked_in_the_turn_that_tells(algorithm: type[LogAlgorithm]) -> None:
    """One turn takes in that a removal is chosen, and a request to lead; the node must ask no removed member for a promise."""
    world, first, (second, third) = start(algorithm)
    leading = world.replica(first).leader
    assert leading is not None
    change = leading.next_slot
    world.drop_rules.append(
        lambda _, to, message: to == second and not (isinstance(message, LogAccept) and message.slot == change)
    )
    assert isinstance(world.change("remove", third), Ok)
    replica = world.replica(second)
    ballot = replica.promised
    accept = LogAccept(ballot, change + 1, b"", change)
    assert replica.log.commit == change - 1, (
        "the second already knows the change as chosen, so the script shows nothing"
    )
    answers = world.turn(second, (first, accept))
    assert [(packet.to, packet.message) for packet in answers] == [(first, LogAccepted(ballot, (change + 1,)))]
    world.turn(
        second, (first, Heartbeat(ballot, 0, change))
    )  # a small batch is applied by the next heartbeat at the latest
    assert replica.state.applied == change
    assert replica.state.configuration.voters == tuple(sorted((first, second)))
    world.restart(second)  # the same again, with the request to lead in the same turn
    asked = world.turn(second, (first, accept), (first, TakeOver(ballot)))
    assert [packet.to for packet in asked if isinstance(packet.message, LogPrepare)] == [first]


@virtual_script
def two_changes_at_once(algorithm: type[LogAlgorithm]) -> None:
    """Two clients ask to remove two of five members at once; no other slot may be under way beside a change of members."""
    world, first, (*_, fourth, fifth) = start(algorithm, nodes=5)

    def drops(_from: NodeId, _to: NodeId, _message: Message) -> bool:
        leading = world.replica(first).leader
        under_way = [] if leading is None else [flight.batch for flight in leading.flights.values()]
        assert len(under_way) <= 1 or not any(map(is_change, under_way)), (
            "a change of members and another slot are under way"
        )
        return False

    world.drop_rules.append(drops)
    calls = [
        world.clients[client].pipeline.call("cluster", ["remove", node], world.now, 5.0)
        for client, node in (("c", fourth), ("d", fifth))
    ]
    world.begin("d", "put", "k", b"beside")
    world.begin("c", "put", "k", b"beside, too")
    outcomes = [world.outcome(call) for call in calls]
    assert isinstance(outcomes[0], Ok), outcomes
    world.do("c", "put", "k", b"and then")
    world.check()


@virtual_script
def a_change_that_comes_twice(algorithm: type[LogAlgorithm]) -> None:
    """The network repeats a client's request to remove a member; the copy must not be refused, since the change is made."""
    world, _, (_, third) = start(algorithm)
    pipeline = world.clients["c"].pipeline
    outgoing = pipeline.outgoing
    pipeline.outgoing = lambda now: (each for each in outgoing(now) for _ in range(2))  # type: ignore[method-assign]
    outcome = world.change("remove", third)
    assert isinstance(outcome, Ok), outcome
    world.check()


@virtual_script
def the_removed_speak(algorithm: type[LogAlgorithm]) -> None:
    """One of three members is removed; then the leader receives only that node's acknowledgements."""
    world, first, (second, third) = start(algorithm)
    assert isinstance(world.change("remove", third), Ok)
    world.pass_s(0.3)
    world.cut((first,), (second,))
    world.cut((third,), (second,))
    before = world.replica(second).log.commit
    world.begin("c", "put", "k", b"by one of two", first, 1.0)
    world.drop_rules.append(lambda _from, _to, message: isinstance(message, Heartbeat))
    leading = world.replica(first).leader
    assert leading is not None
    world.pass_s(0.1)
    world.redeliver(third, first, LogAccepted(leading.ballot, (leading.next_slot - 1,)))
    world.pass_s(0.2)
    assert world.replica(first).log.commit == before, "the leader counted a removed node as a voter"
    world.drop_rules.clear()
    world.heal()
    world.pass_s(1.0)
    world.check()


@virtual_script
def an_id_comes_again(algorithm: type[LogAlgorithm]) -> None:
    """A member is removed and its disk is lost; no node may join under its id."""
    world, _, (second, _) = start(algorithm)
    assert isinstance(world.change("remove", second), Ok)
    world.crash(second)
    outcome = world.change("add", second)
    assert isinstance(outcome, NotDone), outcome
    assert "used once" in outcome.reason, outcome.reason


@virtual_script
def newcomers_start_anew(algorithm: type[LogAlgorithm]) -> None:
    """Two of three members are replaced, and all nodes crash; the new members are a majority, and must know it after a boot."""
    world, _, others = start(algorithm)
    for old, new in zip(others, ("n4", "n5"), strict=True):  # too few slots for the commit index to be saved otherwise
        _join(world, new)
        outcome = world.change("remove", old)
        assert isinstance(outcome, Ok), outcome
    world.pass_s(0.5)
    members = [node for node in world.cluster.nodes if world.cluster.nodes[node].up and node not in others]
    world.crash(*members)
    world.crash(*(node for node in others if world.cluster.nodes[node].up))
    world.restart(*members)
    world.do("c", "put", "k", b"after")
    world.check()


@virtual_script
def somebody_joins_unnoticed(algorithm: type[LogAlgorithm]) -> None:
    """One of three members is cut off while a fourth joins and another is removed; then these two must elect a leader."""
    world, first, (gone, late) = start(algorithm)
    world.isolate(late)
    _join(world, "n4")
    outcome = world.change("remove", gone)
    assert isinstance(outcome, Ok), outcome
    world.pass_s(0.5)
    world.crash(first, gone)
    world.heal()
    world.do("c", "put", "k", b"after")
    assert set(world.replica(late).members) == {first, late, "n4"}
    world.check()


def _join(world: LogWorld, node: NodeId) -> None:
    """Add a node, boot it, and wait until it votes."""
    outcome = world.change("add", node)
    assert isinstance(outcome, Ok), outcome
    world.restart(node)
    leading = world.replica(world.wait_leader())
    world.wait(lambda: node in leading.state.configuration.voters, f"{node} votes")
