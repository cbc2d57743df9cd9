"""The faults: each one injects, proves that it bit, and heals.

The proof comes from somebody else than the injector: the kernel's wait status and process table for what is done to
processes, a new incarnation on the node's own disk for its return, the proxy's counters for what is done to links.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.local import Cluster
from harness.network import InstalledRule, Network
from harness.receipts import Receipt
from harness.rules import Action, Cut, Delay, Drop, Duplicate, Hold, Link, Reorder, Rule
from node.contract import NodeId

_PROBABILITY_LOSSY: Final = 0.2
#: What the kernel must have said of the process for the fault to have bitten.
_PROOFS: Final = {
    "kill": ("wait_status", -signal.SIGKILL),
    "terminate": ("wait_status", 0),
    "suspend": ("process_state", "T"),
}


@dataclass
class _NodeFault:
    fault: str
    node: NodeId
    began_ns: int
    evidence: dict[str, Any]
    incarnation: int

    def receipt(self, ended_ns: int | None, more: dict[str, Any]) -> Receipt:
        evidence = {**self.evidence, **more}
        seen, wanted = _PROOFS[self.fault]
        bit = evidence.get(seen) == wanted
        if self.fault != "suspend" and ended_ns is not None:
            bit = bit and evidence["incarnation"] > self.incarnation
        return Receipt(self.fault, self.began_ns, ended_ns, bit, nodes_down=(self.node,), evidence=evidence)


@dataclass
class LinkFault:
    """A fault on links that is in force. It ends with `heal`, or at the end of a `with`."""

    fault: str
    rules: list[InstalledRule]
    cut: tuple[Link, ...]
    disturbed: tuple[Link, ...]
    began_ns: int
    on_heal: Callable[["LinkFault", dict[str, Any]], None]
    healed: bool = field(default=False)

    def heal(self) -> None:
        """End it, and keep what the proxy has counted."""
        if self.healed:
            return
        self.healed = True
        counts: dict[str, Any] = {}
        for rule in self.rules:
            rule.remove()
            for (sender, receiver), of_link in rule.counts().items():
                counts.setdefault(f"{sender}->{receiver}", Counter()).update(of_link)
        self.on_heal(self, counts)

    def __enter__(self) -> "LinkFault":
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()


class Faults:
    """Breaks one cluster and its network, and keeps the receipts."""

    def __init__(self, cluster: Cluster, network: Network) -> None:
        self._cluster, self._network = cluster, network
        self._closed: list[Receipt] = []
        self._nodes: dict[NodeId, _NodeFault] = {}
        self._links: list[LinkFault] = []
        self._count = 0

    @property
    def receipts(self) -> list[Receipt]:
        """One for each fault, in the order in which they began. Those in force have no end yet."""
        lasting = [fault.receipt(None, {}) for fault in self._nodes.values()]
        return sorted([*self._closed, *lasting], key=lambda receipt: receipt.began_ns)

    def close(self) -> None:
        """End the faults on links, so that their counts are kept. What is down stays down."""
        for fault in list(self._links):
            fault.heal()

    # --- processes --------------------------------------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> None:
        """SIGKILL."""
        self._begin("kill", nodes, self._cluster.kill)

    def terminate(self, *nodes: NodeId) -> None:
        """SIGTERM."""
        self._begin("terminate", nodes, self._cluster.terminate)

    def suspend(self, *nodes: NodeId) -> None:
        """SIGSTOP."""
        self._begin("suspend", nodes, self._cluster.suspend)

    def resume(self, *nodes: NodeId) -> None:
        """SIGCONT; ends `suspend`."""
        self._cluster.resume(*nodes)
        for node in nodes:
            self._end(node, {})

    def restart(self, *nodes: NodeId) -> None:
        """Start again on the same disk; ends `kill` and `terminate`."""
        for proof in self._cluster.restart(*nodes):
            self._end(str(proof["node"]), {"incarnation": proof["incarnation"]})

    def _begin(self, fault: str, nodes: tuple[NodeId, ...], inject: Callable[..., list[dict[str, object]]]) -> None:
        for node in nodes:
            began_ns = time.monotonic_ns()
            ready = self._cluster.process(node).ready
            incarnation = ready.incarnation if ready else 0
            if node in self._nodes:
                self._end(node, {})  # such as a kill of a node that is suspended
            (evidence,) = inject(node)
            self._nodes[node] = _NodeFault(fault, node, began_ns, evidence, incarnation)

    def _end(self, node: NodeId, more: dict[str, Any]) -> None:
        fault = self._nodes.pop(node, None)
        if fault is not None:
            more = {"incarnation": fault.incarnation + 1, **more} if fault.fault != "suspend" else more
            self._closed.append(fault.receipt(time.monotonic_ns(), more))

    # --- links ------------------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[NodeId]) -> LinkFault:
        """Cut the nodes into groups; one group alone is cut from all the others. Clients reach all sides."""
        sides = [list(group) for group in groups]
        if len(sides) == 1:
            sides.append([node for node in self._cluster.nodes if node not in sides[0]])
        cut = tuple((a, b) for one in sides for other in sides if one is not other for a in one for b in other)
        return self._install("partition", [Cut()], cut)

    def isolate(self, node: NodeId) -> LinkFault:
        """Cut a node from all others."""
        return self.partition([node])

    def lossy(self, seconds: float) -> LinkFault:
        """Every link between nodes loses, repeats, delays and reorders a fifth of what it carries."""
        actions: list[Action] = [Drop(), Duplicate(), Reorder(most_s=seconds), Delay(seconds, seconds)]
        return self._install("lossy", actions, self._node_links(), probability=_PROBABILITY_LOSSY)

    def hold(self, links: Iterable[Link], *types: str) -> LinkFault:
        """Keep what these links carry, or only messages of these types, until the fault is healed."""
        return self._install("hold", [Hold()], tuple(links), types=frozenset(types) or None)

    def hold_all(self, *types: str) -> LinkFault:
        """`hold` on every link between nodes."""
        return self.hold(self._node_links(), *types)

    def _node_links(self) -> tuple[Link, ...]:
        nodes = self._cluster.nodes
        return tuple((a, b) for a in nodes for b in nodes if a != b)

    def _install(
        self,
        fault: str,
        actions: list[Action],
        links: tuple[Link, ...],
        types: frozenset[str] | None = None,
        probability: float = 1.0,
    ) -> LinkFault:
        began_ns = time.monotonic_ns()
        self._count += 1
        rules = [
            Rule(
                f"{fault}-{self._count}-{type(action).__name__.lower()}",
                action,
                frozenset(links),
                types,
                None,
                probability,
            )
            for action in actions
        ]
        cut = any(isinstance(action, Cut) for action in actions)
        installed = LinkFault(
            fault,
            [self._network.add(rule) for rule in rules],
            cut=links if cut else (),
            disturbed=() if cut else links,
            began_ns=began_ns,
            on_heal=self._healed,
        )
        self._links.append(installed)
        return installed

    def _healed(self, fault: LinkFault, counts: dict[str, Any]) -> None:
        self._links.remove(fault)
        acted = ("dropped", "held", "duplicated", "reordered", "delayed")
        bit = any(of_link.get(what, 0) for of_link in counts.values() for what in acted)
        self._closed.append(
            Receipt(
                fault.fault,
                fault.began_ns,
                time.monotonic_ns(),
                bit,
                links_cut=fault.cut,
                links_disturbed=fault.disturbed,
                evidence={"by link": counts},
            )
        )
