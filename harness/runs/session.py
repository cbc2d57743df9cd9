"""A session by hand as a run: the calls and faults of the command line, on one run, until it is judged at the end.

`ClusterSession` (`cluster_session.py`) is one on our own nodes, `SystemSession` (`system_session.py`) on nodes that are not ours.

Rules
-----
1. A session is from `consensus up` to `consensus down`. Its run folder is made with the first call or fault.
2. The history has the calls of the command line's verbs. The supervisor stamps them: the invoke before the verb sends
   anything, the completion after the verb has the answer. Calls of other clients are not recorded.
3. Every fault goes through `Faults`, so it has a receipt. A process that was killed or stopped from outside gets one, too.
4. The plan is written anew after every fault, so it is there even if the supervisor is killed.
5. A file of the run that cannot be written keeps no call and no fault from being done. `trouble` says so, and a session with
   calls that were not recorded is not judged.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from random import Random
from typing import Any, Final

from cluster.errors import WrongState
from cluster.processes import ProcessState
from harness.faults.active import ReceiptBuilder
from harness.faults.catalogue import check_arguments, find_fault, split_lists
from harness.faults.injector import Proofs
from harness.network.rules import Action, Reorder
from harness.records.history import Event
from harness.records.jsonable import from_jsonable
from harness.records.links import Link
from harness.records.receipts import Receipt
from harness.runs.plan import Plan
from harness.runs.run_by_hand import RunByHand
from harness.runs.session_steps import SessionSteps
from node.contract import BadInput, NodeId

#: How long the reply to `consensus inject` waits for the fault to be in force, in seconds.
_INJECT_S: Final = 2.0
#: The same for a fault that waits for a message, which the user sends next.
_INJECT_AT_MESSAGE_S: Final = 0.2
#: The number of a call that could not be recorded.
UNRECORDED: Final = -1


@dataclass(eq=False)
class _InjectedFault:
    """A fault of `consensus inject`, the thread that injects it, and what came of it."""

    name: str
    thread: threading.Thread
    is_in_force: bool = False
    error: BaseException | None = None


class HandSession(ABC):
    """What the supervisor does for the command line. `run` has begun; it ends after `close`."""

    def __init__(self, run: RunByHand) -> None:
        """Begin a session on `run`."""
        self._run = run
        run.faults.claim_s = 0.0  # the user waits for the reply: a fault that cannot begin now is refused
        self._steps = SessionSteps()
        self._injecting: list[_InjectedFault] = []
        self._calls: dict[int, Event] = {}
        self._unrecorded = ""
        self._unsaved = ""
        self._call_count = 0
        self._outside: dict[NodeId, ReceiptBuilder] = {}
        self._last_look: dict[NodeId, tuple[ProcessState, int]] = {}

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Return the requests of the command line that are not about links."""
        return {
            "call_began": self.call_began,
            "call_ended": self.call_ended,
            "inject": self.inject,
        }

    # --- calls --------------------------------------------------------------------------------------------------------

    def call_began(self, f: str, key: str, value: Any, node: NodeId | None, timeout_s: float) -> int:
        """Record that a verb is about to call. Returns the call's number, for `call_ended`; -1 if it cannot be recorded."""
        try:
            recorder = self._run.recorder
        except (OSError, BadInput) as error:  # the run folder cannot be made
            self._unrecorded = str(error)
            return UNRECORDED
        self._call_count += 1
        event = recorder.invoke(f"hand{self._call_count}", f, key, from_jsonable(value), node=node, timeout_s=timeout_s)
        self._calls[event.index] = event
        return event.index

    def call_ended(self, call: int, type: str, value: Any, error: str | None, node: NodeId | None) -> None:  # noqa: A002 - a field's name
        """Record the completion of a call: its `type` is ok, fail or info."""
        if call == UNRECORDED:
            return
        event = self._calls.pop(call)
        match type:
            case "ok":
                self._run.recorder.ok(event, from_jsonable(value), node=node)
            case "fail":
                self._run.recorder.fail(event, error or "", node=node)
            case _:
                self._run.recorder.info(event, error or "", node=node)

    # --- processes: as `Cluster` does it, recorded ----------------------------------------------------------------------

    def kill(self, *nodes: NodeId) -> Proofs:
        """SIGKILL each node."""
        return self._signal("kill", nodes, self._run.faults.kill)

    def terminate(self, *nodes: NodeId) -> Proofs:
        """SIGTERM each node."""
        return self._signal("terminate", nodes, self._run.faults.terminate)

    def suspend(self, *nodes: NodeId) -> Proofs:
        """SIGSTOP each node."""
        return self._signal("suspend", nodes, self._run.faults.suspend)

    def resume(self, *nodes: NodeId) -> Proofs:
        """SIGCONT each node."""
        proofs = self._run.faults.resume(*nodes)
        self._is_back(nodes)
        return proofs

    def restart(self, *nodes: NodeId) -> Proofs:
        """Start each node again. A node that still runs is killed first."""
        cluster = self._run.cluster
        running = [node for node in nodes if cluster.state(node) in (ProcessState.UP, ProcessState.SUSPENDED)]
        if running:
            self.kill(*running)
        proofs = self._run.faults.restart(*nodes)
        self._is_back(nodes)
        return proofs

    def _signal(self, fault: str, nodes: Sequence[NodeId], act: Callable[..., Proofs]) -> Proofs:
        began_s = self._steps.now_s()
        proofs = act(*nodes)
        for node in nodes:
            self._steps.end_faults_of_process(node)
            self._steps.add(fault, {"nodes": [node]}, at_s=began_s)
        self.save()
        return proofs

    def _is_back(self, nodes: Sequence[NodeId]) -> None:
        for node in nodes:
            self._steps.end_faults_of_process(node)
            self._end_outside(node)
        self.save()

    def notice_signals_from_outside(self) -> None:
        """Give a receipt to what another program did to a process, such as `kill -9` from another shell. Call it often."""
        with self._run.faults.lock:
            for node in self._run.nodes:
                state, now_ns = self._run.cluster.state(node), time.monotonic_ns()
                before, seen_ns = self._last_look.get(node, (state, now_ns))
                self._last_look[node] = (state, now_ns)
                if state is before or self._run.faults.is_affected(node):
                    continue
                if self._end_outside(node):
                    self._is_back([node])
                elif state is ProcessState.SUSPENDED or (state is ProcessState.DOWN and not self._failed(node)):
                    self._begin_outside(node, state, seen_ns)

    @abstractmethod
    def _failed(self, node: NodeId) -> bool:
        """Return whether a node that is down has ended by itself. That is no fault from outside."""

    def _begin_outside(self, node: NodeId, state: ProcessState, seen_ns: int) -> None:
        fault = "kill" if state is ProcessState.DOWN else "suspend"
        how = self._run.cluster.process(node).describe()
        receipt = self._run.faults.begin(fault, nodes_down=[node], by="another program", kernel=how)
        receipt.began_ns, receipt.bit = seen_ns, True  # the last look at which the process was well
        self._outside[node] = receipt
        self._steps.add(fault, {"nodes": [node]})
        self.save()

    def _end_outside(self, node: NodeId) -> bool:
        """End the receipt of a signal from outside. Returns whether there was one."""
        receipt = self._outside.pop(node, None)
        if receipt is not None:
            receipt.end()
        return receipt is not None

    # --- links, and any fault of the catalogue --------------------------------------------------------------------------

    def spoil(
        self, fault: str, links: Sequence[Link], action: Action, probability: float, arguments: dict[str, Any]
    ) -> list[str]:
        """Put a rule on links. `arguments` are those of the fault in a plan. Returns the rule's id."""
        known = {"most_s": action.most_s} if isinstance(action, Reorder) else {}
        disturbance = find_fault(fault).excuse.disturbance({"seconds": 0.0, **known, **arguments})
        active = self._run.faults.apply_rules(fault, [action], links, disturbance, probability=probability)
        self._steps.add(fault, {"links": [list(link) for link in links], **arguments}, active)
        self.save()
        return [rule.id for rule in active.rules]

    def cut(self, fault: str, links: Sequence[Link], **arguments: Any) -> list[str]:
        """Cut links. `arguments` are those of the fault in a plan. Returns the rule's id."""
        active = self._run.faults.cut(links, fault)
        self._steps.add(fault, arguments, active)
        self.save()
        return [rule.id for rule in active.rules]

    def inject(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Inject a fault of the catalogue. It lasts until `heal`.

        A fault that waits for a message is injected by a thread of its own, and the reply does not wait for it.

        Raises:
            BadFault: there is no such fault, or it does not take these arguments.
            WrongState: a node is not in a state for it, or another fault is in force on that node. Nothing was changed.

        Returns:
            The fault, its arguments, `in_force`: whether the fault is in force already, and `strikes`: the nodes and links of its
            receipts so far, for people.
        """
        arguments = split_lists(arguments)
        check_arguments(name, arguments, self._run.nodes)
        inject = find_fault(name).fault.inject
        rng = Random(f"{self._run.seed}/{len(self._steps.faults)}")
        at_s, began_ns = self._steps.now_s(), time.monotonic_ns()

        def work() -> None:
            try:
                active = inject(self._run, rng, **arguments)
                self._steps.add(name, arguments, active, at_s)
                self.save()
                injected.is_in_force = True
            except BaseException as error:  # noqa: BLE001 - raised below, if it comes in time
                injected.error = error

        thread = threading.Thread(target=work, name=f"inject {name}", daemon=True)
        injected = _InjectedFault(name, thread)
        self._injecting = [one for one in self._injecting if one.thread.is_alive()] + [injected]
        thread.start()
        at_message = "message" in signature(inject).parameters
        thread.join(_INJECT_AT_MESSAGE_S if at_message else _INJECT_S)
        if injected.error is not None:
            raise injected.error
        return {
            "fault": name,
            "arguments": arguments,
            "in_force": injected.is_in_force,
            "strikes": _struck(self._run.faults.receipts, began_ns),
        }

    def faults_in_force(self) -> list[dict[str, Any]]:
        """Return the faults that `end_fault` can end: for each its number, its name and its arguments."""
        return [
            {"number": number, "fault": one.fault, "arguments": one.arguments}
            for number, one in enumerate(list(self._steps.faults))
            if one.active is not None and one.ended_s is None
        ]

    def end_fault(self, number: int) -> str:
        """End one fault, and let every other one go on. Returns its name.

        Raises:
            WrongState: no fault in force has this number.
        """
        found = next((one for one in self.faults_in_force() if one["number"] == number), None)
        if found is None:
            raise WrongState(f"no fault {number} is in force: it has ended already")
        try:
            self._steps.heal_one(number)
        finally:
            self.save()
        return str(found["fault"])

    def heal(self) -> dict[str, Any]:
        """End every fault except those of `kill`, `terminate` and `suspend`. A fault that still waits never begins.

        Returns:
            `ended`: the faults that were in force; `ended_faults`: each with its arguments, too; `never_began`: those that still
            waited; `up_again`: the nodes that run again; `not_up`: each node that does not run, with its state for people, since
            `heal` does not end a `kill`.
        """
        never_began = self._give_up_waiting()
        self._run.faults.allow_new_faults()
        ended, before = self._steps.in_force(), self._nodes_not_up()
        try:
            self._steps.heal()
        finally:
            self._run.network.heal()
            self.save()
        not_up = self._nodes_not_up()
        up_again = [node for node in before if node not in not_up]
        names = [one["fault"] for one in ended]
        return {
            "ended": names,
            "ended_faults": ended,
            "never_began": never_began,
            "up_again": up_again,
            "not_up": not_up,
        }

    def _nodes_not_up(self) -> dict[NodeId, str]:
        cluster = self._run.cluster
        return {
            node: cluster.process(node).describe()
            for node in cluster.nodes
            if cluster.state(node) is not ProcessState.UP
        }

    def _give_up_waiting(self) -> list[str]:
        """Let no fault begin, and wait until each one that was asked for is in force or has given up.

        Returns:
            The names of those that have given up now.
        """
        waiting = [one for one in self._injecting if one.thread.is_alive()]
        self._injecting.clear()
        self._run.faults.stop_new_faults()
        for one in waiting:
            one.thread.join()
        return [one.name for one in waiting if not one.is_in_force]

    # --- the run --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the plan and the receipts as they are now. If they cannot be written, `trouble` says so."""
        with self._run.faults.lock:  # a second lock here could deadlock with it
            self._unsaved = ""
            try:
                self._plan().save(self._run.files.plan)
                self._run.save_receipts()
            except (OSError, BadInput) as error:
                self._unsaved = str(error)

    @abstractmethod
    def _plan(self) -> Plan:
        """Return a plan with the session's faults."""

    def trouble(self) -> str:
        """Return what of this session cannot be written, in a line for people; empty if all can."""
        lost = self._unrecorded or (self._run.recorder.lost if self._run.has_history else "") or self._unsaved
        return f"this session is not recorded in full: {lost}" if lost else ""

    def close(self) -> None:
        """End the faults and the calls. Then the run may end."""
        self._give_up_waiting()
        self._steps.heal_at_the_end()
        self._run.faults.close()
        if not self._run.has_history:
            return
        for event in self._calls.values():
            self._run.recorder.info(event, "the session ended first")
        self.save()


def _struck(receipts: Sequence[Receipt], since_ns: int) -> list[str]:
    """Return the nodes and the links of the faults that began since a time, each once: "n1", "n1 to n2"."""
    found: dict[str, None] = {}
    for receipt in receipts:
        if receipt.began_ns >= since_ns:
            found |= dict.fromkeys(receipt.nodes_down)
            found |= {f"{sender} to {to}": None for sender, to in (*receipt.links_cut, *receipt.links_disturbed)}
    return list(found)
