"""Tells what happens to a cluster without processes as plain text, a story at a time.

A teller takes steps by what they are about (deliver what n1 has sent to n2), never by number, and writes a line for each in
the article's words. The text stands in `tests/transcripts/`; `pytest --regenerate` writes it anew, to be read as a diff.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.virtual.cluster import VirtualCluster, run
from harness.virtual.narration import listed, tell
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    Fire,
    LoseDisk,
    Packet,
    PeerLost,
    Recover,
    SendFrame,
    Step,
    plain,
)
from node.algorithms import load_algorithm
from node.contract import Message, NodeId, Request
from node.frames import CommandFrame
from node.status import status_fields
from node.wire import encode_value, pack_unchecked

TRANSCRIPTS = Path(__file__).parent / "transcripts"
_WIDTH = 110

#: One name, or several; None is any.
Names = NodeId | Iterable[NodeId] | None


class Teller:
    """One story."""

    def __init__(self, title: str, algorithm: str, nodes: int) -> None:
        self.cluster = VirtualCluster(load_algorithm(algorithm), tuple(f"n{number}" for number in range(1, nodes + 1)))
        self._text = [title, "=" * len(title)]
        self._number = 0
        self._told = 0

    # --- what happens -----------------------------------------------------------------------------------------------

    def say(self, *sentences: str) -> None:
        """A paragraph."""
        self._space()
        self._text += [*textwrap.wrap(" ".join(sentences), _WIDTH), ""]

    def propose(self, node: NodeId, colour: str) -> None:
        """A new client proposes."""
        self.cluster.propose(node, encode_value(colour))
        self._tell()

    def query(self, node: NodeId) -> None:
        """A new client queries."""
        self.cluster.query(node)
        self._tell()

    def deliver(self, kind: type[Message] | None = None, sender: Names = None, to: Names = None) -> None:
        """What is under way now and is of that kind, from and to those nodes, arrives. Something must."""
        for packet in self._under_way(kind, sender, to):
            self._apply(Deliver(packet))

    def lose(self, kind: type[Message] | None = None, sender: Names = None, to: Names = None) -> None:
        """It is lost."""
        for packet in self._under_way(kind, sender, to):
            self._apply(DropPacket(packet))

    def lose_the_rest(self) -> None:
        """Whatever is left under way never arrives."""
        lost: list[Step] = [DropPacket(packet) for packet in self.cluster.pending]
        for step in lost:
            self.cluster.apply(step)
        self._summarise("lost", lost)

    def settle(self, among: Iterable[NodeId], *, in_short: bool = False) -> None:
        """All that these nodes send each other arrives, in the order in which it was sent, until nothing is left.

        `in_short` tells it in a line.
        """
        inside = set(among)
        arrived: list[Step] = []
        while packets := [packet for packet in self.cluster.pending if {packet.sender, packet.to} <= inside]:
            arrived.append(Deliver(packets[0]))
            if in_short:
                self.cluster.apply(arrived[-1])
                run(self.cluster, self.cluster.own_turns())
            else:
                self._apply(arrived[-1])
        if in_short:
            self._summarise(f"delivered, among {listed(sorted(inside))}", arrived)

    def _summarise(self, what: str, steps: list[Step]) -> None:
        """A line for steps that are not worth one each."""
        self._told = len(self.cluster.happened)
        counts = Counter(step.packet.message.type_name() for step in steps if isinstance(step, Deliver | DropPacket))
        if counts:
            told = listed([f"{count} {kind}" for kind, count in counts.items()])
            self._text += textwrap.wrap(f"{what}: {told}", _WIDTH, initial_indent="   - ", subsequent_indent=" " * 5)

    def crash(self, *nodes: NodeId) -> None:
        """They are gone."""
        for node in nodes:
            self._apply(Crash(node))

    def recover(self, *nodes: NodeId) -> None:
        """They are back."""
        for node in nodes:
            self._apply(Recover(node))

    def lose_disk(self, node: NodeId) -> None:
        """Its directory is gone."""
        self._apply(LoseDisk(node))

    def fire(self, node: NodeId, timer: str) -> None:
        """A timer runs out."""
        self._apply(Fire(node, timer))

    def command(self, client: str, node: NodeId, machine: str, *commands: list[Any]) -> None:
        """A client sends commands to a node of a log."""
        number = 1 + sum(isinstance(happened.step, SendFrame) for happened in self.cluster.happened)
        frame = CommandFrame(number, 0, 0, 0, machine, pack_unchecked(list(commands)))
        self._apply(SendFrame(node, Request(client, number), frame))

    def connection_closes(self, node: NodeId, peer: NodeId) -> None:
        """A node sees that a peer has gone."""
        self._apply(PeerLost(node, peer))

    # --- the text ---------------------------------------------------------------------------------------------------

    def look(self, *about: str) -> None:
        """What each node says of itself: these parts of its status."""
        self._space()
        for name, node in self.cluster.nodes.items():
            status = status_fields(node.instance) if node.instance is not None else {}
            told = ", ".join(f"{key} {plain(status[key])}" for key in about if status.get(key) is not None)
            self._text.append(f"   {name} {'says: ' + told if told else 'says nothing' if node.up else 'is down'}")

    def text(self) -> str:
        """The whole story."""
        judged = [f"   => {violation}" for violation in self.cluster.violations] or ["   => nothing contradicts itself"]
        self._space()
        return "\n".join([*self._text, "What an onlooker who sees everything says:", *judged]) + "\n"

    def _space(self) -> None:
        if self._text[-1]:
            self._text.append("")

    def _under_way(self, kind: type[Message] | None, sender: Names, to: Names) -> list[Packet]:
        found = [
            packet
            for packet in self.cluster.pending
            if (kind is None or isinstance(packet.message, kind)) and _is(packet.sender, sender) and _is(packet.to, to)
        ]
        assert found, f"nothing such is under way: {kind}, {sender}, {to}; there is {list(self.cluster.pending)}"
        return found

    def _apply(self, step: Step) -> None:
        self.cluster.apply(step)
        self._tell()

    def _tell(self) -> None:
        run(self.cluster, self.cluster.own_turns())
        new = self.cluster.happened[self._told :]
        self._told = len(self.cluster.happened)
        for line in tell((happened.step, happened.outcome) for happened in new):
            self._number += 1
            head = f"{self._number:3}. "
            self._text += textwrap.wrap(line, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def wrapped(lines: Iterable[str]) -> list[str]:
    """Lines that are told elsewhere, as wide as a story's."""
    told: list[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + (4 if line.lstrip()[:1].isdigit() else 0))
        told += textwrap.wrap(line, _WIDTH, subsequent_indent=indent) or [""]
    return told


def _is(node: NodeId, wanted: Names) -> bool:
    return wanted is None or node == wanted or (not isinstance(wanted, str) and node in set(wanted))
