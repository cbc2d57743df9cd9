"""Paxos, broken on purpose. Each is named to a cluster as `tests.broken.paxos:Class`."""

from node.algorithms.paxos import Accept, Accepted, Paxos, Prepare, Promise
from node.contract import Message, Node, NodeId, Value
from node.quorum import NO_BALLOT, Ballot


class IgnoresAccepted(Paxos):
    """Row 1: phase 1 ignores what was accepted before, and proposes its own value."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Promise):
            message = Promise(message.ballot, None, None)
        super().receive(sender, message)


class ForgetsPromises(Paxos):
    """Row 5: a promise is kept in memory alone, so a restart forgets it."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        promised = self.node.disk.pop("promised", None)
        if promised is not None:
            self.remembered = Ballot(*promised)  # type: ignore[misc]

    remembered: Ballot = NO_BALLOT

    def promised(self) -> Ballot:
        return self.remembered


class ReusesBallots(Paxos):
    """Row 8: the round starts anew after a restart, as if nothing had ever been sent."""

    def become_preparing(self) -> None:
        self.node.disk.pop("round", None)
        super().become_preparing()

    def promised(self) -> Ballot:
        # A proposer that looks only at what it has used itself, and that is forgotten.
        return NO_BALLOT if self.role in ("idle", "beaten") else super().promised()


class AdoptsLowest(Paxos):
    """Row 2: a proposer that adopts the accepted value of the lowest ballot."""

    def promised_by_quorum(self) -> None:
        told = [vote for vote in self.voters.values() if vote[1] is not None]
        if told:
            self.voters = dict.fromkeys(self.voters, min(told, key=lambda vote: vote[0]))
        super().promised_by_quorum()


class AcceptIgnoresPromise(Paxos):
    """Row 3: an acceptor that accepts below what it has promised."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None:
                self.node.disk["promised"] = max(ballot, self.promised())
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case _:
                super().receive(sender, message)


class AcceptRaisesNoPromise(Paxos):
    """Row 4: an acceptor that accepts, and may still accept below that."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None and ballot >= self.promised():
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case _:
                super().receive(sender, message)


class ForgetsAccepted(Paxos):
    """Row 6: an acceptor whose accepted value is not on its disk."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.last: tuple[Ballot | None, Value | None] = (None, None)

    def accepted(self) -> tuple[Ballot | None, Value | None]:
        return self.last

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None and ballot >= self.promised():
                self.last = (ballot, value)
        super().receive(sender, message)


class CountsRoundsInMemory(Paxos):
    """Row 8, as cocagne/paxos has it: rounds are counted in memory, and from 1 again after a restart."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.round = 0

    def become_preparing(self) -> None:
        self.round = max(self.round, self.seen.round) + 1
        self.ballot = Ballot(self.round, self.node.id)
        self.role, self.value, self.voters = "preparing", None, {}
        self.node.broadcast(Prepare(self.ballot))
        self.node.set_timer("again", 0.1, 0.2)


class SmallQuorumToPrepare(Paxos):
    """Row 9, phase 1: one promise is enough."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Promise(ballot, accepted, value) if ballot == self.ballot and self.role == "preparing":
                self.voters[sender] = (accepted or NO_BALLOT, value)
                self.promised_by_quorum()
            case _:
                super().receive(sender, message)


class SmallQuorumToAccept(Paxos):
    """Row 9, phase 2: one acceptance is enough."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accepted(ballot) if ballot == self.ballot and self.role == "accepting" and self.value is not None:
                self.chosen(self.value)
            case _:
                super().receive(sender, message)


class Invents(Paxos):
    """Not in the table: decides what nobody has proposed."""

    def become_accepting(self, value: Value) -> None:
        super().become_accepting(Value(value + b"!"))


class Raises(Paxos):
    """Not in the table: an acceptor that raises on a message that it should have expected."""

    def receive(self, sender: NodeId, message: Message) -> None:
        assert not (isinstance(message, Accept) and message.ballot < self.promised()), "an Accept came late"
        super().receive(sender, message)
