"""How a leader is found.

Theory of operation
-------------------
Silence makes a voter **canvass**: it asks everybody whether they would promise it a ballot. Who has heard a leader lately
says nothing, so a node that is cut off, or that only one other can hear, disturbs nobody (Ongaro 2014, section 9.6). With
the support of a quorum it **prepares**: phase 1 of Paxos, once for all slots. Promises from a quorum make it the leader.

A leader's connection that closes counts as silence at once. It is a hint: where it is wrong, nobody supports the canvass.
"""

from typing import Final, NamedTuple

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Canvass, LogPrepare, LogPromise
from node.contract import NodeId
from node.log_contract import LogNode, Record
from node.quorum import NO_BALLOT, Ballot, is_quorum
from node.replication.configuration import Configuration

TICK_S: Final = (0.05, 0.1)
_HURRY_S: Final = (0.0, 0.015)
_SILENT_MAX: Final = 6  # ticks without a leader before a voter canvasses
_SILENT_SUPPORT: Final = 3  # ticks without a leader before it supports somebody else's canvass
_PREPARE_TICKS_MAX: Final = 8

_CHOSEN: Final = Ballot(2**62, "")  # above any ballot


class Election:
    """One replica's part in elections."""

    def __init__(self, node: LogNode, acceptor: Acceptor) -> None:
        self.node, self.acceptor = node, acceptor
        self.role = "follower"
        self.leader: NodeId | None = None
        self.silent = _SILENT_MAX - 1  # at boot there may be no leader yet: do not wait long
        self.seen = NO_BALLOT  # the highest ballot of anybody that this replica has been told of
        self.ballot = NO_BALLOT  # its own, while it prepares
        self.attempt = 0
        self.ticks = 0
        self.supporters: dict[NodeId, None] = {}
        self.promises: dict[NodeId, dict[int, LogPromise]] = {}

    # --- roles ------------------------------------------------------------------------------------------------------

    def become_follower(self, leader: NodeId | None) -> None:
        """Wait for `leader`, or for whoever leads next."""
        self.role, self.leader, self.silent, self.ticks = "follower", leader, 0, 0

    def become_canvassing(self, configuration: Configuration) -> None:
        """Ask whether phase 1 would succeed."""
        self.role, self.leader, self.ticks = "canvassing", None, 0
        self.attempt += 1
        self.supporters = {self.node.id: None}
        for voter in configuration.voters:
            if voter != self.node.id:
                self.node.send(voter, Canvass(self.attempt, self.acceptor.commit))

    def become_preparing(self, configuration: Configuration) -> None:
        """Phase 1a, under a ballot that was never used before and is above all that this node knows of."""
        last = self.node.disk.get("round", 0)
        assert isinstance(last, int)
        self.ballot = Ballot(max(last, self.acceptor.promised.round, self.seen.round) + 1, self.node.id)
        self.node.disk["round"] = self.ballot.round
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.send_prepare(configuration)

    def send_prepare(self, configuration: Configuration) -> None:
        """To every voter that has not promised, this node included."""
        for voter in configuration.voters:
            if not self.has_promised(voter):
                self.node.send(voter, LogPrepare(self.ballot, self.acceptor.commit))

    def become_leading(self) -> None:
        """The end of phase 1."""
        assert self.role == "preparing"
        self.role, self.leader = "leading", self.node.id

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self, configuration: Configuration) -> None:
        """Some tens of milliseconds have gone by."""
        self.node.set_timer("tick", *TICK_S)
        self.silent += 1
        self.ticks += 1
        if self.node.id not in configuration.voters:
            return
        if self.role == "preparing" and self.ticks < _PREPARE_TICKS_MAX:
            self.send_prepare(configuration)
        elif self.role == "canvassing" or (self.role != "leading" and self.silent >= _SILENT_MAX):
            self.become_canvassing(configuration)

    def heard(self, leader: NodeId) -> None:
        """The leader has spoken."""
        if self.role != "follower" or self.leader != leader:
            self.become_follower(leader)
        self.silent = 0

    def leader_lost(self) -> None:
        """A hint that the leader is gone."""
        self.leader, self.silent = None, _SILENT_MAX
        self.node.set_timer("tick", *_HURRY_S)

    # --- votes ------------------------------------------------------------------------------------------------------

    def supports(self) -> bool:
        """Whether this replica would rather have another leader than wait."""
        return self.role != "leading" and (self.leader is None or self.silent >= _SILENT_SUPPORT)

    def outbids(self, ballot: Ballot) -> bool:
        """Whether this replica prepares a higher ballot, which its own acceptor may not have on disk yet.

        Promising less now would end its candidacy, and its own Prepare would end the other's: nobody would lead until a
        silence is over. Refusing a promise is always safe.
        """
        return self.role == "preparing" and ballot < self.ballot

    def supported(self, sender: NodeId, attempt: int, promised: Ballot, configuration: Configuration) -> bool:
        """Count one supporter. True if they are a quorum now."""
        self.seen = max(self.seen, promised)
        if self.role != "canvassing" or attempt != self.attempt:
            return False
        self.supporters[sender] = None
        return is_quorum(self.supporters, configuration.voters)

    def promised(self, sender: NodeId, promise: LogPromise, configuration: Configuration) -> bool:
        """Count one part of a promise. True if a quorum has promised in full now."""
        if self.role != "preparing" or promise.ballot != self.ballot:
            return False
        parts = self.promises.setdefault(sender, {})
        if any((part.parts, part.commit) != (promise.parts, promise.commit) for part in parts.values()):
            parts.clear()  # it has learned more since, and has divided what it tells in another way
        parts[promise.part] = promise
        whole = [voter for voter in self.promises if self.has_promised(voter)]
        return is_quorum(whole, configuration.voters)

    def has_promised(self, voter: NodeId) -> bool:
        """Whether every part of this voter's promise has come."""
        parts = self.promises.get(voter, {})
        return any(len(parts) >= promise.parts for promise in parts.values())

    def told(self) -> list["PromisedRecords"]:
        """What the promises say."""
        return [
            PromisedRecords(part.commit, part.records)
            for voter, parts in self.promises.items()
            if self.has_promised(voter)
            for part in parts.values()
        ]


class PromisedRecords(NamedTuple):
    """What one acceptor has told in phase 1."""

    commit: int
    records: tuple[Record, ...]


def to_propose(told: list[PromisedRecords], commit: int) -> dict[int, bytes]:
    """What a new leader must propose: for each slot above `commit` up to the highest that anybody has heard of.

    If a batch was chosen in a slot, a quorum has accepted it, which shares a member with the quorum of these promises; and
    every higher ballot proposed the same. So the record of the highest ballot is it. A record that its acceptor knows as
    chosen counts above any ballot. In a slot that nobody has a record of nothing was chosen: it gets a no-op, so that
    those above it can be applied.
    """
    best: dict[int, tuple[Ballot, bytes]] = {}
    for each in told:
        for slot, round_, owner, batch in each.records:
            ballot = _CHOSEN if slot <= each.commit else Ballot(round_, owner)
            if slot > commit and (slot not in best or ballot > best[slot][0]):
                best[slot] = (ballot, batch)
    highest = max(best, default=commit)
    return {slot: best[slot][1] if slot in best else b"" for slot in range(commit + 1, highest + 1)}
