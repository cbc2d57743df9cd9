"""The log of a replica of Raft: entries with their terms, the consistency check, and the configuration in it.

Ongaro 2014, sections 3.5 (replication), 4.1 (configuration) and 5.1 (snapshots).

Rules
-----
1. *Log Matching.* If two logs have an entry of the same slot and term, they are the same up to it. A leader makes one entry in a
   slot of its term, and a follower takes an entry in only after one that matches the leader's.
2. Only an entry that conflicts ends what follows it: an AppendEntries that is late, and shorter than the log, deletes nothing.
3. A chosen entry is never deleted.
4. The configuration is that of the last change in the log, chosen or not. If the change is deleted, so is the configuration.
"""

from contextlib import suppress
from typing import Any, Final

from node.contract import NodeId
from node.log_contract import LogNode, Record
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import ChangeRefused, Configuration
from node.replication.replica_log import ReplicaLog, stored_ballot
from node.replication.state import CLUSTER, is_change
from node.wire import Malformed, pack_unchecked, unpack_unchecked

_CLUSTER_PACKED: Final = pack_unchecked(CLUSTER)


class RaftLog(ReplicaLog):
    """One node's log."""

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        self.ballots: dict[int, Ballot] = {}  # by slot of the log: the term of its entry, and who led in it
        self.snapshot_ballot = NO_BALLOT
        self.last = 0  # the slot of the last entry
        self.changes: dict[int, bytes] = {}  # by slot: the batches that change the configuration, and are not applied

    def start(self) -> None:
        super().start()
        self.snapshot_ballot = stored_ballot(self.node.disk.get("snapshot_ballot"))
        self.last = self.snapshot.slot
        for record in self.node.log.since(self.node.log.first, 2**62):
            self._note(record)

    def _note(self, record: Record) -> None:
        self.ballots[record.slot] = Ballot(record.round, record.owner)
        self.last = max(self.last, record.slot)
        if record.slot > self.snapshot.slot and _CLUSTER_PACKED in record.batch and is_change(record.batch):
            self.changes[record.slot] = record.batch

    def ballot_at(self, slot: int) -> Ballot | None:
        """Return the ballot of the entry of `slot`: its term, and who led in it. None if the log does not have the entry."""
        ballot = self.ballots.get(slot)
        return self.snapshot_ballot if ballot is None and slot == self.snapshot.slot else ballot

    def term_at(self, slot: int) -> int | None:
        """Return the term of the entry of `slot`; 0 for slot 0; None if the log does not have it."""
        ballot = self.ballot_at(slot)
        return None if ballot is None else ballot.round

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self.term_at(self.last) or 0

    def is_up_to_date(self, last_slot: int, last_term: int) -> bool:
        """Return whether a log that ends so is at least as up-to-date as this one (section 3.6.1): the later last term, then the
        longer log."""
        return (last_term, last_slot) >= (self.last_term, self.last)

    # --- entries ----------------------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """Append an entry."""
        assert record.slot == self.last + 1
        self._put(record)
        self._note(record)

    def matches(self, slot: int, term: int) -> bool:
        """Return whether this log has an entry of that slot and term. What a snapshot stands for is chosen, and matches."""
        own = self.term_at(slot)
        return slot < self.node.log.first if own is None else own == term

    def take(self, entries: tuple[Record, ...]) -> None:
        """Take in a leader's entries, which follow an entry that matches. An entry that conflicts ends the log before it."""
        for record in entries:
            if record.slot <= self.last:
                if self.matches(record.slot, record.round):
                    continue
                self.cut_off(record.slot - 1)
            self.append(record)

    def cut_off(self, last: int) -> None:
        """Delete every entry above slot `last`."""
        assert last >= self.commit, f"slot {last + 1} is chosen, and was about to be deleted"
        for slot in range(last + 1, self.last + 1):
            del self.ballots[slot]
            self.records.pop(slot, None)
            self.changes.pop(slot, None)
        self.last = last
        self.node.log.keep_up_to(last)

    def first_of_term(self, slot: int) -> int:
        """Return the first slot of the log with the same term as `slot`, without a gap."""
        term = self.term_at(slot)
        while slot - 1 in self.ballots and self.ballots[slot - 1].round == term:
            slot -= 1
        return slot

    def last_of_term(self, term: int, below: int) -> int | None:
        """Return the last slot below `below` whose term is `term`; None if the log has none."""
        slot = min(below - 1, self.last)
        while slot in self.ballots and self.ballots[slot].round > term:
            slot -= 1
        return slot if slot in self.ballots and self.ballots[slot].round == term else None

    # --- the configuration ------------------------------------------------------------------------------------------

    def configuration(self, applied: Configuration, slot: int) -> Configuration:
        """Return the configuration after every change in the log. `applied` is that after `slot`, the last applied one."""
        if not self.changes:  # nearly always, and a leader asks several times for each entry
            return applied
        self.forget_changes(slot)
        for change, batch in self.changes.items():
            applied = _changed(applied, change, batch)
        return applied

    def forget_changes(self, slot: int) -> None:
        """Forget the changes up to `slot`, the last applied one."""
        for each in [change for change in self.changes if change <= slot]:
            del self.changes[each]

    # --- snapshots --------------------------------------------------------------------------------------------------

    def install(self, slot: int, parts: list[bytes], last: Ballot) -> None:
        """Save a snapshot from a leader. `last` is the ballot of the entry of `slot` (figure 5.3).

        If the log has that entry, what follows it stays. Otherwise, what follows conflicts with the leader's log, or may.
        """
        if self.term_at(slot) != last.round:
            self.cut_off(min(self.last, self.commit))
        self.ballots[slot] = last
        self.last = max(self.last, slot)
        self.installed(slot, parts)

    def snapshot_saved(self, slot: int, parts: int, first: int) -> None:
        self.snapshot_ballot = self.ballots[slot]
        self.node.disk["snapshot_ballot"] = self.snapshot_ballot
        super().snapshot_saved(slot, parts, first)
        self.ballots = {each: ballot for each, ballot in self.ballots.items() if each >= first}


def _changed(configuration: Configuration, slot: int, batch: bytes) -> Configuration:
    """Return the configuration after a batch that changes it. A change that is not allowed changes nothing, as it will when it is
    applied."""
    for *_, machine, packed in unpack_unchecked(batch)[1]:
        try:
            commands: Any = unpack_unchecked(packed) if machine == CLUSTER else []
        except Malformed:
            continue
        for command in commands:
            match command:
                case ["form", [*voters]]:
                    if slot == 1:
                        configuration = Configuration(tuple(map(NodeId, voters)))
                case [str(kind), str(node)]:
                    with suppress(ChangeRefused):
                        configuration = configuration.changed(kind, node)
    return configuration
