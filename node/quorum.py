"""Majorities and ballots, pure.

Any two majorities of the same members share a member: that one fact carries every algorithm here.
"""

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

NodeId: TypeAlias = str


class Ballot(NamedTuple):
    """A ballot number: ordered by round, then by the node that owns it, so no two nodes share one.

    Lamport, *Paxos Made Simple* (2001), section 2.2: "different proposers choose their numbers from disjoint sets".
    """

    round: int
    node: NodeId


#: Lower than every ballot that is ever used, since rounds start at 1.
NO_BALLOT = Ballot(0, "")


def majority(members: int) -> int:
    """The least number of nodes that is more than half of `members`."""
    return members // 2 + 1


def is_quorum(voters: Collection[NodeId], members: Collection[NodeId]) -> bool:
    """Whether `voters`, each counted once and none from outside, are a majority of `members`."""
    return len(set(voters) & set(members)) >= majority(len(members))
