"""Majorities and ballots, as pure functions and data.

Any two majorities of the same members share a member. The safety of every algorithm in `node/algorithms/` that uses
quorums rests on this fact.
"""

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

NodeId: TypeAlias = str


class Ballot(NamedTuple):
    """The number of one attempt at agreement. Ballots are ordered by round, then by node, and no two nodes share one.

    `round` starts at 1; `node` is the proposer that owns the ballot. Lamport, *Paxos Made Simple* (2001), section 2.2:
    "different proposers choose their numbers from disjoint sets".
    """

    round: int
    node: NodeId


#: Lower than every ballot of a proposer, because rounds start at 1.
NO_BALLOT = Ballot(0, "")


def majority(members: int) -> int:
    """Return the lowest number of nodes that is more than half of `members`, a number of nodes."""
    return members // 2 + 1


def is_quorum(voters: Collection[NodeId], members: Collection[NodeId]) -> bool:
    """Return whether `voters` hold a majority of `members`. A voter counts once, and not at all if it is no member."""
    return len(set(voters) & set(members)) >= majority(len(members))
