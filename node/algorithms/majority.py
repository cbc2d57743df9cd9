"""A majority-rules vote: the first value that a node hears is its vote, for ever.

The article's second design. A value with the votes of more than half of all nodes is decided. A vote is on disk before
anybody hears of it, and is sent again until everybody has heard it, so only crashes and ties can block a decision. They
do: with seven nodes at three blue and three red, everything hangs on the seventh. If that one is down, nobody can tell
whether a decision has been made: the window of vulnerability. And three proposals may never reach a majority.

A query answers "undecided" only when the votes that it knows prove it: when no value could have a majority even if every
node that has not answered had voted for it. Otherwise it goes on asking.
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
    """The sender votes for `value`, and always will."""

    value: Value


@dataclass(frozen=True, slots=True)
class Heard(Message):
    """The receiver's vote is on the sender's disk: it need not be sent there again."""


@dataclass(frozen=True, slots=True)
class VoteQuery(Message):
    """What is your vote?"""

    wire_name = "Ask"

    request: Request


@dataclass(frozen=True, slots=True)
class NotVoted(Message):
    """The sender had not voted when it got this `VoteQuery`."""

    request: Request


class Majority(Algorithm):
    """One replica of one variable."""

    messages = (Vote, Heard, VoteQuery, NotVoted)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.proposals: dict[Request, None] = {}
        self.queries: dict[Request, dict[NodeId, None]] = {}  # who had not voted when this query asked
        self.unheard: dict[NodeId, None] = {}  # who may not know this node's vote

    def start(self) -> None:
        if self.vote_of(self.node.id) is not None:
            self.tell_vote()

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
        """Vote, once and for ever."""
        self.node.disk[f"vote of {self.node.id}"] = value
        self.tell_vote()

    def tell_vote(self) -> None:
        """Tell everybody this node's vote, until each has confirmed it."""
        self.unheard = dict.fromkeys(self.node.peers)
        self.say_again()

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Vote(value):
                if self.vote_of(self.node.id) is None:
                    self.cast(value)
                self.node.disk.setdefault(f"vote of {sender}", value)
                self.node.send(sender, Heard())
            case Heard():
                self.unheard.pop(sender, None)
            case VoteQuery(request):
                vote = self.vote_of(self.node.id)
                self.node.send(sender, NotVoted(request) if vote is None else Vote(vote))
            case NotVoted(request) if request in self.queries:
                self.queries[request][sender] = None
        self.answer()

    def timeout(self, name: str) -> None:
        self.say_again()

    def say_again(self) -> None:
        """Repeat the vote to whoever has not confirmed it, and each query's question to whoever's vote is not known."""
        vote = self.vote_of(self.node.id)
        for peer in self.unheard:
            if vote is not None:
                self.node.send(peer, Vote(vote))
        for request, not_voted in self.queries.items():
            for member in self.node.members:
                if self.vote_of(member) is None and member not in not_voted:
                    self.node.send(member, VoteQuery(request))
        if self.unheard or self.queries:
            self.node.set_timer("again", *_AGAIN_S)

    # --- the tally --------------------------------------------------------------------------------------------------

    def vote_of(self, member: NodeId) -> Value | None:
        """The vote of `member`, as far as this node knows. Nobody's vote ever changes."""
        stored = self.node.disk.get(f"vote of {member}")
        return Value(stored) if isinstance(stored, bytes) else None

    def tally(self) -> Counter[Value]:
        """How many votes each value has, of those that this node knows."""
        votes = (self.vote_of(member) for member in self.node.members)
        return Counter(vote for vote in votes if vote is not None)

    def decided(self) -> Value | None:
        """The value that more than half of all nodes have voted for, if this node knows one."""
        needed = majority(len(self.node.members))
        return next((value for value, votes in self.tally().items() if votes >= needed), None)

    def answer(self) -> None:
        """Answer whoever can be answered now."""
        decided, tally = self.decided(), self.tally()
        if decided is not None:
            for request in (*self.proposals, *self.queries):
                self.node.reply(request, decided)
            self.proposals.clear()
            self.queries.clear()
            return
        for request, not_voted in list(self.queries.items()):
            # Sound because votes are for ever: whoever had voted for a value before this query came is in its tally now
            # or has not answered, and a node that had not voted when it was asked had not voted before either.
            unknown = sum(self.vote_of(member) is None and member not in not_voted for member in self.node.members)
            if max(tally.values(), default=0) + unknown < majority(len(self.node.members)):
                del self.queries[request]
                self.node.reply(request, None)

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
