"""Mutants that write what belongs together in two commits. No script knows them: `consensus crashpoints` is to find them."""

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Stored
from node.replication.replica_log import StoredSnapshot


class KeysComeBeforeParts(MultiPaxos):
    """The key of a snapshot, which makes it valid, is saved with its first part."""

    def end_of_input(self) -> None:
        catch_up = self.catch_up
        is_first = bool(catch_up.saving) and catch_up.saved == 0
        super().end_of_input()
        if is_first and catch_up.saving:
            self.node.disk["snapshot"] = tuple(StoredSnapshot(catch_up.saving_slot, len(catch_up.saving)))


class _KeyAfterwards(Acceptor):
    late: Stored = None

    def installed(self, slot: int, parts: list[bytes]) -> None:
        before = self.node.disk.get("snapshot")
        super().installed(slot, parts)
        self.late = self.node.disk["snapshot"]
        if before is None:
            del self.node.disk["snapshot"]
        else:
            self.node.disk["snapshot"] = before


class KeysComeATurnLater(MultiPaxos):
    """The key of a snapshot that was taken in is saved one turn after its parts, and after the commit index."""

    acceptor_class = _KeyAfterwards

    def after_turn(self) -> None:
        super().after_turn()
        acceptor = self.acceptor
        assert isinstance(acceptor, _KeyAfterwards)
        if acceptor.late is not None:
            self.node.disk["snapshot"], acceptor.late = acceptor.late, None
