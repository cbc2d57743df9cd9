"""Single-decree Paxos.

Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001), section 2. Every node is a proposer, an acceptor
and a learner.

Why it is safe, in one paragraph: a value is chosen when a quorum has accepted it under one ballot. A proposer of a higher
ballot first gets promises from a quorum, which shares a member with that one; the member tells what it has accepted, and
the proposer must go on with the value of the highest ballot that it is told. So every ballot above a choice proposes the
chosen value. This needs promises and acceptances on disk before they are spoken of (the turn sees to it), and no ballot
used twice, also after a restart (the round is on disk before its Prepare leaves).

A query asks a quorum what it has accepted. If nobody in it has accepted anything, nothing was chosen before the query
came, since a choice would have left a trace in every quorum: undecided. Otherwise somebody's proposal may be unfinished:
the query finishes it, by a ballot of its own, and answers with what is chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.contract import Algorithm, Message, Node, NodeId, Request, Stored, Value
from node.quorum import NO_BALLOT, Ballot, is_quorum

_RETRY_S: Final = (0.1, 0.2)
# Rivals come apart only once their pauses differ by more than a round of messages takes, which may be 1 ms or 300 ms: so the
# range grows fast, fourfold with each ballot that a rival has beaten, up to 64 times.
_BACKOFF_S: Final = 0.01
_BACKOFF_FACTOR: Final = 4
_BACKOFF_GROWTHS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Phase 1a."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Promise(Message):
    """Phase 1b: nothing below `ballot` will be accepted; what has been, under its ballot, or None."""

    ballot: Ballot
    accepted: Ballot | None
    value: Value | None


@dataclass(frozen=True, slots=True)
class Accept(Message):
    """Phase 2a."""

    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """Phase 2b."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Rejected(Message):
    """`ballot` came too late: a higher one has been promised."""

    ballot: Ballot
    promised: Ballot


@dataclass(frozen=True, slots=True)
class Inquire(Message):
    """For a query: have you accepted anything?"""

    request: Request


@dataclass(frozen=True, slots=True)
class Report(Message):
    """The answer to an `Inquire`."""

    request: Request
    accepted: bool


@dataclass(frozen=True, slots=True)
class Decided(Message):
    """`value` is chosen."""

    value: Value


class Paxos(Algorithm):
    """One replica of one variable."""

    messages = (Prepare, Promise, Accept, Accepted, Rejected, Inquire, Report, Decided)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.proposals: dict[Request, Value] = {}
        self.queries: dict[Request, dict[NodeId, None]] = {}  # who has accepted nothing, by query
        self.role = "idle"
        self.ballot = NO_BALLOT  # this node's own, while it proposes
        self.value: Value | None = None  # what it asks to accept
        self.voters: dict[NodeId, tuple[Ballot, Value | None]] = {}  # who has promised or accepted, and what was told
        self.seen = NO_BALLOT  # the highest ballot of anybody that this node has been told of
        self.beaten = 0  # ballots that a rival has beaten in a row

    # --- clients ----------------------------------------------------------------------------------------------------

    def propose(self, request: Request, value: Value) -> None:
        decided = self.decided()
        if decided is not None:
            self.node.reply(request, decided)
            return
        self.proposals[request] = value
        if self.role == "idle":
            self.become_preparing()

    def query(self, request: Request) -> None:
        decided = self.decided()
        if decided is not None:
            self.node.reply(request, decided)
            return
        self.queries[request] = {}
        self.node.broadcast(Inquire(request))
        if self.role == "idle":
            self.node.set_timer("again", *_RETRY_S)

    def forget(self, request: Request) -> None:
        self.proposals.pop(request, None)
        self.queries.pop(request, None)

    # --- proposer ---------------------------------------------------------------------------------------------------

    def become_idle(self) -> None:
        """Propose nothing. Queries go on asking."""
        self.role, self.ballot, self.value, self.voters = "idle", NO_BALLOT, None, {}
        self.node.cancel_timer("again")
        if self.queries:
            self.node.set_timer("again", *_RETRY_S)

    def become_preparing(self) -> None:
        """Phase 1a, under a ballot that was never used before and is above all that this node knows of."""
        last = self.node.disk.get("round", 0)
        assert isinstance(last, int)
        self.ballot = Ballot(max(last, self.promised().round, self.seen.round) + 1, self.node.id)
        self.node.disk["round"] = self.ballot.round
        self.role, self.value, self.voters = "preparing", None, {}
        self.node.broadcast(Prepare(self.ballot))
        self.node.set_timer("again", *_RETRY_S)

    def become_accepting(self, value: Value) -> None:
        """Phase 2a."""
        self.role, self.value, self.voters = "accepting", value, {}
        self.node.broadcast(Accept(self.ballot, value))
        self.node.set_timer("again", *_RETRY_S)

    def become_beaten(self) -> None:
        """Leave the field to a rival for a random while, longer each time, so that one of the two gets through."""
        self.role, self.value, self.voters = "beaten", None, {}
        self.node.set_timer("again", 0.0, _BACKOFF_S * _BACKOFF_FACTOR ** min(self.beaten, _BACKOFF_GROWTHS_MAX))
        self.beaten += 1

    def promised_by_quorum(self) -> None:
        """The end of phase 1: which value may this ballot propose?"""
        accepted, value = max(self.voters.values(), key=lambda told: told[0])
        if accepted == NO_BALLOT:
            value = next(iter(self.proposals.values()), None)  # free to choose
        if value is None:
            self.become_idle()  # a query began this, and there is nothing to finish after all
        else:
            self.become_accepting(value)

    def timeout(self, name: str) -> None:
        match self.role:
            case "beaten" if self.proposals or self.queries:
                self.become_preparing()
                return
            case "beaten":
                self.become_idle()  # nobody waits for it any more
            case "preparing":
                self.send_again(Prepare(self.ballot))
            case "accepting":
                assert self.value is not None
                self.send_again(Accept(self.ballot, self.value))
        for request, nothing in self.queries.items():
            for member in self.node.members:
                if member not in nothing:
                    self.node.send(member, Inquire(request))
        if self.role != "idle" or self.queries:
            self.node.set_timer("again", *_RETRY_S)

    def send_again(self, message: Message) -> None:
        """To whoever has not answered."""
        for member in self.node.members:
            if member not in self.voters:
                self.node.send(member, message)

    # --- messages ---------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        decided = self.decided()
        match message:
            case Decided(value):
                self.learn(value)
            case Prepare() | Accept() | Inquire() if decided is not None:
                self.node.send(sender, Decided(decided))

            # The acceptor.
            case Prepare(ballot) if ballot >= self.promised():
                self.node.disk["promised"] = ballot
                self.node.send(sender, Promise(ballot, *self.accepted()))
            case Accept(ballot, value) if ballot >= self.promised():
                self.node.disk["promised"] = ballot
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case Prepare(ballot) | Accept(ballot):
                self.node.send(sender, Rejected(ballot, self.promised()))
            case Inquire(request):
                self.node.send(sender, Report(request, self.accepted() != (None, None)))

            # The proposer. An answer to a ballot or a phase that is over matches nothing.
            case Promise(ballot, accepted, value) if ballot == self.ballot and self.role == "preparing":
                self.voters[sender] = (accepted or NO_BALLOT, value)
                if is_quorum(self.voters, self.node.members):
                    self.promised_by_quorum()
            case Accepted(ballot) if ballot == self.ballot and self.role == "accepting":
                self.voters[sender] = (ballot, self.value)
                if is_quorum(self.voters, self.node.members) and self.value is not None:
                    self.chosen(self.value)
            case Rejected(ballot, promised):
                self.seen = max(self.seen, promised)
                if ballot == self.ballot and self.role in ("preparing", "accepting"):
                    self.become_beaten()

            # The query.
            case Report(request, accepted=True) if request in self.queries and self.role == "idle":
                self.become_preparing()
            case Report(request, accepted=False) if request in self.queries:
                self.queries[request][sender] = None
                if is_quorum(self.queries[request], self.node.members):
                    del self.queries[request]
                    self.node.reply(request, None)

    # --- learner ----------------------------------------------------------------------------------------------------

    def chosen(self, value: Value) -> None:
        """A quorum has accepted `value` under this node's ballot. Whoever misses the news asks when it needs to."""
        self.learn(value)
        for peer in self.node.peers:
            self.node.send(peer, Decided(value))

    def learn(self, value: Value) -> None:
        """`value` is chosen: keep it, and answer everybody."""
        if self.decided() is None:
            self.node.disk["decided"] = value
        for request in (*self.proposals, *self.queries):
            self.node.reply(request, self.decided())
        self.proposals.clear()
        self.queries.clear()
        self.become_idle()

    # --- what is on disk --------------------------------------------------------------------------------------------

    def promised(self) -> Ballot:
        """The highest ballot that this node has promised."""
        return _ballot(self.node.disk.get("promised")) or NO_BALLOT

    def accepted(self) -> tuple[Ballot | None, Value | None]:
        """What this node has accepted last, and under which ballot."""
        stored = self.node.disk.get("accepted")
        if not isinstance(stored, tuple):
            return None, None
        *ballot, value = stored
        assert isinstance(value, bytes)
        return _ballot(tuple(ballot)), Value(value)

    def decided(self) -> Value | None:
        """The chosen value, if this node knows it."""
        stored = self.node.disk.get("decided")
        return Value(stored) if isinstance(stored, bytes) else None

    def status(self) -> Mapping[str, object]:
        accepted, value = self.accepted()
        return {
            "role": "learned" if self.decided() is not None else self.role,
            "ballot": self.promised(),
            "accepted ballot": accepted,
            "accepted": value,
            "decided": self.decided(),
            "waiting": len(self.proposals) + len(self.queries),
        }


def _ballot(stored: Stored) -> Ballot | None:
    match stored:
        case (int(round_), str(node)):
            return Ballot(round_, node)
    return None
