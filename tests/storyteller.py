"""Writes what happens to a cluster without processes as plain text: a transcript for each story.

A story names steps by their content (deliver what n1 has sent to n2), never by number, and the transcript has a line for each in
the article's terms. The transcripts are in `tests/transcripts/`; `pytest --regenerate` writes them again, to be read as a diff.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.virtual.cluster import VirtualCluster, run
from harness.virtual.narration import join_with_and, narrate
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


class Transcript:
    """The transcript of one story. Its methods apply steps to `cluster` and add lines to the text."""

    def __init__(self, title: str, algorithm: str, nodes: int) -> None:
        self.cluster = VirtualCluster(load_algorithm(algorithm), tuple(f"n{number}" for number in range(1, nodes + 1)))
        self._text = [title, "=" * len(title)]
        self._number = 0
        self._written = 0  # of the steps in `cluster.happened`

    # --- steps ------------------------------------------------------------------------------------------------------

    def explain(self, *sentences: str) -> None:
        """Add a paragraph."""
        self._space()
        self._text += [*textwrap.wrap(" ".join(sentences), _WIDTH), ""]

    def propose(self, node: NodeId, colour: str) -> None:
        """Have a new client propose."""
        self.cluster.propose(node, encode_value(colour))
        self._write_steps()

    def query(self, node: NodeId) -> None:
        """Have a new client query."""
        self.cluster.query(node)
        self._write_steps()

    def deliver(self, kind: type[Message] | None = None, sender: Names = None, to: Names = None) -> None:
        """Deliver the packets that are on their way now and match. At least one must match."""
        for packet in self._matching(kind, sender, to):
            self._apply(Deliver(packet))

    def lose(self, kind: type[Message] | None = None, sender: Names = None, to: Names = None) -> None:
        """Lose the packets that are on their way now and match. At least one must match."""
        for packet in self._matching(kind, sender, to):
            self._apply(DropPacket(packet))

    def lose_the_rest(self) -> None:
        """Lose every packet that is on its way, in one line."""
        lost: list[Step] = [DropPacket(packet) for packet in self.cluster.pending]
        for step in lost:
            self.cluster.apply(step)
        self._summarise("lost", lost)

    def settle(self, among: Iterable[NodeId], *, in_short: bool = False) -> None:
        """Deliver what these nodes send each other, in the order in which it was sent, until nothing is on its way.

        If `in_short`, write one line for all of it.
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
            self._summarise(f"delivered, among {join_with_and(sorted(inside))}", arrived)

    def _summarise(self, what: str, steps: list[Step]) -> None:
        """Write one line for several steps, with the number of messages of each class."""
        self._written = len(self.cluster.happened)
        counts = Counter(step.packet.message.type_name() for step in steps if isinstance(step, Deliver | DropPacket))
        if counts:
            text = join_with_and([f"{count} {kind}" for kind, count in counts.items()])
            self._text += textwrap.wrap(f"{what}: {text}", _WIDTH, initial_indent="   - ", subsequent_indent=" " * 5)

    def crash(self, *nodes: NodeId) -> None:
        """Crash nodes."""
        for node in nodes:
            self._apply(Crash(node))

    def recover(self, *nodes: NodeId) -> None:
        """Boot nodes again."""
        for node in nodes:
            self._apply(Recover(node))

    def lose_disk(self, node: NodeId) -> None:
        """Have a node lose its directory."""
        self._apply(LoseDisk(node))

    def fire(self, node: NodeId, timer: str) -> None:
        """Have a timer expire."""
        self._apply(Fire(node, timer))

    def command(self, client: str, node: NodeId, machine: str, *commands: list[Any]) -> None:
        """Have a client send commands to a node of a log."""
        number = 1 + sum(isinstance(happened.step, SendFrame) for happened in self.cluster.happened)
        frame = CommandFrame(number, 0, 0, 0, machine, pack_unchecked(list(commands)))
        self._apply(SendFrame(node, Request(client, number), frame))

    def connection_closes(self, node: NodeId, peer: NodeId) -> None:
        """Have a node see its connection to a peer close."""
        self._apply(PeerLost(node, peer))

    # --- the text ---------------------------------------------------------------------------------------------------

    def write_status(self, *about: str) -> None:
        """Write some fields of each node's status."""
        self._space()
        for name, node in self.cluster.nodes.items():
            status = status_fields(node.instance) if node.instance is not None else {}
            text = ", ".join(f"{key} {plain(status[key])}" for key in about if status.get(key) is not None)
            self._text.append(f"   {name} {'reports ' + text if text else 'reports nothing' if node.up else 'is down'}")

    def text(self) -> str:
        """Return the whole transcript, which ends with the violations."""
        judged = [f"   => {violation}" for violation in self.cluster.violations] or ["   => no violation"]
        self._space()
        return "\n".join([*self._text, "The judge's verdict:", *judged]) + "\n"

    def _space(self) -> None:
        if self._text[-1]:
            self._text.append("")

    def _matching(self, kind: type[Message] | None, sender: Names, to: Names) -> list[Packet]:
        found = [
            packet
            for packet in self.cluster.pending
            if (kind is None or isinstance(packet.message, kind)) and _is(packet.sender, sender) and _is(packet.to, to)
        ]
        assert found, f"no such packet is on its way: {kind}, {sender}, {to}; there are {list(self.cluster.pending)}"
        return found

    def _apply(self, step: Step) -> None:
        self.cluster.apply(step)
        self._write_steps()

    def _write_steps(self) -> None:
        run(self.cluster, self.cluster.own_turns())
        new = self.cluster.happened[self._written :]
        self._written = len(self.cluster.happened)
        for line in narrate((happened.step, happened.outcome) for happened in new):
            self._number += 1
            head = f"{self._number:3}. "
            self._text += textwrap.wrap(line, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def wrapped(lines: Iterable[str]) -> list[str]:
    """Wrap lines to the width of a transcript."""
    wrapped_lines: list[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + (4 if line.lstrip()[:1].isdigit() else 0))
        wrapped_lines += textwrap.wrap(line, _WIDTH, subsequent_indent=indent) or [""]
    return wrapped_lines


def _is(node: NodeId, wanted: Names) -> bool:
    return wanted is None or node == wanted or (not isinstance(wanted, str) and node in set(wanted))
