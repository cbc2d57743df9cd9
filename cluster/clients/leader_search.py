"""Which node a client of a log sends to: the leader, as far as the client knows it, or the next node to try.

Rules
-----
1. A node that replied with a result leads. A node that redirects names the leader, if it knows one.
2. A client without a leader asks the nodes in turn. It leaves out nodes whose connection has closed, or that did not reply, for
   `client_avoid_ms`, unless all of them are.
3. A node that was lost less than `client_disbelieve_ms` ago is not taken for the leader when another node names it:
   that node may not have noticed the loss yet.
"""

from collections.abc import Mapping

from node.contract import NodeId
from node.tuning import SHIPPED, Tuning


class LeaderSearch:
    """What one client knows of the nodes. Times are in seconds of one clock, which the caller reads."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._avoid_s, self._disbelieve_s = tuning.client_avoid_ms / 1000, tuning.client_disbelieve_ms / 1000
        self.leader: NodeId | None = None
        self._lost_at: dict[NodeId, float] = {}
        self._next_node = 0

    def note_reply(self, node: NodeId) -> None:
        """Note that a message of `node` has arrived, so it is reachable."""
        if self._lost_at:
            self._lost_at.pop(node, None)

    def lost(self, node: NodeId, now: float) -> None:
        """Note that the connection to `node` has closed, or that it has not replied for too long."""
        self._lost_at[node] = now
        if self.leader == node:
            self.leader = None

    def target(self, addresses: Mapping[NodeId, str], now: float) -> NodeId | None:
        """Return the node to send to now. It is the leader, which may be missing in `addresses`, or one of `addresses`.

        None: no node leads, as far as the client knows, and no node has an address.
        """
        if self.leader is not None:
            return self.leader
        if self._lost_at:
            self._lost_at = {node: when for node, when in self._lost_at.items() if now - when < self._avoid_s}
        nodes = list(addresses)
        candidates = [node for node in nodes if node not in self._lost_at] or nodes
        if not candidates:
            return None
        self._next_node += 1
        return candidates[self._next_node % len(candidates)]

    def redirected(self, leader: NodeId | None, now: float) -> None:
        """Note that a node has replied that it does not lead.

        `leader` is the node that leads, according to the reply; None if the replying node knows no leader.
        """
        lost = leader is not None and now - self._lost_at.get(leader, float("-inf")) < self._disbelieve_s
        self.leader = None if lost else leader
