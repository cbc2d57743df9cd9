"""The members of the cluster and the changes to them that are allowed, as pure functions of data.

Rules
-----
1. A change adds, promotes or removes **one** node. So any majority before it and any majority after it share a voter.
2. A change is alone in its slot of the log, and takes effect when the slot is applied. The leader proposes nothing
   above the slot until then. So each slot has one set of voters, which follows from the slots below it.
3. A node is added as a learner: it receives the log and does not vote. It is promoted when it has caught up.
4. The id of a removed node is never used again: a node of that name may hold promises that no other node knows.
"""

from typing import Any, NamedTuple

from node.contract import NodeId
from node.settings import NODE_NAME, NODES_MAX


class ChangeRefused(Exception):
    """The change was not made. The message gives the reason, and what to do."""


class Configuration(NamedTuple):
    """The members of the cluster at some slot.

    `voters` count for quorums. `learners` receive the log and do not vote. `removed` holds the ids of former members.
    """

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    removed: tuple[NodeId, ...] = ()

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The nodes that receive the log: voters, then learners."""
        return (*self.voters, *self.learners)

    def changed(self, kind: str, node: NodeId) -> "Configuration":
        """Return the configuration after a change of one node.

        Args:
            kind: "add", "promote" or "remove".
            node: the id of the node that is added, promoted or removed.

        Raises:
            ChangeRefused: the change is not allowed, or `kind` is unknown.
        """
        match kind:
            case "add":
                return self._added(node)
            case "promote":
                if node not in self.learners:
                    raise ChangeRefused(f"{node} is no learner: the learners are {', '.join(self.learners) or 'none'}")
                others = tuple(learner for learner in self.learners if learner != node)
                return self._replace(voters=(*self.voters, node), learners=others)
            case "remove":
                return self._without(node)
        raise ChangeRefused(f"there is no change {kind!r}: the changes are add, promote and remove")

    def _added(self, node: NodeId) -> "Configuration":
        if not NODE_NAME.fullmatch(node):
            raise ChangeRefused(f"a node cannot be called {node!r}: use a letter, then letters, digits, - or _")
        if node in self.members:
            raise ChangeRefused(f"{node} is a member already: the members are {', '.join(self.members)}")
        if node in self.removed:
            raise ChangeRefused(f"{node} was removed before, and an id is used once: choose another name")
        if len(self.members) >= NODES_MAX:
            raise ChangeRefused(f"there are {len(self.members)} members, and the limit is {NODES_MAX}")
        return self._replace(learners=(*self.learners, node))

    def _without(self, node: NodeId) -> "Configuration":
        if node not in self.members:
            raise ChangeRefused(f"{node} is no member: the members are {', '.join(self.members)}")
        if self.voters == (node,):
            raise ChangeRefused(f"{node} is the last voter: without it there is no cluster")
        return Configuration(
            tuple(voter for voter in self.voters if voter != node),
            tuple(learner for learner in self.learners if learner != node),
            (*self.removed, node),
        )


def restore_configuration(data: Any) -> Configuration:
    """Return the configuration that a snapshot holds. `data` is a list of three lists: voters, learners, removed nodes."""
    return Configuration(*(tuple(part) for part in data))
