"""Multi-Paxos with broken handling of disks whose last commit may be lost (`node/replication/doubt.py`)."""

from collections.abc import Mapping
from typing import cast

from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import NodeId
from node.log_contract import Doubt
from node.quorum import Ballot, is_quorum
from node.replication.doubt import Doubts, known_doubts
from node.replication.messages import KnownDoubt, KnownDoubts


class _IgnoredDoubts(Doubts):
    def start(self) -> None:
        pass

    def note(self, doubts: KnownDoubts) -> bool:
        return False

    def quorum_reports(self, voters: tuple[NodeId, ...], doubts: Mapping[NodeId, Doubt]) -> bool:
        return is_quorum(doubts, voters)


class DamagedTailsVote(MultiPaxos):
    """A replica takes every last commit that does not check for a torn one, and votes as before."""

    doubts_class = _IgnoredDoubts


class _AnyQuorumDoubts(Doubts):
    def quorum_reports(self, voters: tuple[NodeId, ...], doubts: Mapping[NodeId, Doubt]) -> bool:
        return is_quorum(doubts, voters)


class AnyQuorumReports(MultiPaxos):
    """The promise of a replica in doubt counts as any other."""

    doubts_class = _AnyQuorumDoubts


class _VotingDoubts(Doubts):
    def may_vote(self, ballot: Ballot) -> bool:
        return True


class VotersInDoubtVoteAtOnce(MultiPaxos):
    """A replica in doubt votes for a leader whose election did not know the doubt."""

    doubts_class = _VotingDoubts


class _UnskippingDoubts(Doubts):
    def start(self) -> None:
        self.known = known_doubts(self.node.disk)
        self.is_own = bool(self.node.doubt)
        if self.is_own:
            self.note((KnownDoubt(self.node.id, self.node.doubts),))


class LostRoundsAreUsedAgain(MultiPaxos):
    """A replica in doubt continues from the round that its disk still has."""

    doubts_class = _UnskippingDoubts


class _BoldElection(Election):
    def next_round(self, known: int) -> int | None:
        self.node.disk["round"] = round_ = max(cast(int, self.node.disk.get("round", 0)), known) + 1
        return round_


class FarRoundsAreUsedAtOnce(MultiPaxos):
    """A replica uses a round that is far above its last one at once, so that its record can be lost and not be skipped."""

    election_class = _BoldElection
