"""The events of a virtual cluster, for the page. Each click takes one step of the page's time, whatever virtual time passes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from harness.records.links import Link
from harness.records.messages import readable_fields
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage
from harness.report.events import Event, call_event, cut, fate_event, fault_event, message_event, node_event
from harness.report.predicates import Predicates
from harness.virtual.cluster import VirtualCluster
from harness.virtual.log_answers import answer_of, asked_by
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    VARIABLE,
    GiveUp,
    Packet,
    Propose,
    Query,
    SendFrame,
    Step,
    inputs_of,
)
from node.contract import NodeId, Request
from node.status import node_status
from node.wire import decode_value

#: How much of the page's time a click takes, in microseconds: a little more than a message needs for its way on the picture.
STEP_US: Final = 700_000
#: The names of promises where the judge of a virtual cluster has another name than the page: the judge's, then the page's.
_NAMES: Final = {"agreement": "agreement", "stability": "a decision stays", "promise": "a promise never goes back"}


class TwinPicture:
    """Notes what a virtual cluster does, as events. `events` has all of them."""

    def __init__(self, cluster: VirtualCluster) -> None:
        self._cluster = cluster
        self.events: list[Event] = []
        self.steps = 0
        """How many clicks there were."""
        self._watched = Predicates(cluster.algorithm, len(cluster.members))
        self._judged = 0
        self._known: set[str] = set()
        self._shown: dict[NodeId, Event] = {}
        self._last_said: dict[NodeId, Mapping[str, Any]] = {}
        self._calls: dict[Request, DrawnCall] = {}
        self._faults: dict[str, DrawnFault] = {}

    @property
    def t_us(self) -> int:
        """The page's time, in microseconds."""
        return self.steps * STEP_US

    @property
    def predicates(self) -> list[str]:
        """The names of the promises that the page watches."""
        return [*self._watched.names, "validity"]

    def next_step(self) -> None:
        """Begin the events of the next click."""
        self.steps += 1

    # --- messages and calls -------------------------------------------------------------------------------------------

    def drawn(self, number: int, packet: Packet) -> DrawnMessage:
        """Return a message as the report and the page draw it."""
        return DrawnMessage(
            number,
            self.t_us * 1000,
            packet.sender,
            packet.to,
            packet.message.type_name(),
            VARIABLE,
            packet.incarnation,
            readable_fields(packet.message),
            "held",
            None,
        )

    def message(self, number: int, packet: Packet) -> None:
        """Note that a node has sent a message, or that the network has made one more copy of it."""
        message = self.drawn(number, packet)
        self.events.append(message_event(message))
        self._watched.message(self.t_us, message.sender, message.type, message.variable, message.fields)

    def fate(self, number: int, fate: str) -> None:
        """Note what has become of a message."""
        self.events.append(fate_event(self.t_us, number, fate))

    def step(self, step: Step, outcome: TurnOutput) -> None:
        """Note the calls of a step, and the answers that clients get in it."""
        for each in inputs_of(step):
            match each:
                case Propose(node, request, value):
                    self._begin(request, "propose", VARIABLE, decode_value(value), node)
                case Query(node, request):
                    self._begin(request, "query", VARIABLE, None, node)
                case SendFrame(node, request, frame):
                    self._begin(request, *asked_by(frame), node)
                case GiveUp(_, request):
                    self._finish(request, "info", None, "the client has stopped waiting")
                case _:
                    pass
        for reply in outcome.replies:
            self._reply(reply)

    def _begin(self, request: Request, f: str, key: str, value: Any, node: NodeId) -> None:
        number = len(self._calls)
        self._calls[request] = DrawnCall(number, request.client, f, key, value, node, self.t_us * 1000)
        self.events.append(call_event(self._calls[request]))

    def _reply(self, reply: VirtualReply) -> None:
        call = self._calls.get(reply.request)
        if call is None or call.ended is not None:
            return
        if reply.refused is not None:
            self._finish(reply.request, "fail", None, reply.refused)
        elif reply.to_frame and reply.value is None:
            self._finish(
                reply.request, "fail", None, f"{call.asked_node} does not lead; ask {reply.leader or 'another node'}"
            )
        elif reply.to_frame:
            self._finish(reply.request, "ok", answer_of(call.f, reply.value or b""), None)
        else:
            answer = None if reply.value is None else decode_value(reply.value)
            self._finish(reply.request, "ok", answer, None)

    def _finish(self, request: Request, outcome: str, answer: Any, error: str | None) -> None:
        call = self._calls.get(request)
        if call is None or call.ended is not None:
            return
        call = self._calls[request] = replace(
            call, ended=self.t_us * 1000, outcome=outcome, answer=answer, node=call.asked_node, error=error
        )
        if outcome == "ok":
            self._watched.answer(call.began // 1000, self.t_us, call.f, call.key, answer, call.node)
        self.events.append(call_event(call))

    # --- nodes and links ----------------------------------------------------------------------------------------------

    def nodes(self, suspended: Collection[NodeId]) -> None:
        """Note the state of every node."""
        for name, node in self._cluster.nodes.items():
            state = "down" if not node.up else "suspended" if name in suspended else "up"
            how = "down: crashed" if not node.up else state
            self._fault(f"down {name}", None if node.up else "kill", nodes=(name,))
            self._fault(f"suspended {name}", "suspend" if name in suspended else None, nodes=(name,))
            process = {"node": name, "state": state, "how": how, "pid": None, "boots": node.incarnation}
            status = node_status(node.core, {}, 8) if node.up else None
            if status is not None:
                self._last_said[name] = status
            event = node_event(self.t_us, process, status, self._last_said.get(name))
            if {**self._shown.get(name, {}), "t": 0} != {**event, "t": 0}:
                self._shown[name] = event
                self.events.append(event)
                self._watched.status(self.t_us, name, event["vars"])

    def conditions(self, links: Collection[Link], suspended: Collection[NodeId]) -> None:
        """Note which links are cut."""
        self._fault(f"cut {sorted(links)}", "cut" if links else None, cut=tuple(sorted(links)))
        for name in [name for name in self._faults if name.startswith("cut ") and name != f"cut {sorted(links)}"]:
            self._fault(name, None)

    def _fault(
        self, identity: str, name: str | None, nodes: tuple[NodeId, ...] = (), cut: tuple[Link, ...] = ()
    ) -> None:
        """Note that a fault is in force, or that it is not."""
        known, now = self._faults.get(identity), self.t_us * 1000
        if name is not None and known is None:
            self._faults[identity] = DrawnFault(name, now, None, True, nodes, cut, (), {})
        elif name is None and known is not None:
            del self._faults[identity]
            known = DrawnFault(known.name, known.began, now, True, known.nodes, known.cut, (), {})
        else:
            return
        fault = known or self._faults[identity]
        self.events.append(fault_event(fault, self._cluster.members, f"{identity} {fault.began}"))

    # --- promises -----------------------------------------------------------------------------------------------------

    def broken(self) -> None:
        """Note the promises that the last step has broken: those that the page watches, and those of the virtual judge."""
        seen = self._watched.take_broken()
        self._known |= {event["name"] for event in seen}
        self.events += seen
        violations = self._cluster.violations
        for violation in violations[self._judged :]:
            name = _NAMES.get(violation.kind, violation.kind)
            if name not in self._known:
                self._known.add(name)
                self.events.append({"k": "predicate", "t": self.t_us, "name": name, "evidence": cut(violation.text)})
        self._judged = len(violations)
