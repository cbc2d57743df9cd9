"""What the proxy does with a message and with a request: rules, record, counts. It touches no socket.

`Proxy` hands it what comes in, and is what `Delivery` says: where messages leave. Requests come from `harness.network.network`:

| verb | arguments | result |
|---|---|---|
| node_up | node, address, timeout_s | how many of the node's links are connected, once all are or at the deadline |
| node_down | node | |
| node_joins | node | its ports: `Ports` |
| node_leaves | node | |
| add | rule: `Rule.to_plain` | |
| remove | rule | its last counts |
| heal | | the last counts of every rule |
| release, discard | rule, most | how many were let go or lost |
| release_one, discard_one | rule, index | |
| repeat | rule, index | |
| counts | rule | for each link that had a match: sender, receiver, counts |
| wait | rule, what, least, links, timeout_s | the count, once it is `least` or at the deadline |
| links | | for each link: sender, receiver, counts |
| flush | | how many lines the record has |
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import permutations
from random import Random
from typing import Any, NamedTuple, Protocol, TypedDict

from cluster.control import ControlRequest
from harness.network.errors import NetworkError
from harness.network.rule_engine import InTransit, RuleEngine, Ruling
from harness.network.rules import BadRule, Rule
from harness.records.links import CLIENT, DELIVERED, UNKNOWN_TYPE, Link
from harness.records.messages import MessageRecorder
from node.contract import Message, NodeId
from node.settings import Settings
from node.wire import CLIENT_MESSAGES, Codec, Envelope, Malformed


class Ports(TypedDict):
    """Where the proxy listens: for each sender and receiver, and for clients of each node."""

    links: dict[NodeId, dict[NodeId, str]]
    client: dict[NodeId, str]


class Delivery(Protocol):
    """Where messages leave, and where requests are answered."""

    def send(self, letter: InTransit) -> bool:
        """Whether it could leave at once."""

    def node_up(self, node: NodeId, address: str) -> None:
        """Connect to a node, and drop what was queued for its last life."""

    def node_down(self, node: NodeId) -> None:
        """Disconnect from a node."""

    def node_joins(self, node: NodeId) -> Ports:
        """Make the links of a new node, and tell their ports. Raises BadRule; nothing has changed then."""

    def node_leaves(self, node: NodeId) -> None:
        """End the links of a node."""

    def connected(self, node: NodeId) -> int:
        """How many links to a node are connected; all are when it is the number of nodes, for clients have one too."""

    def answer(self, caller: bytes, result: object) -> None:
        """Reply to a request."""

    def refuse(self, caller: bytes, error: Exception) -> None:
        """Reply that nothing was done, and why."""


def all_links(nodes: tuple[NodeId, ...]) -> tuple[Link, ...]:
    """Every directed pair of ends: the nodes, and all clients as one."""
    return tuple(permutations((*nodes, CLIENT), 2))


class _Waiter(NamedTuple):
    """Somebody who is answered when what he waits for has come to `least`, or at the deadline."""

    caller: bytes
    deadline: float
    seen: Callable[[], int]
    least: int


class Switchboard:
    """The links of one cluster, with the rules that stand on them."""

    def __init__(
        self,
        settings: Settings,
        messages: tuple[type[Message], ...],
        recorder: MessageRecorder,
        rng: Random,
        exits: Delivery,
    ) -> None:
        self._nodes = settings.nodes
        self._codec = Codec(settings.cluster, messages)
        self._types = sorted({UNKNOWN_TYPE, *(cls.type_name() for cls in (*CLIENT_MESSAGES, *messages))})
        self._recorder = recorder
        self._fates = RuleEngine(rng)
        self._exits = exits
        self._waiters: list[_Waiter] = []
        self._totals: dict[Link, Counter[str]] = {link: Counter() for link in all_links(self._nodes)}  # of old ones too
        self._must_decode = recorder.writes

    # --- messages ---------------------------------------------------------------------------------------------------

    def arrive(self, link: Link, payload: bytes, route: tuple[bytes, ...] = ()) -> None:
        """A message has come in. `route` are the frames before it that lead back to a client."""
        letter = InTransit(link, payload, self._decode(payload) if self._must_decode else None, route)
        self._totals[link]["arrived"] += 1
        self._carry_out(self._fates.arrive(letter, time.monotonic()))

    def turn(self) -> None:
        """Do what is due, and answer those whose condition holds."""
        self._carry_out(self._fates.due(time.monotonic()))
        if self._waiters:
            self._answer_waiters()

    def wait_s(self, most_s: float) -> float:
        """Seconds until `turn` has something to do even if nothing comes in, at most `most_s`."""
        now = time.monotonic()
        due_s = self._fates.wait_s(now)
        wait_s = min([most_s if due_s is None else due_s, most_s, *(waiter.deadline - now for waiter in self._waiters)])
        return max(wait_s, 0.0)

    def _decode(self, payload: bytes) -> Envelope | None:
        try:
            return self._codec.decode(payload)
        except Malformed:
            return None

    def _carry_out(self, steps: list[Ruling]) -> None:
        for letter, decided, rule in steps:
            fate = decided
            if decided in DELIVERED and not self._exits.send(letter):
                fate = "undeliverable"
            self._recorder.note(letter, fate, rule, time.monotonic_ns())
            self._totals[letter.link][fate] += 1

    # --- requests ---------------------------------------------------------------------------------------------------

    def serve(self, request: ControlRequest) -> None:
        """Do what is asked, and answer now or when the condition holds that the request waits for."""
        try:
            match request.verb, request.arguments:
                case "node_up", {"node": node, "address": str(address), "timeout_s": float(timeout_s)}:
                    self._exits.node_up(self._known(node), address)
                    self._wait(request.caller, timeout_s, partial(self._exits.connected, node), len(self._nodes))
                case "wait", {
                    "rule": str(rule),
                    "what": what,
                    "least": least,
                    "links": links,
                    "timeout_s": timeout_s,
                }:
                    only = None if links is None else frozenset((one, other) for one, other in links)
                    self._wait(request.caller, timeout_s, partial(self._fates.total, rule, what, only), least)
                case _:
                    self._exits.answer(request.caller, self._do(request.verb, request.arguments))
        except BadRule as error:
            self._exits.refuse(request.caller, NetworkError(f"{request.verb}: {error}"))

    def _do(self, verb: str, arguments: dict[str, Any]) -> object:
        match verb, arguments:
            case "node_down", {"node": node}:
                self._exits.node_down(self._known(node))
            case "node_joins", {"node": str(node)}:
                if node in self._nodes:
                    raise BadRule(f"{node} has its links already")
                ports = self._exits.node_joins(node)
                self._nodes = (*self._nodes, node)
                for link in all_links(self._nodes):
                    self._totals.setdefault(link, Counter())
                return ports
            case "node_leaves", {"node": node}:
                self._exits.node_leaves(self._known(node))
                self._nodes = tuple(other for other in self._nodes if other != node)
            case "add", {"rule": dict(plain)}:
                self._add(Rule.from_plain(plain))
            case "remove", {"rule": str(rule)}:
                steps, counts = self._fates.remove(rule)
                self._carry_out(steps)
                return _plain_counts(counts)
            case "heal", _:
                steps, all_counts = self._fates.heal()
                self._carry_out(steps)
                return {rule: _plain_counts(counts) for rule, counts in all_counts.items()}
            case "release" | "discard" as what, {"rule": str(rule), "most": int() | None as most}:
                keeps = self._fates.total(rule, "keeps")
                self._carry_out(
                    self._fates.release(rule, most) if what == "release" else self._fates.discard(rule, most)
                )
                return keeps - self._fates.total(rule, "keeps")
            case "release_one" | "discard_one" | "repeat" as what, {
                "rule": str(rule),
                "index": int(index),
            }:
                one = {
                    "release_one": self._fates.release_one,
                    "discard_one": self._fates.discard_one,
                    "repeat": self._fates.repeat,
                }
                self._carry_out(one[what](rule, index))
            case "counts", {"rule": str(rule)}:
                return _plain_counts(self._fates.counts(rule))
            case "links", _:
                return _plain_counts({link: self._totals[link] for link in all_links(self._nodes)})
            case "flush", _:
                self._recorder.flush()
                return self._recorder.count
            case _:
                raise BadRule(f"the proxy knows no such request, or not with {', '.join(arguments)}")
        return None

    def _known(self, node: NodeId) -> NodeId:
        if node not in self._nodes:
            raise BadRule(f"there is no node {node!r}; there are {', '.join(self._nodes)}")
        return node

    def _add(self, rule: Rule) -> None:
        known = all_links(self._nodes)
        for link in sorted(rule.links or ()):
            if link not in known:
                raise BadRule(
                    f"there is no link {link[0]} -> {link[1]}; ends are {', '.join(self._nodes)} and {CLIENT}"
                )
        for type_ in sorted(rule.types or ()):
            if type_ not in self._types:
                raise BadRule(
                    f"no message is called {type_!r}, so the rule would never act; there are {', '.join(self._types)}"
                )
        self._fates.add(rule)
        self._must_decode = self._must_decode or rule.types is not None or rule.variables is not None

    def _wait(self, caller: bytes, timeout_s: float, seen: Callable[[], int], least: int) -> None:
        seen()  # an unknown rule is refused at once
        self._waiters.append(_Waiter(caller, time.monotonic() + timeout_s, seen, least))

    def _answer_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            try:
                seen = waiter.seen()
            except BadRule as error:  # removed in the meantime
                self._exits.refuse(waiter.caller, NetworkError(f"wait: {error}"))
                continue
            if seen >= waiter.least or waiter.deadline <= time.monotonic():
                self._exits.answer(waiter.caller, seen)
            else:
                self._waiters.append(waiter)


def _plain_counts(counts: dict[Link, Counter[str]]) -> list[object]:
    return [[*link, dict(counter)] for link, counter in counts.items()]
