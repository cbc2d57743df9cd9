"""Owns a launched cluster, and does what the command line asks for.

It sees what happens to its nodes, whoever did it, and dies with nothing left behind: its nodes end when it ends.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from cluster.cluster import Cluster
from cluster.control import ControlServer, Verb
from cluster.errors import NoSuchNode, WrongState
from cluster.membership import add_learner, remove_node
from cluster.processes import ProcessState, memory_bytes
from node.contract import BadInput, NodeId

_LOOK_EVERY_S: Final = 0.1
_STATUS_S: Final = 0.5
_CHANGE_S: Final = 5.0  # nobody else is served meanwhile


class ProcessControl(Protocol):
    """What is done to processes; as `Cluster` does it."""

    def kill(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGKILL."""

    def terminate(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGTERM."""

    def suspend(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGSTOP."""

    def resume(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGCONT."""

    def restart(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Start each again."""


class Supervisor:
    """Serves one cluster until it is told to stop."""

    def __init__(
        self,
        cluster: Cluster,
        more_verbs: Mapping[str, Verb],
        tell: Callable[[str], None],
        trouble: Callable[[], str | None],
        hands: ProcessControl | None = None,
    ) -> None:
        """Take over a cluster.

        Args:
            cluster: launched by the caller, stopped by the caller.
            more_verbs: what the floor above can do with it, such as cutting links.
            tell: called with a line for people whenever a node's state has changed.
            trouble: what is wrong with whatever stands between the nodes, in a line for people; None if nothing is. Called
                often.
            hands: what kills nodes and starts them again, if not the cluster itself.
        """
        self._cluster = cluster
        self._tell, self._trouble = tell, trouble
        self._stopping = False
        self._seen: dict[NodeId, str] = {}
        self._told_trouble: str | None = None
        hands = hands or cluster
        verbs: dict[str, Verb] = {
            "ps": self.ps,
            "where": self.where,
            "kill": lambda nodes: self._act(nodes, {ProcessState.UP, ProcessState.SUSPENDED}, hands.kill),
            "terminate": lambda nodes: self._act(nodes, {ProcessState.UP}, hands.terminate),
            "suspend": lambda nodes: self._act(nodes, {ProcessState.UP}, hands.suspend),
            "resume": lambda nodes: self._act(nodes, {ProcessState.SUSPENDED}, hands.resume),
            "restart": lambda nodes: hands.restart(*self.resolve(nodes)),
            "resolve": lambda nodes: list(self.resolve(nodes)),
            "add_learner": lambda node: add_learner(cluster, node),
            "remove_node": lambda node: remove_node(cluster, node, _CHANGE_S),
            "stop": self.stop,
            **more_verbs,
        }
        self._server = ControlServer(cluster.spec.root, verbs)

    def run(self) -> None:
        """Serve until `stop`, SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        try:
            next_look = 0.0
            while not self._stopping:
                self._server.serve(_LOOK_EVERY_S)
                if time.monotonic() >= next_look:
                    self._notice()
                    next_look = time.monotonic() + _LOOK_EVERY_S
        finally:
            self._server.close()

    def stop(self) -> int:
        """Return from `run` soon. Answers with the supervisor's process id, so that its end can be awaited."""
        self._stopping = True
        return os.getpid()

    def _notice(self) -> None:
        for node, process in self._cluster.processes.items():
            now = process.describe()
            if self._seen.get(node, now) != now:
                self._tell(f"{node} is {now}")
            self._seen[node] = now
        trouble = self._trouble()
        if trouble is not None and trouble != self._told_trouble:
            self._tell(trouble)
        self._told_trouble = trouble

    # --- verbs ------------------------------------------------------------------------------------------------------

    def ps(self) -> dict[str, Any]:
        """A row a node: what the kernel says of its process, and what it says of itself. And what else is wrong."""
        return {"nodes": self._rows(), "trouble": self._trouble()}

    def _rows(self) -> list[dict[str, Any]]:
        statuses = self._cluster.status(_STATUS_S)
        rows = []
        for node, process in self._cluster.processes.items():
            status = statuses.get(node, {})
            latest = status.get("latest")
            state = process.look()
            rows.append(
                {
                    "node": node,
                    "pid": process.pid,
                    "state": str(state),
                    "how": process.describe(),
                    "boots": process.ready.incarnation if process.ready else 0,
                    "answers": node in statuses,
                    "memory_bytes": memory_bytes(process.pid) if process.pid else 0,
                    "variable": latest,
                    "algorithm_status": _jsonable(status.get("variables", {}).get(latest, {})),
                    "variable_count": status.get("variable_count", 0),
                    "bad_frames": status.get("malformed", 0) + status.get("bad_handshakes", 0),
                }
            )
        return rows

    def where(self) -> dict[str, Any]:
        """What a client needs: the cluster's id, and where each node is found."""
        settings = self._cluster.spec.settings
        addresses = {node: self._cluster.links.client_address(node) for node in self._cluster.nodes}
        states = {node: str(self._cluster.state(node)) for node in self._cluster.nodes}
        return {
            "cluster": settings.cluster,
            "algorithm": settings.algorithm,
            "keeps_log": self._cluster.keeps_log,
            "seed": settings.seed,
            "addresses": addresses,
            "states": states,
        }

    def resolve(self, names: str) -> tuple[NodeId, ...]:
        """`n1`, `n1,n3`, `leader` or `all`, as nodes in the spec's order. Raises NoSuchNode."""
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if wanted == ["all"]:
            return self._cluster.nodes
        if "leader" in wanted:
            wanted[wanted.index("leader")] = self._leader()
        for name in wanted:
            self._cluster.process(name)
        if not wanted:
            raise NoSuchNode(f"no node is named: name one of {', '.join(self._cluster.nodes)}, or all, or leader")
        return tuple(node for node in self._cluster.nodes if node in wanted)

    def _leader(self) -> NodeId:
        leading = [row for row in self._rows() if row["algorithm_status"].get("role") in ("leader", "leading")]
        if leading:  # one that was cut off may not know yet that another leads under a higher ballot
            return str(max(leading, key=lambda row: row["algorithm_status"].get("ballot") or ())["node"])
        algorithm = self._cluster.spec.settings.algorithm
        raise WrongState(f"nobody says that it leads: {algorithm} has no leader, or none that answers now")

    def _act(
        self, names: str, wanted: set[ProcessState], act: Callable[..., list[dict[str, object]]]
    ) -> list[dict[str, object]]:
        """Do it to each node named, or to none: `all` means those that it can be done to."""
        nodes = self.resolve(names)
        fit = [node for node in nodes if self._cluster.state(node) in wanted]
        if names.strip() == "all" and fit:
            nodes = tuple(fit)
        for node in nodes:
            if node not in fit:
                # Nothing has been done yet, so nothing is half done.
                how = self._cluster.process(node).describe()
                raise WrongState(f"{node} is {how}, and this needs one that is {' or '.join(sorted(wanted))}")
        return [{"node": node, **proof} for node, proof in zip(nodes, act(*nodes), strict=True)]


def _jsonable(item: Any) -> Any:
    """A node's status for JSON: what it lacks is written out."""
    match item:
        case dict():
            return {str(key): _jsonable(entry) for key, entry in item.items()}
        case list() | tuple():
            return [_jsonable(entry) for entry in item]
        case bytes():
            return item.hex()
    return item


def parse_groups(text: str) -> list[list[str]]:
    """`n1,n2/n3,n4` as groups of names. Raises BadInput."""
    groups = [[name.strip() for name in group.split(",") if name.strip()] for group in text.split("/")]
    if not all(groups):
        raise BadInput(f"{text!r} has an empty group: write partitions as n1,n2/n3,n4,n5")
    return groups
