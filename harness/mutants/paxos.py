"""Paxos, broken on purpose, one class a break. `harness.mutants.catalogue` says what each imitates and how it is caught.

None touches the shipped code: a cluster is given one by its name, such as `harness.mutants.paxos:IgnoresAccepted`.
"""

from node.algorithms.paxos import NO_ACCEPTANCE, Accept, Acceptance, Accepted, Paxos, Prepare, Promise, Rejected, Role
from node.contract import Message, NodeId, Request, Value
from node.quorum import NO_BALLOT, Ballot
from node.wire import encode_value

_DEFAULT = encode_value("a default")


# --- phase 1 --------------------------------------------------------------------------------------------------------


class IgnoresAccepted(Paxos):
    """Proposes its own value, whatever it was told in phase 1."""

    def promised_by_quorum(self) -> None:
        self.promises = dict.fromkeys(self.promises, NO_ACCEPTANCE)
        super().promised_by_quorum()


class _Adopts(Paxos):
    """Adopts another accepted value than that of the highest ballot."""

    def choose(self, reported: list[Acceptance]) -> Acceptance:
        raise NotImplementedError

    def promised_by_quorum(self) -> None:
        reported = [acceptance for acceptance in self.promises.values() if acceptance != NO_ACCEPTANCE]
        if reported:
            self.promises = {"chosen": self.choose(reported)}
        super().promised_by_quorum()


class AdoptsLowest(_Adopts):
    """Adopts the value of the lowest ballot."""

    def choose(self, reported: list[Acceptance]) -> Acceptance:
        return min(reported, key=lambda acceptance: acceptance.ballot)


class AdoptsLast(_Adopts):
    """Adopts any value: the one that was reported last."""

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
    """Counts a promise for an earlier ballot of its own."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Promise) and message.ballot.node == self.node.id:
            message = Promise(self.ballot, message.accepted, message.value)
        super().receive(sender, message)


class NobodysBallots(Paxos):
    """Ballots are bare numbers, so two proposers share one."""

    def become_preparing(self) -> None:
        self.ballot = Ballot(max(self.promised().round, self.seen.round) + 1, "")
        self.enter(Role.PREPARING)
        self.node.broadcast(Prepare(self.ballot))
        self.node.set_timer("again", 0.1, 0.2)


# --- the acceptor ---------------------------------------------------------------------------------------------------


class AcceptIgnoresPromise(Paxos):
    """Accepts whatever comes."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None and ballot < self.promised():
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case _:
                super().receive(sender, message)


class AcceptDoesNotRaise(Paxos):
    """What it accepts does not count as a promise."""

    def receive(self, sender: NodeId, message: Message) -> None:
        before = self.node.disk.get("promised")
        super().receive(sender, message)
        if isinstance(message, Accept):
            if before is not None:
                self.node.disk["promised"] = before
            else:
                self.node.disk.pop("promised", None)


class PromiseInMemory(Paxos):
    """A promise is not on disk before it is told."""

    remembered: Ballot = NO_BALLOT

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        match self.node.disk.pop("promised", None):
            case (int(number), str(node)):
                self.remembered = Ballot(number, node)

    def promised(self) -> Ballot:
        return self.remembered


class AcceptedInMemory(Paxos):
    """An accepted value is not on disk before it is told."""

    remembered: Acceptance = NO_ACCEPTANCE

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if self.node.disk.pop("accepted", None) is not None and isinstance(message, Accept):
            self.remembered = Acceptance(message.ballot, message.value)

    def accepted(self) -> Acceptance:
        return self.remembered


class StartsAfresh(Paxos):
    """Every restart sets round and promise back, as if the node were new."""

    def start(self) -> None:
        for key in ("round", "promised"):
            self.node.disk.pop(key, None)


class ReusesBallots(Paxos):
    """The round starts anew after a restart, as if nothing had ever been sent."""

    def become_preparing(self) -> None:
        self.node.disk.pop("round", None)
        super().become_preparing()

    def promised(self) -> Ballot:
        # A proposer that looks only at what it has used itself, and that is forgotten.
        return NO_BALLOT if self.role in (Role.IDLE, Role.BEATEN) else super().promised()


class LateAcceptsKill(Paxos):
    """An acceptor raises on an Accept below its promise, which it should have expected."""

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
    """Counts an acceptance of an earlier ballot of its own."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Accepted) and message.ballot.node == self.node.id:
            message = Accepted(self.ballot)
        super().receive(sender, message)


class CountsMessages(Paxos):
    """Counts acceptances, not acceptors."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Accepted) and message.ballot == self.ballot and sender in self.acceptances:
            sender = next((member for member in self.node.members if member not in self.acceptances), sender)
        super().receive(sender, message)


class BelievesAnyAccept(Paxos):
    """A learner that takes what it is asked to accept for decided."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        if isinstance(message, Accept):
            self.learn(message.value)


class ForgetsDecisions(Paxos):
    """A decision is told and not kept on disk."""

    def learn(self, value: Value) -> None:
        super().learn(value)
        self.node.disk.pop("decided", None)


class LastWriteWins(Paxos):
    """A decided variable can be set once more."""

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
    """Nothing is sent again."""

    def send_again(self, message: Message, answered: dict[NodeId, Acceptance] | dict[NodeId, None]) -> None:
        pass


class GivesUpWhenBeaten(Paxos):
    """A proposer that a rival has beaten waits for ever for that one to succeed."""

    def become_beaten(self) -> None:
        super().become_beaten()
        self.node.cancel_timer("again")


class IgnoresRejections(Paxos):
    """A proposer goes on with a ballot that is too low."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if not isinstance(message, Rejected):
            super().receive(sender, message)


# --- clients --------------------------------------------------------------------------------------------------------


class UndecidedWithoutProof(Paxos):
    """A query asks nobody: what this node has not heard of is taken for undecided."""

    def query(self, request: Request) -> None:
        self.node.reply(request, self.decided())


class AnswersWithTheProposal(Paxos):
    """A proposer is told its own value, whichever was chosen."""

    def learn(self, value: Value) -> None:
        for request, proposed in self.proposals.items():
            self.node.reply(request, proposed)
        super().learn(value)

    def propose(self, request: Request, value: Value) -> None:
        if self.decided() is not None:
            self.node.reply(request, value)
        super().propose(request, value)


class ProposesADefault(Paxos):
    """A free proposer puts a value of its own making in place of its client's."""

    def become_accepting(self, value: Value) -> None:
        super().become_accepting(_DEFAULT)


class RefusesRivals(Paxos):
    """A proposal that comes too late is an error."""

    def propose(self, request: Request, value: Value) -> None:
        if self.decided() not in (None, value):
            self.node.refuse(request, "it is decided already")
        super().propose(request, value)
