"""Paxos, broken on purpose, one class a break. `harness.mutants.catalogue` lists what each imitates, and its script.

Each class is a subclass of the shipped one. Its name as an algorithm is, for example, `harness.mutants.paxos:IgnoresAccepted`.
"""

from node.algorithms.paxos import NO_ACCEPTANCE, Accept, Acceptance, Accepted, Paxos, Prepare, Promise, Rejected, Role
from node.contract import Message, NodeId, Request, Value
from node.quorum import NO_BALLOT, Ballot
from node.wire import encode_value

_DEFAULT = encode_value("a default")


# --- phase 1 --------------------------------------------------------------------------------------------------------


class IgnoresAccepted(Paxos):
    """A proposer proposes its own value, whatever the promises report as accepted."""

    def promised_by_quorum(self) -> None:
        self.promises = dict.fromkeys(self.promises, NO_ACCEPTANCE)
        super().promised_by_quorum()


class _Adopts(Paxos):
    """A proposer adopts another accepted value than that of the highest ballot. Subclasses choose which."""

    def choose(self, reported: list[Acceptance]) -> Acceptance:
        raise NotImplementedError

    def promised_by_quorum(self) -> None:
        reported = [acceptance for acceptance in self.promises.values() if acceptance != NO_ACCEPTANCE]
        if reported:
            self.promises = {"chosen": self.choose(reported)}
        super().promised_by_quorum()


class AdoptsLowest(_Adopts):
    """A proposer adopts the accepted value of the lowest ballot."""

    def choose(self, reported: list[Acceptance]) -> Acceptance:
        return min(reported, key=lambda acceptance: acceptance.ballot)


class AdoptsLast(_Adopts):
    """A proposer adopts the accepted value that was reported last."""

    def choose(self, reported: list[Acceptance]) -> Acceptance:
        return reported[-1]


class PromisesReportNothing(Paxos):
    """An acceptor leaves out of its promise what it has accepted."""

    def receive(self, sender: NodeId, message: Message) -> None:
        self.is_promising = isinstance(message, Prepare)
        super().receive(sender, message)
        self.is_promising = False

    is_promising = False

    def accepted(self) -> Acceptance:
        return NO_ACCEPTANCE if self.is_promising else super().accepted()


class SmallQuorum1(Paxos):
    """One promise fewer is enough."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if self.role is Role.PREPARING and len(self.promises) >= len(self.node.members) // 2 and self.promises:
            self.promised_by_quorum()


class CountsOldPromises(Paxos):
    """A proposer counts a promise for one of its earlier ballots."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Promise) and message.ballot.node == self.node.id:
            message = Promise(self.ballot, message.accepted, message.value)
        super().receive(sender, message)


class NobodysBallots(Paxos):
    """A ballot is only a number, without a node, so two proposers can use the same ballot."""

    def become_running(self) -> None:
        self.ballot = Ballot(max(self.promised().round, self.seen.round) + 1, "")
        self.enter(Role.PREPARING)
        self.node.broadcast(Prepare(self.ballot))
        self.node.set_timer("again", 0.1, 0.2)


# --- the acceptor ---------------------------------------------------------------------------------------------------


class AcceptIgnoresPromise(Paxos):
    """An acceptor accepts also below its promise."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None and ballot < self.promised():
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case _:
                super().receive(sender, message)


class AcceptDoesNotRaise(Paxos):
    """An acceptor does not raise its promise when it accepts a value."""

    def receive(self, sender: NodeId, message: Message) -> None:
        before = self.node.disk.get("promised")
        super().receive(sender, message)
        if isinstance(message, Accept):
            if before is not None:
                self.node.disk["promised"] = before
            else:
                self.node.disk.pop("promised", None)


class PromiseInMemory(Paxos):
    """A promise is not saved on disk before it is sent."""

    remembered: Ballot = NO_BALLOT

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        match self.node.disk.pop("promised", None):
            case (int(number), str(node)):
                self.remembered = Ballot(number, node)

    def promised(self) -> Ballot:
        return self.remembered


class AcceptedInMemory(Paxos):
    """An accepted value is not saved on disk before the acceptance is sent."""

    remembered: Acceptance = NO_ACCEPTANCE

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if self.node.disk.pop("accepted", None) is not None and isinstance(message, Accept):
            self.remembered = Acceptance(message.ballot, message.value)

    def accepted(self) -> Acceptance:
        return self.remembered


class StartsAfresh(Paxos):
    """Every restart deletes the round and the promise, as if the node were new."""

    def start(self) -> None:
        for key in ("round", "promised"):
            self.node.disk.pop(key, None)


class ReusesBallots(Paxos):
    """The round starts again at 1 after a restart, so earlier ballots are used again."""

    def become_running(self) -> None:
        self.node.disk.pop("round", None)
        super().become_running()

    def promised(self) -> Ballot:
        # A proposer that considers only the rounds that it has used itself, and has forgotten them.
        return NO_BALLOT if self.role in (Role.IDLE, Role.BEATEN) else super().promised()


class LateAcceptsKill(Paxos):
    """An acceptor raises an error on an Accept below its promise, so a late message ends the node."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Accept) and message.ballot < self.promised():
            raise RuntimeError("an Accept below the promise")
        super().receive(sender, message)


# --- phase 2 and after ----------------------------------------------------------------------------------------------


class SmallQuorum2(Paxos):
    """One acceptance is enough."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if self.role is Role.ACCEPTING and self.acceptances and self.value is not None:
            self.chosen(self.value)


class CountsOldAcks(Paxos):
    """A proposer counts an acceptance of one of its earlier ballots."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Accepted) and message.ballot.node == self.node.id:
            message = Accepted(self.ballot)
        super().receive(sender, message)


class CountsMessages(Paxos):
    """A proposer counts the acceptances that arrive, and not the acceptors."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Accepted) and message.ballot == self.ballot and sender in self.acceptances:
            sender = next((member for member in self.node.members if member not in self.acceptances), sender)
        super().receive(sender, message)


class BelievesAnyAccept(Paxos):
    """An acceptor treats the value of any Accept as decided."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if isinstance(message, Accept):
            self.learn(message.value)


class ForgetsDecisions(Paxos):
    """A decision is not saved on disk."""

    def learn(self, value: Value) -> None:
        super().learn(value)
        self.node.disk.pop("decided", None)


class LastWriteWins(Paxos):
    """A proposal sets a variable that is decided already."""

    def propose(self, request: Request, value: Value) -> None:
        for key in ("decided", "accepted"):
            self.node.disk.pop(key, None)
        super().propose(request, value)

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Prepare):
            for key in ("decided", "accepted"):
                self.node.disk.pop(key, None)
        super().receive(sender, message)


# --- liveness -------------------------------------------------------------------------------------------------------


class SendsOnce(Paxos):
    """A proposer sends no message again."""

    def send_again(self, message: Message, answered: dict[NodeId, Acceptance] | dict[NodeId, None]) -> None:
        pass


class GivesUpWhenBeaten(Paxos):
    """A proposer with a lower ballot than its rival waits for the rival without a timeout."""

    def become_beaten(self) -> None:
        super().become_beaten()
        self.node.cancel_timer("again")


class IgnoresRejections(Paxos):
    """A proposer ignores rejections, and continues with a ballot that is too low."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if not isinstance(message, Rejected):
            super().receive(sender, message)


# --- clients --------------------------------------------------------------------------------------------------------


class UndecidedWithoutProof(Paxos):
    """A replica answers a query from its own disk: without a decision there it answers undecided."""

    def query(self, request: Request) -> None:
        self.node.reply(request, self.decided())


class AnswersWithTheProposal(Paxos):
    """A client that proposes gets its own value as the answer, whichever value was chosen."""

    def learn(self, value: Value) -> None:
        for request, proposed in self.proposals.items():
            self.node.reply(request, proposed)
        super().learn(value)

    def propose(self, request: Request, value: Value) -> None:
        if self.decided() is not None:
            self.node.reply(request, value)
        super().propose(request, value)


class ProposesADefault(Paxos):
    """A proposer proposes a constant instead of its client's value or an accepted one."""

    def become_accepting(self, value: Value) -> None:
        super().become_accepting(_DEFAULT)


class RefusesRivals(Paxos):
    """A replica refuses a proposal after another value was decided."""

    def propose(self, request: Request, value: Value) -> None:
        if self.decided() not in (None, value):
            self.node.refuse(request, "it is decided already")
        super().propose(request, value)
