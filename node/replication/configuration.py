"""Who the members of the cluster are, and how that may change, pure.

Rules
-----
1. A change adds, promotes or removes **one** node, so any majority before it and any majority after it share a voter.
2. It goes through the log alone in its slot and takes effect when that slot is applied. The leader proposes nothing above
   the slot until then, so each slot has one set of voters, which follows from the slots below it.
3. A node is added as a learner: it takes in the log and does not vote. It is promoted when it has caught up.
4. An id that was removed is never used again: a node of that name may hold promises that nobody remembers.
"""

from typing import Any, NamedTuple

from node.contract import NodeId
from node.settings import NODE_NAME, NODES_MAX


class ChangeRefused(Exception):
    """The change was not made. The message says why and what to do."""


class Configuration(NamedTuple):
    """The members at some slot."""

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    removed: tuple[NodeId, ...] = ()

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody who takes in the log."""
        return (*self.voters, *self.learners)

    def changed(self, kind: str, node: NodeId) -> "Configuration":
        """The configuration after `kind`, one of add, promote and remove. Raises ChangeRefused."""
        match kind:
            case "add":
                return self._added(node)
            case "promote":
                if node not in self.learners:
                    raise ChangeRefused(f"{node} is no learner: there are {', '.join(self.learners) or 'none'}")
                rest = tuple(learner for learner in self.learners if learner != node)
                return self._replace(voters=(*self.voters, node), learners=rest)
            case "remove":
                return self._without(node)
        raise ChangeRefused(f"there is no change {kind!r}: there are add, promote and remove")

    def _added(self, node: NodeId) -> "Configuration":
        if not NODE_NAME.fullmatch(node):
            raise ChangeRefused(f"a node cannot be called {node!r}: use a letter, then letters, digits, - or _")
        if node in self.members:
            raise ChangeRefused(f"{node} is a member already: there are {', '.join(self.members)}")
        if node in self.removed:
            raise ChangeRefused(f"{node} was a member and was removed, and an id is used once: choose another name")
        if len(self.members) >= NODES_MAX:
            raise ChangeRefused(f"there are {len(self.members)} members, and {NODES_MAX} can be")
        return self._replace(learners=(*self.learners, node))

    def _without(self, node: NodeId) -> "Configuration":
        if node not in self.members:
            raise ChangeRefused(f"{node} is no member: there are {', '.join(self.members)}")
        if self.voters == (node,):
            raise ChangeRefused(f"{node} is the last node: without it there is no cluster")
        return Configuration(
            tuple(voter for voter in self.voters if voter != node),
            tuple(learner for learner in self.learners if learner != node),
            (*self.removed, node),
        )


def restored(state: Any) -> Configuration:
    """The configuration that a snapshot holds."""
    return Configuration(*(tuple(part) for part in state))
