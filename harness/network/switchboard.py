"""The switchboard: what the proxy does with a message and with a request. It applies rules, records and counts; it has no socket.

`Proxy` passes in each message that arrives and each request, and implements `ProxySockets`, through which messages and replies
leave. Requests come from `Network` (`network.py`):

| verb | arguments | result |
|---|---|---|
| node_up | node, address, timeout_s | how many of the node's links are connected, as soon as all are, or at the deadline |
| node_down | node | |
| node_moves | node | the new addresses of the links to it: `Ports` |
| node_joins | node | the ports of its links: `Ports` |
| node_leaves | node | |
| add | rule: `Rule.to_plain` | |
| remove | rule | the rule's last counts |
| heal | | the last counts of every rule |
| release, discard | rule, most | how many messages were released or lost |
| release_one, discard_one | rule, index | |
| repeat | rule, index | |
| counts | rule | for each link that had a match: sender, receiver, counts |
| wait | rule, what, least, links, timeout_s | the count, as soon as it is `least`, or at the deadline |
| links | | for each link: sender, receiver, counts |
| flush | | how many lines the record has, all of them written |
| look | after, most | the lines of the record from number `after` on, and the messages that rules hold: `Seen` |
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from functools import partial
from itertools import permutations
from random import Random
from typing import Any, Final, NamedTuple, Protocol, TypedDict

from cluster.control import ControlRequest
from harness.network.errors import NetworkError
from harness.network.in_transit import InTransit, Ruling
from harness.network.rule_engine import RuleEngine
from harness.network.rule_state import KeptInTransit
from harness.network.rules import STREAM_ACTIONS, BadRule, Hold, Rule
from harness.records.links import CLIENT, DELIVERED, UNKNOWN_TYPE, Link
from harness.records.messages import MessageRecorder
from harness.records.recent_lines import RecentLines, shown_message
from node.contract import NodeId
from node.wire import Envelope, Malformed
from node.wording import nearest

#: Lines stay in memory until no reader has looked for so long, in seconds.
LOOKING_S: Final = 5.0
#: How many held messages one look shows.
HELD_SHOWN_MAX: Final = 300


class Ports(TypedDict):
    """The addresses at which the proxy listens."""

    links: dict[NodeId, dict[NodeId, str]]
    """By sender and receiver, for links between nodes."""
    client: dict[NodeId, str]
    """By node, for clients of that node."""


class Seen(TypedDict):
    """What a reader sees that looks often."""

    lines: list[dict[str, Any]]
    """The latest lines of the record, cut to a bounded size: see `harness/records/recent_lines.py`."""
    left_out: int
    """How many lines are missing, because there were too many."""
    next: int
    """The number from which the next look continues."""
    held: list[dict[str, Any]]
    """The first messages that rules hold: the rule, the message's index, its ends, type, variable and fields."""
    held_count: int
    """How many messages rules hold in all."""


class ProxySockets(Protocol):
    """What the switchboard needs of the proxy: ways out for messages and replies, and control of the links."""

    def send(self, message: InTransit) -> bool:
        """Send a message to its receiver. Return False if it cannot leave at once."""

    def node_up(self, node: NodeId, address: str) -> None:
        """Connect the links to a node, and drop the messages that were queued for its previous incarnation."""

    def node_down(self, node: NodeId) -> None:
        """Disconnect the links to a node."""

    def node_moves(self, node: NodeId) -> Ports:
        """Close the connections on which messages to a node arrive, and return the addresses at which they arrive from now on."""

    def node_joins(self, node: NodeId) -> Ports:
        """Make the links of a new node, and return their ports. Raises BadRule if it cannot; nothing has changed then."""

    def node_leaves(self, node: NodeId) -> None:
        """Remove the links of a node."""

    def connected(self, node: NodeId) -> int:
        """Return how many links to a node are connected. There is one from each other node, and one from clients."""

    def answer(self, caller: bytes, result: object) -> None:
        """Reply to a request with its result."""

    def refuse(self, caller: bytes, error: Exception) -> None:
        """Reply to a request that it was not done, and why."""


def all_links(nodes: tuple[NodeId, ...]) -> tuple[Link, ...]:
    """Return every directed pair of endpoints: the nodes, and all clients as one endpoint."""
    return tuple(permutations((*nodes, CLIENT), 2))


class _WaitingRequest(NamedTuple):
    """A request that is answered when a count has reached `least`, or at the deadline."""

    caller: bytes
    deadline: float
    current: Callable[[], int]
    least: int


class Switchboard:
    """The links of one cluster, and the rules in force on them."""

    def __init__(
        self,
        nodes: tuple[NodeId, ...],
        decode: Callable[[bytes], Envelope],
        types: Collection[str] | None,
        recorder: MessageRecorder,
        rng: Random,
        sockets: ProxySockets,
    ) -> None:
        """Make a switchboard without rules.

        Args:
            nodes: the names of the nodes.
            decode: decodes the bytes of a message, and raises Malformed if it cannot.
            types: the types of messages that may come; None if they are not known before they come.
            recorder: records each fate.
            rng: what all random draws come from.
            sockets: what messages and replies leave through.
        """
        self._nodes = nodes
        self._decode_payload = decode
        self._types = None if types is None else sorted({UNKNOWN_TYPE, *types})
        self._recorder = recorder
        self._engine = RuleEngine(rng)
        self._sockets = sockets
        self._waiting: list[_WaitingRequest] = []
        # The counts since the start, also of links that were removed.
        self._totals: defaultdict[Link, Counter[str]] = defaultdict(Counter)
        self._must_decode = False
        self._recent = RecentLines()
        self._looked_at = -math.inf

    # --- messages ---------------------------------------------------------------------------------------------------

    def arrive(
        self, link: Link, payload: bytes, route: tuple[bytes, ...] = (), envelope: Envelope | None = None
    ) -> None:
        """Take in a message that has arrived on a link.

        Args:
            link: its sender and receiver.
            payload: its bytes.
            route: the frames before the payload, which lead back to a client.
            envelope: the decoded message, if the caller has it already.
        """
        if envelope is None and (self._must_decode or self._recorder.writes or self._recorder.on_line is not None):
            envelope = self._decode(payload)
        message = InTransit(link, payload, envelope, route)
        self._totals[link]["arrived"] += 1
        self._carry_out(self._engine.arrive(message, time.monotonic()))

    def do_due_work(self) -> None:
        """Send the messages whose delay is over, and answer the requests whose condition holds."""
        self._carry_out(self._engine.due(time.monotonic()))
        if self._waiting:
            self._answer_waiting()
        if self._recorder.on_line is not None and time.monotonic() > self._looked_at + LOOKING_S:
            self._recorder.on_line, self._recent = None, RecentLines()

    def wait_s(self, most_s: float) -> float:
        """Return the seconds until `do_due_work` has work even if nothing arrives, at most `most_s`."""
        now = time.monotonic()
        due_s = self._engine.wait_s(now)
        deadlines_s = (request.deadline - now for request in self._waiting)
        wait_s = min([most_s if due_s is None else due_s, most_s, *deadlines_s])
        return max(wait_s, 0.0)

    def _decode(self, payload: bytes) -> Envelope | None:
        try:
            return self._decode_payload(payload)
        except Malformed:
            return None

    def _carry_out(self, rulings: list[Ruling]) -> None:
        """Send the messages that are to be delivered, and record and count each fate."""
        for message, ruled, rule in rulings:
            fate = ruled
            if ruled in DELIVERED and not self._sockets.send(message):
                fate = "undeliverable"
            self._recorder.note(message, fate, rule, time.monotonic_ns())
            self._totals[message.link][fate] += 1

    # --- requests ---------------------------------------------------------------------------------------------------

    def serve(self, request: ControlRequest) -> None:
        """Carry out a request. Answer it now, or when the condition that it waits for holds."""
        try:
            match request.verb, request.arguments:
                case "node_up", {"node": node, "address": str(address), "timeout_s": float(timeout_s)}:
                    self._sockets.node_up(self._known(node), address)
                    self._wait(request.caller, timeout_s, partial(self._sockets.connected, node), len(self._nodes))
                case "wait", {
                    "rule": str(rule),
                    "what": what,
                    "least": least,
                    "links": links,
                    "timeout_s": timeout_s,
                }:
                    only = None if links is None else frozenset((one, other) for one, other in links)
                    self._wait(request.caller, timeout_s, partial(self._engine.total, rule, what, only), least)
                case "node_moves", {"node": node}:
                    self._sockets.answer(request.caller, self._sockets.node_moves(self._known(node)))
                case "look", {"after": int(after), "most": int(most)}:
                    self._sockets.answer(request.caller, self._look(after, max(most, 1)))
                case _:
                    self._sockets.answer(request.caller, self._do(request.verb, request.arguments))
        except BadRule as error:
            self._sockets.refuse(request.caller, NetworkError(f"{request.verb}: {error}"))

    def _do(self, verb: str, arguments: dict[str, Any]) -> object:
        match verb, arguments:
            case "node_down", {"node": node}:
                self._sockets.node_down(self._known(node))
            case "node_joins", {"node": str(node)}:
                if node in self._nodes:
                    raise BadRule(f"{node} has its links already")
                ports = self._sockets.node_joins(node)
                self._nodes = (*self._nodes, node)
                return ports
            case "node_leaves", {"node": node}:
                self._sockets.node_leaves(self._known(node))
                self._nodes = tuple(other for other in self._nodes if other != node)
            case "add", {"rule": dict(plain)}:
                self._add(Rule.from_plain(plain))
            case "remove", {"rule": str(rule)}:
                rulings, counts = self._engine.remove(rule)
                self._carry_out(rulings)
                return _plain_counts(counts)
            case "heal", _:
                rulings, all_counts = self._engine.heal()
                self._carry_out(rulings)
                return {rule: _plain_counts(counts) for rule, counts in all_counts.items()}
            case "release" | "discard" as what, {"rule": str(rule), "most": int() | None as most}:
                keeps = self._engine.total(rule, "keeps")
                self._carry_out(
                    self._engine.release(rule, most) if what == "release" else self._engine.discard(rule, most)
                )
                return keeps - self._engine.total(rule, "keeps")
            case "release_one" | "discard_one" | "repeat" as what, {
                "rule": str(rule),
                "index": int(index),
            }:
                one = {
                    "release_one": self._engine.release_one,
                    "discard_one": self._engine.discard_one,
                    "repeat": self._engine.repeat,
                }
                self._carry_out(one[what](rule, index))
            case "counts", {"rule": str(rule)}:
                return _plain_counts(self._engine.counts(rule))
            case "links", _:
                return _plain_counts({link: self._totals[link] for link in all_links(self._nodes)})
            case "flush", _:
                self._recorder.flush()
                return self._recorder.count
            case _:
                raise BadRule(f"the proxy has no request {verb!r}, or none with the arguments {', '.join(arguments)}")
        return None

    def _look(self, after: int, most: int) -> Seen:
        """Return what is new since line `after`. From the first look on, until none comes any more, lines are kept in memory."""
        self._looked_at, self._recorder.on_line = time.monotonic(), self._recent.add
        lines, left_out = self._recent.since(after, most)
        held, held_count = self._engine.held(HELD_SHOWN_MAX)
        return {
            "lines": lines,
            "left_out": left_out,
            "next": self._recorder.count,
            "held": [_shown_held(kept) for kept in held],
            "held_count": held_count,
        }

    def _known(self, node: NodeId) -> NodeId:
        if node not in self._nodes:
            raise BadRule(f"there is no node {node!r}; there are {', '.join(self._nodes)}")
        return node

    def _add(self, rule: Rule) -> None:
        if isinstance(rule.action, STREAM_ACTIONS) or (isinstance(rule.action, Hold) and rule.action.after):
            raise BadRule(f"{rule.kind} is for streams of bytes, and these nodes send messages")
        known = all_links(self._nodes)
        for link in sorted(rule.links or ()):
            if link not in known:
                raise BadRule(
                    f"there is no link {link[0]} -> {link[1]}; the endpoints are {', '.join(self._nodes)} and {CLIENT}"
                )
        for type_ in sorted(rule.types or ()):
            if self._types is not None and type_ not in self._types:
                known_types = [name for name in self._types if name != UNKNOWN_TYPE]
                raise BadRule(
                    f"no message has the type {type_!r}, so the rule would never act: {nearest(type_, known_types)}"
                )
        self._engine.add(rule)
        self._must_decode = self._must_decode or rule.types is not None or rule.variables is not None

    def _wait(self, caller: bytes, timeout_s: float, current: Callable[[], int], least: int) -> None:
        current()  # raises at once if there is no such rule
        self._waiting.append(_WaitingRequest(caller, time.monotonic() + timeout_s, current, least))

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            try:
                reached = request.current()
            except BadRule as error:  # the rule was removed after the request came
                self._sockets.refuse(request.caller, NetworkError(f"wait: {error}"))
                continue
            if reached >= request.least or request.deadline <= time.monotonic():
                self._sockets.answer(request.caller, reached)
            else:
                self._waiting.append(request)


def _shown_held(kept: KeptInTransit) -> dict[str, Any]:
    message = kept.message
    about = {"rule": kept.by.rule.id, "index": message.index, "from": message.link[0], "to": message.link[1]}
    return {**about, **shown_message(message.envelope, message.payload)}


def _plain_counts(counts: dict[Link, Counter[str]]) -> list[object]:
    return [[*link, dict(counter)] for link, counter in counts.items()]
