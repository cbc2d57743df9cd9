"""Nodes that speak Maelstrom's protocol, in one run: their processes and their network, with clients and services."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any, Final

from harness.records import messages
from harness.records.run_files import RunFiles
from harness.systems.maelstrom.clients import SHOWN, MaelstromCall, MaelstromClients
from harness.systems.maelstrom.nodes import MaelstromNodes
from harness.systems.maelstrom.protocol import JsonLine
from harness.systems.maelstrom.requests import setup_of
from harness.systems.maelstrom.router import Listener, Router
from harness.systems.maelstrom.services import SERVICES, Services
from harness.systems.node_logs import NodeLogs
from harness.systems.system import RunningSystem
from harness.workloads.planned_call import PlannedCall
from node.contract import NodeId
from node.wording import count

#: How many sentences of each kind about one node a run keeps.
_SENTENCES_MAX: Final = 3


class RunningMaelstrom(RunningSystem):
    """One run."""

    def __init__(
        self,
        folder: Path,
        nodes: tuple[NodeId, ...],
        seed: int,
        workload: str,
        command: tuple[str, ...],
        *,
        volatile: bool,
        ready_s: float,
    ) -> None:
        """Prepare a run. The arguments are those of `MaelstromSystem` and of `System.open`."""
        self._files = RunFiles(folder)
        self._logs = NodeLogs(folder / "logs", nodes)
        self._services = Services(seed)
        self._problems: Counter[tuple[NodeId, str]] = Counter()
        self._failures: list[str] = []
        self._lock = threading.Lock()
        listener = Listener(
            to_client=self._to_client,
            to_service=self._services.handle,
            services=SERVICES,
            misread=self._misread,
            wrote=self._logs.wrote,
            started=self._started,
        )
        self.network: Router = Router(nodes, self._files.messages, seed, listener)
        self.cluster: MaelstromNodes = MaelstromNodes(
            nodes,
            command,
            folder,
            volatile=volatile,
            ready_s=ready_s,
            setup=setup_of(workload, nodes),
            router=self.network,
            logs=self._logs,
        )
        self._clients = MaelstromClients(workload, self.network.from_client, self._failed, self._may_repeat)
        self._ended = False

    def start(self) -> None:
        try:
            self.network.start()
            self.cluster.start()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._note_ends()
            self.cluster.end()
        finally:
            self.network.close()
            self._logs.close()

    # --- calls ------------------------------------------------------------------------------------------------------

    def begin(self, client: str, call: PlannedCall) -> MaelstromCall:
        return self._clients.begin(client, call)

    def address(self, node: NodeId) -> None:
        return None

    def poll(self) -> None:
        self._clients.poll()
        self._note_ends()

    def _to_client(self, node: NodeId, line: JsonLine) -> None:
        if line.dest != "c0":  # a second answer to `init` changes nothing
            self._clients.take_in(node, line)

    def _started(self, node: NodeId, line: JsonLine) -> bool:
        return self.cluster.started(node, line)

    def _may_repeat(self) -> bool:
        return self.network.has_repeated

    # --- what nodes do against the rules ----------------------------------------------------------------------------

    @property
    def failures(self) -> list[str]:
        with self._lock:
            more = [
                f"{node} did so {count(number - _SENTENCES_MAX, 'further time')}: {kind}"
                for (node, kind), number in self._problems.items()
                if number > _SENTENCES_MAX
            ]
            return [*self._failures, *more]

    @property
    def notes(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "answers after their call's time": dict(self._clients.late),
            "answers that came again": dict(self._clients.again),
            "files that kills have taken": {node: lost for node, lost in self.cluster.lost_files.items() if lost},
            "logs that are cut short": [node for node in self.cluster.nodes if self._logs.is_full(node)],
        }
        return {name: item for name, item in found.items() if item}

    def _note_ends(self) -> None:
        for node, how in self.cluster.look():
            self._failed(node, f"{how}, although no fault had struck it")

    def _misread(self, node: NodeId, line: bytes, why: str) -> None:
        self._logs.misread(node, line, why)
        shown = line[:SHOWN].decode(errors="replace")
        self._failed(node, f"wrote a line to its standard output that is no message ({why}): {shown}")

    def _failed(self, node: NodeId, what: str) -> None:
        kind = what.partition(":")[0]
        with self._lock:
            self._problems[node, kind] += 1
            if self._problems[node, kind] <= _SENTENCES_MAX:
                self._failures.append(f"{node} {what}. {self._logs.last_words(node)}; logs/{node}.log has all")

    # --- the record -------------------------------------------------------------------------------------------------

    def messages(self) -> list[dict[str, Any]]:
        return [] if self.network.record_is_cut_short else list(messages.load(self._files.messages))
