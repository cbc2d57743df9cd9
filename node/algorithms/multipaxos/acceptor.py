"""The durable state of a replica: what it has promised, what it has accepted, and which slots it knows as chosen.

Rules
-----
1. The acceptor promises and accepts nothing below `promised`. Accepting under a higher ballot raises `promised`. Promises and
   records are on disk before a message mentions them.
2. A replica knows a record as chosen in two cases. The leader reports a commit index at or above its slot **and** the record was
   accepted under that leader's own ballot, since a leader proposes one batch per slot. Or a peer sends it as chosen.
3. A promise carries every record above the candidate's commit index, also the records that are known as chosen: systems that
   left them out have lost them. If the log no longer has them all, the replica replies `Behind` instead of a promise.
"""

from node.log_contract import LogNode, Record
from node.quorum import NO_BALLOT, Ballot
from node.replication.replica_log import ReplicaLog, stored_ballot


class Acceptor(ReplicaLog):
    """One node's promises and records."""

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        self.promised = NO_BALLOT

    def start(self) -> None:
        self.promised = stored_ballot(self.node.disk.get("promised"))
        super().start()

    # --- phase 1 ----------------------------------------------------------------------------------------------------

    def promise(self, ballot: Ballot) -> None:
        """Accept nothing below `ballot` from now on."""
        assert ballot > self.promised
        self.promised = ballot
        self.node.disk["promised"] = ballot

    def can_inform(self, commit: int) -> bool:
        """Return whether a promise can carry all that a candidate with this commit index may have missed."""
        return commit + 1 >= self.node.log.first and self.commit - commit <= self.node.tuning.window

    def above(self, commit: int) -> list[tuple[Record, ...]]:
        """Return every record above `commit`, in parts that fit in a frame: at least one part, which may be empty."""
        parts: list[tuple[Record, ...]] = []
        while records := self.node.log.since(commit + 1, self.node.tuning.promise_part_bytes):
            parts.append(tuple(records))
            commit = records[-1].slot
        return parts or [()]

    # --- phase 2 ----------------------------------------------------------------------------------------------------

    def accept(self, ballot: Ballot, slot: int, batch: bytes) -> bool:
        """Accept `batch` in `slot` under `ballot`, which must not be below `promised`.

        A slot that is known as chosen needs no new record, because every ballot above the chosen one proposes the same batch.

        Returns:
            False if the slot is too far above `commit`: this replica must catch up first.
        """
        if ballot != self.promised:
            self.promise(ballot)
        if slot > self.commit + self.node.tuning.window:
            return False
        known = self.records.get(slot)
        if slot > self.commit and (known is None or (known.round, known.owner) != ballot):
            self._put(Record(slot, *ballot, batch))
        return True

    def learn(self, ballot: Ballot, commit: int) -> bool:
        """Take in the commit index of the leader of `ballot`.

        Returns:
            False if this replica lacks a record up to `commit`, or has accepted one under another ballot.
        """
        while self.commit < commit:
            record = self.records.get(self.commit + 1)
            if record is None or (record.round, record.owner) != ballot:
                return False
            self.commit += 1
        return True

    def choose(self, record: Record) -> None:
        """Take in the chosen record of the slot after `commit`, from a peer."""
        assert record.slot == self.commit + 1
        self.commit = record.slot
        self._put(record)
