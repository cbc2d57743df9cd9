"""The driver of stepped nodes: makes a node take one step, waits until the step is done, and reads what the node sent.

Theory of operation
-------------------
The driver sends requests to the control sockets of stepped nodes (`harness/systems/stepped_node.py`). A rule of the proxy
holds every message between nodes. The driver reads the proxy's record to learn which messages have arrived at the proxy, and
releases each of them on request, once or several times.
"""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cluster.control import ControlClient
from cluster.errors import WrongState
from cluster.processes import ProcessState
from harness.records.links import Link
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.report.wording import fields_text
from harness.runs.experiment import Experiment
from harness.systems.stepped_node import EMPTY_DISKS_VOTE, TIME_STANDS_STILL
from harness.virtual.fault_model import FaultModel
from node.contract import NodeId

#: How long a node may take for a turn, and a message for its way to the proxy, on a loaded machine.
TURN_TIMEOUT_S: Final = 10.0
_POLL_INTERVAL_S: Final = 0.001


class StepNotDone(Exception):
    """A node did not do what the driver asked or waited for. The message names it."""


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message that the proxy keeps, or has kept. `index` is the index of its line in the proxy's record."""

    index: int
    link: Link
    incarnation: int
    type: str
    fields: str
    """As `canonical_json`."""

    def __str__(self) -> str:
        return f"{self.type} ({fields_text(json.loads(self.fields))}) from {self.link[0]} to {self.link[1]}"


def stepped_node_command(fault_model: FaultModel) -> tuple[str, ...]:
    """Return the command that starts a stepped node."""
    plain = (sys.executable, "-P", "-m", "harness.systems.stepped_node")
    options = (
        (EMPTY_DISKS_VOTE, fault_model.empty_disks_vote),
        (TIME_STANDS_STILL, fault_model.time_stands_still),
    )
    return (*plain, *(option for option, is_on in options if is_on))


class Driver:
    """Drives the nodes of one experiment, whose nodes were started with `stepped_node_command`."""

    def __init__(self, run: Experiment) -> None:
        self._run = run
        self._rule = run.network.hold(run.faults.node_links(), name="schedule")
        self._receipt = run.faults.begin("schedule", links_disturbed=run.faults.node_links())
        self._inputs: dict[NodeId, int] = dict.fromkeys(run.nodes, 0)
        self._controls: dict[NodeId, ControlClient] = {}
        self._record = FileTail(RunFiles(run.folder).messages)
        self._messages_seen = 0

    # --- nodes ------------------------------------------------------------------------------------------------------

    def node_restarted(self, node: NodeId) -> None:
        """Forget the address and the input count of a node's last process: the new process has its own."""
        self._inputs[node] = 0
        self._controls.pop(node, None)

    def step(self, node: NodeId, **arguments: Any) -> None:
        """Make a node do a step, and return when it is done.

        Args:
            node: the node.
            arguments: the arguments of the request `step`, as listed in `harness.systems.stepped_node`.

        Raises:
            StepNotDone: the node refused, or ended.
        """
        try:
            self._control(node).ask("step", TURN_TIMEOUT_S, **arguments)
        except WrongState as error:
            raise StepNotDone(str(error)) from error

    def await_input(self, node: NodeId) -> None:
        """Return when the node has finished the turn of one more message from a client or a node.

        Raises:
            StepNotDone: the node did not do so in time.
        """
        self._inputs[node] += 1
        until = time.monotonic() + TURN_TIMEOUT_S
        while self._control(node).ask("inputs", TURN_TIMEOUT_S) != self._inputs[node]:
            self._run.client.poll()
            if time.monotonic() > until:
                raise self._no_turn(node)
            time.sleep(_POLL_INTERVAL_S)

    def _control(self, node: NodeId) -> ControlClient:
        if node not in self._controls:
            ready = self._run.cluster.process(node).ready
            assert ready is not None
            control = ready.report["control"]

            def check_alive() -> None:
                if self._run.cluster.state(node) is ProcessState.DOWN:
                    raise self._no_turn(node)

            self._controls[node] = ControlClient(
                control["address"], control["token"], check_alive, lambda *_: self._no_turn(node)
            )
        return self._controls[node]

    def _no_turn(self, node: NodeId) -> StepNotDone:
        return StepNotDone(f"{node} has not taken its turn: {self._run.cluster.process(node).describe()}")

    # --- messages ---------------------------------------------------------------------------------------------------

    def new_messages(self, at_least: int) -> list[KeptMessage]:
        """Return what nodes have sent each other since the last call, in the order of the proxy's record.

        Args:
            at_least: how many messages to wait for. After `TURN_TIMEOUT_S` the list may be shorter.
        """
        found: list[KeptMessage] = []
        until = time.monotonic() + TURN_TIMEOUT_S
        while True:
            found += self._read()
            if len(found) >= at_least or time.monotonic() > until:
                self._messages_seen += len(found)
                return found
            time.sleep(_POLL_INTERVAL_S)

    def deliver(self, message: KeptMessage, *, keep: bool) -> None:
        """Deliver a kept message. With `keep`, deliver a copy, and keep the message for a later step."""
        if keep:
            self._rule.repeat(message.index)
        else:
            self._rule.release_one(message.index)

    def lose(self, message: KeptMessage) -> None:
        """Discard a kept message, so that it never arrives."""
        self._rule.discard_one(message.index)

    def free(self, nodes: Iterable[NodeId]) -> None:
        """Turn these stepped nodes into ordinary nodes, deliver every kept message, and hold no more messages."""
        for node in nodes:
            self._control(node).ask("free", TURN_TIMEOUT_S)
        self.close()

    def close(self) -> None:
        """Complete the receipt, deliver every kept message, and hold no more messages."""
        if self._receipt.ended_ns is None:
            self._receipt.evidence["letters"] = self._messages_seen
            self._receipt.bit = self._rule.total("held") > 0
            self._rule.remove()
            self._receipt.end()

    def _read(self) -> list[KeptMessage]:
        """Return what nodes have sent each other, as recorded by the proxy since the last call."""
        self._run.network.flush()
        found = []
        for line in self._record.new_objects():
            link = (line["from"], line["to"])
            if "of" not in line and link in self._run.faults.node_links():
                found.append(
                    KeptMessage(line["index"], link, line["incarnation"], line["type"], canonical_json(line["fields"]))
                )
        return found


def canonical_json(fields: Any) -> str:
    """Return JSON that is equal for equal fields, whatever the order of their keys."""
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)
