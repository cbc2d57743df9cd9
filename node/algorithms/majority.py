"""A majority-rules vote: a node votes for the first value that it receives, and never changes its vote.

Theory of operation
-------------------
The article's second design. A value is decided when more than half of all nodes have voted for it. A node's vote is on its
disk before any message carries it. The node sends its vote to each peer until the peer has confirmed it, so only a crash or a
tie can prevent a decision. Both do: if three of seven nodes vote blue and three vote red, the decision depends on the seventh
node. While that node is down, no other node knows whether a value is decided: the window of vulnerability. And with three
proposals, no value may get a majority.

A query is answered "undecided" only if the known votes prove it: no value would have a majority even if every node that has
not answered had voted for it. Otherwise the node asks again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.contract import Algorithm, Message, Node, NodeId, Request, Status, Value
from node.quorum import majority

_AGAIN_S: Final = (0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Vote(Message):
    """The sender has voted for `value`."""

    value: Value


@dataclass(frozen=True, slots=True)
class Heard(Message):
    """The receiver's vote is on the sender's disk: the receiver need not send it again."""


@dataclass(frozen=True, slots=True)
class VoteQuery(Message):
    """Asks for the receiver's vote. `request` is the query that needs it."""

    wire_name = "Ask"

    request: Request


@dataclass(frozen=True, slots=True)
class NotVoted(Message):
    """The sender had not voted when it received the `VoteQuery` of `request`."""

    request: Request


class Majority(Algorithm):
    """One replica of one variable."""

    messages = (Vote, Heard, VoteQuery, NotVoted)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.proposals: dict[Request, None] = {}
        self.queries: dict[Request, dict[NodeId, None]] = {}
        """By query: the nodes that had not voted when they were asked."""
        self.unconfirmed: dict[NodeId, None] = {}
        """The peers that have not confirmed this node's vote."""

    def start(self) -> None:
        if self.vote_of(self.node.id) is not None:
            self.send_vote()

    # --- clients ----------------------------------------------------------------------------------------------------

    def propose(self, request: Request, value: Value) -> None:
        self.proposals[request] = None
        if self.vote_of(self.node.id) is None:
            self.cast(value)
        self.answer()

    def query(self, request: Request) -> None:
        self.queries[request] = {}
        self.node.broadcast(VoteQuery(request))
        self.node.set_timer("again", *_AGAIN_S)

    def forget(self, request: Request) -> None:
        self.proposals.pop(request, None)
        self.queries.pop(request, None)

    # --- votes ------------------------------------------------------------------------------------------------------

    def cast(self, value: Value) -> None:
        """Vote for `value`. A node votes once."""
        self.node.disk[f"vote of {self.node.id}"] = value
        self.send_vote()

    def send_vote(self) -> None:
        """Send this node's vote to every peer, until each has confirmed it."""
        self.unconfirmed = dict.fromkeys(self.node.peers)
        self.send_again()

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Vote(value):
                if self.vote_of(self.node.id) is None:
                    self.cast(value)
                self.node.disk.setdefault(f"vote of {sender}", value)
                self.node.send(sender, Heard())
            case Heard():
                self.unconfirmed.pop(sender, None)
            case VoteQuery(request):
                vote = self.vote_of(self.node.id)
                self.node.send(sender, NotVoted(request) if vote is None else Vote(vote))
            case NotVoted(request) if request in self.queries:
                self.queries[request][sender] = None
        self.answer()

    def timeout(self, name: str) -> None:
        self.send_again()

    def send_again(self) -> None:
        """Send the vote to each peer that has not confirmed it, and each query to each node that has not answered it."""
        vote = self.vote_of(self.node.id)
        for peer in self.unconfirmed:
            if vote is not None:
                self.node.send(peer, Vote(vote))
        for request, not_voted in self.queries.items():
            for member in self.node.members:
                if self.vote_of(member) is None and member not in not_voted:
                    self.node.send(member, VoteQuery(request))
        if self.unconfirmed or self.queries:
            self.node.set_timer("again", *_AGAIN_S)

    # --- the tally --------------------------------------------------------------------------------------------------

    def vote_of(self, member: NodeId) -> Value | None:
        """Return the vote of `member`, or None if this node does not know it."""
        stored = self.node.disk.get(f"vote of {member}")
        return Value(stored) if isinstance(stored, bytes) else None

    def tally(self) -> Counter[Value]:
        """Return how many known votes each value has."""
        votes = (self.vote_of(member) for member in self.node.members)
        return Counter(vote for vote in votes if vote is not None)

    def decided(self) -> Value | None:
        """Return the value with the known votes of more than half of all nodes, or None."""
        needed = majority(len(self.node.members))
        return next((value for value, votes in self.tally().items() if votes >= needed), None)

    def answer(self) -> None:
        """Answer each client whose answer is known now."""
        decided, tally = self.decided(), self.tally()
        if decided is not None:
            for request in (*self.proposals, *self.queries):
                self.node.reply(request, decided)
            self.proposals.clear()
            self.queries.clear()
            return
        for request, not_voted in list(self.queries.items()):
            # This is sound because a vote never changes. A node that had voted before the query came is in the tally now,
            # or has not answered. A node that had not voted when it was asked had not voted before the query, either.
            unknown = sum(self.vote_of(member) is None and member not in not_voted for member in self.node.members)
            if max(tally.values(), default=0) + unknown < majority(len(self.node.members)):
                del self.queries[request]
                self.node.reply(request, None)

    def awaits(self) -> tuple[str, ...]:
        # A proposal waits for the votes of peers, which send them until this node has confirmed them.
        return ("again",) if self.unconfirmed or self.queries else ()

    def status(self) -> Status:
        votes = {member: self.vote_of(member) for member in self.node.members}
        return Status(
            role="voter",
            decided=self.decided(),
            waiting=len(self.proposals) + len(self.queries),
            details={
                "vote": self.vote_of(self.node.id),
                "votes": {member: vote for member, vote in votes.items() if vote is not None},
            },
        )

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return every node: votes are counted alike."""
        return tuple(members)
