"""The majority vote and the leader, broken on purpose, one class a break. `harness.mutants.catalogue` lists their scripts."""

from collections import Counter

from node.algorithms.leader import ForwardedCall, Leader
from node.algorithms.majority import Majority, NotVoted, Vote
from node.contract import Message, Node, NodeId, Request, Value
from node.quorum import majority

# --- the majority vote ----------------------------------------------------------------------------------------------


class ChangesItsVote(Majority):
    """A replica votes again, for the value that its client proposed last."""

    def propose(self, request: Request, value: Value) -> None:
        self.cast(value)
        super().propose(request, value)


class VotesInMemory(Majority):
    """Votes are not saved on disk."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.remembered: dict[NodeId, Value] = {}

    def vote_of(self, member: NodeId) -> Value | None:
        stored = self.node.disk.pop(f"vote of {member}", None)
        if isinstance(stored, bytes):
            self.remembered[member] = Value(stored)
        return self.remembered.get(member)


class SmallMajority(Majority):
    """One vote fewer is enough."""

    def decided(self) -> Value | None:
        needed = majority(len(self.node.members)) - 1
        return next((value for value, votes in self.tally().items() if votes >= needed), None)


class Plurality(Majority):
    """Once two nodes have voted, the value with the most votes is decided."""

    def decided(self) -> Value | None:
        most = self.tally().most_common(1)
        return most[0][0] if most and sum(self.tally().values()) > 1 else None


class CountsVotesTwice(Majority):
    """A replica counts the votes that arrive, and not the voters."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.votes_received: Counter[Value] = Counter()

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Vote):
            self.votes_received[message.value] += 1
        super().receive(sender, message)

    def tally(self) -> Counter[Value]:
        own = self.vote_of(self.node.id)
        return self.votes_received + Counter([] if own is None else [own])


class VotesAreToldOnce(Majority):
    """A vote is not sent again."""

    def send_again(self) -> None:
        super().send_again()
        self.unconfirmed.clear()


class QueriesAreAnsweredAtOnce(Majority):
    """A replica answers a query from its own votes, without asking the others."""

    def query(self, request: Request) -> None:
        self.node.reply(request, self.decided())


class UndecidedAtTheFirstWord(Majority):
    """A replica answers a query with undecided as soon as one other replica reports that it has not voted."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case NotVoted(request) if request in self.queries:
                self.node.reply(request, None)
        super().receive(sender, message)


# --- the leader -----------------------------------------------------------------------------------------------------


class TakesASecondValue(Leader):
    """The leader accepts every proposal, one after the other."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case ForwardedCall(_, value) if self.node.id == self.leader and value is not None:
                self.node.disk["value"] = value
        super().receive(sender, message)


class FollowersAnswerAlone(Leader):
    """A follower answers a query from its own state, without asking the leader."""

    def query(self, request: Request) -> None:
        self.node.reply(request, self.value())


class LeaderInMemory(Leader):
    """The value that the leader accepted is not saved on disk."""

    remembered: Value | None = None

    def value(self) -> Value | None:
        stored = self.node.disk.pop("value", None)
        if isinstance(stored, bytes) and self.remembered is None:
            self.remembered = Value(stored)
        return self.remembered
