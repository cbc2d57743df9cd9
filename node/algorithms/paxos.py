"""Single-decree Paxos.

Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001), section 2. Steps such as "phase 1 (a)" are those of
*Paxos Made Simple*, section 2.2. Every node is a proposer, an acceptor and a learner.

Why it is safe
--------------
A value is chosen when a quorum has accepted it under one ballot. Any two quorums share a node.

1. A proposer of a higher ballot first gets promises from a quorum. That quorum shares a node with the one that accepted.
2. That node reports what it has accepted, and the proposer must propose the value of the highest ballot reported to it.
3. So every ballot above that of a choice proposes the chosen value.

This needs promises and acceptances on disk before a message mentions them, which the turn guarantees, and no ballot used twice,
not even after a restart: the round is on disk before its Prepare leaves.

Queries
-------
A query asks a quorum what it has accepted. If no node of the quorum has accepted anything, no value was chosen before the query
came, since every quorum shares a node with the one that accepts a chosen value: the answer is "undecided". Otherwise a proposal
may be unfinished. Then the node that has the query finishes the proposal under a ballot of its own, and answers with the chosen
value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from node.contract import Algorithm, Message, Node, NodeId, Request, Status, Stored, Value
from node.quorum import NO_BALLOT, Ballot, is_quorum

_RETRY_S: Final = (0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Phase 1 (a): asks the receiver to accept nothing below `ballot`, and to report what it has accepted."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Promise(Message):
    """Phase 1 (b): the sender accepts nothing below `ballot`. It accepted `value` under `accepted`, or nothing if None."""

    ballot: Ballot
    accepted: Ballot | None
    value: Value | None


@dataclass(frozen=True, slots=True)
class Accept(Message):
    """Phase 2 (a): asks the receiver to accept `value` under `ballot`."""

    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class Accepted(Message):
    """Phase 2 (b): the sender has accepted the value of `ballot`."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Rejected(Message):
    """The sender has not accepted or promised `ballot`, because it has promised `promised`, which is higher (section 2.4)."""

    ballot: Ballot
    promised: Ballot


@dataclass(frozen=True, slots=True)
class Inquire(Message):
    """Asks for a query whether the receiver has accepted anything."""

    request: Request


@dataclass(frozen=True, slots=True)
class Report(Message):
    """The answer to an `Inquire`: whether the sender has accepted anything."""

    request: Request
    accepted: bool


@dataclass(frozen=True, slots=True)
class Decided(Message):
    """`value` is chosen (section 2.3)."""

    value: Value


class Role(StrEnum):
    """What the proposer of a node does.

    ```
              propose, or a query finds an unfinished proposal
      IDLE ────────────────────────────────────────────────────► PREPARING ◄──────────────┐
       ▲                                                          │     │                 │
       │ a quorum promised, and there is nothing to propose       │     │ Rejected        │ the pause is over
       ├──────────────────────────────────────────────────────────┘     ▼                 │
       │                             a quorum promised               BEATEN ──────────────┘
       │                                     │                          ▲  │
       │                                     ▼            Rejected      │  │ the pause is over, and no client waits
       │      a value is known as chosen  ACCEPTING ────────────────────┘  │
       ├───────────────── (from any role) ───┘                             │
       └───────────────────────────────────────────────────────────────────┘
    ```
    """

    IDLE = "idle"
    PREPARING = "preparing"
    ACCEPTING = "accepting"
    BEATEN = "beaten"


IDLE, PREPARING, ACCEPTING, BEATEN = Role


class Acceptance(NamedTuple):
    """The value that an acceptor accepted last, and its ballot. `NO_ACCEPTANCE` if it has accepted nothing."""

    ballot: Ballot
    value: Value | None


NO_ACCEPTANCE: Final = Acceptance(NO_BALLOT, None)


class Paxos(Algorithm):
    """One replica of one variable."""

    messages = (Prepare, Promise, Accept, Accepted, Rejected, Inquire, Report, Decided)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.proposals: dict[Request, Value] = {}
        self.queries: dict[Request, dict[NodeId, None]] = {}
        """By query: the nodes that have accepted nothing, as far as they have answered."""
        self.role = IDLE
        self.ballot = NO_BALLOT
        """This node's own ballot, while it proposes."""
        self.value: Value | None = None
        """The value that this node proposes, while it is `ACCEPTING`."""
        self.promises: dict[NodeId, Acceptance] = {}
        """By node that has promised this node's ballot: what that node had accepted. Used while this node is `PREPARING`."""
        self.acceptances: dict[NodeId, None] = {}
        """The nodes that have accepted this node's ballot, while it is `ACCEPTING`."""
        self.seen = NO_BALLOT
        """The highest ballot that a `Rejected` has reported."""
        self.beaten = 0
        """How many ballots of this node in a row a rival has beaten."""

    # --- clients ----------------------------------------------------------------------------------------------------

    def propose(self, request: Request, value: Value) -> None:
        decided = self.decided()
        if decided is not None:
            self.node.reply(request, decided)
            return
        self.proposals[request] = value
        if self.role is IDLE:
            self.become_running()

    def query(self, request: Request) -> None:
        decided = self.decided()
        if decided is not None:
            self.node.reply(request, decided)
            return
        self.queries[request] = {}
        self.node.broadcast(Inquire(request))
        if self.role is IDLE:
            self.node.set_timer("again", *_RETRY_S)

    def forget(self, request: Request) -> None:
        self.proposals.pop(request, None)
        self.queries.pop(request, None)

    # --- proposer ---------------------------------------------------------------------------------------------------

    def become_idle(self) -> None:
        """End the proposal. Open queries are still sent again."""
        self.enter(IDLE)
        self.ballot = NO_BALLOT
        self.node.cancel_timer("again")
        if self.queries:
            self.node.set_timer("again", *_RETRY_S)

    def become_running(self) -> None:
        """Begin phase 1 (a), under a ballot that this node has never used and that is above every ballot that it knows."""
        last = self.node.disk.get("round", 0)
        assert isinstance(last, int)
        self.ballot = Ballot(max(last, self.promised().round, self.seen.round) + 1, self.node.id)
        self.node.disk["round"] = self.ballot.round
        self.enter(PREPARING)
        self.node.broadcast(Prepare(self.ballot))
        self.node.set_timer("again", *_RETRY_S)

    def become_accepting(self, value: Value) -> None:
        """Begin phase 2 (a)."""
        self.enter(ACCEPTING)
        self.value = value
        self.node.broadcast(Accept(self.ballot, value))
        self.node.set_timer("again", *_RETRY_S)

    def become_beaten(self) -> None:
        """Pause, longer after each beaten ballot, so that one of two rivals completes (section 2.4).

        A rival completes in four hops between nodes, which take 1 ms, or 3 s: no replica knows. So the first pause suffices for
        hops of 50 ms, and the next ones grow fast. A pause costs its proposer little: the rival reports what it has chosen.
        """
        self.enter(BEATEN)
        tuning = self.node.tuning
        pause_s = min(tuning.duel_pause_ms * tuning.duel_growth**self.beaten, tuning.duel_pause_ms_max) / 1000
        self.node.set_timer("again", pause_s / 2, pause_s)
        self.beaten += 1

    def enter(self, role: Role) -> None:
        """Change the role, and drop the state of the phase that is over."""
        self.role, self.value = role, None
        self.promises, self.acceptances = {}, {}

    def promised_by_quorum(self) -> None:
        """Select the value for phase 2 (a): that of the highest ballot that the quorum has reported, if there is one."""
        highest = max(self.promises.values(), key=lambda acceptance: acceptance.ballot)
        value = highest.value
        if highest == NO_ACCEPTANCE:
            value = next(iter(self.proposals.values()), None)  # no value was reported, so this proposer may propose any
        if value is None:
            self.become_idle()  # a query began this ballot, and no proposal is unfinished
        else:
            self.become_accepting(value)

    def timeout(self, name: str) -> None:
        if self.role is BEATEN and (self.proposals or self.queries):
            self.become_running()
            return
        if self.role is BEATEN:
            self.become_idle()
        elif self.role is PREPARING:
            self.send_again(Prepare(self.ballot), self.promises)
        elif self.role is ACCEPTING:
            assert self.value is not None
            self.send_again(Accept(self.ballot, self.value), self.acceptances)
        for request, accepted_nothing in self.queries.items():
            self.send_again(Inquire(request), accepted_nothing)
        if self.role is not IDLE or self.queries:
            self.node.set_timer("again", *_RETRY_S)

    def send_again(self, message: Message, answered: dict[NodeId, Acceptance] | dict[NodeId, None]) -> None:
        """Send `message` to every node that has not answered it."""
        for member in self.node.members:
            if member not in answered:
                self.node.send(member, message)

    # --- messages ---------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        decided = self.decided()
        match message:
            # The learner (section 2.3).
            case Decided(value):
                self.learn(value)
            case Prepare() | Accept() | Inquire() if decided is not None:
                self.node.send(sender, Decided(decided))

            # The acceptor. Phase 1 (b): it promises a ballot unless it has promised a higher one.
            case Prepare(ballot) if ballot >= self.promised():
                self.node.disk["promised"] = ballot
                accepted, value = self.accepted()
                self.node.send(sender, Promise(ballot, None if accepted == NO_BALLOT else accepted, value))
            # Phase 2 (b): it accepts a ballot unless it has promised a higher one. To accept is also to promise.
            case Accept(ballot, value) if ballot >= self.promised():
                self.node.disk["promised"] = ballot
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case Prepare(ballot) | Accept(ballot):
                self.node.send(sender, Rejected(ballot, self.promised()))
            case Inquire(request):
                self.node.send(sender, Report(request, self.accepted() != NO_ACCEPTANCE))

            # The proposer. An answer to a ballot or a phase that is over matches nothing.
            case Promise(ballot, accepted, value) if ballot == self.ballot and self.role is PREPARING:
                self.promises[sender] = Acceptance(accepted or NO_BALLOT, value)
                if is_quorum(self.promises, self.node.members):
                    self.promised_by_quorum()
            case Accepted(ballot) if ballot == self.ballot and self.role is ACCEPTING:
                self.acceptances[sender] = None
                if is_quorum(self.acceptances, self.node.members) and self.value is not None:
                    self.chosen(self.value)
            case Rejected(ballot, promised):
                self.seen = max(self.seen, promised)
                if ballot == self.ballot and self.role in (PREPARING, ACCEPTING):
                    self.become_beaten()

            # The query.
            case Report(request, accepted=True) if request in self.queries and self.role is IDLE:
                self.become_running()
            case Report(request, accepted=False) if request in self.queries:
                self.queries[request][sender] = None
                if is_quorum(self.queries[request], self.node.members):
                    del self.queries[request]
                    self.node.reply(request, None)

    # --- learner ----------------------------------------------------------------------------------------------------

    def chosen(self, value: Value) -> None:
        """Save `value`, which a quorum has accepted under this node's ballot, and send it to every peer.

        A peer that misses the message learns the value by its next proposal or query.
        """
        self.learn(value)
        for peer in self.node.peers:
            self.node.send(peer, Decided(value))

    def learn(self, value: Value) -> None:
        """Save `value`, which is chosen, and answer every client that waits."""
        if self.decided() is None:
            self.node.disk["decided"] = value
        for request in (*self.proposals, *self.queries):
            self.node.reply(request, self.decided())
        self.proposals.clear()
        self.queries.clear()
        self.become_idle()

    # --- what is on disk --------------------------------------------------------------------------------------------

    def promised(self) -> Ballot:
        """Return the highest ballot that this node has promised; `NO_BALLOT` if none."""
        return _ballot(self.node.disk.get("promised"))

    def accepted(self) -> Acceptance:
        """Return what this node has accepted last; `NO_ACCEPTANCE` if nothing."""
        stored = self.node.disk.get("accepted")
        if not isinstance(stored, tuple):
            return NO_ACCEPTANCE
        *ballot, value = stored
        assert isinstance(value, bytes)
        return Acceptance(_ballot(tuple(ballot)), Value(value))

    def decided(self) -> Value | None:
        """Return the chosen value, if this node knows it."""
        stored = self.node.disk.get("decided")
        return Value(stored) if isinstance(stored, bytes) else None

    def awaits(self) -> tuple[str, ...]:
        return ("again",) if self.role is not IDLE or self.queries or self.proposals else ()

    def status(self) -> Status:
        decided, accepted = self.decided(), self.accepted()
        return Status(
            role=self.role if decided is None else "learned",
            ballot=self.promised(),
            accepted_ballot=None if accepted is NO_ACCEPTANCE else accepted.ballot,
            decided=decided,
            waiting=len(self.proposals) + len(self.queries),
            details={"accepted": accepted.value},
        )

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return the nodes at which no client calls: they own no ballot, and only owners of ballots are compared."""
        return tuple(member for member in members if member not in called)


def _ballot(stored: Stored) -> Ballot:
    # Plain tests, because a class pattern takes ten times as long and this runs several times per message.
    if isinstance(stored, tuple) and len(stored) == 2:
        round_, node = stored
        if isinstance(round_, int) and isinstance(node, str):
            return Ballot(round_, node)
    return NO_BALLOT
