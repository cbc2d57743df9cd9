"""The hand that drives stepped nodes: tells them what to do next, waits until they have done it, and sees what they send.

`harness.systems.stepped_node` is the other end. Everything that nodes send each other is kept by the proxy; what has
come in is read
from its record, and each message leaves when the hand says so, once or several times.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from harness.records.links import Link
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.runs.experiment import Experiment
from harness.systems.stepped_node import EMPTY_DISKS_VOTE
from harness.virtual.fault_model import FaultModel
from node.contract import BadInput, NodeId

#: How long a node may take for a turn, and a message for its way to the proxy. A loaded machine is slow; nothing else is.
PATIENCE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.001

_Seen = TypeVar("_Seen")


class NotFollowed(Exception):
    """What was asked of a node, or waited for, has not happened. The message says what."""


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that the proxy keeps, or has kept. `index` is that of its line in the record."""

    index: int
    link: Link
    incarnation: int
    type: str
    fields: str
    """As canonical JSON."""

    def __str__(self) -> str:
        return f"{self.type} {self.fields} from {self.link[0]} to {self.link[1]}"


def command(folder: Path, oddities: FaultModel) -> tuple[str, ...]:
    """What starts a stepped node. `folder` is the experiment's."""
    if oddities.own_messages_wait:
        raise BadInput(
            "what a real node sends to itself never leaves it, so this schedule, in which it does, cannot be replayed: "
            "explore without own_messages_wait"
        )
    plain = (sys.executable, "-P", "-m", "harness.systems.stepped_node", str(folder / "hand"))
    return (*plain, EMPTY_DISKS_VOTE) if oddities.empty_disks_vote else plain


class Driver:
    """Drives the nodes of one experiment, which was started with `command`."""

    def __init__(self, run: Experiment) -> None:
        self._run = run
        self._folder = run.folder / "hand"
        self._rule = run.network.hold(run.faults.node_links(), name="schedule")
        self._paper = run.faults.begin("schedule", links_disturbed=run.faults.node_links())
        self._inputs: dict[NodeId, int] = dict.fromkeys(run.nodes, 0)
        self._told: dict[NodeId, int] = dict.fromkeys(run.nodes, 0)
        self._record = FileTail(RunFiles(run.folder).messages)
        self._did = {node: FileTail(self._folder / f"{node}.did") for node in run.nodes}
        self._last_did: dict[NodeId, dict[str, Any]] = {}
        self._came = 0

    # --- nodes ------------------------------------------------------------------------------------------------------

    def born(self, node: NodeId) -> None:
        """A new life of a node has begun: it counts anew."""
        self._inputs[node] = self._told[node] = 0

    def tell(self, node: NodeId, **order: Any) -> None:
        """Tell a node what to do, and return when it has. Raises NotFollowed."""
        with (self._folder / f"{node}.told").open("a") as file:
            file.write(json.dumps(order) + "\n")
        self._told[node] += 1
        did = self._wait_turn(node)
        if did["unset"]:
            raise NotFollowed(f"{node} has no timer {did['unset'][0]} set")

    def await_input(self, node: NodeId) -> None:
        """Return when one more message, of a client or of a node, has had its turn. Raises NotFollowed."""
        self._inputs[node] += 1
        self._wait_turn(node)

    def _wait_turn(self, node: NodeId) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            self._run.client.poll()
            did = self._last(node)
            told, inputs = did.get("told", 0), did.get("inputs", 0)
            return did if (told, inputs) == (self._told[node], self._inputs[node]) else None

        did = self._until(done, node)
        if did is None:
            raise NotFollowed(f"{node} has not taken its turn: {self._run.cluster.process(node).describe()}")
        return did

    def _last(self, node: NodeId) -> dict[str, Any]:
        """The last line of what a node says it did; empty if its last life wrote it."""
        for line in self._did[node].new_objects():
            self._last_did[node] = line
        did = self._last_did.get(node, {})
        return did if did.get("pid") == self._run.cluster.process(node).pid else {}

    def _until(self, seen: Callable[[], _Seen | None], node: NodeId) -> _Seen | None:
        """What `seen` returns as soon as it is something; None if that takes too long, or the node has ended."""
        until = time.monotonic() + PATIENCE_S
        while (found := seen()) is None and time.monotonic() < until:
            if self._run.cluster.process(node).pid is None or self._has_ended(node):
                return seen()
            time.sleep(_LOOK_EVERY_S)
        return found

    def _has_ended(self, node: NodeId) -> bool:
        return self._run.cluster.state(node).value == "down"

    # --- messages ---------------------------------------------------------------------------------------------------

    def came(self, at_least: int) -> list[KeptMessage]:
        """What nodes have sent each other since the last call: so many letters, or more, or as many as come in time."""
        letters: list[KeptMessage] = []
        until = time.monotonic() + PATIENCE_S
        while True:
            letters += self._read()
            if len(letters) >= at_least or time.monotonic() > until:
                self._came += len(letters)
                return letters
            time.sleep(_LOOK_EVERY_S)

    def deliver(self, letter: KeptMessage, *, keep: bool) -> None:
        """Let a letter go, or a copy of it if it is to be kept for later."""
        if keep:
            self._rule.repeat(letter.index)
        else:
            self._rule.release_one(letter.index)

    def lose(self, letter: KeptMessage) -> None:
        """A letter never arrives."""
        self._rule.discard_one(letter.index)

    def free(self, nodes: Iterable[NodeId]) -> None:
        """All that is kept arrives, time passes again, and the nodes are nodes like any other."""
        for node in nodes:
            self.tell(node, free=True)
        self.close()

    def close(self) -> None:
        """Complete the receipt, and let everything pass."""
        if self._paper.ended_ns is None:
            self._paper.evidence["letters"] = self._came
            self._paper.bit = self._rule.total("held") > 0
            self._rule.remove()
            self._paper.end()

    def _read(self) -> list[KeptMessage]:
        """What the proxy has recorded since."""
        self._run.network.flush()
        letters = []
        for told in self._record.new_objects():
            link = (told["from"], told["to"])
            if "of" not in told and link in self._run.faults.node_links():
                letters.append(
                    KeptMessage(told["index"], link, told["incarnation"], told["type"], canonical(told["fields"]))
                )
        return letters


def canonical(fields: Any) -> str:
    """Equal for equal fields."""
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)
