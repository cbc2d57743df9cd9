"""Scripts in virtual time about terms, votes and entries: what the mutants of Raft need that no script about any log shows.

Sections and figures are those of Ongaro, *Consensus: Bridging Theory and Practice* (2014).
"""

from cluster.clients.outcomes import Ok
from harness.mutants.virtual_script import start, virtual_script
from harness.virtual.log_script import LogWorld, PromiseBroken
from node.algorithms.raft.messages import AppendEntries, InstallSnapshot, PreVoteGranted, RequestVote, VoteReply
from node.contract import Message, NodeId
from node.log_contract import LogAlgorithm
from node.replication.messages import Heartbeat, TakeOver
from node.tuning import Tuning

# --- terms and votes --------------------------------------------------------------------------------------------------


@virtual_script
def a_longer_log_of_an_older_term(algorithm: type[LogAlgorithm]) -> None:
    """A leader that is cut off appends more than the next leader gets chosen, and runs once that leader has crashed."""
    world, first, (second, third) = start(algorithm, tuning=Tuning(pipeline=8))
    _append_alone(world, first, 6)
    world.crash(first)
    _lead(world, second)
    world.do("d", "put", "j", b"chosen", second)
    world.pass_s(0.1)
    world.crash(second)
    world.heal()
    world.restart(first)
    for _ in range(3):
        world.take_over(first)
        world.pass_s(0.05)
    assert world.do("d", "get", "j")[0] == b"chosen"
    assert world.wait_leader() == third
    world.check()


@virtual_script
def a_vote_for_an_earlier_term(algorithm: type[LogAlgorithm]) -> None:
    """A vote is late, and arrives when its candidate runs in the next term, in which that voter votes for another."""
    world, first, (second, third) = start(algorithm)
    world.crash(first)
    late: list[Message] = []

    def drops(sender: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, VoteReply) and (sender, to) == (third, second):
            late.append(message)
            return True
        return False

    world.drop_rules.append(drops)
    world.take_over(second)
    world.wait(lambda: bool(late), "a vote", 0.3)
    world.drop_rules.append(lambda sender, to, _: sender != to and second in (sender, to))
    world.take_over(second)
    world.restart(first)
    _lead(world, third)
    assert world.replica(second).promised.round == world.replica(third).promised.round, "they run in other terms"
    world.redeliver(third, second, late[0])
    world.pass_s(0.05)
    world.check()


@virtual_script
def one_comes_back(algorithm: type[LogAlgorithm]) -> None:
    """A follower is cut off for three seconds, and comes back; the leader must go on leading (section 9.6)."""
    world, first, (_, third) = start(algorithm)
    ballot = world.replica(first).leading
    world.isolate(third)
    world.pass_s(3.0)
    world.heal()
    world.pass_s(2.0)
    assert world.replica(first).leading == ballot, "a follower that came back has ended the leadership"


@virtual_script
def late_requests_for_votes(algorithm: type[LogAlgorithm]) -> None:
    """A candidate crashes while its requests are under way; they arrive when another leads, who goes on (section 4.2.3)."""
    world, first, (second, third) = start(algorithm)
    late: list[RequestVote] = []

    def drops(_sender: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, RequestVote) and message.ballot.node == third and to != third:
            late.append(message)
            return True
        return isinstance(message, PreVoteGranted) and to == second  # so only the third runs

    world.drop_rules.append(drops)
    world.crash(first)
    world.wait(lambda: bool(late) and late[-1].ballot.round >= 3, "two candidacies", 20.0)
    world.crash(third)
    world.drop_rules.clear()
    world.restart(first)
    leader = world.wait_leader()
    ballot = world.replica(leader).leading
    assert ballot is not None
    assert ballot < late[-1].ballot, "the requests are of no later term, so the script shows nothing"
    world.pass_s(0.3)
    for node in (first, second):
        world.redeliver(third, node, late[-1])
    world.pass_s(1.0)
    assert world.replica(leader).leading == ballot, "a request for votes has ended the leadership"


# --- replication ------------------------------------------------------------------------------------------------------


@virtual_script
def figure_3_7(algorithm: type[LogAlgorithm]) -> None:
    """An entry of term 1 reaches a majority in term 3, and a server with an entry of term 2 is elected (section 3.6.2)."""
    world, first, (second, third, fourth, fifth) = start(algorithm, nodes=5, tuning=Tuning(fetch_bytes=1))
    slot = world.replica(first).log.commit + 1
    world.cut((first, second), (third, fourth, fifth))
    world.begin("c", "put", "k", b"of term 1", first, 30.0)
    world.pass_s(0.05)
    world.crash(first, second)  # (a)
    world.heal()
    world.drop_rules.append(lambda sender, to, message: isinstance(message, AppendEntries) and sender == fifth != to)
    _lead(world, fifth)
    world.crash(fifth)  # (b)
    disks = {node: world.cluster.nodes[node].disk.log for node in world.members}
    world.drop_rules[:] = [
        lambda _, to, message: (
            isinstance(message, AppendEntries)
            and disks[to].get(slot) is not None
            and any(each.slot > slot for each in message.entries)
        )
    ]
    world.restart(first)
    _lead(world, first)
    world.pass_s(0.1)  # (c)
    assert disks[third].get(slot) == disks[fourth].get(slot) == disks[first].get(slot) is not None
    world.crash(first)
    world.drop_rules.clear()
    world.restart(fifth)
    _lead(world, fifth)  # (d)
    world.do("d", "put", "k", b"after")
    world.restart(first, second)
    world.pass_s(1.0)
    world.check()


@virtual_script
def a_tail_of_an_older_term(algorithm: type[LogAlgorithm]) -> None:
    """A leader that is cut off appends entries, of which a later leader replaces the first; it must not keep the others."""
    world, first, (second, third) = start(algorithm, tuning=Tuning(pipeline=8))
    _append_alone(world, first, 6)
    _lead(world, second)
    world.pass_s(0.3)
    world.isolate(third)
    world.heal_between(first, second)
    world.do("d", "put", "j", b"by two of three", second)
    world.crash(second)
    world.heal()
    for _ in range(3):
        world.take_over(third)
        world.pass_s(0.05)
    assert world.do("d", "get", "j")[0] == b"by two of three"
    world.check()


@virtual_script
def two_candidates_of_a_term(algorithm: type[LogAlgorithm]) -> None:
    """A candidate with an entry that is not chosen loses its term, and receives only heartbeats of the winner."""
    world, first, (second, third, *others) = start(algorithm, nodes=5)
    world.cut((first, second), (third, *others))
    world.begin("c", "put", "k", b"on two of five", first, 0.2)
    world.pass_s(0.05)
    world.isolate("c")  # so that it does not ask the next leader
    world.crash(first)
    world.take_over(second)
    _lead(world, third)
    assert world.replica(second).promised == (world.replica(third).promised.round, second), "they run in other terms"
    world.drop_rules.append(lambda _, to, message: isinstance(message, AppendEntries) and to == second)
    world.do("d", "put", "k", b"on three of five")
    world.heal_between(second, third)
    world.pass_s(0.3)
    world.drop_rules.clear()
    world.heal()
    world.pass_s(1.0)
    world.check()


@virtual_script
def a_message_that_comes_again(algorithm: type[LogAlgorithm]) -> None:
    """An AppendEntries comes again after a later one, whose entry was chosen with this follower; the leader crashes."""
    world, first, (second, third) = start(algorithm)
    world.isolate(third)
    sent: list[AppendEntries] = []

    def keeps(_: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, AppendEntries) and to == second and message.entries:
            sent.append(message)
        return False

    world.drop_rules.append(keeps)
    world.do("c", "put", "k", b"one")
    early = sent[-1]
    world.drop_rules.append(lambda _, to, message: isinstance(message, Heartbeat) and to == second)
    assert isinstance(world.outcome(world.begin("c", "put", "k", b"two")), Ok)
    world.redeliver(first, second, early)
    world.pass_s(0.006)
    world.crash(first)
    world.drop_rules.clear()
    world.heal()
    assert world.do("d", "get", "k")[0] == b"two"
    world.check()


@virtual_script
def an_entry_that_is_lost_on_its_way(algorithm: type[LogAlgorithm]) -> None:
    """A leader sends two entries, and the second reaches no other node before it crashes: it must not have been chosen."""
    world, first, _ = start(algorithm)
    slot = world.replica(first).log.commit + 1
    world.drop_rules.append(
        lambda sender, _, message: (
            isinstance(message, AppendEntries) and sender == first and any(each.slot > slot for each in message.entries)
        )
    )
    calls = []
    for number in range(2):
        calls.append(world.begin("c", "put", "k", f"{number}".encode(), first, 30.0))
        world.pass_s(0.001)
    world.pass_s(0.05)
    world.crash(first)
    world.drop_rules.clear()
    world.do("d", "put", "k", b"after")
    world.check()


@virtual_script
def a_question_to_a_new_leader(algorithm: type[LogAlgorithm]) -> None:
    """A leader acknowledges a put and crashes; the next one does not know it as chosen, and is asked (section 6.4)."""
    world, first, (second, _) = start(algorithm)
    world.outcome(world.begin("c", "put", "k", b"acknowledged", first))
    world.crash(first)
    world.drop_rules.append(lambda sender, _, message: isinstance(message, AppendEntries) and sender == second)
    _lead(world, second)
    read = world.begin("d", "get", "k", at=second, for_s=20.0)
    world.pass_s(0.3)
    world.drop_rules.clear()
    assert isinstance(world.outcome(read), Ok)
    world.check()


# --- snapshots, members and hand-over ---------------------------------------------------------------------------------


@virtual_script
def a_snapshot_that_is_offered_late(algorithm: type[LogAlgorithm]) -> None:
    """The offer of a snapshot comes again to a follower that has more, which the leader has counted; the leader crashes."""
    world, first, (second, third) = start(algorithm, tuning=Tuning(snapshot_slots=3, kept_slots=0))
    offers: list[InstallSnapshot] = []

    def keeps(_: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, InstallSnapshot) and to == third:
            offers.append(message)
        return False

    world.drop_rules.append(keeps)
    world.isolate(third)
    for number in range(12):
        world.do("c", "put", "k", f"{number}".encode())
    world.heal()
    world.pass_s(2.0)
    assert offers
    world.isolate(second)
    world.drop_rules[:] = [lambda _, to, message: isinstance(message, Heartbeat) and to == third]
    assert isinstance(world.outcome(world.begin("c", "put", "k", b"by two of three")), Ok)
    world.redeliver(first, third, offers[-1])
    world.pass_s(0.006)
    world.crash(first)
    world.drop_rules.clear()
    world.heal()
    assert world.do("d", "get", "k")[0] == b"by two of three"
    world.check()


@virtual_script
def a_removal_that_is_replaced(algorithm: type[LogAlgorithm]) -> None:
    """A leader that is cut off appends a removal, which a later leader replaces: the member is one again (section 4.1)."""
    world, first, (second, *others) = start(algorithm, nodes=5)
    world.isolate(first)
    world.heal_between("c", first)
    world.ask("c", "cluster", ["remove", others[0]], 0.2)
    world.isolate("c")  # so that it does not ask the next leader
    assert others[0] not in world.replica(first).configuration.voters, "the removal is not in the log"
    _lead(world, second)
    world.cut((second,), tuple(others))  # so that what the first takes in is not chosen
    world.heal_between(first, second)
    world.wait(lambda: world.replica(first).promised == world.replica(second).leading, f"{first} follows", 1.0)
    world.pass_s(0.1)
    assert world.replica(first).configuration.voters == world.members, "a removal outlives its entry"


@virtual_script
def an_heir_that_lacks_an_entry(algorithm: type[LogAlgorithm]) -> None:
    """A leader is asked to hand over to a node whose entries are lost; it must ask that node only once it has them."""
    world, first, (second, _) = start(algorithm)
    world.drop_rules.append(lambda _, to, message: isinstance(message, AppendEntries) and to == second)
    world.do("c", "put", "k", b"for the third alone")

    def watches(_: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, TakeOver):
            log = world.cluster.nodes[to].disk.log
            assert log.get(world.replica(first).log.commit) is not None, f"{to} is asked to run, and lacks entries"
        return False

    world.drop_rules.append(watches)
    assert isinstance(world.ask("c", "cluster", ["hand_over", second]), Ok)
    world.pass_s(0.5)
    del world.drop_rules[0]
    world.pass_s(0.5)
    assert isinstance(world.ask("c", "cluster", ["hand_over", second]), Ok)
    world.wait(lambda: world.leader() == second, f"{second} leads", 3.0)
    world.check()


@virtual_script
def a_leader_hands_over(algorithm: type[LogAlgorithm]) -> None:
    """A leader is asked to hand over; its heir needs to ask for votes once, though all hear from the leader (section 3.10)."""
    world, _, (second, third) = start(algorithm)
    requests: list[Message] = []

    def counts(_: NodeId, to: NodeId, message: Message) -> bool:
        if isinstance(message, RequestVote) and to == third:
            requests.append(message)
        return False

    world.drop_rules.append(counts)
    assert isinstance(world.ask("c", "cluster", ["hand_over", second]), Ok)
    world.wait(lambda: world.leader() == second, f"{second} leads", 3.0)
    assert len(requests) == 1, f"{second} has asked {len(requests)} times for a vote"


# --- what these scripts share -----------------------------------------------------------------------------------------


def _lead(world: LogWorld, node: NodeId) -> None:
    """Have `node` run until it leads, whether it can serve or not. A node that learns of a later term runs again."""
    for _ in range(4):
        world.take_over(node)
        if world.pass_s(0.02, lambda: world.replica(node).leading is not None):
            return
    raise PromiseBroken(f"{node} does not lead")


def _append_alone(world: LogWorld, leader: NodeId, entries: int) -> None:
    """Cut a leader from all others, and have it append entries that reach no other node."""
    world.isolate(leader)
    world.heal_between("c", leader)
    for number in range(entries):
        world.begin("c", "put", "k", f"alone {number}".encode(), leader, 0.2)
        world.pass_s(0.003)
    world.pass_s(0.05)
    world.isolate("c")  # so that it does not ask the next leader
