"""Encodes the state of a cluster that keeps a log: the facts that `numbering.py` does not have, and what a node's state says."""

from typing import Final, NamedTuple, cast

from harness.checkers.leader_rules import ELECTION_SAFETY, BrokenRule, LeaderLogs
from harness.virtual.bounds import Bounds
from harness.virtual.judge import Violation
from harness.virtual.log_node_state import LogNodeState, freeze_log_node, keep_image, thaw_log_node
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import Facts, NodeState
from harness.virtual.numbering import NODE_MASK, Numbering
from harness.virtual.steps import (
    Packet,
    in_words,
)
from node.contract import Algorithm, NodeId, Request
from node.log_contract import Effect, LeaderMessage, LogAlgorithm, Record
from node.quorum import Ballot

#: How many replicas of a node, each in another state, are kept to be asked again.
_REPLICAS_MAX: Final = 1_000

# --- facts --------------------------------------------------------------------------------------------------------------


class CommandMade(NamedTuple):
    """A client's command has reached a leader."""

    number: int


class QuestionMade(NamedTuple):
    """A client's question has reached a leader, after `seen` had been answered, the highest version of all."""

    number: int
    seen: int


class VersionAnswered(NamedTuple):
    """A client has been answered: its command or its question, with this version."""

    request: Request
    version: int


class Applied(NamedTuple):
    """A node has applied `batch` in a slot."""

    slot: int
    batch: bytes


class StateAfter(NamedTuple):
    """A node has come to the state with this chain after a slot."""

    slot: int
    chain: int


class BallotOwned(NamedTuple):
    """One boot of a node leads under a ballot, or has asked for promises."""

    ballot: Ballot
    node: NodeId
    incarnation: int


class Said(NamedTuple):
    """A leader has sent this."""

    node: NodeId
    said: LeaderMessage


class LogNumbering(Numbering):
    """The node states and the facts of a cluster that keeps a log."""

    states: list[list[LogNodeState]]  # type: ignore[assignment]  # of a log's nodes

    def __init__(self, algorithm: type[LogAlgorithm], bounds: Bounds) -> None:
        super().__init__(algorithm, bounds)
        self.algorithm = algorithm
        self.said = self.calls = 0
        """Masks of all facts of one kind."""
        self.disks: list[tuple[Record, ...]] = []
        """The logs that disks hold."""
        self.disk_of: list[list[int]] = [[] for _ in self.members]
        """By place and number, the index in `disks` of the log on the node's disk."""
        self._disks: dict[tuple[Record, ...], int] = {}
        self.to = [0 for _ in self.members]
        """By place, the packets to the node."""
        self.known: list[list[int]] = [[] for _ in self.members]
        """By place and number, the packets to the node whose effect on it is known."""
        self.over: list[list[int]] = [[] for _ in self.members]
        """By place and number, those of them that have no effect."""
        self.over_until_boot: list[list[int]] = [[] for _ in self.members]
        """By place and number, those that have no effect, or none until the node boots again."""
        self.same: list[list[int]] = [[] for _ in self.members]
        """By place and number, those that only bring an answer, which is the same each time until the node boots again."""
        self._exclusive: dict[object, int] = {}
        self.exclusive: list[int] = []
        """Masks of facts of which at most one may hold."""
        self._rounds_max = bounds.ballots  # each ballot that begins has a round of at most one more than those before
        self._asks = bounds.queries > 0
        self._replicas: list[dict[int, Algorithm | None]] = [{} for _ in self.members]
        self._booted = [VirtualNode(algorithm, member, self.members, bounds.fault_model) for member in self.members]

    def freeze(self, node: VirtualNode) -> NodeState:
        return cast(NodeState, freeze_log_node(node))

    def number(self, place: int, state: NodeState) -> int:
        found = cast(LogNodeState, state)
        number = self._numbers[place].get(state)
        if number is None:
            keep_image(found, self.nodes[place])
            number = self._numbers[place][state] = len(self.states[place])
            assert number <= NODE_MASK, "a node has more states than there are numbers"
            self.states[place].append(found)
            self.facts_of[place].append(Facts(None, found.promised, None))
            disk = self._disks.setdefault(found.records, len(self.disks))
            if disk == len(self.disks):
                self.disks.append(found.records)
            self.disk_of[place].append(disk)
            for masks in (self.known, self.over, self.over_until_boot, self.same):
                masks[place].append(0)
        return number

    def note_effects(self, place: int, number: int, packets: int) -> None:
        """Find out which effect packets to a node have on it in one of its states."""
        self.known[place][number] |= packets
        replica = self._replica(place, number)
        if not isinstance(replica, LogAlgorithm):
            return
        is_last_round = replica.promised.round >= self._rounds_max
        incarnations = dict(self.states[place][number].known)
        for bit, packet in self.packets_to[place].items():
            if packets & bit:
                if packet.incarnation < incarnations.get(packet.sender, 0):
                    self.over_until_boot[place][number] |= bit
                    continue
                match replica.effect_of(packet.sender, packet.message):
                    case Effect.NONE:
                        self.over[place][number] |= bit
                        self.over_until_boot[place][number] |= bit
                    case Effect.NONE_UNTIL_BOOT:
                        self.over_until_boot[place][number] |= bit
                    case Effect.SAME_ANSWER if is_last_round:
                        self.same[place][number] |= bit

    def _replica(self, place: int, number: int) -> Algorithm | None:
        """Return the replica of a node in one of its states, only to ask it."""
        kept = self._replicas[place]
        if number not in kept:
            if len(kept) >= _REPLICAS_MAX:
                kept.clear()
            node = self._booted[place]
            thaw_log_node(node, self.states[place][number])
            kept[number] = node.instance
        return kept[number]

    def _register(self, fact: object, bit: int) -> None:
        super()._register(fact, bit)
        match fact:
            case Packet(to=to):
                self.to[self.members.index(to)] |= bit
            case CommandMade() | QuestionMade():
                self._note_call(fact, bit)
            case VersionAnswered() if self._asks:
                self._note_call(fact, bit)
            case Applied(slot):
                self._exclude(("applied", slot), bit)
            case StateAfter(slot):
                self._exclude(("state", slot), bit)
            case BallotOwned(ballot):
                self._exclude(("ballot", ballot), bit)
            case Said():
                self.said |= bit

    def _exclude(self, what: tuple[str, object], bit: int) -> None:
        self._exclusive[what] = self._exclusive.get(what, 0) | bit
        self.exclusive = [mask for mask in self._exclusive.values() if mask.bit_count() > 1]

    def _note_call(self, fact: object, bit: int) -> None:
        """Note that what any node can do next depends on a call or an answer, and which answers would be stale."""
        self.calls |= bit
        self.views = [view | bit for view in self.views]
        for other in list(self._facts):
            for one, two in ((fact, other), (other, fact)):
                match one, two:
                    case QuestionMade(number, seen), VersionAnswered(request, version) if (
                        request == question_of(number) and version < seen
                    ):
                        text = (
                            f"question {number} sees version {version}, and was asked after version {seen} was answered"
                        )
                        self.contradictions[self.bit(other) | bit] = Violation("order", text)

    # --- the rules of leaders ------------------------------------------------------------------------------------------

    def broken_rules(self, said: int, disk: tuple[Record, ...]) -> list[Violation]:
        """Return the rules that are broken by what leaders have said, and by one disk."""
        logs = LeaderLogs(self.algorithm)
        broken: list[BrokenRule] = []
        for fact in self.facts_in(said):
            if isinstance(fact, Said):
                broken.extend(logs.say(fact.node, fact.said))
        broken.extend(logs.disk("a node", disk))
        return [
            Violation("leader" if rule == ELECTION_SAFETY else "agreement", f"{rule}: {text}") for rule, text in broken
        ]

    def violations_in(self, state: int) -> list[Violation]:
        facts = list(self.facts_in(state))
        found = [fact for fact in facts if isinstance(fact, Violation)]
        found.extend(violation for pair, violation in self.contradictions.items() if state & pair == pair)
        by: dict[object, object] = {}
        for fact in facts:
            match fact:
                case Applied(slot) if by.setdefault(("applied", slot), fact) != fact:
                    found.append(Violation("agreement", f"two batches are applied in slot {slot}"))
                case StateAfter(slot) if by.setdefault(("state", slot), fact) != fact:
                    found.append(Violation("state", f"nodes have given different answers up to slot {slot}"))
                case BallotOwned(ballot) if by.setdefault(("ballot", ballot), fact) != fact:
                    found.append(Violation("leader", f"ballot {in_words(ballot)} is used by two boots"))
        for place in range(len(self.members)):
            disk = self.disks[self.disk_of[place][self.number_in(state, place)]]
            found.extend(self.broken_rules(state & self.said, disk))
        return [each for each in dict.fromkeys(found) if each.kind in self.look_for]


def command_of(number: int) -> Request:
    """Return the request of a command."""
    return Request(f"c{number}", 1)


def question_of(number: int) -> Request:
    """Return the request of a question."""
    return Request(f"q{number}", 1)
