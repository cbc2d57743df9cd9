"""Drives stepped nodes: has them do one step, waits until it is done, and sees what they send.

`harness/systems/stepped_node.py` is the other end. The proxy holds everything that nodes send each other. The driver reads in
the proxy's record what has come, and each message leaves when the driver says so, once or several times.
"""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cluster.control import ControlClient
from cluster.errors import WrongState
from cluster.processes import ProcessState
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


def command(fault_model: FaultModel) -> tuple[str, ...]:
    """Return the command that starts a stepped node."""
    if fault_model.own_messages_wait:
        raise BadInput(
            "what a real node sends to itself never leaves it, so this schedule, in which it does, cannot be replayed: "
            "explore without own_messages_wait"
        )
    plain = (sys.executable, "-P", "-m", "harness.systems.stepped_node")
    return (*plain, EMPTY_DISKS_VOTE) if fault_model.empty_disks_vote else plain


class Driver:
    """Drives the nodes of one experiment, which was started with `command`."""

    def __init__(self, run: Experiment) -> None:
        self._run = run
        self._rule = run.network.hold(run.faults.node_links(), name="schedule")
        self._paper = run.faults.begin("schedule", links_disturbed=run.faults.node_links())
        self._inputs: dict[NodeId, int] = dict.fromkeys(run.nodes, 0)
        self._controls: dict[NodeId, ControlClient] = {}
        self._record = FileTail(RunFiles(run.folder).messages)
        self._came = 0

    # --- nodes ------------------------------------------------------------------------------------------------------

    def born(self, node: NodeId) -> None:
        """Take in that a node has been restarted: its new process listens elsewhere, and counts its input anew."""
        self._inputs[node] = 0
        self._controls.pop(node, None)

    def step(self, node: NodeId, **what: Any) -> None:
        """Have a node do a step, and return when it is done. `what` is as the table of stepped nodes has it.

        Raises:
            NotFollowed: it has not done it.
        """
        try:
            self._control(node).ask("step", PATIENCE_S, **what)
        except WrongState as error:
            raise NotFollowed(str(error)) from error

    def await_input(self, node: NodeId) -> None:
        """Return when one more message, of a client or of a node, has had its turn.

        Raises:
            NotFollowed: it has not.
        """
        self._inputs[node] += 1
        until = time.monotonic() + PATIENCE_S
        while self._control(node).ask("inputs", PATIENCE_S) != self._inputs[node]:
            self._run.client.poll()
            if time.monotonic() > until:
                raise self._not_followed(node)
            time.sleep(_LOOK_EVERY_S)

    def _control(self, node: NodeId) -> ControlClient:
        if node not in self._controls:
            ready = self._run.cluster.process(node).ready
            assert ready is not None
            control = ready.report["control"]

            def check_alive() -> None:
                if self._run.cluster.state(node) is ProcessState.DOWN:
                    raise self._not_followed(node)

            self._controls[node] = ControlClient(
                control["address"], control["token"], check_alive, lambda *_: self._not_followed(node)
            )
        return self._controls[node]

    def _not_followed(self, node: NodeId) -> NotFollowed:
        return NotFollowed(f"{node} has not taken its turn: {self._run.cluster.process(node).describe()}")

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
            self._control(node).ask("free", PATIENCE_S)
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
