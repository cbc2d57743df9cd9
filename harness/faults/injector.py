"""`Faults`: breaks processes and links of one cluster, and keeps a receipt of each fault.

Rules
-----
1. The proof of a fault comes from an observer other than the injector. For processes it is the kernel: the wait status
   and the process table. For the return of a node it is the new incarnation on the node's own disk. For links it is the
   proxy's counters.
2. A receipt covers at least the time of its fault. It names the nodes and links that no judge may count on meanwhile.
   If it named too few, a judge would blame an algorithm for something that it never promised; if too many, it would
   excuse everything.
3. Any thread may call any method. A fault that needs a node's process for itself over some time claims the process
   first.

The faults of the catalogue, which plans and the command line use by name, are built on this: see
`harness.faults.catalogue`.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Any, Final

from cluster.errors import BootFailed, WrongState
from cluster.node_set import NodeSet
from cluster.processes import ProcessState
from harness.checkers.evidence import RefusedStart
from harness.faults.active import LinkFault, ReceiptBuilder
from harness.faults.excuses import HARMLESS, UNRELIABLE, Disturbance
from harness.faults.roles import Strike, node_in_role
from harness.network.installed_rule import InstalledRule
from harness.network.rule_installer import RuleInstaller
from harness.network.rules import Action, Cut, Delay, Drop, Duplicate, Hold, Reorder, Rule
from harness.records.links import DELIVERED, Link
from harness.records.receipts import Receipt
from node.contract import NodeId

_PROBABILITY_LOSSY: Final = 0.2
#: The key and the values of which the kernel's proof must hold one for the fault to have bitten. A node that is not ours may
#: have no handler of SIGTERM, which then ends it.
_PROOFS: Final[dict[str, tuple[str, tuple[object, ...]]]] = {
    "kill": ("wait_status", (-signal.SIGKILL,)),
    "terminate": ("wait_status", (0, -signal.SIGTERM)),
    "suspend": ("process_state", ("T",)),
}
#: How long a fault of a plan waits for processes that another fault has claimed.
CLAIM_S: Final = 10.0
#: How long a fault waits that has found its node by a role, which the node may lose.
ROLE_CLAIM_S: Final = 0.5
#: The states of a node that a fault can do something to.
RUNNING: Final = (ProcessState.UP, ProcessState.SUSPENDED)

#: The proofs of a fault, one for each node: what the kernel said about its process.
Proofs = list[dict[str, object]]


class Faults:
    """Breaks one cluster and its network, and keeps the receipts.

    `lock` must be held while a process is started or signalled. `ending` is set when the run ends: then no fault may
    begin, and every fault that waits stops waiting. `claim_s` is how long a fault waits for processes that another fault has
    claimed, in seconds.
    """

    def __init__(self, cluster: NodeSet, network: RuleInstaller) -> None:
        self.cluster, self.network = cluster, network
        self.lock = threading.RLock()
        self._receipts: list[ReceiptBuilder] = []
        #: By node that is down or suspended: the receipt of the fault, and the incarnation before it.
        self._nodes: dict[NodeId, tuple[ReceiptBuilder, int]] = {}
        self._links: list[LinkFault] = []
        self._count = 0
        #: By node whose process is claimed: the name of the fault that has claimed it.
        self._claimed: dict[NodeId, str] = {}
        self._claims = threading.Condition()
        #: The nodes that the fault of this thread has found by their roles.
        self.strike = Strike()
        #: Held while the members change: changes are made one at a time. `names_given` are those of nodes that were to join.
        self.changing = threading.Lock()
        self.names_given: set[NodeId] = set()
        #: Each time that a node was started again on its own disk, and did not come up.
        self.refusals: list[RefusedStart] = []
        #: Whether links may carry nothing for long, as between nodes that are not ours. A fault on such links is none.
        self.links_may_idle = False
        #: How many faults have turned out to do nothing, by name.
        self.met_nothing: Counter[str] = Counter()
        self.ending = threading.Event()
        self.claim_s = CLAIM_S

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts of all faults, in the order in which they began. The receipt of a fault in force has no end yet."""
        with self.lock:
            builders = list(self._receipts)
        return sorted((builder.build() for builder in builders), key=lambda receipt: receipt.began_ns)

    def begin(
        self,
        fault: str,
        *,
        nodes_down: Iterable[NodeId] = (),
        links_cut: Iterable[Link] = (),
        links_disturbed: Iterable[Link] = (),
        disturbance: Disturbance = UNRELIABLE,
        **evidence: Any,
    ) -> ReceiptBuilder:
        """Open the receipt of a fault. Call it before the fault does anything.

        Afterwards set `bit` and `evidence` of the receipt from what an observer saw, and call its `end` when the fault
        is over.

        Args:
            fault: the name of the fault.
            nodes_down: the nodes that no judge may count on.
            links_cut: the directed links that carry nothing.
            links_disturbed: the directed links that may lose or delay messages.
            disturbance: what happens to messages over those links; by default nothing can be counted on.
            evidence: the first entries of the receipt's evidence.
        """
        receipt = ReceiptBuilder(
            fault, tuple(nodes_down), tuple(links_cut), tuple(links_disturbed), *disturbance, evidence=dict(evidence)
        )
        self._note_roles(receipt)
        with self.lock:
            self._receipts.append(receipt)
        return receipt

    def stop_new_faults(self) -> None:
        """Let no new fault begin. Faults that wait for a process or a message give up."""
        self.ending.set()
        with self._claims:
            self._claims.notify_all()

    def allow_new_faults(self) -> None:
        """Let faults begin again. Call it when every fault that waited has given up."""
        self.ending.clear()

    def close(self) -> None:
        """End the faults on links, so that their receipts get the counters. Nodes that are down stay down."""
        for fault in list(self._links):
            fault.heal()

    # --- claims of processes ----------------------------------------------------------------------------------------

    def claim(self, fault: str, nodes: Iterable[NodeId], fit: Collection[ProcessState] = RUNNING) -> Callable[[], None]:
        """Wait until no other fault has claimed the processes of these nodes, at most `claim_s` seconds, and claim them.

        A fault that has found its node by a role waits at most `ROLE_CLAIM_S`.

        Args:
            fault: the name of the fault that claims them.
            nodes: the nodes whose processes are claimed.
            fit: the states in which the fault can begin. Each node must be in one of them.

        Returns:
            A function that ends the claim.

        Raises:
            WrongState: another fault kept a process for too long, a node is not in a state that fits, or the run is ending.
                Nothing was claimed.
        """
        wanted = tuple(nodes)
        with self._claims:
            claim_s = min(self.claim_s, ROLE_CLAIM_S) if self.strike.roles else self.claim_s
            self._claims.wait_for(lambda: self.ending.is_set() or not self._claimed.keys() & {*wanted}, claim_s)
            if self.ending.is_set():
                raise WrongState("the run ended, or was healed, before this fault could begin")
            for node in wanted:
                if node in self._claimed:
                    raise WrongState(self._why_claimed(node))
            self.check_states(wanted, fit)
            self._claimed |= dict.fromkeys(wanted, fault)

        def end_claim() -> None:
            with self._claims:
                for node in wanted:
                    self._claimed.pop(node, None)
                self._claims.notify_all()

        return end_claim

    def _why_claimed(self, node: NodeId) -> str:
        """Return the sentence that refuses a fault on a node that another fault has claimed."""
        state, other = self.cluster.state(node), self._claimed[node]
        if state is ProcessState.UP:
            return f"{other} is in force on {node}: heal first"
        return f"{node} is {state} ({other} is in force there): heal first"

    def check_states(self, nodes: Iterable[NodeId], fit: Collection[ProcessState] = RUNNING) -> None:
        """Raise WrongState, with what to do, if one of the nodes is not in one of the states that fit."""
        for node in nodes:
            state = self.cluster.state(node)
            if state not in fit:
                remedy = "resume" if state is ProcessState.SUSPENDED else "restart"
                raise WrongState(f"{node} is {self.cluster.process(node).describe()}: {remedy} it first")

    def node_in_role(self, role: str, rng: Random) -> NodeId:
        """Return the node that `role` stands for now: see `roles.py`. Raises Missed."""
        return node_in_role(self.cluster, self.strike, role, rng)

    def leader(self) -> NodeId:
        """Return the node that reports that it leads, or the first node of the cluster if there is none."""
        return self.node_in_role("leader", Random())

    def forget(self, receipt: ReceiptBuilder) -> None:
        """Forget the receipt of a fault that turned out to do nothing at all."""
        with self.lock:
            self._receipts.remove(receipt)
            self.met_nothing[receipt.fault] += 1

    # --- processes --------------------------------------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> Proofs:
        """Send SIGKILL to each node. Returns the proofs, as all methods of this section do."""
        return self._inject("kill", nodes, self.cluster.kill)

    def terminate(self, *nodes: NodeId) -> Proofs:
        """Send SIGTERM to each node, and wait for its orderly end."""
        return self._inject("terminate", nodes, self.cluster.terminate)

    def suspend(self, *nodes: NodeId) -> Proofs:
        """Send SIGSTOP to each node."""
        return self._inject("suspend", nodes, self.cluster.suspend)

    def resume(self, *nodes: NodeId) -> Proofs:
        """Send SIGCONT to each node. Ends `suspend`."""
        with self.lock:
            proofs = self.cluster.resume(*nodes)
            for node in nodes:
                if node in self._nodes:
                    self._nodes.pop(node)[0].end()
        return proofs

    def is_affected(self, node: NodeId) -> bool:
        """Return whether the node is down or suspended by a method of this section, or a fault has claimed its process."""
        with self._claims:
            return node in self._nodes or node in self._claimed

    def restart(self, *nodes: NodeId) -> Proofs:
        """Start each node again on its own disk. Ends `kill` and `terminate`.

        Raises:
            BootFailed: a node did not come up; `refusals` has it. The others did.
        """
        with self.lock:
            try:
                self.cluster.restart(*nodes)
            except BootFailed as error:
                now_ns = time.monotonic_ns()
                refused = [node for node in nodes if self.cluster.state(node) is not ProcessState.UP]
                self.refusals += [RefusedStart(node, now_ns, str(error)) for node in refused]
                self._note_return([node for node in nodes if node not in refused])
                raise
            return self._note_return(nodes)

    def _note_return(self, nodes: Iterable[NodeId]) -> Proofs:
        """End the receipts of nodes that are up again, and return the proofs."""
        proofs: Proofs = []
        for node in nodes:
            ready = self.cluster.process(node).ready
            assert ready is not None
            proofs.append({"node": node, "incarnation": ready.incarnation})
            receipt, before = self._nodes.pop(node, (None, 0))
            if receipt is not None:
                receipt.evidence |= {"incarnation before": before, "incarnation": ready.incarnation}
                receipt.end()
        return proofs

    def forget_incarnation(self, node: NodeId) -> None:
        """Note that a node that is down has lost its directory, and its boot counter with it: it may count from 1 again."""
        with self.lock:
            if node in self._nodes:
                self._nodes[node] = (self._nodes[node][0], 0)

    def _inject(self, fault: str, nodes: tuple[NodeId, ...], act: Callable[..., Proofs]) -> Proofs:
        key, expected = _PROOFS[fault]
        proofs = []
        for node in nodes:
            with self.lock:
                ready = self.cluster.process(node).ready
                receipt = ReceiptBuilder(fault, nodes_down=(node,))
                (evidence,) = act(node)
                if node in self._nodes:  # for example, a suspended node is killed
                    self._nodes[node][0].end()
                receipt.evidence, receipt.bit = evidence, evidence.get(key) in expected
                self._note_roles(receipt)
                self._receipts.append(receipt)
                self._nodes[node] = (receipt, ready.incarnation if ready else 0)
                proofs.append(evidence)
        return proofs

    def _note_roles(self, receipt: ReceiptBuilder) -> None:
        """Let a receipt say who was struck, if the fault named it by its role."""
        if self.strike.roles:
            receipt.evidence["roles"] = dict(self.strike.roles)

    # --- links ------------------------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[NodeId]) -> LinkFault:
        """Cut groups of nodes from each other. A single group is cut from all other nodes. Clients reach all groups."""
        sides = [list(group) for group in groups]
        if len(sides) == 1:
            sides.append([node for node in self.cluster.nodes if node not in sides[0]])
        return self.cut((a, b) for one in sides for other in sides if one is not other for a in one for b in other)

    def cut(self, links: Iterable[Link], name: str = "partition") -> LinkFault:
        """Lose everything on these directed links. `name` is the name of the fault in its receipt."""
        return self.apply_rules(name, [Cut()], links)

    def isolate(self, node: NodeId) -> LinkFault:
        """Cut a node from all other nodes, in both directions."""
        return self.partition([node])

    def lossy(self, seconds: float) -> LinkFault:
        """Lose, duplicate, delay and reorder a fifth of the messages each, on every link between nodes.

        Args:
            seconds: the delay, its jitter, and the longest time for which a reordered message is held.
        """
        actions: list[Action] = [Drop(), Duplicate(), Reorder(most_s=seconds), Delay(seconds, seconds)]
        disturbance = Disturbance(3 * seconds, _PROBABILITY_LOSSY)
        return self.apply_rules("lossy", actions, self.node_links(), disturbance, probability=_PROBABILITY_LOSSY)

    def hold(self, links: Iterable[Link], *types: str) -> LinkFault:
        """Hold the messages on these links until the fault is healed: all messages, or only those of these types."""
        return self.apply_rules("hold", [Hold()], links, types=types)

    def hold_all(self, *types: str) -> LinkFault:
        """Hold messages on every link between nodes, as `hold` does."""
        return self.hold(self.node_links(), *types)

    def node_links(self) -> tuple[Link, ...]:
        """Return every directed link between two nodes."""
        nodes = self.cluster.nodes
        return tuple((a, b) for a in nodes for b in nodes if a != b)

    def apply_rules(
        self,
        name: str,
        actions: Iterable[Action],
        links: Iterable[Link],
        disturbance: Disturbance = UNRELIABLE,
        *,
        types: Iterable[str] = (),
        probability: float = 1.0,
    ) -> LinkFault:
        """Install a rule for each action on these links, with one receipt for all of them.

        Args:
            name: the name of the fault in its receipt.
            actions: what the rules do. If one of them is a cut, the receipt names the links as cut, otherwise as
                disturbed.
            links: the directed links.
            disturbance: what the rules do to messages, for the judges. If they lose none and delay none, the receipt names no
                link.
            types: the types of messages that the rules apply to; none stands for all.
            probability: how likely a rule acts on a message, from 0 to 1.

        Raises:
            NoSuchNode: of each link, a node has left.
        """
        links, actions, types = self.network.links_left(tuple(links)), list(actions), frozenset(types)
        cut = any(isinstance(action, Cut) for action in actions)
        disturbed = not cut and disturbance != HARMLESS
        receipt = ReceiptBuilder(name, (), links if cut else (), links if disturbed else (), *disturbance)
        self._note_roles(receipt)
        with self.lock:
            self._count += 1
            number = self._count
        installed: list[InstalledRule] = []
        fault = LinkFault(installed, receipt, self.forget if types or self.links_may_idle else None, not types)
        for action in actions:
            kind = type(action).__name__.lower()
            rule = Rule(f"{name}-{number}-{kind}", action, frozenset(links), types or None, None, probability)
            installed.append(self.network.add(rule))
            if len(installed) == 1:
                with self.lock:
                    self._receipts.append(receipt)
                    self._links.append(fault)
        if cut and not types and probability == 1 and not self.network.meters_cuts:
            fault.crossed = self._crossings(links)
        return fault

    def _crossings(self, links: Sequence[Link]) -> Callable[[], dict[Link, int]]:
        """Return what counts the messages that cross links from now on. While the links are cut, no message may.

        The proxy's counters of links observe this, and not the rules that make the cut.
        """

        def delivered() -> dict[Link, int]:
            counts = self.network.links()
            return {link: sum(counts[link][fate] for fate in DELIVERED) for link in links if link in counts}

        before = delivered()

        def crossed() -> dict[Link, int]:
            since = {link: number - before.get(link, 0) for link, number in delivered().items()}
            return {link: number for link, number in since.items() if number}

        return crossed
