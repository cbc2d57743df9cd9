"""The handle on a cluster's network: `Network` starts the proxy process and steers it.

```python
with Network(spec_path, record=run / "messages.jsonl", seed=7) as network:
    ...                                             # start n1 with network.addresses("n1") as its peers' addresses,
    network.node_up("n1", address)                  # and tell where it listens; clients use network.client_address("n1")
    with network.partition([["n1"], ["n2", "n3"]]) as rule:
        ...
    assert rule.total("dropped") > 0                # the receipt: it did bite

    vote = network.hold(receivers="n3", types="Promise")
    vote.wait_held(1, timeout_s=5)                  # n3 is about to receive its first
    ...                                             # kill n3 here
    vote.discard()
```

Any thread may call any method. The proxy dies with this process, however it ends.
"""

import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypedDict, Unpack

from cluster.control import ControlClient
from cluster.errors import NoSuchNode
from cluster.processes import ReadyPipe, spawn
from harness.network.errors import NetworkError, ProxyGone
from harness.network.installed_rule import InstalledRule, link_counts
from harness.network.rules import Action, BadRule, Corrupt, Cut, Delay, Drop, Duplicate, Hold, Pass, Reorder, Rule
from harness.network.switchboard import all_links
from harness.records.links import CLIENT, Endpoint, Link
from node.contract import NodeId
from node.settings import load

__all__ = ["Network", "NetworkError", "ProxyGone"]

_START_S: Final = 30.0
_STOP_S: Final = 5.0
#: How much longer than the time that a request may take by itself its reply may take, in seconds.
_GRACE_S: Final = 10.0

#: One name, or several.
Names: TypeAlias = str | Iterable[str]
#: Starts a command whose output goes to a log: the process, and the pipe on which it says that it is ready.
Start: TypeAlias = Callable[[Sequence[str], Path], tuple[subprocess.Popen[bytes], ReadyPipe]]


class RuleFilter(TypedDict, total=False):
    """Which messages a rule is for, and how often it acts. What is left out means any, and always."""

    senders: Names | None
    receivers: Names | None
    types: Names | None
    variables: Names | None
    probability: float
    times: int | None
    name: str | None


class Network:
    """The network of one cluster, from `start` (or `with`) to `close`.

    A rule is for `links`, which are directed pairs of endpoints, or for what goes from `senders` to `receivers`; for
    message `types`; for `variables`. Each is one name or several, and leaving it out means any. Endpoints are node names,
    or "client" for all clients. `probability` is drawn for each message; `times` is how often the rule acts at all.
    A rule is called `name`, or after its kind.
    """

    def __init__(self, spec_path: Path, record: Path | None = None, seed: int = 0, start: Start = spawn) -> None:
        settings = load(spec_path)
        self.nodes = settings.nodes
        self.all_links = all_links(self.nodes)
        self._spec_path, self._record, self._seed, self._start = spec_path, record, seed, start
        self._token = settings.cluster
        self._proxy: subprocess.Popen[bytes] | None = None
        self._control: ControlClient | None = None
        self._ready: dict[str, Any] = {}
        self._rules: dict[str, InstalledRule] = {}
        self._numbers = itertools.count(1)

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the proxy, and return when every link has its port. Its log is logs/proxy.log, beside the spec.

        Raises:
            BootFailed: it could not start. The message says why.
        """
        assert self._proxy is None, "this network is started already"
        log = self._spec_path.parent / "logs" / "proxy.log"
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "harness.network.proxy", "--spec", str(self._spec_path)]
        command += ["--record", str(self._record or "-"), "--seed", str(self._seed)]
        self._proxy, pipe = self._start(command, log)
        try:
            self._ready = pipe.wait("the proxy", time.monotonic() + _START_S).report
            self._control = ControlClient(
                self._ready["control"], self._token, self._check_alive, _no_reply, (NetworkError,)
            )
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the proxy, which first writes out its record. A second call does nothing."""
        self._control = None
        if self._proxy is None:
            return
        if self._proxy.poll() is None:
            self._proxy.terminate()
        try:
            self._proxy.wait(_STOP_S)
        except subprocess.TimeoutExpired:  # suspended, or stuck on a disk
            self._proxy.kill()
            self._proxy.wait()
        if self._proxy.stdin is not None:
            self._proxy.stdin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def proxy(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._proxy is not None, "this network is not started"
        return self._proxy

    def request(self, do: str, timeout_s: float = 0.0, /, **fields: object) -> Any:
        """Ask the proxy: see `harness.network.switchboard`. Raises NetworkError if it refuses, ProxyGone if it does
        not answer."""
        if self._control is None:
            raise ProxyGone("the network is not started, or closed: use it inside of `with Network(...)`")
        return self._control.ask(do, timeout_s + _GRACE_S, **fields)

    def _check_alive(self) -> None:
        status = self.proxy.poll()
        if status is not None:
            raise ProxyGone(
                f"the proxy has ended with status {status}, so no message passes any more; logs/proxy.log says why"
            )

    # --- nodes ------------------------------------------------------------------------------------------------------

    def addresses(self, node: NodeId) -> dict[NodeId, str]:
        """Where `node` is to find each of its peers: the address of the link to it."""
        self._check_node(node)
        return dict(self._ready["links"][node])

    def client_address(self, node: NodeId) -> str:
        """Where clients are to find `node`."""
        self._check_node(node)
        return str(self._ready["client"][node])

    def node_up(self, node: NodeId, address: str, timeout_s: float = 5.0) -> None:
        """A node listens at `address`: connect its links, drop what was queued for its last life, return when it can hear.

        Raises:
            NetworkError: it did not take the connections within `timeout_s`. They are still tried.
        """
        self._check_node(node)
        wanted = len(self.nodes)  # the other nodes' links, and that of clients
        up = self.request("node_up", timeout_s, node=node, address=address, timeout_s=float(timeout_s))
        if up < wanted:
            raise NetworkError(
                f"{node} took {up} of {wanted} connections at {address} within {timeout_s:g} s: "
                "is it running, not suspended, and is this its latest address?"
            )

    def node_down(self, node: NodeId) -> None:
        """A node is dead: stop looking for it at its old address, which another process may be given. Optional."""
        self._check_node(node)
        self.request("node_down", node=node)

    def node_joins(self, node: NodeId) -> None:
        """Make the links of a node that is not in the spec. Rules that name links do not cover them. Known already: nothing.

        Raises:
            NetworkError: there is no room for them.
        """
        if node in self.nodes:
            return
        ports = self.request("node_joins", node=node)
        for sender, receivers in ports["links"].items():
            self._ready["links"].setdefault(sender, {}).update(receivers)
        self._ready["client"].update(ports["client"])
        self.nodes = (*self.nodes, node)
        self.all_links = all_links(self.nodes)

    def node_leaves(self, node: NodeId) -> None:
        """End the links of a node that does not come back."""
        if node not in self.nodes:
            return
        self.request("node_leaves", node=node)
        self.nodes = tuple(other for other in self.nodes if other != node)
        self.all_links = all_links(self.nodes)
        del self._ready["client"][node]
        self._ready["links"].pop(node, None)
        for receivers in self._ready["links"].values():
            receivers.pop(node, None)

    # --- rules ------------------------------------------------------------------------------------------------------

    def cut(self, these: Names, those: Names, *, name: str | None = None) -> InstalledRule:
        """Lose everything between two groups, both ways."""
        one, other = self._endpoints(these), self._endpoints(those)
        return self._cut([*itertools.product(one, other), *itertools.product(other, one)], name)

    def cut_one_way(self, senders: Names, receivers: Names, *, name: str | None = None) -> InstalledRule:
        """Lose everything that goes from `senders` to `receivers`."""
        return self._cut(itertools.product(self._endpoints(senders), self._endpoints(receivers)), name)

    def isolate(self, node: NodeId, *, name: str | None = None) -> InstalledRule:
        """Cut a node from every other node, both ways. Clients still reach it."""
        self._check_node(node)
        return self.cut(node, [other for other in self.nodes if other != node], name=name)

    def partition(self, groups: Iterable[Names], *, name: str | None = None) -> InstalledRule:
        """Cut the nodes into groups that cannot hear each other. One group is cut from the rest. Clients reach all."""
        parts = [sorted(_several(group)) for group in groups]
        named = [node for part in parts for node in part]
        for node in named:
            self._check_node(node)
            if named.count(node) > 1:
                raise BadRule(f"the partition names {node} twice: each node is in one group")
        rest = [node for node in self.nodes if node not in named]
        if len(parts) == 1:
            parts.append(rest)
        elif rest:
            raise BadRule(f"the partition leaves out {', '.join(rest)}: put each node in a group")
        if len(parts) < 2 or not all(parts):
            raise BadRule("a partition needs two groups or more with nodes in them, or one that leaves out some node")
        pairs = itertools.permutations(parts, 2)
        return self._cut((link for one, other in pairs for link in itertools.product(one, other)), name, "partition")

    def drop(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Lose messages."""
        return self.install(Drop(), links, **narrowed)

    def delay(
        self,
        links: Iterable[Link] | None = None,
        seconds: float = 0.1,
        jitter_s: float = 0.0,
        **narrowed: Unpack[RuleFilter],
    ) -> InstalledRule:
        """Keep messages for `seconds`, and up to `jitter_s` more, drawn evenly; so jitter can change the order."""
        return self.install(Delay(seconds, jitter_s), links, **narrowed)

    def duplicate(
        self, links: Iterable[Link] | None = None, copies: int = 1, **narrowed: Unpack[RuleFilter]
    ) -> InstalledRule:
        """Send `copies` more of a message."""
        return self.install(Duplicate(copies), links, **narrowed)

    def reorder(
        self,
        links: Iterable[Link] | None = None,
        window: int = 1,
        most_s: float = 1.0,
        **narrowed: Unpack[RuleFilter],
    ) -> InstalledRule:
        """Keep a message until `window` others have passed on its link, or `most_s` seconds are over."""
        return self.install(Reorder(window, most_s), links, **narrowed)

    def hold(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Keep messages until they are released or discarded."""
        return self.install(Hold(), links, **narrowed)

    def corrupt(
        self, links: Iterable[Link] | None = None, position: int | None = None, **narrowed: Unpack[RuleFilter]
    ) -> InstalledRule:
        """Flip bits of one byte, which is any byte or the one at `position`; 0 makes a frame that never decodes."""
        return self.install(Corrupt(position), links, **narrowed)

    def watch(self, links: Iterable[Link] | None = None, **narrowed: Unpack[RuleFilter]) -> InstalledRule:
        """Only count messages, to wait for them."""
        return self.install(Pass(), links, **narrowed)

    def install(
        self,
        action: Action,
        links: Iterable[Link] | None = None,
        *,
        senders: Names | None = None,
        receivers: Names | None = None,
        types: Names | None = None,
        variables: Names | None = None,
        probability: float = 1.0,
        times: int | None = None,
        name: str | None = None,
    ) -> InstalledRule:
        """Put a rule in force. Raises BadRule or NetworkError if it cannot be; nothing has changed then."""
        only = None if links is None else frozenset((sender, receiver) for sender, receiver in links)
        if senders is not None or receivers is not None:
            first = self._endpoints(senders) if senders is not None else [*self.nodes, CLIENT]
            last = self._endpoints(receivers) if receivers is not None else [*self.nodes, CLIENT]
            between = frozenset(link for link in itertools.product(first, last) if link in self.all_links)
            only = between if only is None else only & between
        return self.add(
            Rule(
                id=name or f"{type(action).__name__.lower()}-{next(self._numbers)}",
                action=action,
                links=only,
                types=None if types is None else frozenset(_several(types)),
                variables=None if variables is None else frozenset(_several(variables)),
                probability=probability,
                times=times,
            )
        )

    def add(self, rule: Rule) -> InstalledRule:
        """Put a rule in force that is data already, as a fault plan has them."""
        self.request("add", rule=rule.to_plain())
        handle = self._rules[rule.id] = InstalledRule(self, rule)
        return handle

    def heal(self) -> None:
        """End every rule. What is held, delayed or being reordered is released; what was lost stays lost."""
        for rule, counts in self.request("heal").items():
            handle = self._rules.pop(rule, None)
            if handle is not None:
                handle.ended(link_counts(counts))

    def forget(self, handle: InstalledRule) -> None:
        """The rule is no longer in force."""
        self._rules.pop(handle.id, None)

    def rules(self) -> list[InstalledRule]:
        """Those in force, oldest first."""
        return list(self._rules.values())

    def links(self) -> dict[Link, Counter[str]]:
        """For each link since the start: "arrived", and how many messages had each fate."""
        return link_counts(self.request("links"))

    def flush(self) -> int:
        """Have the record written out up to now. Returns how many lines it has."""
        return int(self.request("flush"))

    # --- names ------------------------------------------------------------------------------------------------------

    def _cut(self, pairs: Iterable[Link], name: str | None, kind: str = "cut") -> InstalledRule:
        links = frozenset(pairs)
        for sender, receiver in sorted(links):
            if sender == receiver:
                raise BadRule(f"{sender} stands on both sides of the cut, and cannot be cut from itself")
        return self.add(Rule(name or f"{kind}-{next(self._numbers)}", Cut(), links))

    def _endpoints(self, names: Names) -> list[Endpoint]:
        endpoints = sorted(_several(names))
        for endpoint in endpoints:
            if endpoint != CLIENT:
                self._check_node(endpoint)
        return endpoints

    def _check_node(self, node: NodeId) -> None:
        if node not in self.nodes:
            raise NoSuchNode(f"there is no node {node!r}; there are {', '.join(self.nodes)}")


def _several(names: Names) -> set[str]:
    return {names} if isinstance(names, str) else set(names)


def _no_reply(verb: str, timeout_s: float) -> ProxyGone:
    return ProxyGone(f"the proxy has not answered {verb!r} for {timeout_s:.0f} s: is it suspended?")
