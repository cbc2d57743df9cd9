"""Snapshots: a replica fetches one from a peer part by part, makes its own, and writes either in parts.

Rules
-----
1. A replica has one open request at a time. If the answer does not come in time, it asks again. The time is the round trips
   seen, and `fetch_again_ms`, which doubles while no answer comes.
2. The peer offers its snapshot, and the replica asks for its parts.
3. A snapshot is packed at once and written in parts, one per turn, so that no turn takes long. It is valid when its last part and
   the key `snapshot` are on disk, in one transaction. Only then is the log below it deleted.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from node.contract import NodeId
from node.log_contract import LogNode
from node.replication.messages import FetchPart, SnapshotPart
from node.replication.replica_log import ReplicaLog
from node.replication.round_trips import RoundTrips
from node.replication.state import ReplicatedState


class Snapshots(ABC):
    """One replica's requests for parts of a snapshot, its answers to those of its peers, and the snapshot that it is writing."""

    def __init__(
        self,
        node: LogNode,
        log: ReplicaLog,
        state: ReplicatedState,
        round_trips: RoundTrips,
        advance: Callable[[], None],
    ) -> None:
        """Take the parts of the replica. `advance` applies the slots that have become known as chosen."""
        self.node, self.log, self.state, self.advance = node, log, state, advance
        self.round_trips = round_trips
        self.source: NodeId | None = None  # the peer that has an open request
        self.offered = (0, 0)  # slot and number of parts of the snapshot that is fetched
        self.parts: dict[int, bytes] = {}
        self.timeouts = 0  # in a row, without an answer
        self.saving: list[bytes] = []  # the parts of the snapshot that is written
        self.saving_slot = 0
        self.saved = 0
        self.kept: deque[tuple[int, int]] = deque()  # the latest applied slots, each with its bytes
        self.kept_bytes = 0

    @abstractmethod
    def send_offer(self, to: NodeId) -> None:
        """Offer this replica's snapshot to a peer that asks for what this replica has deleted."""

    def save_installed(self, slot: int, parts: list[bytes]) -> None:
        """Save a snapshot from a peer in the log."""
        self.log.installed(slot, parts)

    @abstractmethod
    def installed(self, source: NodeId) -> None:
        """Take in that the snapshot of `source` is installed: what follows it is still missing."""

    # --- asking -------------------------------------------------------------------------------------------------------

    def await_answer(self, source: NodeId) -> None:
        tuning = self.node.tuning
        again_s = tuning.fetch_again_ms / 1000 * 2 ** min(self.timeouts, tuning.fetch_timeouts)
        wait_s = self.round_trips.wait_ms(source) / 1000
        self.node.set_timer("fetch", again_s + wait_s, 2 * again_s + wait_s)

    def timed_out(self) -> None:
        """Take in that no answer has come in time: ask for missing parts of the snapshot again, or give the request up."""
        slot, count = self.offered
        self.timeouts += 1
        if self.source is None or slot <= self.log.commit or self.timeouts > self.node.tuning.fetch_timeouts:
            self.abandon()
            return
        missing = [number for number in range(count) if number not in self.parts]
        for number in missing[: self.node.tuning.fetch_parts]:
            self.node.send(self.source, FetchPart(slot, number))
        self.await_answer(self.source)

    def abandon(self) -> None:
        self.source, self.offered, self.parts = None, (0, 0), {}

    def offer(self, sender: NodeId, slot: int, count: int) -> None:
        """Take in the offer of a snapshot of `slot` in `count` parts, and ask for its first parts.

        Each request for a part of a snapshot that the source has replaced brings the same offer. Were each of them to begin the
        fetch anew, the requests would multiply with every snapshot. The timer asks again for what is lost.
        """
        if slot <= max(self.log.commit, self.offered[0]) or sender != self.source or count < 1:
            return
        self.offered, self.parts, self.timeouts = (slot, count), {}, 0
        for number in range(min(count, self.node.tuning.fetch_parts)):
            self.node.send(sender, FetchPart(slot, number))
        self.await_answer(sender)

    def part(self, sender: NodeId, message: SnapshotPart) -> None:
        """Take in a part of the offered snapshot. Installs the snapshot when all parts have come."""
        slot, count = self.offered
        if (
            sender != self.source
            or message.slot != slot
            or not 0 <= message.number < count
            or message.number in self.parts
        ):
            return
        if slot <= self.log.commit:  # the leader's Accepts have brought these slots meanwhile
            self.abandon()
            return
        self.parts[message.number], self.timeouts = message.data, 0
        following = len(self.parts) + self.node.tuning.fetch_parts - 1
        if len(self.parts) == count:
            self._install(slot, [self.parts[number] for number in range(count)])
            self.installed(sender)
        else:
            if following < count:
                self.node.send(sender, FetchPart(slot, following))
            self.await_answer(sender)

    def _install(self, slot: int, parts: list[bytes]) -> None:
        self.offered, self.parts = (0, 0), {}
        self.saving = []
        self.kept.clear()
        self.kept_bytes = 0
        self.state.restore(b"".join(parts))
        assert self.state.applied == slot
        self.save_installed(slot, parts)
        self.advance()

    # --- answering ----------------------------------------------------------------------------------------------------

    def answer_part(self, sender: NodeId, slot: int, number: int) -> None:
        """Send a part of the snapshot, or the offer of a newer one."""
        data = self.node.log.part(slot, number) if slot == self.log.snapshot.slot else None
        if data is None:
            self.send_offer(sender)
        else:
            self.node.send(sender, SnapshotPart(slot, number, data))

    # --- making -------------------------------------------------------------------------------------------------------

    def applied(self, slot: int, size: int) -> None:
        """Note that `slot` was applied, and that its batch has `size` bytes."""
        self.kept.append((slot, size))
        self.kept_bytes += size
        tuning = self.node.tuning
        while self.kept and (len(self.kept) > tuning.kept_slots or self.kept_bytes > tuning.kept_bytes):
            self.kept_bytes -= self.kept.popleft()[1]

    def take_snapshot(self) -> None:
        """Pack the present state, unless a snapshot is being written. `save_part` writes it."""
        if self.saving:
            return
        data = self.state.snapshot()
        size = self.node.tuning.snapshot_part_bytes
        self.saving = [data[start : start + size] for start in range(0, len(data), size)]
        self.saving_slot, self.saved = self.state.applied, 0
        self._save_later()

    def _save_later(self) -> None:
        pause_s = self.node.tuning.snapshot_pause_ms / 1000
        self.node.set_timer("save", pause_s, 2 * pause_s)

    def save_part(self) -> None:
        """Write the next part, if a snapshot is being written."""
        if not self.saving:
            return
        self.node.log.put_part(self.saving_slot, self.saved, self.saving[self.saved])
        self.saved += 1
        if self.saved == len(self.saving):
            first_kept = self.kept[0][0] if self.kept else self.state.applied + 1
            self.log.snapshot_saved(self.saving_slot, self.saved, min(first_kept, self.saving_slot + 1))
            self.saving = []
        else:
            self._save_later()
