"""Figure 8 of Raft's paper, acted out step by step on five servers (Ongaro and Ousterhout 2014, section 5.4.2; figure 3.7 of
Ongaro's dissertation).

    told = act_out(load_algorithm("raft"))
    print("\\n".join(told.lines))
    assert not told.cluster.violations

An entry of term 1 reaches a majority of the disks in term 3. A leader that takes it for committed by counting loses it: the
server with an entry of term 2 may still be elected, and replaces it. Raft commits no entry of an earlier term by counting.

The schedule is fixed, and names each message by its class, its sender and its receiver. All others are lost.
"""

import textwrap
from collections.abc import Iterable
from typing import Final

from harness.virtual.cluster import VirtualCluster
from harness.virtual.fault_model import FaultModel
from harness.virtual.narration import narrate
from harness.virtual.steps import Crash, Deliver, DropPacket, ElectionTimeout, Recover, SendFrame, Step
from node.algorithms.raft.messages import Appended, AppendEntries, Conflict, RequestVote, VoteReply
from node.contract import Algorithm, BadInput, Message, NodeId, Request
from node.frames import CommandFrame
from node.log_contract import LogAlgorithm
from node.tuning import Tuning
from node.wire import pack_unchecked

_WIDTH: Final = 110
#: The algorithm that keeps its promises in this schedule.
UNBROKEN: Final = "raft"
S1, S2, S3, S4, S5 = (NodeId(f"n{number}") for number in range(1, 6))
_ALL: Final = (S1, S2, S3, S4, S5)


class Told:
    """A cluster, and what has been told of it: paragraphs, and a numbered line for each step."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        # One entry in a message: the figure needs the entry of term 1 to travel without its successor.
        self.cluster = VirtualCluster(algorithm, _ALL, FaultModel(time_stands_still=True), tuning=Tuning(fetch_bytes=1))
        self.lines: list[str] = []
        self._written = 0
        self._number = 0

    def explain(self, text: str) -> None:
        """Add a paragraph."""
        self.lines += ["", *textwrap.wrap(text, _WIDTH), ""]

    def apply(self, step: Step) -> None:
        """Let a step happen, and the turns in which nodes take in their own messages. Add a line."""
        self.cluster.apply(step)
        for own in self.cluster.own_turns():
            self.cluster.apply(own)
        happened = self.cluster.happened[self._written :]
        self._written = len(self.cluster.happened)
        for line in narrate((each.step, each.outcome) for each in happened):
            self._number += 1
            self.lines += textwrap.wrap(line, _WIDTH, initial_indent=f"{self._number:3}. ", subsequent_indent="     ")

    def deliver(self, kind: type[Message], sender: NodeId, to: Iterable[NodeId]) -> None:
        """Deliver the messages of a class that are on their way from `sender` to each node in `to`. At least one must be."""
        for receiver in to:
            packets = [
                packet
                for packet in self.cluster.pending
                if isinstance(packet.message, kind) and (packet.sender, packet.to) == (sender, receiver)
            ]
            assert packets, f"no {kind.__name__} is on its way from {sender} to {receiver}"
            for packet in packets:
                self.apply(Deliver(packet))

    def answers(self, kind: type[Message], senders: Iterable[NodeId], to: NodeId) -> None:
        """Deliver the messages of a class that each node in `senders` has sent to `to`."""
        for sender in senders:
            self.deliver(kind, sender, (to,))

    def lose_the_rest(self) -> None:
        """Lose every message that is on its way. Adds no line."""
        for packet, copies in list(self.cluster.pending.items()):
            for _ in range(copies):
                self.cluster.apply(DropPacket(packet))
        self._written = len(self.cluster.happened)

    def elect(self, candidate: NodeId, voters: tuple[NodeId, ...]) -> None:
        """Have a server run, and win with the votes of `voters`."""
        self.apply(ElectionTimeout(candidate))
        self.deliver(RequestVote, candidate, voters)
        self.answers(VoteReply, voters, candidate)

    def replace(self, leader: NodeId, followers: tuple[NodeId, ...]) -> None:
        """Have a leader learn that followers have another entry than its own before the last one, and replace it there."""
        for answer in (Conflict, Appended):
            self.deliver(AppendEntries, leader, followers)
            self.answers(answer, followers, leader)

    def logs(self) -> None:
        """Add the terms of the entries on each disk, with slot 1 first."""
        for name, node in self.cluster.nodes.items():
            records = node.disk.log.records
            terms = " ".join(str(records[slot].round) for slot in sorted(records))
            replica = node.instance
            knows = f"committed up to slot {replica.progress().commit}" if isinstance(replica, LogAlgorithm) else "down"
            self.lines.append(f"     {name}: terms {terms}; {knows}")


class NoRaft(BadInput):
    """The algorithm does not speak Raft's messages. Nothing was done."""


def act_out(algorithm: type[Algorithm]) -> Told:
    """Act out figure 8 with a class of Raft.

    Raises:
        NoRaft: the class sends no RequestVote.
    """
    if not issubclass(algorithm, LogAlgorithm) or RequestVote not in algorithm.messages:
        raise NoRaft(f"figure 8 is about Raft, and {algorithm.__name__} asks for no votes in terms: try `raft`")
    told = Told(algorithm)
    told.explain("Before: n1 leads in term 1. Two entries of its own, which form the cluster, are on all disks.")
    told.elect(S1, (S2, S3))
    for _ in range(2):
        told.deliver(AppendEntries, S1, (S2, S3, S4, S5))
        told.answers(Appended, (S2, S3, S4, S5), S1)
    told.lose_the_rest()
    told.explain("(a) A client's entry, in slot 3 of term 1, reaches n2 alone. n1 crashes.")
    told.apply(SendFrame(S1, Request("c1", 1), CommandFrame(1, 0, 0, 0, "kv", pack_unchecked([["put", "k", b"blue"]]))))
    told.deliver(AppendEntries, S1, (S2,))
    told.apply(Crash(S1))
    told.lose_the_rest()
    told.logs()
    told.explain(
        "(b) n5 is elected in term 2 by n3 and n4, which lack that entry. Its own entry in slot 3 reaches nobody."
    )
    told.elect(S5, (S3, S4))
    told.apply(Crash(S5))
    told.lose_the_rest()
    told.logs()
    told.explain(
        "(c) n1 boots. Its first candidacy fails, since n3 and n4 have voted in term 2. It is elected in term 3, and goes on "
        "with the entry of term 1, which is then on n1 to n4: a majority. Its own entry of term 3 reaches nobody."
    )
    told.apply(Recover(S1))
    told.elect(S1, (S3,))
    told.lose_the_rest()
    told.elect(S1, (S3, S4))
    told.replace(S1, (S3, S4))
    told.logs()
    told.explain(
        "(d) n1 crashes, and n5 boots. Its last entry is of term 2, and that of n3 and n4 of term 1, so n5 is elected in term "
        "4. It replaces what they have in slot 3."
    )
    told.apply(Crash(S1))
    told.lose_the_rest()
    told.apply(Recover(S5))
    told.elect(S5, (S3,))
    told.lose_the_rest()
    told.elect(S5, (S3, S4))
    told.replace(S5, (S3, S4))
    told.logs()
    return told
