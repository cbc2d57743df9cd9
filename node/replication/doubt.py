"""Voters whose disks are in doubt: what such a voter may do, and when an election counts it.

Theory of operation
-------------------
The disk of a voter N may have lost N's last commit (`node.log_contract.Doubt`): a promise, acceptances, or both, on which others
rely. If N voted as if they had never been, a chosen batch could be replaced. *Protocol-Aware Recovery* (Alagappan et al., FAST
2018, section 3.3) states the problem. This module solves it by elections:

1. **An election knows the doubts.** A Prepare lists the doubts that the candidate knows of, and a voter saves them before it
   promises. A promise lists those that the voter knows of. A candidate that learns of a new doubt begins a new ballot, and so
   does a leader. So no candidate that could hear of a doubt is elected by a promise from before it.
2. **A voter in doubt votes only under ballots whose election knew its doubt.** This holds for its acceptances and for its
   confirmations to a leader. Rule 1 makes it safe: another candidate may hold a promise that N has forgotten, under a higher
   ballot. Its quorum shares with the quorum of N's leader a voter other than N, and that voter lists the doubt.
3. **An election needs more than a quorum.** A quorum has accepted each chosen batch, and the election must hear of it. So the
   voters that may not report it must be fewer than a quorum: those that have not promised, and those whose disks have lost it.
   Of the voters in doubt, at most a minority is taken to be damaged and the others to be torn, but never fewer than are proven
   damaged, and at least one. If too few voters answer, there is no leader: the log stops rather than loses.
4. **The doubt ends** when N knows as chosen all slots up to the first own batch of a leader whose election knew the doubt. That
   leader has proposed again all that N can have lost.
5. **No round is used twice.** At each boot in doubt N skips rounds of its own, since it may have lost the record of one that it
   has used. How far that one was above the round on its disk is limited: N notes a round that is far above its last one, such as
   that of a node that has been in doubt, in two commits before it uses a round (`LogElection.next_round`). A disk can lose two
   commits at most. They can be those of the last boot in doubt, so the skip grows with the number of the doubt, which is in a
   file of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from node.contract import NodeId, Stored
from node.log_contract import Doubt, LogNode
from node.quorum import NO_BALLOT, Ballot, majority
from node.replication.messages import KnownDoubt, KnownDoubts

#: How far above its last round a node uses a round at once.
ROUNDS_AT_ONCE: Final = 2048
#: As many rounds as two commits can have held, which are all that a disk can have lost.
ROUNDS_SKIPPED: Final = 2 * ROUNDS_AT_ONCE


class Doubts:
    """What one replica knows of doubts, its own and those of others."""

    def __init__(self, node: LogNode) -> None:
        self.node = node
        self.known: dict[NodeId, int] = {}
        """By voter: the number of its latest doubt. On disk before a promise mentions it."""
        self.is_own = False
        """Whether this replica's own disk is in doubt."""
        self.admitted = NO_BALLOT
        """While this replica is in doubt: the latest ballot under which it may vote."""
        self.ends_at = 0
        """The slot at which the own doubt ends, while `admitted` is the highest promised ballot; 0 if not known."""

    def start(self) -> None:
        """Read the disk. If it is in doubt, note this doubt as any other, and skip rounds of this node."""
        self.known = known_doubts(self.node.disk)
        self.is_own = bool(self.node.doubt)
        if self.is_own:
            last = self.node.disk.get("round", 0)
            assert isinstance(last, int)
            self.node.disk["round"] = last + ROUNDS_SKIPPED * self.node.doubts
            self.note((KnownDoubt(self.node.id, self.node.doubts),))

    def note(self, doubts: KnownDoubts) -> bool:
        """Save doubts that another replica has listed. Returns whether one of them is new."""
        new = {node: number for node, number in doubts if number > self.known.get(node, 0)}
        if new:
            self.known |= new
            self.node.disk["doubts"] = self.listed()
        return bool(new)

    def listed(self) -> KnownDoubts:
        """Return the known doubts for a message."""
        return tuple(KnownDoubt(node, number) for node, number in sorted(self.known.items()))

    # --- a replica in doubt -----------------------------------------------------------------------------------------

    def promised(self, ballot: Ballot, doubts: KnownDoubts) -> None:
        """Take in that this replica promises `ballot`, and that the ballot's election knows `doubts`."""
        self.note(doubts)
        if KnownDoubt(self.node.id, self.node.doubts) in doubts:
            self.admitted, self.ends_at = ballot, 0

    def may_vote(self, ballot: Ballot) -> bool:
        """Return whether this replica may accept, or confirm a leader, under `ballot`."""
        return not self.is_own or ballot == self.admitted

    def end(self, ballot: Ballot, slot: int) -> None:
        """Take in that the own doubt ends at `slot`, because the leader of `ballot` proposed that slot first of its own."""
        self.admitted, self.ends_at = ballot, slot

    def learned(self, promised: Ballot, commit: int) -> None:
        """Take in how far this replica knows the log as chosen, and end the doubt if that is far enough."""
        if self.is_own and 0 < self.ends_at <= commit and promised <= self.admitted:
            self.node.end_doubt()
            self.is_own = False

    # --- a candidate ------------------------------------------------------------------------------------------------

    def quorum_reports(self, voters: tuple[NodeId, ...], doubts: Mapping[NodeId, Doubt]) -> bool:
        """Return whether the promises of some voters report every batch that can have been chosen.

        Args:
            voters: all voters.
            doubts: the voters that have promised, each with the doubt about its disk.
        """
        promised = [doubts[voter] for voter in voters if voter in doubts]
        quorum = majority(len(voters))
        unheard = len(voters) - len(promised)
        return len(promised) >= quorum and _lost_at_most(promised, len(voters) - quorum) + unheard < quorum


def _lost_at_most(doubts: Iterable[Doubt], minority: int) -> int:
    """Return how many of the disks with these doubts are taken to have lost something, if no more than a minority may have."""
    doubts = list(doubts)
    in_doubt = sum(doubt is not Doubt.NONE for doubt in doubts)
    return min(in_doubt, max(minority, doubts.count(Doubt.DAMAGED), 1))


def known_doubts(disk: Mapping[str, Stored]) -> dict[NodeId, int]:
    """Return the doubts that are saved on a disk, by voter."""
    known: dict[NodeId, int] = {}
    stored = disk.get("doubts", ())
    assert isinstance(stored, tuple)
    for doubt in stored:
        match doubt:
            case (str(node), int(number)):
                known[node] = number
    return known
