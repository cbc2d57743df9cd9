"""The network of a system of commands that listen on ports: `StreamNetwork` starts the proxy of streams and steers it.

```python
with StreamNetwork(folder, ("n1", "n2", "n3"), ("client", "peer"), seed=7) as network:
    network.port("n1", "n2", "peer")            # n1 has to dial this port to reach n2
    network.node_up("n2", {"client": 11001, "peer": 11002}, group=4711)     # n2 listens there
    with network.partition([["n1"], ["n2", "n3"]]) as rule:
        ...
    assert rule.total("held") > 0               # the partition had an effect
```

Rules are installed as `RuleInstaller` describes. Any thread may call any method. The proxy ends when this process ends.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from cluster.control import ControlClient
from cluster.process_mark import PROXY, ProcessMark
from cluster.spawning import spawn
from harness.network.errors import NetworkError, ProxyGone
from harness.network.proxy_trouble import proxy_trouble
from harness.network.rule_installer import RuleInstaller
from harness.records.links import CLIENT
from harness.records.run_files import RunFiles
from node.contract import NodeId

_START_S: Final = 30.0
_STOP_S: Final = 5.0
_GRACE_S: Final = 10.0
_LAYOUT_NAME: Final = "proxy.json"


class StreamNetwork(RuleInstaller):
    """The network of one system, from `start` (or `with`) to `close`."""

    holds_after = True
    meters_cuts = True
    carries_streams = True

    def __init__(
        self, folder: Path, nodes: tuple[NodeId, ...], ports: tuple[str, ...], *, shared: bool = False, seed: int = 0
    ) -> None:
        """Prepare the network; `start` starts the proxy.

        Args:
            folder: the run folder. The proxy's log is logs/proxy.log in it, and messages.jsonl what crossed the links.
            nodes: the nodes.
            ports: the names of the ports of each node.
            shared: whether all dialers reach a node at the same address; then the kernel says who has dialed.
            seed: the seed of every random draw.
        """
        super().__init__(nodes)
        self._folder, self._ports, self._shared, self._seed = folder, ports, shared, seed
        self._proxy: subprocess.Popen[bytes] | None = None
        self._control: ControlClient | None = None
        self._listening: dict[str, dict[NodeId, dict[str, int]]] = {}

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the proxy, and return when it listens on every port. Raises BootFailed."""
        assert self._proxy is None, "this network is started already"
        token = secrets.token_hex(16)
        layout = {
            "token": token,
            "nodes": list(self.nodes),
            "ports": list(self._ports),
            "shared": self._shared,
            "launcher": os.getpid(),
            "seed": self._seed,
            "record": str(RunFiles(self._folder).messages),
        }
        file, log = self._folder / _LAYOUT_NAME, self._folder / "logs" / "proxy.log"
        log.parent.mkdir(exist_ok=True)
        file.touch(0o600)
        file.write_text(json.dumps(layout))
        command = [sys.executable, "-P", "-m", "harness.network.stream_proxy", "--layout", str(file)]
        self._proxy, pipe = spawn(command, log, ProcessMark.of(PROXY, token, self._folder))
        try:
            report = pipe.wait("the proxy", time.monotonic() + _START_S).report
        except BaseException:
            self.close()
            raise
        finally:
            file.unlink()
        self._listening = report["ports"]
        self._control = ControlClient(report["control"], token, self._check_alive, _no_reply, (NetworkError,))
        return self

    def close(self) -> None:
        """End the proxy. A second call does nothing."""
        self._control = None
        if self._proxy is None:
            return
        if self._proxy.poll() is None:
            self._proxy.terminate()
        try:
            self._proxy.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._proxy.kill()
            self._proxy.wait()
        if self._proxy.stdin is not None:
            self._proxy.stdin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Send a request to the proxy, and return its result: see `StreamProxy`. Raises NetworkError, ProxyGone."""
        if self._control is None:
            raise ProxyGone("the network is not started, or is closed")
        return self._control.ask(verb, timeout_s + _GRACE_S, **arguments)

    def trouble(self) -> str | None:
        return None if self._proxy is None else proxy_trouble(self._proxy)

    def _check_alive(self) -> None:
        status = self._proxy.poll() if self._proxy is not None else 0
        if status is not None:
            raise ProxyGone(f"the proxy has ended with status {status}, so nothing passes any more; see logs/proxy.log")

    # --- nodes ------------------------------------------------------------------------------------------------------

    def port(self, dialer: str, node: NodeId, name: str) -> int:
        """Return the port at which `dialer`, a node or "client", reaches the port `name` of a node."""
        self._check_node(node)
        return self._listening["" if self._shared else dialer][node][name]

    def client_port(self, node: NodeId, name: str) -> int:
        """Return the port at which clients reach the port `name` of a node."""
        return self.port(CLIENT, node, name)

    def node_up(self, node: NodeId, ports: Mapping[str, int], group: int) -> None:
        """Note where a node listens, and the number of its process group."""
        self._check_node(node)
        self.request("node_up", node=node, ports=dict(ports), group=group)


def _no_reply(verb: str, timeout_s: float) -> ProxyGone:
    return ProxyGone(f"the proxy has not answered {verb!r} for {timeout_s:.0f} s: is it suspended?")
