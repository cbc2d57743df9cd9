"""Scripts in virtual time about disks whose last commit was torn, or was damaged after others had relied on it."""

from cluster.clients.outcomes import Ok
from harness.mutants.virtual_script import start, virtual_script
from harness.virtual.steps import LastCommit
from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.messages import Canvass
from node.algorithms.raft.messages import PreVote
from node.log_contract import Doubt, LogAlgorithm


@virtual_script
def two_of_the_three_that_accepted_are_damaged(algorithm: type[LogAlgorithm]) -> None:
    """Three of five nodes have a value; two of them lose it, and the third stays down. It must be read, or nothing."""
    world, first, (second, third, *rest) = start(algorithm, nodes=5)
    world.crash(*rest)
    world.outcome(world.begin("c", "put", "k", b"acknowledged"))
    world.crash(first, second, third)
    world.damage(LastCommit.DAMAGED, first, second)
    world.restart(first, second, *rest)
    read = world.begin("c", "get", "k", for_s=5.0)
    assert not isinstance(world.outcome(read), Ok), "no node that is up can know the value"
    world.restart(third)
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"
    world.check()


@virtual_script
def a_promise_that_was_lost(algorithm: type[LogAlgorithm]) -> None:
    """A candidate has the promise of a node that then loses it; that node must not vote for the leader before."""
    world, first, (second, third, forgetful, candidate) = start(algorithm, nodes=5)
    world.cut((candidate,), (first, second, third))
    world.cut((second,), (first, third))
    world.take_over(candidate)
    election = world.replica(candidate).election
    assert isinstance(election, Election)
    world.wait(lambda: election.has_promised(forgetful), "a promise", 0.3)
    world.crash(forgetful)
    world.damage(LastCommit.DAMAGED, forgetful)
    world.cut((candidate,), (forgetful,))
    world.restart(forgetful)
    world.begin("c", "put", "k", b"by the leader before", first, 0.05)
    world.pass_s(0.05)
    world.heal_between(candidate, second)
    world.pass_s(0.3)
    world.heal()
    world.wait_leader()
    world.do("d", "put", "k", b"after")
    world.pass_s(1.0)
    world.check()


@virtual_script
def a_round_that_was_lost(algorithm: type[LogAlgorithm]) -> None:
    """A candidate asks for promises, and loses the record of its round. Under that ballot it must ask for none again."""
    world, first, (second, _) = start(algorithm)
    world.isolate(second)
    world.take_over(second)
    world.crash(second, first)
    world.damage(LastCommit.DAMAGED, second)
    world.pass_s(0.01)  # the Prepare is lost
    world.heal()
    world.drop_rules.append(lambda sender, _, message: isinstance(message, Canvass) and sender != second)
    world.restart(first, second)
    world.wait_leader()
    world.check()


@virtual_script
def a_round_far_above_that_was_lost(algorithm: type[LogAlgorithm]) -> None:
    """A doubt takes all rounds far above a node's last one; it asks for promises under a next one, and loses the record."""
    world, first, (second, third) = start(algorithm)
    world.crash(third)
    world.damage(LastCommit.DAMAGED, third)
    world.restart(third)
    world.wait(lambda: world.replica(third).node.doubt is Doubt.NONE, "the end of the doubt")
    world.elect(third)
    world.isolate(second)
    world.take_over(second)
    election = world.replica(second).election
    world.wait(lambda: election.role == election.RUNNING, "a candidate", 1.0)
    world.crash(second, first, third)
    world.damage(LastCommit.DAMAGED, second)
    world.pass_s(0.01)  # what it has asked for is lost
    world.heal()
    world.drop_rules.append(lambda sender, _, message: isinstance(message, Canvass | PreVote) and sender != second)
    world.restart(first, second, third)
    world.wait_leader()
    world.check()
