"""The supervisor: owns a launched cluster, and does what the command line requests over the control socket.

It observes the state of each node's process, also when another process has changed it. Its nodes end when it ends.
"""

import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cluster.cluster import Cluster
from cluster.control import ControlServer, Verb
from cluster.errors import NoSuchNode, WrongState
from cluster.folder_mark import SPEC_NAME, SUPERVISOR_LOG_NAME
from cluster.membership import add_learner, leading_node, remove_node
from cluster.node_set import NodeSet, ProcessControl
from cluster.processes import ProcessState, memory_bytes
from cluster.safe_output import SafeOutput, full_disk
from cluster.supervisor_file import publish_supervisor, withdraw_supervisor
from node.contract import NodeId
from node.open_folder import OpenFolder

_LOOK_EVERY_S: Final = 0.1
_STATUS_S: Final = 0.5
_CHANGE_S: Final = 5.0  # no other request is served meanwhile


class Supervisor:
    """Serves one cluster until it is stopped."""

    def __init__(
        self,
        cluster: NodeSet,
        more_verbs: Mapping[str, Verb],
        report: Callable[[str], None],
        trouble: Callable[[], str | None],
        process_control: ProcessControl | None = None,
        *,
        root: Path,
        marker: str = SPEC_NAME,
        address: Callable[[NodeId], str | None] | None = None,
    ) -> None:
        """Listen for requests, and publish where in the cluster's folder.

        Args:
            cluster: a running cluster. The caller has launched it, and stops it.
            more_verbs: the verbs of the floor above, such as cutting links, and `own_verbs` for nodes of ours.
            report: called with a line for people whenever a node's state has changed.
            trouble: returns what is wrong with the process between the nodes, in a line for people, or None. Called often.
            process_control: kills nodes and starts them again; None: the cluster does.
            root: the cluster's folder.
            marker: the name of a file without which the folder is no cluster's folder any more.
            address: of nodes that are not ours, which report no status: where clients reach each, if they can.
        """
        self._address = address
        self._root = root
        self._marker = marker
        self._cluster = cluster
        self._report, self._trouble = report, trouble
        self._stopping = False
        #: Whether a signal has ended `run`, and not a request.
        self.ended_by_signal = False
        self._seen: dict[NodeId, str] = {}
        self._reported_trouble: str | None = None
        self._own_trouble = ""
        control = process_control or cluster
        self._verbs: dict[str, Verb] = {
            "ps": self.ps,
            "kill": lambda nodes: self._act(nodes, {ProcessState.UP, ProcessState.SUSPENDED}, control.kill),
            "terminate": lambda nodes: self._act(nodes, {ProcessState.UP}, control.terminate),
            "suspend": lambda nodes: self._act(nodes, {ProcessState.UP}, control.suspend),
            "resume": lambda nodes: self._act(nodes, {ProcessState.SUSPENDED}, control.resume),
            "restart": lambda nodes: control.restart(*self.resolve(nodes)),
            "resolve": lambda nodes: list(self.resolve(nodes)),
            "stop": self.stop,
            **more_verbs,
        }
        token = secrets.token_hex(16)
        self._folder = OpenFolder(self._root)
        log = f"{self._root / SUPERVISOR_LOG_NAME}, or where `consensus up` runs in the foreground"
        self._server = ControlServer(token, log=log)
        publish_supervisor(self._root, self._server.address, token)

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until `stop`, SIGTERM or SIGINT. `ready` is called first; an error of it ends the supervisor in order."""
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stop_by_signal())
            ready()
            next_look = 0.0
            while not self._stopping:
                self._server.wait(_LOOK_EVERY_S)
                request = next(self._server.requests(), None)
                if request is not None:
                    self._server.serve(request, self._verbs)
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + _LOOK_EVERY_S
        finally:
            withdraw_supervisor(self._folder)
            self._server.close()
            self._folder.close()

    def _stop_by_signal(self) -> None:
        self.ended_by_signal = True
        self.stop()

    def stop(self) -> int:
        """Have `run` return soon. Returns the supervisor's process id, so that the caller can wait for its end."""
        self._stopping = True
        return os.getpid()

    def _look(self) -> None:
        """Observe the folder, the nodes, and what is between them. A removed folder ends the cluster. No failure to look does."""
        if self._folder_is_gone():
            self._report(f"the folder of the cluster, {self._root}, was removed: the cluster ends")
            self._stopping = True
            return
        try:
            self._notice_changes()
            self._own_trouble = ""
        except Exception as error:  # noqa: BLE001 - for example, no descriptor is left to read the process table
            trouble = f"the supervisor cannot look at the nodes: {error}"
            if trouble != self._own_trouble:
                traceback.print_exc()
            self._own_trouble = trouble

    def _folder_is_gone(self) -> bool:
        """Return whether the folder was removed, or emptied: then the spec is gone."""
        where = self._folder.now()
        try:
            return where is None or not (where / self._marker).stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _notice_changes(self) -> None:
        for node, process in self._cluster.processes.items():
            now = process.describe()
            if self._seen.get(node, now) != now:
                self._report(f"{node} is {now}")
            self._seen[node] = now
        trouble = self._trouble()
        if trouble is not None and trouble != self._reported_trouble:
            self._report(trouble)
        self._reported_trouble = trouble

    def _all_trouble(self) -> str | None:
        """Return everything that is wrong, in a line for people; None if nothing is."""
        self._look()
        found = [self._reported_trouble or "", self._own_trouble, full_disk(self._root)]
        output = sys.stderr
        where = self._folder.now()
        if where not in (None, self._root.resolve()):
            found.append(
                f"its folder was moved to {where}: `consensus down` there, then `consensus up`; until then no node restarts"
            )
        if isinstance(output, SafeOutput) and output.trouble:
            found.append(f"what the supervisor says to people is lost: {output.trouble}")
        found += [
            f"{node}: {process.why_it_ended}"
            for node, process in self._cluster.processes.items()
            if process.why_it_ended
        ]
        return "; ".join(filter(None, found)) or None

    # --- verbs ------------------------------------------------------------------------------------------------------

    def ps(self) -> dict[str, Any]:
        """Return the state of the nodes, as the kernel and the nodes themselves report it.

        Returns:
            `nodes`: a map for each node, with `node`, `pid`, `state`, `how` (the state as text), `boots`, `answers` (whether it
            replied to a status request), `memory_bytes`, `variable` (the last one that it served), `algorithm_status`,
            `variable_count` and `bad_frames`; of nodes that are not ours `address`, too. `trouble`: what is wrong, or None.
        """
        return {"nodes": self._rows(), "trouble": self._all_trouble()}

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
                    "answers": node in statuses or self._address is not None,
                    "memory_bytes": memory_bytes(process.pid) if process.pid else 0,
                    "variable": latest,
                    "algorithm_status": _jsonable(status.get("variables", {}).get(latest, {})),
                    "variable_count": status.get("variable_count", 0),
                    "bad_frames": status.get("malformed", 0) + status.get("bad_handshakes", 0),
                    **({} if self._address is None else {"address": self._address(node)}),
                }
            )
        return rows

    def resolve(self, names: str) -> tuple[NodeId, ...]:
        """Return the nodes that `names` stands for, in the spec's order.

        Args:
            names: one name or several with commas between, such as `n1,n3`; `leader` stands for the leader, `all` for all.

        Raises:
            NoSuchNode: a node is not known, or none is named.
            WrongState: no node reports that it leads.
        """
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
        leader = leading_node(self._cluster.status())
        if leader is not None:
            return leader
        raise WrongState("no node reports that it leads: there is no leader, or none that replies now")

    def _act(
        self, names: str, wanted: set[ProcessState], act: Callable[..., list[dict[str, object]]]
    ) -> list[dict[str, object]]:
        """Act on each node named, or on none. `all` stands for the nodes in one of the wanted states."""
        nodes = self.resolve(names)
        fit = [node for node in nodes if self._cluster.state(node) in wanted]
        if names.strip() == "all" and fit:
            nodes = tuple(fit)
        for node in nodes:
            if node not in fit:
                # No node was acted on yet, so nothing is half done.
                how = self._cluster.process(node).describe()
                if self._cluster.state(node) is ProcessState.DOWN and wanted > {ProcessState.UP}:  # it was to be killed
                    raise WrongState(f"{node} is already {how}")
                raise WrongState(f"{node} is {how}, but must be {' or '.join(sorted(wanted))}")
        return [{"node": node, **proof} for node, proof in zip(nodes, act(*nodes), strict=True)]


def own_verbs(cluster: Cluster) -> dict[str, Verb]:
    """Return the verbs of a cluster of our own nodes alone: what clients need, and changes of the members."""

    def where() -> dict[str, Any]:
        """Return what a client needs: id, algorithm, machines, settings and seed, and the address and state of each node."""
        settings = cluster.spec.settings
        return {
            "cluster": settings.cluster,
            "algorithm": settings.algorithm,
            "keeps_log": cluster.keeps_log,
            "machines": list(settings.machines),
            "settings": settings.tuning.changed(),
            "seed": settings.seed,
            "addresses": {node: cluster.links.client_address(node) for node in cluster.nodes},
            "states": {node: str(cluster.state(node)) for node in cluster.nodes},
        }

    return {
        "where": where,
        "add_learner": lambda node: add_learner(cluster, node),
        "remove_node": lambda node: remove_node(cluster, node, _CHANGE_S),
    }


def _jsonable(item: Any) -> Any:
    """Return a node's status as plain data for JSON: text for keys, lists for tuples, hex digits for bytes."""
    match item:
        case dict():
            return {str(key): _jsonable(entry) for key, entry in item.items()}
        case list() | tuple():
            return [_jsonable(entry) for entry in item]
        case bytes():
            return item.hex()
    return item
