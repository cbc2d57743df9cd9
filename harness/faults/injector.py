"""`Faults`: does things to processes and links, and keeps a receipt of each.

Rules
-----
1. The proof comes from somebody else than the injector: the kernel's wait status and process table for what is done to
   processes, a new incarnation on the node's own disk for its return, the proxy's counters for what is done to links.
2. A receipt covers at least what its fault did, and says which nodes and links were no longer to be counted on meanwhile:
   too little would blame an algorithm for what it never promised, too much would excuse everything.
3. Any thread may call any method. One that needs a node's process for itself over some time claims it first.

The faults by name, which plans and the command line use, stand on top of this: see `harness.faults.catalogue`.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from cluster.cluster import Cluster
from cluster.errors import WrongState
from harness.network.installed_rule import InstalledRule
from harness.network.network import Network
from harness.network.rules import Action, Cut, Delay, Drop, Duplicate, Hold, Reorder, Rule
from harness.records.links import Link
from harness.records.receipts import Receipt
from node.contract import NodeId

_PROBABILITY_LOSSY: Final = 0.2
#: What the kernel must have said of the process for the fault to have bitten.
_PROOFS: Final = {
    "kill": ("wait_status", -signal.SIGKILL),
    "terminate": ("wait_status", 0),
    "suspend": ("process_state", "T"),
}
#: What a rule has done to a message if it has bitten.
_ACTED: Final = ("dropped", "held", "duplicated", "reordered", "delayed", "corrupted")
CLAIM_S: Final = 10.0

#: What the kernel said, one for each node.
Proofs = list[dict[str, object]]


class ActiveFault(Protocol):
    """A fault that is in force."""

    def heal(self) -> None:
        """End it, and complete its receipt. A second call does nothing."""


@runtime_checkable
class ConditionalFault(Protocol):
    """A fault that needs something to happen for it to bite, such as a message on a link that is cut."""

    def has_bitten(self) -> bool:
        """Whether it has yet."""


class EndsOnHeal:
    """A fault that ends by calling `end`, once; at the end of a `with`, too."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end

    def heal(self) -> None:
        """End it."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> "EndsOnHeal":
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()


@dataclass(eq=False)
class OpenReceipt:
    """The receipt of a fault that is in force. Its time began when this was made, before anything was done."""

    fault: str
    nodes_down: tuple[NodeId, ...] = ()
    links_cut: tuple[Link, ...] = ()
    links_disturbed: tuple[Link, ...] = ()
    bit: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
    began_ns: int = field(default_factory=time.monotonic_ns)
    ended_ns: int | None = None

    def end(self) -> None:
        """All that it covers is whole again."""
        if self.ended_ns is None:
            self.ended_ns = time.monotonic_ns()

    def receipt(self) -> Receipt:
        """As it stands now."""
        return Receipt(
            self.fault,
            self.began_ns,
            self.ended_ns,
            self.bit,
            self.nodes_down,
            self.links_cut,
            self.links_disturbed,
            dict(self.evidence),
        )


@dataclass
class LinkFault:
    """A fault on links that is in force. It ends with `heal`, or at the end of a `with`."""

    rules: list[InstalledRule]
    on_paper: OpenReceipt
    healed: bool = field(default=False)

    def has_bitten(self) -> bool:
        """Whether the proxy has done it to a message yet."""
        return self.on_paper.bit or any(rule.total(what) for rule in self.rules for what in _ACTED)

    def heal(self) -> None:
        """End it, and keep what the proxy has counted."""
        if self.healed:
            return
        self.healed = True
        counts: dict[str, Counter[str]] = {}
        for rule in self.rules:
            rule.remove()
            for (sender, receiver), of_link in rule.counts().items():
                if of_link:
                    counts.setdefault(f"{sender}->{receiver}", Counter()).update(of_link)
        self.on_paper.evidence["by link"] = counts
        self.on_paper.bit = any(of_link[what] for of_link in counts.values() for what in _ACTED)
        self.on_paper.end()

    def __enter__(self) -> "LinkFault":
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()


class Faults:
    """Breaks one cluster and its network, and keeps the receipts."""

    def __init__(self, cluster: Cluster, network: Network) -> None:
        self.cluster, self.network = cluster, network
        #: Hold it while a process is started or signalled.
        self.lock = threading.RLock()
        self._papers: list[OpenReceipt] = []
        self._nodes: dict[NodeId, tuple[OpenReceipt, int]] = {}  # what is done to it, and its incarnation before
        self._links: list[LinkFault] = []
        self._count = 0
        self._claimed: set[NodeId] = set()
        self._claims = threading.Condition()
        #: Set when the run comes to its end: nothing new is to begin, and whoever waits is to stop waiting.
        self.ending = threading.Event()

    @property
    def receipts(self) -> list[Receipt]:
        """One for each fault, in the order in which they began. Those in force have no end yet."""
        with self.lock:
            papers = list(self._papers)
        return sorted((paper.receipt() for paper in papers), key=lambda receipt: receipt.began_ns)

    def begin(
        self,
        fault: str,
        *,
        nodes_down: Iterable[NodeId] = (),
        links_cut: Iterable[Link] = (),
        links_disturbed: Iterable[Link] = (),
        **evidence: Any,
    ) -> OpenReceipt:
        """Open a receipt, before anything is done. Set `bit` and `evidence` from what an observer saw; then `end` it."""
        paper = OpenReceipt(fault, tuple(nodes_down), tuple(links_cut), tuple(links_disturbed), evidence=dict(evidence))
        with self.lock:
            self._papers.append(paper)
        return paper

    def no_more(self) -> None:
        """Nothing new is to begin: what waits for a process or a message gives up."""
        self.ending.set()
        with self._claims:
            self._claims.notify_all()

    def close(self) -> None:
        """End the faults on links, so that their counts are kept. What is down stays down."""
        for fault in list(self._links):
            fault.heal()

    # --- who may signal which process -------------------------------------------------------------------------------

    def claim(self, nodes: Iterable[NodeId], timeout_s: float = CLAIM_S) -> Callable[[], None]:
        """Wait until no other fault has these processes, and have them. Returns what gives them back.

        Raises:
            WrongState: another fault kept one of them for too long, or the run is ending. Nothing was done.
        """
        wanted = frozenset(nodes)
        with self._claims:
            free = self._claims.wait_for(lambda: self.ending.is_set() or not wanted & self._claimed, timeout_s)
            if self.ending.is_set():
                raise WrongState("the run came to its end before this fault could begin")
            if not free:
                raise WrongState(
                    f"another fault has {', '.join(sorted(wanted & self._claimed))} and did not give it back within "
                    f"{timeout_s:g} s: heal that one first"
                )
            self._claimed |= wanted

        def give_back() -> None:
            with self._claims:
                self._claimed -= wanted
                self._claims.notify_all()

        return give_back

    def leader(self) -> NodeId:
        """Who says that it leads; the first node where nobody does."""
        for node, status in self.cluster.status(0.5).items():
            if any(of_one.get("role") in ("leader", "leading") for of_one in status.get("variables", {}).values()):
                return node
        return self.cluster.nodes[0]

    # --- processes --------------------------------------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> Proofs:
        """SIGKILL. Returns the proofs, as all of these do."""
        return self._do("kill", nodes, self.cluster.kill)

    def terminate(self, *nodes: NodeId) -> Proofs:
        """SIGTERM."""
        return self._do("terminate", nodes, self.cluster.terminate)

    def suspend(self, *nodes: NodeId) -> Proofs:
        """SIGSTOP."""
        return self._do("suspend", nodes, self.cluster.suspend)

    def resume(self, *nodes: NodeId) -> Proofs:
        """SIGCONT; ends `suspend`."""
        with self.lock:
            proofs = self.cluster.resume(*nodes)
            for node in nodes:
                if node in self._nodes:
                    self._nodes.pop(node)[0].end()
        return proofs

    def has(self, node: NodeId) -> bool:
        """Whether one of these holds the node down or suspended, or another fault has claimed its process."""
        with self._claims:
            return node in self._nodes or node in self._claimed

    def restart(self, *nodes: NodeId) -> Proofs:
        """Start again on the same disk; ends `kill` and `terminate`."""
        with self.lock:
            proofs = self.cluster.restart(*nodes)
            for proof in proofs:
                paper, before = self._nodes.pop(str(proof["node"]), (None, 0))
                if paper is not None:
                    paper.evidence |= {"incarnation before": before, "incarnation": proof["incarnation"]}
                    paper.end()
        return proofs

    def boots_are_lost(self, node: NodeId) -> None:
        """The directory of a node that is down has gone, and its boot counter with it: its return may count from 1."""
        with self.lock:
            if node in self._nodes:
                self._nodes[node] = (self._nodes[node][0], 0)

    def _do(self, fault: str, nodes: tuple[NodeId, ...], inject: Callable[..., Proofs]) -> Proofs:
        seen, wanted = _PROOFS[fault]
        proofs = []
        for node in nodes:
            with self.lock:
                ready = self.cluster.process(node).ready
                paper = OpenReceipt(fault, nodes_down=(node,))
                (evidence,) = inject(node)
                if node in self._nodes:  # such as a kill of a node that is suspended
                    self._nodes[node][0].end()
                paper.evidence, paper.bit = evidence, evidence.get(seen) == wanted
                self._papers.append(paper)
                self._nodes[node] = (paper, ready.incarnation if ready else 0)
                proofs.append(evidence)
        return proofs

    # --- links ------------------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[NodeId]) -> LinkFault:
        """Cut the nodes into groups; one group alone is cut from all the others. Clients reach all sides."""
        sides = [list(group) for group in groups]
        if len(sides) == 1:
            sides.append([node for node in self.cluster.nodes if node not in sides[0]])
        return self.cut((a, b) for one in sides for other in sides if one is not other for a in one for b in other)

    def cut(self, links: Iterable[Link], name: str = "partition") -> LinkFault:
        """Lose all that these directed links carry."""
        return self.spoil(name, [Cut()], links)

    def isolate(self, node: NodeId) -> LinkFault:
        """Cut a node from all others."""
        return self.partition([node])

    def lossy(self, seconds: float) -> LinkFault:
        """Every link between nodes loses, repeats, delays and reorders a fifth of what it carries."""
        actions: list[Action] = [Drop(), Duplicate(), Reorder(most_s=seconds), Delay(seconds, seconds)]
        return self.spoil("lossy", actions, self.node_links(), probability=_PROBABILITY_LOSSY)

    def hold(self, links: Iterable[Link], *types: str) -> LinkFault:
        """Keep what these links carry, or only messages of these types, until the fault is healed."""
        return self.spoil("hold", [Hold()], links, types=types)

    def hold_all(self, *types: str) -> LinkFault:
        """`hold` on every link between nodes."""
        return self.hold(self.node_links(), *types)

    def node_links(self) -> tuple[Link, ...]:
        """Every link between nodes."""
        nodes = self.cluster.nodes
        return tuple((a, b) for a in nodes for b in nodes if a != b)

    def spoil(
        self,
        name: str,
        actions: Iterable[Action],
        links: Iterable[Link],
        *,
        types: Iterable[str] = (),
        probability: float = 1.0,
        harmless: bool = False,
    ) -> LinkFault:
        """Put rules on these links, under one receipt, which calls them disturbed (or cut, if they are) unless `harmless`."""
        links, actions, types = tuple(links), list(actions), frozenset(types)
        cut = any(isinstance(action, Cut) for action in actions)
        paper = OpenReceipt(name, links_cut=links if cut else (), links_disturbed=() if cut or harmless else links)
        with self.lock:
            self._count += 1
            number = self._count
        installed: list[InstalledRule] = []
        fault = LinkFault(installed, paper)
        for action in actions:
            kind = type(action).__name__.lower()
            rule = Rule(f"{name}-{number}-{kind}", action, frozenset(links), types or None, None, probability)
            installed.append(self.network.add(rule))
            if len(installed) == 1:
                with self.lock:
                    self._papers.append(paper)
                    self._links.append(fault)
        return fault
