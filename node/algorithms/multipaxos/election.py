"""The election of a leader: canvassing, then phase 1 of Paxos.

Theory of operation
-------------------
A voter that has received nothing from a leader for some ticks **canvasses**: it asks every voter whether that voter would promise
it a ballot. A voter that has received something from a leader lately does not answer. So a node that is cut off from the leader,
and not from all others, does not end the leadership of a working leader (Ongaro 2014, section 9.6). With the support of a
quorum the node **prepares**: phase 1 of Paxos, once for all slots. When a quorum has promised, the node leads.

When the leader's connection closes, a voter canvasses soon. The closed connection is only a hint: if the leader still works, the
other voters do not support the canvass.

Waits
-----
The network may be slow, and may lose messages. So a canvass keeps its supporters while it lasts, and asks the other voters again
at each tick. Phase 1 keeps its promises likewise. Either is begun anew only after a random time that follows the round trips
seen, and that doubles with each failure in a row, up to `growth_max` times. A voter that has promised a ballot gives its
candidate a round trip to report that it leads, before the voter canvasses itself or supports another canvass.
"""

from typing import Final, NamedTuple

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Canvass, LogPrepare, LogPromise
from node.contract import NodeId
from node.log_contract import Doubt, LogNode, Record
from node.quorum import NO_BALLOT, Ballot, is_quorum
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.round_trips import RoundTrips
from node.tuning import Tuning

_CHOSEN: Final = Ballot(2**62, "")  # above any ballot


def tick_s(tuning: Tuning) -> tuple[float, float]:
    """Return the shortest and the longest time between two ticks, in seconds."""
    return tuning.tick_ms * 2 / 3000, tuning.tick_ms * 4 / 3000


class Election:
    """The state of one replica in elections. `role` is "follower", "canvassing", "preparing" or "leading"."""

    def __init__(self, node: LogNode, acceptor: Acceptor, doubts: Doubts) -> None:
        self.node, self.acceptor, self.doubts = node, acceptor, doubts
        self.role = "follower"
        self.leader: NodeId | None = None
        # At boot there may be no leader, so a voter canvasses at the first tick.
        self.ticks_without_leader = node.tuning.canvass_ticks - 1
        self.seen = NO_BALLOT  # the highest ballot that a peer has reported
        self.ballot = NO_BALLOT  # this replica's latest own ballot
        self.round_trips = RoundTrips(node.id, node.tuning.wait_ms_max)
        self.wait_ms = 0  # until a quorum has answered, as of the last tick
        self.tick_count = 0  # since the boot
        self.canvass_began = 0  # at which tick
        self.ticks = 0  # in the present role
        self.grace_ticks = 0  # that a candidate gets to report that it leads
        self.failures = 0  # canvasses and candidacies in a row that came to nothing
        self.supporters: dict[NodeId, None] = {}
        self.promises: dict[NodeId, dict[int, LogPromise]] = {}

    # --- roles ------------------------------------------------------------------------------------------------------

    def become_follower(self, leader: NodeId | None) -> None:
        """Follow `leader`, or wait for a leader if None."""
        self.role, self.leader, self.ticks_without_leader, self.ticks = "follower", leader, 0, 0
        self.grace_ticks = 0 if leader is not None else self.wait_ms // self.node.tuning.tick_ms
        self.node.cancel_timer("anew")

    def become_canvassing(self, configuration: Configuration) -> None:
        """Ask every other voter whether it would promise this replica a ballot."""
        self.role, self.leader, self.ticks = "canvassing", None, 0
        self.canvass_began = self.tick_count
        self.supporters = {self.node.id: None}
        self._begin_anew_after(self.node.tuning.canvass_ms)
        self.send_canvass(configuration)

    def send_canvass(self, configuration: Configuration) -> None:
        """Ask every voter that does not support this replica yet. The answer returns the tick, for the round trip."""
        for voter in configuration.voters:
            if voter not in self.supporters:
                self.node.send(voter, Canvass(self.tick_count, self.acceptor.commit))

    def become_preparing(self, configuration: Configuration) -> None:
        """Begin phase 1a, under a ballot that this node has never used and that is above every ballot that it knows."""
        last = self.node.disk.get("round", 0)
        assert isinstance(last, int)
        self.ballot = Ballot(max(last, self.acceptor.promised.round, self.seen.round) + 1, self.node.id)
        self.node.disk["round"] = self.ballot.round
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self._begin_anew_after(self.node.tuning.prepare_ms)
        self.send_prepare(configuration)

    def send_prepare(self, configuration: Configuration) -> None:
        """Send the Prepare to every voter that has not promised, this node included."""
        for voter in configuration.voters:
            if not self.has_promised(voter):
                self.node.send(voter, LogPrepare(self.ballot, self.acceptor.commit, self.doubts.listed()))

    def become_leading(self) -> None:
        """End phase 1: a quorum has promised."""
        assert self.role == "preparing"
        self.role, self.leader, self.failures = "leading", self.node.id, 0
        self.node.cancel_timer("anew")

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self, configuration: Configuration) -> None:
        """Take in one tick: ask again, or canvass if no leader has sent anything for too long."""
        self.node.set_timer("tick", *tick_s(self.node.tuning))
        self.wait_ms = self.round_trips.quorum_wait_ms(configuration.voters)
        self.tick_count += 1
        self.ticks_without_leader += 1
        self.ticks += 1
        if self.node.id not in configuration.voters:
            return
        if self.role == "preparing" and self.ticks % (1 + self.wait_ms // self.node.tuning.tick_ms) == 0:
            self.send_prepare(configuration)  # a promise may be long, so no faster than promises come
        elif self.role == "canvassing":
            self.send_canvass(configuration)
        elif self.role == "follower" and self.ticks_without_leader >= self.node.tuning.canvass_ticks + self.grace_ticks:
            self.become_canvassing(configuration)

    def begin_anew(self, configuration: Configuration) -> None:
        """Take in that the canvass or phase 1 has lasted for too long: canvass from the start."""
        if self.role in ("canvassing", "preparing"):
            self.failures += 1
            self.become_canvassing(configuration)

    def _begin_anew_after(self, least_ms: int) -> None:
        least_s = (least_ms + self.wait_ms) / 1000 * min(2**self.failures, self.node.tuning.growth_max)
        self.node.set_timer("anew", least_s, 2 * least_s)

    def note_leader(self, leader: NodeId) -> None:
        """Note that a message of `leader` has arrived."""
        if self.role != "follower" or self.leader != leader:
            self.become_follower(leader)
        self.ticks_without_leader = self.failures = 0

    def note_candidate(self) -> None:
        """Note that the candidate to which this replica has promised asks again, so it still works."""
        if self.role == "follower" and self.leader is None:
            self.ticks_without_leader = 0

    def leader_lost(self) -> None:
        """Take in that the leader's connection has closed, so that the next tick comes soon and canvasses."""
        self.leader, self.ticks_without_leader, self.grace_ticks = None, self.node.tuning.canvass_ticks, 0
        self.node.set_timer("tick", 0.0, self.node.tuning.hurry_ms / 1000)

    # --- votes ------------------------------------------------------------------------------------------------------

    def supports(self) -> bool:
        """Return whether this replica supports the canvass of another voter."""
        silent_for = self.grace_ticks if self.leader is None else self.node.tuning.support_ticks
        return self.role != "leading" and self.ticks_without_leader >= silent_for

    def prepares_higher(self, ballot: Ballot) -> bool:
        """Return whether this replica prepares a higher ballot, which its own acceptor may not have on disk yet.

        A promise to the lower `ballot` would end this replica's candidacy, and then this replica's own Prepare would end the
        other's. There would be no leader until the next canvass. Refusing a promise is always safe.
        """
        return self.role == "preparing" and ballot < self.ballot

    def prepares(self, ballot: Ballot) -> bool:
        """Return whether this replica prepares `ballot`."""
        return self.role == "preparing" and ballot == self.ballot

    def supported(self, sender: NodeId, asked: int, promised: Ballot, configuration: Configuration) -> bool:
        """Count a supporter, which answers what was sent at the tick `asked`. Returns whether a quorum supports this replica."""
        self.seen = max(self.seen, promised)
        if asked > self.tick_count:
            return False  # it answers an earlier life
        self.round_trips.answered(sender, (self.tick_count - asked) * self.node.tuning.tick_ms)
        if self.role != "canvassing" or asked < self.canvass_began:
            return False
        self.supporters[sender] = None
        return is_quorum(self.supporters, configuration.voters)

    def promised(self, sender: NodeId, promise: LogPromise, configuration: Configuration) -> bool:
        """Count one part of a promise.

        Returns:
            Whether every part of the promises of a quorum has come, and these report every batch that can have been chosen.
        """
        parts = self.promises.setdefault(sender, {})
        if any((part.parts, part.commit) != (promise.parts, promise.commit) for part in parts.values()):
            parts.clear()  # an answer to a repeated Prepare, which reports more and is divided in another way
        parts[promise.part] = promise
        whole = {
            voter: Doubt(max(part.doubt for part in parts.values()))
            for voter, parts in self.promises.items()
            if self.has_promised(voter)
        }
        return self.doubts.quorum_reports(configuration.voters, whole)

    def has_promised(self, voter: NodeId) -> bool:
        """Return whether every part of this voter's promise has come."""
        parts = self.promises.get(voter, {})
        return any(len(parts) >= promise.parts for promise in parts.values())

    def reported(self) -> list["PromisedRecords"]:
        """Return the content of every complete promise, part by part."""
        return [
            PromisedRecords(part.commit, part.records)
            for voter, parts in self.promises.items()
            if self.has_promised(voter)
            for part in parts.values()
        ]


class PromisedRecords(NamedTuple):
    """What one part of a promise reports: the acceptor's commit index, and its records."""

    commit: int
    records: tuple[Record, ...]


def to_propose(reports: list[PromisedRecords], commit: int) -> dict[int, bytes]:
    """Return the batch that a new leader must propose in each slot above `commit`, up to the highest slot in `reports`.

    If a batch was chosen in a slot, a quorum has accepted it, and that quorum shares a member with the quorum that has promised.
    Every higher ballot proposed the same batch. So the batch is that of the record with the highest ballot. A record that its
    acceptor knows as chosen counts above any ballot. A slot without any record has no chosen batch. It gets a no-op, so that the
    slots above it can be applied.
    """
    best: dict[int, tuple[Ballot, bytes]] = {}
    for each in reports:
        for slot, round_, owner, batch in each.records:
            ballot = _CHOSEN if slot <= each.commit else Ballot(round_, owner)
            if slot > commit and (slot not in best or ballot > best[slot][0]):
                best[slot] = (ballot, batch)
    highest = max(best, default=commit)
    return {slot: best[slot][1] if slot in best else b"" for slot in range(commit + 1, highest + 1)}
