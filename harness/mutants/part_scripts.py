"""Scripts about parts of the harness: each plays with a part that is broken or shipped, and the harness must find the break.

A suite that injects faults is worth what its faults and its judges are worth. So a break of a rule of the proxy, or of the record
of faults, has to be found like any other: by the observers and guards that every run has. These scripts use no process.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final, cast

from harness.checkers.evidence import RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.verdict import VerdictStatus
from harness.faults.active import LinkFault
from harness.faults.excuses import UNRELIABLE
from harness.faults.injector import Faults
from harness.network.rule_installer import RuleInstaller
from harness.network.rules import Cut, Delay, Rule
from harness.network.stream_rules import Piece, StreamMeter, StreamRules
from harness.network.switchboard import Switchboard
from harness.records.links import Link
from harness.systems.maelstrom.channel import Channel
from harness.systems.maelstrom.protocol import JsonLine
from harness.systems.maelstrom.router import Listener, Router
from node.algorithms.paxos import Paxos

_NODES: Final = ("n1", "n2")
_PIECE_BYTES: Final = 40
_DELAY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class PartScript:
    """A script about a part of the harness. `play` raises an AssertionError if the harness has found the part to be broken."""

    name: str
    play: Callable[[type], None]

    @property
    def about(self) -> str:
        """What happens, in one line."""
        return (self.play.__doc__ or "").strip().partition("\n")[0]


def load_part(name: str) -> type:
    """Return the class `module:Class`."""
    module, _, class_name = name.partition(":")
    found: type = getattr(import_module(module), class_name)
    return found


class _StreamWorld(RuleInstaller):
    """Two nodes and the rules of a proxy of streams between them, in a time that passes when a piece waits."""

    meters_cuts = True

    def __init__(self, rules: type[StreamRules]) -> None:
        super().__init__(_NODES)
        self._in_force = rules(seed=1)
        self._meter = StreamMeter(self._in_force)
        self._now_s = 100.0

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Do what the proxy does with a request."""
        match verb, arguments:
            case "add", {"rule": dict(plain)}:
                rule = Rule.from_plain(plain)
                self._in_force.add(rule)
                self._meter.claimed(rule, self._now_s)
                return None
            case "remove" | "counts", {"rule": str(rule_id)}:
                counts = self._in_force.counts(rule_id)
                if verb == "remove":
                    self._in_force.remove(rule_id)
                    self._meter.withdrawn(rule_id)
                return [[*link, dict(of_link)] for link, of_link in counts.items()]
        raise AssertionError(f"no script asks for {verb}")

    def send(self, link: Link) -> None:
        """Send a piece, which leaves when the rules let it, if they ever do."""
        piece = Piece(link, "bytes", self._now_s, stream=1, size=_PIECE_BYTES)
        look = self._in_force.look(piece, self._now_s)
        if look.wait_until_s == float("inf"):
            return
        self._now_s = max(self._now_s, look.wait_until_s)
        self._in_force.left(piece, _PIECE_BYTES, self._now_s)
        self._meter.left(link, _PIECE_BYTES, piece.arrived_s, self._now_s)


def _faults(world: _StreamWorld, kind: type[Faults] = Faults) -> Faults:
    return kind(cast(Any, SimpleNamespace(nodes=_NODES)), cast(Any, world))


def _links() -> Iterator[Link]:
    yield _NODES
    yield (_NODES[1], _NODES[0])


def _judge(faults: Faults, fault: LinkFault) -> None:
    """Heal the fault, and raise an AssertionError if the guards say that the run was no test."""
    fault.heal()
    verdict = guards(RunEvidence(_NODES, Paxos, receipts=faults.receipts), PlanExecution(1, 1), (), {})
    if verdict.status is not VerdictStatus.VALID and "in flight" not in verdict.evidence:  # these runs have no calls
        raise AssertionError(f"guards: {verdict.evidence}")


def a_cut_between_two_nodes(rules: type[StreamRules]) -> None:
    """Two nodes are cut from each other, and each sends the other some bytes."""
    world = _StreamWorld(rules)
    faults = _faults(world)
    fault = faults.apply_rules("partition", [Cut()], _links(), UNRELIABLE)
    for link in _links():
        world.send(link)
    _judge(faults, fault)


@contextmanager
def _lines_between_two_nodes(kind: type[Switchboard]) -> Iterator[Router]:
    """Yield the router of two nodes that speak by lines, without their processes: what they get stays in their pipes."""

    def nothing(*_: object) -> None:
        return None

    listener = Listener(nothing, nothing, (), nothing, nothing, lambda *_: False)
    router = Router(_NODES, None, 1, listener, kind)
    with ExitStack() as ending:
        for node in _NODES:
            pipes = []
            for mode in ("wb", "rb", "rb"):  # the ends that the harness has
                reader, writer = os.pipe()
                ours, theirs = (writer, reader) if mode == "wb" else (reader, writer)
                pipes.append(os.fdopen(ours, mode, buffering=0))
                ending.callback(os.close, theirs)
            router.starts(node, Channel(*pipes))
            router.opens(node)
        try:
            yield router
        finally:
            router.close()


def _say_hello(router: Router) -> None:
    for sender, receiver in _links():
        router.from_node(sender, JsonLine(sender, receiver, {"type": "hello"}).to_bytes())


def a_cut_between_two_nodes_that_speak_by_lines(kind: type[Switchboard]) -> None:
    """Two nodes that speak Maelstrom's protocol are cut from each other, and each sends the other a message."""
    with _lines_between_two_nodes(kind) as router:
        faults = Faults(cast(Any, SimpleNamespace(nodes=_NODES)), cast(Any, router))
        fault = faults.apply_rules("partition", [Cut()], _links(), UNRELIABLE)
        _say_hello(router)
        _judge(faults, fault)


def messages_between_two_nodes(kind: type[Switchboard]) -> None:
    """Two nodes that speak Maelstrom's protocol send each other a message, and the record must have what was handed over."""
    with _lines_between_two_nodes(kind) as router:
        _say_hello(router)


def a_slow_link(rules: type[StreamRules]) -> None:
    """Bytes from one node to another are delayed by half a second."""
    world = _StreamWorld(rules)
    faults = _faults(world)
    fault = faults.apply_rules("delay", [Delay(_DELAY_S)], [_NODES], UNRELIABLE)
    world.send(_NODES)
    _judge(faults, fault)


def a_cut_and_its_receipt(kind: type[Faults]) -> None:
    """Two nodes are cut from each other, and the guards ask for the receipt of the cut."""
    world = _StreamWorld(StreamRules)
    faults = _faults(world, kind)
    fault = faults.apply_rules("partition", [Cut()], _links(), UNRELIABLE)
    for link in _links():
        world.send(link)
    _judge(faults, fault)


A_CUT_BETWEEN_TWO_NODES: Final = PartScript("a-cut-between-two-nodes", a_cut_between_two_nodes)
A_CUT_OF_LINES: Final = PartScript("a-cut-of-lines", a_cut_between_two_nodes_that_speak_by_lines)
MESSAGES_BETWEEN_TWO_NODES: Final = PartScript("messages-between-two-nodes", messages_between_two_nodes)
A_SLOW_LINK: Final = PartScript("a-slow-link", a_slow_link)
A_CUT_AND_ITS_RECEIPT: Final = PartScript("a-cut-and-its-receipt", a_cut_and_its_receipt)
