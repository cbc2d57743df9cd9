"""The network of a cluster: `Network` starts the proxy process and steers it.

```python
with Network(spec_path, record=run / "messages.jsonl", seed=7) as network:
    ...                                             # start n1 with network.addresses("n1") as the addresses of its peers
    network.node_up("n1", address)                  # n1 listens here; clients use network.client_address("n1")
    with network.partition([["n1"], ["n2", "n3"]]) as rule:
        ...
    assert rule.total("dropped") > 0                # the partition had an effect

    vote = network.hold(receivers="n3", types="Promise")
    vote.wait_held(1, timeout_s=5)                  # n3 is about to receive its first Promise
    ...                                             # kill n3 here
    vote.discard()
```

Any thread may call any method. The proxy ends when this process ends, for whatever reason.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from cluster.control import ControlClient
from cluster.process_mark import PROXY, ProcessMark
from cluster.spawning import ReadyPipe, spawn
from harness.network.errors import NetworkError, ProxyGone
from harness.network.proxy_trouble import proxy_trouble
from harness.network.rule_installer import RuleInstaller
from harness.network.switchboard import Ports, all_links
from node.contract import NodeId
from node.launcher import EXIT_DISK
from node.settings import load

__all__ = ["Network", "NetworkError", "ProxyGone"]

#: How long the proxy may take to start, in seconds.
_START_S: Final = 30.0
#: How long the proxy may take to end after SIGTERM, in seconds.
_STOP_S: Final = 5.0
#: How much longer than a request itself may wait its reply may take, in seconds.
_GRACE_S: Final = 10.0

#: Starts a command whose output goes to a log file. Returns the process and the pipe on which it reports that it is ready.
Start: TypeAlias = Callable[[Sequence[str], Path], tuple[subprocess.Popen[bytes], ReadyPipe]]


class Network(RuleInstaller):
    """The network of one cluster, from `start` (or `with`) to `close`. Rules are installed as `RuleInstaller` describes."""

    def __init__(
        self,
        spec_path: Path,
        record: Path | None = None,
        seed: int = 0,
        start: Start | None = None,
        record_bytes_max: int | None = None,
        moves: bool = False,
    ) -> None:
        """Prepare the network; `start` starts the proxy.

        Args:
            spec_path: the spec of the cluster.
            record: the file for the record of messages; None for no record. It may be renamed while the proxy writes it.
            seed: the seed of every random draw.
            start: how to start the proxy process; None: as a child of this process, with the mark of a cluster's process.
            record_bytes_max: how large the record may become; None for no limit. After that the proxy records nothing more.
            moves: whether connections to a node that ends close, and it is found at other addresses when it starts again, as
                without a proxy. Otherwise peers and clients keep their connections to the proxy.
        """
        self._moves = moves
        self._has_been_up: set[NodeId] = set()
        self._moved: dict[NodeId, Ports] = {}  # of nodes that are down: where they will be found
        self._record_bytes_max = record_bytes_max
        settings = load(spec_path)
        super().__init__(settings.nodes)
        self._spec_path, self._record, self._seed = spec_path, record, seed
        mark = ProcessMark.of(PROXY, settings.cluster, spec_path.parent)
        self._start = start or partial(spawn, mark=mark)
        self._token = settings.cluster
        self._proxy: subprocess.Popen[bytes] | None = None
        self._control: ControlClient | None = None
        self._ready: dict[str, Any] = {}

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the proxy, and return when every link has its port. Its log is logs/proxy.log, in the folder of the spec.

        Raises:
            BootFailed: the proxy could not start; the message says why.
        """
        assert self._proxy is None, "this network is started already"
        log = self._spec_path.parent / "logs" / "proxy.log"
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "harness.network.proxy", "--spec", str(self._spec_path)]
        command += ["--record", str(self._record or "-"), "--seed", str(self._seed)]
        if self._record_bytes_max is not None:
            command += ["--record-bytes", str(self._record_bytes_max)]
        self._proxy, pipe = self._start(command, log)
        try:
            self._ready = pipe.wait("the proxy", time.monotonic() + _START_S).report
            self._control = ControlClient(
                self._ready["control"], self._token, self._check_alive, _no_reply, (NetworkError,)
            )
            self._control.keep_connections()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the proxy, which first writes its record in full. A second call does nothing."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._proxy is None:
            return
        if self._proxy.poll() is None:
            self._proxy.terminate()
        try:
            self._proxy.wait(_STOP_S)
        except subprocess.TimeoutExpired:  # it is suspended, or waits for a disk
            self._proxy.kill()
            self._proxy.wait()
        if self._proxy.stdin is not None:
            self._proxy.stdin.close()

    @property
    def record_is_cut_short(self) -> bool:
        """Whether the proxy has ended and could not write the whole record, for instance because the disk was full."""
        return self._proxy is not None and self._proxy.returncode == EXIT_DISK

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def proxy(self) -> subprocess.Popen[bytes]:
        """The proxy process."""
        assert self._proxy is not None, "this network is not started"
        return self._proxy

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Send a request to the proxy, and return its result.

        Args:
            verb: the request's verb; `switchboard.py` lists the verbs.
            timeout_s: how long the request itself may wait for a condition, in seconds.
            arguments: the request's arguments.

        Raises:
            NetworkError: the proxy refused the request.
            ProxyGone: the proxy has ended, or does not answer.
        """
        if self._control is None:
            raise ProxyGone("the network is not started, or is closed: use it inside `with Network(...)`")
        return self._control.ask(verb, timeout_s + _GRACE_S, **arguments)

    def _check_alive(self) -> None:
        status = self.proxy.poll()
        if status is not None:
            raise ProxyGone(
                f"the proxy has ended with status {status}, so no message passes any more; logs/proxy.log has the reason"
            )

    # --- nodes ------------------------------------------------------------------------------------------------------

    def addresses(self, node: NodeId) -> dict[NodeId, str]:
        """Return the address at which `node` reaches each of its peers: that of the link to the peer."""
        self._check_node(node)
        return dict(self._ready["links"][node])

    def client_address(self, node: NodeId) -> str:
        """Return the address at which clients reach `node`."""
        self._check_node(node)
        return str(self._ready["client"][node])

    def node_up(self, node: NodeId, address: str, timeout_s: float = 5.0) -> None:
        """Connect the links of a node that has started, and return when the node can receive.

        Messages that were queued for its previous incarnation are dropped.

        Args:
            node: the node.
            address: where it listens.
            timeout_s: how long to wait for the connections, in seconds.

        Raises:
            NetworkError: the node did not accept every connection within `timeout_s`. The proxy keeps trying.
        """
        self._check_node(node)
        if self._moves and node in self._has_been_up:
            ports = self._moved.pop(node, None) or self.request("node_moves", node=node)
            for sender, receivers in ports["links"].items():
                if sender in self._ready["links"]:  # else it has left while this node was down
                    self._ready["links"][sender].update(receivers)
            self._ready["client"].update(ports["client"])
        self._has_been_up.add(node)
        wanted = len(self.nodes)  # a link from each other node, and one from clients
        up = self.request("node_up", timeout_s, node=node, address=address, timeout_s=float(timeout_s))
        if up < wanted:
            raise NetworkError(
                f"{node} accepted {up} of {wanted} connections at {address} within {timeout_s:g} s: "
                "is it running and not suspended, and is this its latest address?"
            )

    def node_down(self, node: NodeId) -> None:
        """Disconnect a node that is down, since another process may get its old address. The call is optional."""
        self._check_node(node)
        self.request("node_down", node=node)
        if self._moves and node not in self._moved:
            self._moved[node] = self.request("node_moves", node=node)

    def node_joins(self, node: NodeId) -> None:
        """Make the links of a node that is not in the spec. For a node that has links already, do nothing.

        Rules that name links do not cover the new ones.

        Raises:
            NetworkError: the proxy has too few descriptors for them.
        """
        if node in self.nodes:
            return
        ports = self.request("node_joins", node=node)
        for sender, receivers in ports["links"].items():
            self._ready["links"].setdefault(sender, {}).update(receivers)
        self._ready["client"].update(ports["client"])
        self.nodes = (*self.nodes, node)
        self._left.discard(node)
        self.all_links = all_links(self.nodes)

    def node_leaves(self, node: NodeId) -> None:
        """Remove the links of a node that does not come back. For a node without links, do nothing."""
        if node not in self.nodes:
            return
        self._left.add(node)  # first, so that no rule names its links meanwhile
        self.request("node_leaves", node=node)
        self._moved.pop(node, None)
        self.nodes = tuple(other for other in self.nodes if other != node)
        self.all_links = all_links(self.nodes)
        del self._ready["client"][node]
        self._ready["links"].pop(node, None)
        for receivers in self._ready["links"].values():
            receivers.pop(node, None)

    def trouble(self) -> str | None:
        return proxy_trouble(self.proxy)

    def flush(self) -> int:
        """Write the record to its file up to now. Return how many lines it has."""
        return int(self.request("flush"))


def _no_reply(verb: str, timeout_s: float) -> ProxyGone:
    return ProxyGone(f"the proxy has not answered {verb!r} for {timeout_s:.0f} s: is it suspended?")
