"""How a replica that has missed something gets it: the log, or a snapshot and then the log. And how snapshots are made.

Rules
-----
1. Whoever sees that more is chosen than it knows asks a peer that knows, one request at a time, again on a timer.
2. A peer answers from its log; where that is gone, it offers its snapshot, which is then fetched part by part.
3. A snapshot is packed at once and written in parts, one a turn, so that no turn is long. It counts when its last part and
   the note of it are on disk, in one transaction; only then is the log cut.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Chosen, Fetch, FetchPart, SnapshotOffer, SnapshotPart
from node.contract import NodeId
from node.log_contract import LogNode
from node.replication.state import ReplicatedState

_AGAIN_S: Final = (0.1, 0.2)
_SAVE_S: Final = (0.001, 0.002)
_ANSWER_BYTES: Final = 1024 * 1024
_PARTS_UNDER_WAY: Final = 8
_STRIKES_MAX: Final = 5


class CatchUp:
    """One replica's fetching and serving."""

    def __init__(self, node: LogNode, acceptor: Acceptor, state: ReplicatedState, advance: Callable[[], None]) -> None:
        """`advance` applies what has become known as chosen."""
        self.node, self.acceptor, self.state, self.advance = node, acceptor, state, advance
        self.source: NodeId | None = None  # who has been asked
        self.offered = (0, 0)
        self.parts: dict[int, bytes] = {}
        self.strikes = 0  # time-outs in a row
        self.saving: list[bytes] = []
        self.saving_slot = 0
        self.saved = 0
        self.kept: deque[tuple[int, int]] = deque()  # the latest slots that were applied, with their sizes
        self.kept_bytes = 0

    # --- asking -----------------------------------------------------------------------------------------------------

    def fetch(self, source: NodeId) -> None:
        """Ask `source` for what this replica misses, unless somebody is being asked."""
        if self.source is None:
            self._ask(source)

    def _ask(self, source: NodeId) -> None:
        self.source = source
        self.node.send(source, Fetch(self.acceptor.commit))
        self.node.set_timer("fetch", *_AGAIN_S)

    def timed_out(self) -> None:
        """The answer has not come. A snapshot under way is gone on with; else whoever speaks next and knows more is asked."""
        slot, count = self.offered
        self.strikes += 1
        if self.source is None or slot <= self.acceptor.commit or self.strikes > _STRIKES_MAX:
            self._abandon()
            return
        missing = [number for number in range(count) if number not in self.parts]
        for number in missing[:_PARTS_UNDER_WAY]:
            self.node.send(self.source, FetchPart(slot, number))
        self.node.set_timer("fetch", *_AGAIN_S)

    def _abandon(self) -> None:
        self.source, self.offered, self.parts = None, (0, 0), {}

    def chosen(self, sender: NodeId, message: Chosen) -> None:
        """A piece of the log."""
        for record in message.records:
            if record.slot == self.acceptor.commit + 1:
                self.acceptor.choose(record)
        self.advance()
        if sender == self.source:
            self.source = None
            if message.records and message.commit > self.acceptor.commit:
                self._ask(sender)

    def offer(self, sender: NodeId, slot: int, count: int) -> None:
        """A snapshot instead of the log."""
        if slot <= self.acceptor.commit or sender != self.source or count < 1:
            return
        self.offered, self.parts, self.strikes = (slot, count), {}, 0
        for number in range(min(count, _PARTS_UNDER_WAY)):
            self.node.send(sender, FetchPart(slot, number))
        self.node.set_timer("fetch", *_AGAIN_S)

    def part(self, sender: NodeId, message: SnapshotPart) -> None:
        """A part of the snapshot on offer."""
        slot, count = self.offered
        if (
            sender != self.source
            or message.slot != slot
            or not 0 <= message.number < count
            or message.number in self.parts
        ):
            return
        if slot <= self.acceptor.commit:  # the leader's own messages have told all of it meanwhile
            self._abandon()
            return
        self.parts[message.number], self.strikes = message.data, 0
        following = len(self.parts) + _PARTS_UNDER_WAY - 1
        if len(self.parts) == count:
            self._install(slot, [self.parts[number] for number in range(count)])
            self._ask(sender)
        else:
            if following < count:
                self.node.send(sender, FetchPart(slot, following))
            self.node.set_timer("fetch", *_AGAIN_S)

    def _install(self, slot: int, parts: list[bytes]) -> None:
        self.offered, self.parts = (0, 0), {}
        self.saving = []
        self.kept.clear()
        self.kept_bytes = 0
        self.state.restore(b"".join(parts))
        assert self.state.applied == slot
        self.acceptor.installed(slot, parts)
        self.advance()

    # --- answering --------------------------------------------------------------------------------------------------

    def answer(self, sender: NodeId, commit: int) -> None:
        """Tell a peer what follows `commit`."""
        if commit >= self.acceptor.commit:
            return
        if commit + 1 < self.node.log.first:
            self.node.send(sender, SnapshotOffer(*self.acceptor.snapshot))
            return
        records = [
            record for record in self.node.log.since(commit + 1, _ANSWER_BYTES) if record.slot <= self.acceptor.commit
        ]
        self.node.send(sender, Chosen(tuple(records), self.acceptor.commit))

    def answer_part(self, sender: NodeId, slot: int, number: int) -> None:
        """Send a part of the snapshot, or the offer of a newer one."""
        data = self.node.log.part(slot, number) if slot == self.acceptor.snapshot.slot else None
        if data is None:
            self.node.send(sender, SnapshotOffer(*self.acceptor.snapshot))
        else:
            self.node.send(sender, SnapshotPart(slot, number, data))

    # --- making -----------------------------------------------------------------------------------------------------

    def applied(self, slot: int, size: int) -> None:
        """A slot was applied whose batch has `size` bytes."""
        self.kept.append((slot, size))
        self.kept_bytes += size
        limits = self.node.limits
        while self.kept and (len(self.kept) > limits.kept_slots or self.kept_bytes > limits.kept_bytes):
            self.kept_bytes -= self.kept.popleft()[1]

    def take_snapshot(self) -> None:
        """Pack the state as it is now; `save_part` writes it."""
        if self.saving:
            return
        data = self.state.snapshot()
        size = self.node.limits.part_bytes
        self.saving = [data[start : start + size] for start in range(0, len(data), size)]
        self.saving_slot, self.saved = self.state.applied, 0
        self.node.set_timer("save", *_SAVE_S)

    def save_part(self) -> None:
        """Write one more part, if a snapshot is being written."""
        if not self.saving:
            return
        self.node.log.put_part(self.saving_slot, self.saved, self.saving[self.saved])
        self.saved += 1
        if self.saved == len(self.saving):
            first_kept = self.kept[0][0] if self.kept else self.state.applied + 1
            self.acceptor.snapshot_saved(self.saving_slot, self.saved, min(first_kept, self.saving_slot + 1))
            self.saving = []
        else:
            self.node.set_timer("save", *_SAVE_S)
