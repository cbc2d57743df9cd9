"""A system of commands in one run: its processes, the proxy on its links, and its clients."""

import time
from pathlib import Path
from typing import Any, Final

from harness.network.stream_network import StreamNetwork
from harness.network.stream_rules import EVENTS
from harness.systems.commands.callers import CallInThread, ClientThreads
from harness.systems.commands.client import SystemClient
from harness.systems.commands.description import Description
from harness.systems.commands.nodes import CommandNodes
from harness.systems.node_logs import NodeLogs
from harness.systems.system import RunningSystem
from harness.workloads.planned_call import PlannedCall
from node.contract import NodeId

#: How often it is looked whether a node has ended, in seconds.
_LOOK_S: Final = 0.05


class RunningCommands(RunningSystem):
    """One run."""

    message_types = EVENTS

    def __init__(
        self, description: Description, client: type[SystemClient], folder: Path, nodes: tuple[NodeId, ...], seed: int
    ) -> None:
        self._description, self._client = description, client
        self._logs = NodeLogs(folder / "logs", nodes)
        self.network: StreamNetwork = StreamNetwork(
            folder, nodes, description.ports, shared=description.shared, seed=seed
        )
        self.cluster: CommandNodes = CommandNodes(description, nodes, folder, self.network, self._logs)
        self._clients: ClientThreads | None = None
        self._failures: list[str] = []
        self._links: dict[str, dict[str, int]] = {}
        self._next_look_s = 0.0
        self._ended = False

    def start(self) -> None:
        try:
            self.network.start()
            self.cluster.start()
        except BaseException:
            self.end()
            raise
        self._clients = ClientThreads(self._client, {node: self._addresses(node) for node in self.cluster.nodes})

    def _addresses(self, node: NodeId) -> dict[str, str]:
        return {name: f"127.0.0.1:{self.network.client_port(node, name)}" for name in self._description.ports}

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._note_ends()
            if self._clients is not None:
                self._clients.close()
                self._links = {
                    f"{sender}->{receiver}": dict(counts)
                    for (sender, receiver), counts in self.network.links().items()
                    if counts
                }
        finally:
            try:
                self.cluster.end()
            finally:
                self.network.close()
                self._logs.close()

    # --- calls ------------------------------------------------------------------------------------------------------

    def begin(self, client: str, call: PlannedCall) -> CallInThread:
        assert self._clients is not None, "the system is not started"
        return self._clients.begin(client, call)

    def address(self, node: NodeId) -> str:
        return next(iter(self._addresses(node).values()))

    def poll(self) -> None:
        if self._clients is not None:
            self._clients.poll()
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_S
            self._note_ends()

    # --- what nodes and clients do against the rules ----------------------------------------------------------------

    def _note_ends(self) -> None:
        for node, how in self.cluster.look():
            self._failures.append(
                f"{node} {how}, although no fault had struck it. {self._logs.last_words(node)}; logs/{node}.log has all"
            )

    @property
    def failures(self) -> list[str]:
        return [*self._failures, *([] if self._clients is None else self._clients.failures)]

    @property
    def notes(self) -> dict[str, Any]:
        found = {
            "what crossed each link": self._links,
            "logs that are cut short": [node for node in self.cluster.nodes if self._logs.is_full(node)],
        }
        return {name: item for name, item in found.items() if item}
