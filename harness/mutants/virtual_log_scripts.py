"""Schedules that expose what has really been broken in replicated logs, told in virtual time: see `harness.virtual.log_script`.

Each leaves the shipped log unharmed, and raises an AssertionError where the log has the break that it is about. None depends
on how fast a machine is, and each takes some hundredths of a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster.clients.outcomes import NotDone, Ok
from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos.messages import Heartbeat, LogAccept, LogAccepted, LogPrepare, TakeOver
from node.contract import Message, NodeId
from node.limits import SHIPPED_LIMITS, LogLimits
from node.log_contract import LogAlgorithm
from node.replication.state import is_change


@dataclass(frozen=True, slots=True)
class VirtualScript:
    """A script that is played without processes."""

    name: str
    play: Callable[[type[LogAlgorithm]], None]

    @property
    def about(self) -> str:
        """What happens, in a line."""
        return (self.play.__doc__ or "").strip().partition("\n")[0]


#: By name.
VIRTUAL_SCRIPTS: Final[dict[str, VirtualScript]] = {}


def _script(function: Callable[[type[LogAlgorithm]], None]) -> Callable[[type[LogAlgorithm]], None]:
    name = function.__name__.replace("_", "-")
    VIRTUAL_SCRIPTS[name] = VirtualScript(name, function)
    return function


def _start(
    algorithm: type[LogAlgorithm], nodes: int = 3, seed: int = 1, limits: LogLimits = SHIPPED_LIMITS
) -> tuple[LogWorld, NodeId, tuple[NodeId, ...]]:
    """A cluster with a leader and a client that has written once; the leader, and the others."""
    world = LogWorld(nodes, seed, algorithm, limits)
    first = world.wait_leader()
    world.do("c", "put", "k", b"first")
    world.pass_s(0.3)
    return world, first, tuple(node for node in world.members if node != first)


# --- promises and ballots ---------------------------------------------------------------------------------------------


@_script
def everybody_crashes_after_the_answer(algorithm: type[LogAlgorithm]) -> None:
    """Everybody crashes right after an acknowledgement; what it rested on must be on two disks."""
    world, *_ = _start(algorithm)
    world.outcome(world.begin("c", "put", "k", b"acknowledged"))
    world.crash(*world.members)
    world.restart(*world.members)
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"


@_script
def one_alone_crashes_as_it_answers(algorithm: type[LogAlgorithm]) -> None:
    """Answers leave before the commit of their turn: a cluster of one crashes in between, and boots."""
    world, only, _ = _start(algorithm, nodes=1)
    world.crash_in_turn(only, 0.1)
    world.do("c", "put", "k", b"acknowledged")
    assert not world.cluster.nodes[only].up, (
        "it has answered, and committed what the answer should rest on, in one turn"
    )
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"


@_script
def a_ballot_after_a_restart(algorithm: type[LogAlgorithm]) -> None:
    """A candidate's Prepare leaves and is lost; it boots anew, three times, and uses no ballot again."""
    world, first, (second, third) = _start(algorithm)
    world.crash(first)
    world.isolate(third)
    for _ in range(3):
        world.take_over(second)
        world.pass_s(0.01)
        world.restart(second)
    world.heal()
    world.wait_leader()


@_script
def everybody_starts_anew(algorithm: type[LogAlgorithm]) -> None:
    """All are stopped, and started one after the other: ballots and promises go on where they were."""
    world, first, others = _start(algorithm)
    world.elect(others[0])
    world.do("c", "put", "k", b"of the second")
    world.crash(*world.members)
    for node in (first, *others):
        world.restart(node)
        world.pass_s(0.2)
    world.wait_leader()
    world.do("c", "put", "k", b"after")
    world.check()


@_script
def a_leader_of_a_minority(algorithm: type[LogAlgorithm]) -> None:
    """A leader that is cut from all others decides nothing."""
    world, first, others = _start(algorithm)
    world.cut((first,), others)
    world.begin("c", "put", "k", b"to a minority", first, 1.0)
    world.pass_s(1.5)
    world.wait_leader(first)
    world.do("d", "put", "k", b"to a majority", others[0])
    world.heal()
    world.pass_s(2.0)
    world.check()


@_script
def a_candidate_that_is_behind(algorithm: type[LogAlgorithm]) -> None:
    """One misses what the others commit; the leader crashes, and the one that is behind is elected."""
    world, first, (_, third) = _start(algorithm)
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


@_script
def a_gap(algorithm: type[LogAlgorithm]) -> None:
    """Of two slots under way one reaches the others, the second; the leader crashes."""
    world, first, others = _start(algorithm)
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


@_script
def acknowledgements_that_come_again(algorithm: type[LogAlgorithm]) -> None:
    """A leader with one follower of four gets each acknowledgement twice; the other three elect another leader."""
    world, first, (second, *rest) = _start(algorithm, nodes=5)
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


@_script
def one_accept_is_lost(algorithm: type[LogAlgorithm]) -> None:
    """Exactly one Accept to each follower is lost."""
    world, first, _ = _start(algorithm)
    leading = world.replica(first).leader
    assert leading is not None
    slot, dropped = leading.next_slot, []

    def wish(_: NodeId, to: NodeId, message: Message) -> bool:
        is_first = isinstance(message, LogAccept) and message.slot == slot and to not in dropped
        if is_first:
            dropped.append(to)
        return is_first

    world.drop_rules.append(wish)
    world.do("c", "put", "k", b"it gets there")
    assert len(dropped) == 2


# --- sessions ---------------------------------------------------------------------------------------------------------


@_script
def an_answer_is_cut_off(algorithm: type[LogAlgorithm]) -> None:
    """An answer is lost, the leader crashes, and the client asks the next; all take snapshots, restart, and it asks again."""
    world, first, others = _start(algorithm, limits=LogLimits(snapshot_slots=1, kept_slots=0))
    world.cut(world.members, ("c",), one_way=True)
    world.begin("c", "put", "k", b"once", for_s=20.0)
    world.pass_s(1.0)
    world.crash(first)
    world.wait_leader(first)
    world.pass_s(1.0)
    for node in others:
        world.restart(node)
    world.wait_leader()
    world.pass_s(1.0)
    assert all(world.replica(node).snapshot_slot > 0 for node in others)
    world.heal()
    world.do("c", "put", "k", b"after")
    world.check()
    assert [value for _, value in world.judge.changes.values()].count(b"once") == 1


@_script
def a_client_restarts(algorithm: type[LogAlgorithm]) -> None:
    """A client forgets its numbers and goes on in its session."""
    world, *_ = _start(algorithm)
    for number in range(3):
        world.do("c", "put", "k", f"before {number}".encode())
    world.clients["c"].restart(world.clients["c"].pipeline.session)
    for number in range(3):
        world.do("c", "put", "k", f"after {number}".encode())
    world.check()


# --- questions and time -----------------------------------------------------------------------------------------------


@_script
def a_leader_from_the_past_is_asked(algorithm: type[LogAlgorithm]) -> None:
    """The leader is suspended, another is elected and writes; the first goes on, and is asked."""
    world, first, others = _start(algorithm)
    world.pause(first, 4.0)
    world.cut(others, (first,), one_way=True)  # nothing waits for the old leader but the question
    second = world.wait_leader(first)
    world.do("d", "put", "k", b"second", second)
    world.pass_s(1.0)
    read = world.begin("c", "get", "k", at=first, for_s=20.0)
    world.pass_s(4.0)
    world.heal()
    assert isinstance(world.outcome(read), Ok)
    world.check()


@_script
def time_while_nobody_leads(algorithm: type[LogAlgorithm]) -> None:
    """The leader is suspended for longer than a lease; the log's time has not run meanwhile."""
    world, first, _ = _start(algorithm)
    world.pause(first, 2.0)
    world.wait_leader(first)
    for number in range(5):
        world.do("c", "put", "k", f"{number}".encode())
        world.pass_s(0.3)
        time_ms = max(world.replica(node).state.time_ms for node in world.members)
        assert 0 < time_ms <= world.now * 1000, f"after {world.now:.1f} s the log's time is {time_ms} ms"


@_script
def a_holder_that_is_away_too_long(algorithm: type[LogAlgorithm]) -> None:
    """A lock's holder is away past its lease, and another has the lock: a resource tells them apart by their tokens."""
    world, *_ = _start(algorithm)
    tokens = []
    for client in ("c", "d"):
        held = world.ask(client, "locks", ["try", "printer", client, 500])
        assert isinstance(held, Ok), held
        tokens.append(held.value)
        world.pass_s(2.0)  # longer than the lease, which nobody renews
    assert tokens[0] < tokens[1], f"the first has token {tokens[0]}, and the second {tokens[1]}"
    late = world.ask("c", "locks", ["renew", "printer", tokens[0]])
    assert isinstance(late, NotDone), late


# --- members ----------------------------------------------------------------------------------------------------------


@_script
def members_change_unheard_of(algorithm: type[LogAlgorithm]) -> None:
    """Two of five are removed and do not hear of it; then they and a third hear each other, late what the first slot holds."""
    world, first, (second, third, late, gone) = _start(algorithm, nodes=5, seed=3)
    world.isolate(late)
    world.isolate(gone)
    world.pass_s(0.7)
    for node in (gone, late):
        outcome = world.change("remove", node)
        assert isinstance(outcome, Ok), outcome
    world.pass_s(0.3)  # the third has heard of both
    world.cut((third, late, gone), (first, second))
    world.do("c", "put", "k", b"by two of three", first)
    world.heal()
    world.cut((third, late, gone), (first, second))
    change = world.replica(late).acceptor.commit + 1
    world.drop_rules.append(
        lambda sender, _, message: sender == late and isinstance(message, LogAccept) and message.slot == change
    )
    world.take_over(late)  # what they tell it makes it no leader above the changes
    world.pass_s(0.1)
    world.drop_rules.clear()
    world.pass_s(3.0)
    world.heal()
    world.pass_s(3.0)
    world.check()


@_script
def asked_in_the_turn_that_tells(algorithm: type[LogAlgorithm]) -> None:
    """A change is told as chosen by an Accept, whose turn also asks its receiver to lead: it asks nobody who has gone."""
    world, first, (second, third) = _start(algorithm)
    leading = world.replica(first).leader
    assert leading is not None
    change = leading.next_slot
    world.drop_rules.append(
        lambda _, to, message: to == second and not (isinstance(message, LogAccept) and message.slot == change)
    )
    assert isinstance(world.change("remove", third), Ok)
    replica = world.replica(second)
    ballot = replica.acceptor.promised
    told = LogAccept(ballot, change + 1, b"", change)
    assert replica.acceptor.commit == change - 1, "the second has heard too much for this story"
    answers = world.turn(second, (first, told))
    assert [(packet.to, packet.message) for packet in answers] == [(first, LogAccepted(ballot, (change + 1,)))]
    world.turn(second, (first, Heartbeat(ballot, 0, change)))  # one small batch alone is put off, for a beat at most
    assert replica.state.applied == change
    assert replica.state.configuration.voters == tuple(sorted((first, second)))
    world.restart(second)  # once more, and now the leader asks it in the same turn to lead
    asked = world.turn(second, (first, told), (first, TakeOver(ballot)))
    assert [packet.to for packet in asked if isinstance(packet.message, LogPrepare)] == [first]


@_script
def two_changes_at_once(algorithm: type[LogAlgorithm]) -> None:
    """Two clients want two of five removed at the same moment; nothing may be under way beside a change of members."""
    world, first, (*_, fourth, fifth) = _start(algorithm, nodes=5)

    def wish(_from: NodeId, _to: NodeId, _message: Message) -> bool:
        leading = world.replica(first).leader
        under_way = [] if leading is None else [flight.batch for flight in leading.flights.values()]
        assert len(under_way) <= 1 or not any(map(is_change, under_way)), "a change is under way, and more"
        return False

    world.drop_rules.append(wish)
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


@_script
def the_removed_speak(algorithm: type[LogAlgorithm]) -> None:
    """One of three is removed; then its acknowledgements are all that the leader gets."""
    world, first, (second, third) = _start(algorithm)
    assert isinstance(world.change("remove", third), Ok)
    world.pass_s(0.3)
    world.cut((first,), (second,))
    world.cut((third,), (second,))
    before = world.replica(second).acceptor.commit
    world.begin("c", "put", "k", b"by one of two", first, 1.0)
    world.drop_rules.append(lambda _from, _to, message: isinstance(message, Heartbeat))
    leading = world.replica(first).leader
    assert leading is not None
    world.pass_s(0.1)
    world.redeliver(third, first, LogAccepted(leading.ballot, (leading.next_slot - 1,)))
    world.pass_s(0.2)
    assert world.replica(first).acceptor.commit == before, "chosen by one of two"
    world.drop_rules.clear()
    world.heal()
    world.pass_s(1.0)
    world.check()


@_script
def an_id_comes_again(algorithm: type[LogAlgorithm]) -> None:
    """A member is removed and its disk is lost; one of its name may not join."""
    world, _, (second, _) = _start(algorithm)
    assert isinstance(world.change("remove", second), Ok)
    world.crash(second)
    outcome = world.change("add", second)
    assert isinstance(outcome, NotDone), outcome
    assert "used once" in outcome.reason, outcome.reason


@_script
def newcomers_start_anew(algorithm: type[LogAlgorithm]) -> None:
    """Two of three are replaced, and soon everybody stops: those who are left are as many as it takes, and must know it."""
    world, _, others = _start(algorithm)
    for old, new in zip(others, ("n4", "n5"), strict=True):  # so few slots that nothing else has saved what is chosen
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


@_script
def somebody_joins_unnoticed(algorithm: type[LogAlgorithm]) -> None:
    """One of three is cut off while a fourth joins and another goes; then these two are a majority, and one knows it."""
    world, first, (gone, late) = _start(algorithm)
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
    """Add a node, and have it come to vote."""
    outcome = world.change("add", node)
    assert isinstance(outcome, Ok), outcome
    world.restart(node)
    leading = world.replica(world.wait_leader())
    world.wait(lambda: node in leading.state.configuration.voters, f"{node} votes")


# --- machines ---------------------------------------------------------------------------------------------------------


@_script
def several_at_once(algorithm: type[LogAlgorithm]) -> None:
    """Two clients write to one key in the same slots; every replica answers in the same way."""
    world, first, _ = _start(algorithm)
    world.do("d", "put", "k", b"d")
    for number in range(8):
        for client in ("c", "d"):
            for part in range(4):  # more than may be under way, so that some wait and share a slot
                world.begin(client, "put", "k", f"{client}{number}.{part}".encode(), first)
        world.pass_s(0.02)
    world.pass_s(1.0)
    world.check()
