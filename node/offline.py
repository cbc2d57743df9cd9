"""A replica without a node: an algorithm boots on a copy of what a disk holds, and tools ask it what is there.

Only the algorithm knows how it lays out its state. So a tool that reads a disk starts an instance of the algorithm on an
`OfflineNode`: sends, timers and replies go nowhere, and nothing that the instance saves is kept.
"""

import copy
from collections.abc import Mapping, Sequence

from node.contract import Algorithm, Message, NodeId, Request, Stored, Value
from node.log_contract import Log, LogAlgorithm, LogNode, Record
from node.storage.log_store import MemoryLog
from node.tuning import SHIPPED, Tuning


class OfflineNode(LogNode):
    """A node without a network or a clock: an algorithm can boot on it and report its status."""

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        stored: Mapping[str, Stored],
        log: Log | None = None,
        machines: tuple[str, ...] = (),
        tuning: Tuning = SHIPPED,
    ) -> None:
        self.id = node
        self.members = tuple(members)
        self.disk = copy.deepcopy(dict(stored))
        self.log = copy.deepcopy(log) if log is not None else MemoryLog()
        self.machines, self.tuning = machines, tuning

    def send(self, to: NodeId, message: Message) -> None:
        """Do nothing, like the methods below."""

    def reply(self, request: Request, value: Value | None) -> None:
        pass

    def refuse(self, request: Request, reason: str) -> None:
        pass

    def send_early(self, to: NodeId, message: Message) -> None:
        pass

    def reply_early(self, request: Request, value: Value | None) -> None:
        pass

    def variable_of(self, request: Request) -> str:
        raise KeyError(f"no request waits at a node that is offline: {request}")

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        pass

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        pass

    def cancel_timer(self, name: str) -> None:
        pass


def replica_on_disk(
    algorithm: type[Algorithm],
    node: NodeId,
    members: Sequence[NodeId],
    stored: Mapping[str, Stored],
    log: Log | None = None,
    machines: tuple[str, ...] = (),
    tuning: Tuning = SHIPPED,
) -> Algorithm:
    """Return one variable's replica, offline, after it has booted from a copy of `stored` and `log`.

    `machines` are those that a log drives; empty for the standard ones. `tuning` has the settings of the cluster.
    """
    replica = algorithm(OfflineNode(node, members, stored, log, machines, tuning))
    replica.start()
    return replica


def unconfirmed(replica: LogAlgorithm, log: Log) -> list[Record]:
    """Return the records of a disk's log above the slots that the disk knows as chosen. `replica` has booted from that disk."""
    return log.since(replica.state.applied + 1, 2**62)
