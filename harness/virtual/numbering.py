"""Encodes the state of a whole cluster as one integer: node states as numbers, facts as bits.

Theory of operation
-------------------
The lowest bits are the numbers of the nodes' states, `NODE_BITS` for each node. Above them is one bit for each fact, in the
order in which the facts were first met. A number or a bit is assigned when its node state or fact is first met, and never
changes, so two states of a cluster are equal exactly if their integers are equal.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from harness.virtual.bounds import Bounds, ExploredCall, clients_of
from harness.virtual.judge import UNOWNED, AcceptRequest, Violation, contradict, reused_ballot
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import Facts, NodeState, facts_of, freeze_node, thaw_node
from harness.virtual.steps import Packet, in_words
from node.contract import Algorithm, NodeId, Request, Value
from node.quorum import Ballot

NODE_BITS: Final = 20
NODE_MASK: Final = (1 << NODE_BITS) - 1


class CallMade(NamedTuple):
    """A client has made its call."""

    client: ExploredCall
    late: bool
    """The call is a query that began after a decision was seen."""


class DecisionSeen(NamedTuple):
    """A node or a client has seen that `value` is decided."""

    value: Value


class UndecidedAnswered(NamedTuple):
    """A query was answered "undecided"."""

    request: Request


class BallotBegun(NamedTuple):
    """The owner of a ballot has begun it."""

    ballot: Ballot


class ValueRequested(NamedTuple):
    """The owner of a ballot has asked to accept a value under it."""

    request: AcceptRequest


class CrashHappened(NamedTuple):
    """At least `number` crashes have happened, over all nodes."""

    number: int


class Numbering:
    """Every node state and every fact that was met so far. A node's place is its index in `members`."""

    def __init__(self, algorithm: type[Algorithm], bounds: Bounds) -> None:
        self.members: tuple[NodeId, ...] = tuple(f"n{number}" for number in range(1, bounds.nodes + 1))
        self.clients = clients_of(self.members, bounds)
        self.look_for = bounds.look_for
        self.nodes = [VirtualNode(algorithm, member, self.members, bounds.fault_model) for member in self.members]
        """A scratch node for each place. A caller restores it to a state before it uses it."""
        self.states: list[list[NodeState]] = [[] for _ in self.members]
        self.facts_of: list[list[Facts]] = [[] for _ in self.members]
        self.packets_to: list[dict[int, Packet]] = [{} for _ in self.members]
        self.shifts = [place * NODE_BITS for place in range(bounds.nodes)]
        self.views = [NODE_MASK << shift for shift in self.shifts]
        """By place, the mask of what concerns a node: its own number, and the facts on which its moves depend. A fact that is
        new is in no state yet, so moves that were computed before remain correct."""
        self.decided = self.ballots = self.crashes = self.violations = 0
        """Masks of all facts of one kind."""
        self.proposals_of: dict[int, int] = {}
        """By the bit of a decision, the bits of the proposals of its value."""
        self.contradictions: dict[int, Violation] = {}
        """By the mask of two facts that must not both hold, the violation if they do."""
        self._numbers: list[dict[NodeState, int]] = [{} for _ in self.members]
        self._bits: dict[object, int] = {}
        self._facts: list[object] = []

    def freeze(self, node: VirtualNode) -> NodeState:
        """Return the whole state of a node."""
        return freeze_node(node)

    def number(self, place: int, state: NodeState) -> int:
        """Return the number of a node's state. A state that is new gets the next number.

        Raises:
            StatusFailed: the algorithm's `status` raises. The state then gets no number.
        """
        number = self._numbers[place].get(state)
        if number is None:
            thaw_node(self.nodes[place], state)
            facts = facts_of(self.nodes[place])  # before the number is assigned, since it may raise
            number = self._numbers[place][state] = len(self.states[place])
            assert number <= NODE_MASK, "a node has more states than there are numbers"
            self.states[place].append(state)
            self.facts_of[place].append(facts)
        return number

    def knows(self, kind: type) -> bool:
        """Return whether a fact of this class was met."""
        return any(isinstance(fact, kind) for fact in self._facts)

    def number_in(self, state: int, place: int) -> int:
        """Return the number of the node at `place` in a state of the cluster."""
        return state >> self.shifts[place] & NODE_MASK

    def bit(self, fact: object) -> int:
        """Return the bit of a fact. A fact that is new gets the next bit."""
        key = (type(fact), fact)
        bit = self._bits.get(key)
        if bit is None:
            bit = self._bits[key] = 1 << (len(self.members) * NODE_BITS + len(self._facts))
            self._facts.append(fact)
            self._register(fact, bit)
        return bit

    def facts_in(self, state: int) -> Iterator[object]:
        """Return the facts of a state."""
        bits = state >> len(self.members) * NODE_BITS
        return (fact for place, fact in enumerate(self._facts) if bits >> place & 1)

    def holds(self, state: int, fact: object) -> bool:
        """Return whether a state holds a fact."""
        return bool(state & self._bits.get((type(fact), fact), 0))

    def size(self) -> int:
        """Return how many facts were met."""
        return len(self._facts)

    def _register(self, fact: object, bit: int) -> None:
        match fact:
            case Packet(to=to):
                place = self.members.index(to)
                self.packets_to[place][bit] = fact
                self.views[place] |= bit
            case CallMade(client):
                self.views[self.members.index(client.node)] |= bit
            case CrashHappened():
                self.crashes |= bit
                self.views = [view | bit for view in self.views]
            case DecisionSeen(value):
                self.decided |= bit
                called = [self.bit(CallMade(client, late=False)) for client in self.clients if client.value == value]
                self.proposals_of[bit] = sum(called)
                for client in self.clients:
                    if client.value is None:  # whether it calls late depends on this
                        self.views[self.members.index(client.node)] |= bit
            case BallotBegun(ballot):
                self.ballots |= bit
                if ballot.node == UNOWNED:
                    self.views = [view | bit for view in self.views]
                else:
                    self.views[self.members.index(ballot.node)] |= bit
            case Violation(kind) if kind in self.look_for:
                self.violations |= bit
            case ValueRequested() | UndecidedAnswered():
                self._contradict(fact, bit)

    def _contradict(self, fact: ValueRequested | UndecidedAnswered, bit: int) -> None:
        match fact:
            case ValueRequested(request) if "ballot" in self.look_for:
                for other in list(self._facts):
                    if isinstance(other, ValueRequested) and contradict(other.request, request):
                        self.contradictions[self.bit(other) | bit] = reused_ballot(request, other.request.value)
            case UndecidedAnswered(request) if "stability" in self.look_for:
                client = next(client for client in self.clients if client.request == request)
                text = f"{client.node} answers {request.client} undecided, and a decision was seen before it asked"
                self.contradictions[self.bit(CallMade(client, late=True)) | bit] = Violation("stability", text)

    def violations_in(self, state: int) -> list[Violation]:
        """Return every violation in a state."""
        facts = list(self.facts_in(state))
        found = [fact for fact in facts if isinstance(fact, Violation) and fact.kind in self.look_for]
        found.extend(violation for pair, violation in self.contradictions.items() if state & pair == pair)
        values = [fact.value for fact in facts if isinstance(fact, DecisionSeen)]
        if len(values) > 1:
            found.append(Violation("agreement", " and ".join(in_words(value) for value in values) + " are decided"))
        found.extend(
            Violation("validity", f"{in_words(value)} is decided, and no client has proposed it")
            for value in values
            if not state & self.proposals_of[self.bit(DecisionSeen(value))]
        )
        return found
