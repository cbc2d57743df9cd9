"""What a click does to the virtual twin: to its nodes, its links and its messages, by its clients, and in time.

Acts have the names and arguments of those on a cluster that runs (`acts.py`) wherever they do the same.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from harness.faults.partitions import checked_groups, links_between
from harness.page.act_table import Acts, checked_indices, is_pair
from harness.page.twin import Twin
from harness.page.twin_run import OnItsWay
from harness.records.links import Link
from harness.report.events import cut
from harness.runs.session_call import parse_value
from harness.virtual.cluster import ImpossibleStep
from harness.virtual.steps import VARIABLE, Crash, Deliver, LoseDisk, Propose, Query, Recover, SendFrame, Step
from node.contract import BadInput, NodeId, Request
from node.frames import CommandFrame, ReadFrame
from node.wire import encode_value, pack
from node.wording import count

#: How many steps may happen while virtual time passes, and how many messages are delivered at once.
_STEPS_MAX: Final = 500
#: How much virtual time may pass at once, in seconds.
_PASS_S_MAX: Final = 60.0


class TwinActs:
    """The acts on a twin, which `table` lists. Each takes `lock` and calls `tell` when it has changed something."""

    def __init__(self, twin: Twin, lock: threading.RLock, tell: Callable[[], None]) -> None:
        self._twin, self._lock, self._tell = twin, lock, tell

    def table(self) -> Acts:
        """Return the acts by their names."""
        call = {"name": str, "at": str, "timeout_s": float}
        return {
            "kill": (self._each(self._kill), {"nodes": str}),
            "restart": (self._each(self._restart), {"nodes": str}),
            "suspend": (self._each(self._suspend), {"nodes": str}),
            "resume": (self._each(self._resume), {"nodes": str}),
            "lose_disk": (self._each(self._lose_disk), {"nodes": str}),
            "isolate": (self._isolate, {"node": str}),
            "partition": (self._partition, {"groups": str}),
            "cut": (self._cut, {"links": list, "one_way": bool}),
            "end": (lambda number: self._heal(), {"number": int}),  # noqa: ARG005 - all cuts are one
            "heal": (self._heal, {}),
            "deliver": (self._on_messages(self._deliver), {"rule": str, "indices": list}),
            "lose": (self._on_messages(lambda one: self._take(f"d{one.number}")), {"rule": str, "indices": list}),
            "repeat": (self._on_messages(self._copy), {"rule": str, "indices": list}),
            "take": (self._take, {"step": str}),
            "deliver_all": (self._deliver_all, {}),
            "pass": (self._pass, {"seconds": float}),
            "propose": (self._propose, {**call, "value": str}),
            "query": (self._query, call),
            "put": (self._put, {"key": str, "value": str, "timeout_s": float}),
            "get": (self._get, {"key": str, "timeout_s": float}),
            "back": (self._back, {}),
            "forward": (self._forward, {}),
            "go": (self._go, {"position": int}),
            "go_to_step": (self._go_to_step, {"step": int}),
        }

    def _do(self, step: Step) -> str:
        """Take a step. Return what it did, in English."""
        with self._lock:
            try:
                return self._twin.take(step).text
            except ImpossibleStep as error:
                raise BadInput(str(error)) from None
            finally:
                self._tell()

    def _node(self, name: str) -> NodeId:
        if name not in self._twin.members:
            raise BadInput(f"there is no node {cut(name, 40)!r}: there are {', '.join(self._twin.members)}")
        return name

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _each(self, act: Callable[[NodeId], str]) -> "Callable[[str], str]":
        def do(nodes: str) -> str:
            with self._lock:
                return "; ".join(act(self._node(name)) for name in nodes.split(","))

        return do

    def _kill(self, node: NodeId) -> str:
        self._must_be(node, up=True)
        return self._do(Crash(node))

    def _restart(self, node: NodeId) -> str:
        self._must_be(node, up=False)
        if not self._twin.run.cluster.can_boot(node):
            raise BadInput(
                f"{node} has lost its disk. It refuses to boot: it may have promised what it no longer knows"
            )
        return self._do(Recover(node))

    def _lose_disk(self, node: NodeId) -> str:
        if self._twin.run.cluster.nodes[node].up:
            self._do(Crash(node))
        return self._do(LoseDisk(node))

    def _must_be(self, node: NodeId, *, up: bool) -> None:
        if self._twin.run.cluster.nodes[node].up is not up:
            raise BadInput(f"{node} is {'down' if up else 'up'}, but must be {'up' if up else 'down'}")

    def _suspend(self, node: NodeId) -> str:
        self._must_be(node, up=True)
        return self._change(f"{node} is suspended", suspended=self._twin.run.conditions.suspended | {node})

    def _resume(self, node: NodeId) -> str:
        if node not in self._twin.run.conditions.suspended:
            raise BadInput(f"{node} is not suspended")
        return self._change(f"{node} runs again", suspended=self._twin.run.conditions.suspended - {node})

    # --- links --------------------------------------------------------------------------------------------------------

    def _change(self, text: str, **what: Any) -> str:
        with self._lock:
            self._twin.change(text, replace(self._twin.run.conditions, **what))
            self._tell()
        return text

    def _cut_links(self, text: str, links: Sequence[Link]) -> str:
        with self._lock:
            return self._change(text, cut=self._twin.run.conditions.cut | set(links))

    def _isolate(self, node: str) -> str:
        links = links_between([[self._node(node)]], self._twin.members)
        return self._cut_links(f"{node} is cut from all others", links)

    def _partition(self, groups: str) -> str:
        sides = checked_groups(groups, self._twin.members)
        for side in sides:
            for node in side:
                self._node(node)
        return self._cut_links(f"cut: {groups}", links_between(sides, self._twin.members))

    def _cut(self, links: list[Any], one_way: bool) -> str:
        if not links or not all(map(is_pair, links)):
            raise BadInput("links are a list of pairs of nodes, such as [n1, n2]")
        pairs = [(self._node(one), self._node(other)) for one, other in links]
        both = [] if one_way else [(other, one) for one, other in pairs]
        arrow = "→" if one_way else "↔"
        return self._cut_links(f"cut: {', '.join(f'{one} {arrow} {other}' for one, other in pairs)}", [*pairs, *both])

    def _heal(self) -> str:
        return self._change("every link is whole", cut=frozenset())

    # --- steps --------------------------------------------------------------------------------------------------------

    def _take(self, step: str) -> str:
        with self._lock:
            found = next((one for one in self._twin.run.possible() if one.name == step), None)
            if found is None:
                raise BadInput(f"{cut(step, 40)!r} cannot happen now")
            return self._do(found.step)

    def _on_messages(self, act: Callable[[OnItsWay], str]) -> Callable[[str, list[Any]], str]:
        def do(rule: str, indices: list[Any]) -> str:  # noqa: ARG001 - a rule of the proxy, of which there is none here
            with self._lock:
                return [act(self._on_its_way(index)) for index in checked_indices(indices)][-1]

        return do

    def _on_its_way(self, index: int) -> OnItsWay:
        one = self._twin.run.on_their_way.get(index)
        if one is None:
            raise BadInput(f"message {index} is not on its way")
        return one

    def _deliver(self, one: OnItsWay) -> str:
        to = one.packet.to
        if not self._twin.run.does(to):
            state = "suspended" if self._twin.run.cluster.nodes[to].up else "down"
            raise BadInput(f"{to} is {state}, and takes in nothing")
        return self._take(f"m{one.number}")

    def _copy(self, one: OnItsWay) -> str:
        """Deliver a copy of a message, and keep it on its way."""
        again = list(self._twin.run.cluster.sent).index(one.packet)
        self._take(f"r{again}")
        return self._deliver(one)

    def _deliver_all(self) -> str:
        """Deliver what is on its way, the oldest first, and what follows from it."""
        with self._lock:
            done = 0
            try:
                while (step := self._oldest()) is not None:
                    if done >= _STEPS_MAX:
                        raise BadInput(f"{_STEPS_MAX} messages were delivered, and more are on their way")
                    self._twin.take(step)
                    done += 1
            finally:
                self._tell()
            return f"{count(done, 'message')} delivered"

    def _oldest(self) -> Step | None:
        run = self._twin.run
        return next((Deliver(one.packet) for one in run.on_their_way.values() if run.does(one.packet.to)), None)

    def _pass(self, seconds: float) -> str:
        if not 0 < seconds <= _PASS_S_MAX:
            raise BadInput(f"{seconds} seconds: give a number above 0, up to {_PASS_S_MAX:g}")
        with self._lock:
            try:
                done = self._twin.pass_time(float(seconds), _STEPS_MAX)
            finally:
                self._tell()
            return f"{seconds:g} s of virtual time: {count(done, 'step')}"

    # --- calls --------------------------------------------------------------------------------------------------------

    def _asked(self, at: str) -> NodeId:
        """Return the node to call: the one that is named, or else one that leads, or else the first that does anything."""
        run = self._twin.run
        if at:
            if not run.does(self._node(at)):
                raise BadInput(f"{at} is {'suspended' if run.cluster.nodes[at].up else 'down'}, and was not asked")
            return at
        able = [node for node in self._twin.members if run.does(node)]
        if not able:
            raise BadInput("no node is up")
        leaders = [
            node for node in able if (one := run.cluster.nodes[node].instance) is not None and one.status().leads
        ]
        return (leaders or able)[0]

    def _new_client(self) -> Request:
        clients = len({done.step.request for done in self._twin.run.cluster.happened if hasattr(done.step, "request")})
        return Request(f"c{clients + 1}", 1)

    def _call(self, at: str, make: Callable[[NodeId, Request], Step]) -> str:
        with self._lock:
            return self._do(make(self._asked(at), self._new_client()))

    def _propose(self, name: str, value: str, at: str, timeout_s: float) -> str:
        self._set_once(name)
        encoded = encode_value(parse_value(value))
        return self._call(at, lambda node, request: Propose(node, request, encoded))

    def _query(self, name: str, at: str, timeout_s: float) -> str:
        self._set_once(name)
        return self._call(at, Query)

    def _set_once(self, name: str) -> None:
        if self._twin.algorithm.keeps_log:
            raise BadInput("this is a log: put and get")
        if name != VARIABLE:
            raise BadInput(f"the twin has one variable, {VARIABLE}")

    def _put(self, key: str, value: str, timeout_s: float) -> str:
        packed = pack([["put", key, encode_value(parse_value(value))]])
        return self._ask_log(lambda number: CommandFrame(number, 0, 0, 0, "kv", packed))

    def _get(self, key: str, timeout_s: float) -> str:
        packed = pack([["get", key]])
        return self._ask_log(lambda number: ReadFrame(number, 0, "kv", packed))

    def _ask_log(self, make: Callable[[int], CommandFrame | ReadFrame]) -> str:
        if not self._twin.algorithm.keeps_log:
            raise BadInput("this algorithm keeps no log: propose and query")
        return self._call("", lambda node, request: SendFrame(node, request, make(request.number)))

    # --- time and branches --------------------------------------------------------------------------------------------

    def _go(self, position: int) -> str:
        with self._lock:
            try:
                self._twin.go(position)
            finally:
                self._tell()
            at = self._twin.at
            return f"step {at.depth}" + (f": {at.move.text}" if at.move else ": the nodes have booted")

    def _go_to_step(self, step: int) -> str:
        """Go to a step of the present way."""
        with self._lock:
            path = self._twin.at.path()
            if not 0 <= step < len(path):
                raise BadInput(f"there is no step {step} here")
            return self._go(path[step].number)

    def _back(self) -> str:
        with self._lock:
            if self._twin.at.parent is None:
                raise BadInput("nothing has happened yet")
            return self._go(self._twin.at.parent.number)

    def _forward(self) -> str:
        with self._lock:
            if not self._twin.at.children:
                raise BadInput("nothing has followed here yet")
            return self._go(self._twin.at.children[-1].number)
