"""Scripts in virtual time about the promises, ballots, quorums and slots of a replicated log."""

from harness.mutants.virtual_script import start, virtual_script
from node.algorithms.multipaxos.messages import LogAccept, LogAccepted
from node.contract import Message, NodeId
from node.log_contract import LogAlgorithm


@virtual_script
def everybody_crashes_after_the_answer(algorithm: type[LogAlgorithm]) -> None:
    """All nodes crash right after an acknowledgement; the acknowledged value must be on a majority of the disks."""
    world, *_ = start(algorithm)
    world.outcome(world.begin("c", "put", "k", b"acknowledged"))
    world.crash(*world.members)
    world.restart(*world.members)
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"


@virtual_script
def one_alone_crashes_as_it_answers(algorithm: type[LogAlgorithm]) -> None:
    """A cluster of one node crashes after it sends an early answer and before the commit of that turn, and boots."""
    world, only, _ = start(algorithm, nodes=1)
    world.crash_in_turn(only, 0.1)
    world.do("c", "put", "k", b"acknowledged")
    assert not world.cluster.nodes[only].up, "the node answered early and committed the answered value in one turn"
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"


@virtual_script
def a_ballot_after_a_restart(algorithm: type[LogAlgorithm]) -> None:
    """A candidate's Prepare is lost and the candidate restarts, three times; it uses no ballot twice."""
    world, first, (second, third) = start(algorithm)
    world.crash(first)
    world.isolate(third)
    for _ in range(3):
        world.take_over(second)
        world.pass_s(0.01)
        world.restart(second)
    world.heal()
    world.wait_leader()


@virtual_script
def everybody_starts_anew(algorithm: type[LogAlgorithm]) -> None:
    """All nodes crash, and start one after the other; ballots and promises must continue from those before the crash."""
    world, first, others = start(algorithm)
    world.elect(others[0])
    world.do("c", "put", "k", b"of the second")
    world.crash(*world.members)
    for node in (first, *others):
        world.restart(node)
        world.pass_s(0.2)
    world.wait_leader()
    world.do("c", "put", "k", b"after")
    world.check()


@virtual_script
def a_leader_of_a_minority(algorithm: type[LogAlgorithm]) -> None:
    """A leader is cut from all others, and must decide nothing."""
    world, first, others = start(algorithm)
    world.cut((first,), others)
    world.begin("c", "put", "k", b"to a minority", first, 1.0)
    world.pass_s(1.5)
    world.wait_leader(first)
    world.do("d", "put", "k", b"to a majority", others[0])
    world.heal()
    world.pass_s(2.0)
    world.check()


@virtual_script
def a_candidate_that_is_behind(algorithm: type[LogAlgorithm]) -> None:
    """One replica misses what the others commit; the leader crashes, and that replica is elected."""
    world, first, (_, third) = start(algorithm)
    world.isolate(third)
    for number in range(4):
        world.do("c", "put", "k", f"without third {number}".encode())
    world.pass_s(0.2)
    world.crash(first)
    world.heal()
    world.elect(third)
    world.do("c", "put", "k", b"after")
    world.restart(first)
    world.pass_s(1.0)
    world.check()


@virtual_script
def a_gap(algorithm: type[LogAlgorithm]) -> None:
    """Two slots are under way, and only the second reaches the other replicas; the leader crashes."""
    world, first, others = start(algorithm)
    leading = world.replica(first).leader
    assert leading is not None
    hole = leading.next_slot
    world.drop_rules.append(lambda _from, _to, message: isinstance(message, LogAccept) and message.slot == hole)
    for number in range(2):
        world.begin("c", "put", "k", f"{number}".encode())
        world.pass_s(0.012)
    assert world.pass_s(
        0.1, lambda: any(world.cluster.nodes[other].disk.log.get(hole + 1) is not None for other in others)
    )
    world.crash(first)
    world.drop_rules.clear()
    world.wait_leader(first)
    world.do("c", "put", "k", b"after")
    world.pass_s(1.0)
    world.check()


@virtual_script
def acknowledgements_that_come_again(algorithm: type[LogAlgorithm]) -> None:
    """A leader with one of its four followers gets each acknowledgement twice; the other three elect another leader."""
    world, first, (second, *rest) = start(algorithm, nodes=5)
    world.cut((first, second), tuple(rest))
    again: list[Message] = []

    def twice(sender: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, LogAccepted) and to == first and sender == second and message not in again:
            again.append(message)
            world.redeliver(sender, to, message)
        return False

    world.drop_rules.append(twice)
    world.begin("c", "put", "k", b"by two of five", first, 1.0)
    world.pass_s(1.0)
    world.wait_leader(first)
    world.do("d", "put", "k", b"by three of five", rest[0])
    world.drop_rules.clear()
    world.heal()
    world.pass_s(3.0)
    world.check()


@virtual_script
def one_accept_is_lost(algorithm: type[LogAlgorithm]) -> None:
    """Exactly one Accept to each follower is lost."""
    world, first, _ = start(algorithm)
    leading = world.replica(first).leader
    assert leading is not None
    slot, dropped = leading.next_slot, []

    def drops(_: NodeId, to: NodeId, message: Message) -> bool:
        is_first = isinstance(message, LogAccept) and message.slot == slot and to not in dropped
        if is_first:
            dropped.append(to)
        return is_first

    world.drop_rules.append(drops)
    world.do("c", "put", "k", b"it gets there")
    assert len(dropped) == 2


@virtual_script
def a_leader_crashes_behind_slow_links(algorithm: type[LogAlgorithm]) -> None:
    """Messages between nodes take 0.5 s, and the leader crashes; another node must lead, and a put must be answered."""
    world, *_ = start(algorithm)
    world.late_s = 0.5
    world.pass_s(5.0)
    world.wait(lambda: world.leader() is not None, "a leader", 20.0)
    world.crash(*filter(None, [world.leader()]))
    world.wait(lambda: world.leader() is not None, "a leader", 20.0)
    world.do("c", "put", "k", b"after")


@virtual_script
def a_leader_with_a_slow_disk(algorithm: type[LogAlgorithm]) -> None:
    """The leader's disk takes 0.2 s a sync, and those of the others are quick; another node must lead soon."""
    world, first, _ = start(algorithm)
    world.slow_disks[first] = 0.2
    end = world.now + 15.0
    while world.now < end and world.leader() == first:
        world.do("c", "put", "k", b"%f" % world.now)
    assert world.leader() != first, f"{first} still leads"
    world.do("c", "put", "k", b"after")


@virtual_script
def every_leader_has_a_slow_disk(algorithm: type[LogAlgorithm]) -> None:
    """Whichever node leads has a disk that takes 0.2 s a sync; the leaders must not hand over to each other all the time."""
    world, first, _ = start(algorithm)
    leaders = [first]
    end = world.now + 60.0
    while world.now < end:
        leader = world.leader()
        if leader is not None:
            world.slow_disks = {leader: 0.2}
            if leader != leaders[-1]:
                leaders.append(leader)
        world.do("c", "put", "k", b"%f" % world.now)
    assert len(leaders) - 1 <= 6, f"{len(leaders) - 1} changes of leader in a minute"
