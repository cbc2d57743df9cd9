"""Follows a cluster that runs: asks its supervisor and its nodes many times a second, and turns what changes into events.

Theory of operation
-------------------
Two threads look. The first asks the supervisor (`harness/runs/live_verbs.py`) for processes, faults and messages, and reads the
calls from the session's history as it grows. The second asks the nodes that are up for their status, at their own addresses, so
neither the proxy nor the supervisor waits for a node that hangs. Both look often while something happens, and else five times a
second.

If the supervisor has ended, the page says why, and the first thread goes on looking for one: the cluster may be started again.
The tour has no supervisor: its own program answers the looks (`tour_page.py`).
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from cluster.clients.client import Client
from cluster.errors import ConsensusError
from harness.page.event_log import EventLog
from harness.page.view import PageView
from harness.records.jsonable import from_jsonable
from harness.records.links import DELIVERED, KEPT
from harness.records.run_files import RunFiles
from harness.records.tail import FileTail
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage
from harness.report.events import Event, call_event, cut, fate_event, fault_event, message_event, node_event
from harness.report.predicates import Predicates
from node.algorithms import load_algorithm
from node.contract import Algorithm

#: How often to look while something happens, while more messages come than are shown, and else, in seconds.
_BUSY_S: Final = 0.04
_FLOODED_S: Final = 0.1
_IDLE_S: Final = 0.2
#: For how long something happens after the last event, in seconds.
_LIVELY_S: Final = 1.5
#: How many messages a second all looks take in the long run, and how many beyond that at once. More are thinned, and counted:
#: the page draws 330 at once, each for two thirds of a second. What a person does by hand makes short bursts of messages.
MESSAGES_PER_S: Final = 500
BURST_MAX: Final = 1_500
#: Looks leave the processors to the cluster: the pause after a look is so many times as long as the look was.
_REST: Final = 4
#: How many messages that wait in the proxy are remembered.
_WAITS_MAX: Final = 10_000
#: How nice the threads that look are (nice(2)): the nodes come first if the processors do not suffice for both.
_NICE: Final = 5
#: The faults after which a node's disk does not hold what the node has said.
_TAKES_DISK: Final = ("delete-directory", "lose-node", "restore-old-copy")
#: How long the supervisor, and a node, may take to answer, in seconds.
_SUPERVISOR_S: Final = 5.0
_STATUS_S: Final = 0.3
#: How often to look for a supervisor if there is none, in seconds.
_FIND_S: Final = 0.1
#: How old the picture may be, in seconds, before the page says that it is.
_OLD_S: Final = 2.0


class Lookout(Protocol):
    """What answers the looks at one life of a cluster: its supervisor, or the program that holds it."""

    @property
    def pid(self) -> int:
        """A number of this life of the cluster."""

    def ask(self, verb: str, timeout_s: float, /, **arguments: Any) -> Any:
        """Answer `look` as `harness.runs.live_verbs` describes it. Raises NotUp if the cluster has ended."""


def _not_ours() -> type[Algorithm]:
    from harness.systems.system import NotOurs  # noqa: PLC0415 - it takes long, and few clusters need it

    return NotOurs


class LiveView:
    """Follows a cluster from `start` to `close`. `view` is what it has seen."""

    def __init__(self, find: Callable[[], Lookout], about: Mapping[str, Any]) -> None:
        """Prepare to look.

        Args:
            find: returns what answers the looks; raises NotUp, and says why, if the cluster is not up.
            about: what the page says of the cluster. `original` is the shipped algorithm of which its own is a copy; `system`
                is true of nodes that are not ours.
        """
        self._find = find
        #: Called with the reason when a cluster that was followed has ended.
        self.on_ended: Callable[[str], object] = lambda _why: None
        #: Called at each look with the faults that are in force, or with none if nothing runs any more.
        self.on_look: Callable[[list[dict[str, Any]]], object] = lambda _in_force: None
        self._zero_ns = time.monotonic_ns()
        self.view = PageView(EventLog(), dict(about), lambda: self.us(time.monotonic_ns()), lambda: self.folder)
        #: Whether the nodes are not ours, so that none can be asked for its status and no promise of theirs is known.
        self._is_foreign = bool(about.get("system"))
        algorithm = _not_ours() if self._is_foreign else load_algorithm(about.get("original", about["algorithm"]))
        self.predicates = Predicates(algorithm, len(about["nodes"]))
        self.view.about["predicates"] = [] if self._is_foreign else self.predicates.names
        self.view.about["of_messages"] = self.predicates.of_messages
        #: The run folder of the session by hand; None before its first call or fault.
        self.folder: Path | None = None
        self._closing, self._hurry, self._has_looked = threading.Event(), threading.Event(), threading.Event()
        self._lively_until = 0.0
        self._asks_since: float | None = None  # since when a look has had no answer
        #: Whether the last look has left messages out. Then no single one can be followed by eye, and fewer looks suffice.
        self.is_flooded = False
        self._lock = threading.Lock()
        self._processes: dict[str, dict[str, Any]] = {}
        self._statuses: dict[str, dict[str, Any] | None] = {}
        #: By node: what it has last said in this life or an earlier one, unless its disk has gone since.
        self._last_said: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, Event] = {}
        self._threads = [
            threading.Thread(target=self._keep_looking, name="look", daemon=True),
            threading.Thread(target=self._keep_asking, name="ask", daemon=True),
        ]

    def start(self) -> None:
        """Begin to look. Returns after the first look, or the first try: what happens from then on is seen."""
        for thread in self._threads:
            thread.start()
        self._has_looked.wait()

    def close(self) -> None:
        """Look and ask once more, and then no more: the last picture is of the end, as long as the nodes are up."""
        self._closing.set()
        self._hurry.set()
        for thread in self._threads:
            thread.join()

    def hurry(self) -> None:
        """Look at once: something was done."""
        self._lively_until = time.monotonic() + _LIVELY_S
        self._hurry.set()

    def us(self, time_ns: int) -> int:
        """Return a time of the records as the events' microseconds."""
        return (time_ns - self._zero_ns) // 1000

    def _add(self, events: list[Event]) -> None:
        if events:
            self._lively_until = time.monotonic() + _LIVELY_S
            self.view.log.add([*events, *self.predicates.take_broken()])

    def _pause(self, took_s: float) -> None:
        """Wait until the next look. The last one took so long; it takes long if the machine has much else to do."""
        self._hurry.wait(max(self._interval_s(), _REST * took_s))
        self._hurry.clear()

    def _interval_s(self) -> float:
        if time.monotonic() >= self._lively_until:
            return _IDLE_S
        return _FLOODED_S if self.is_flooded else _BUSY_S

    # --- the supervisor -------------------------------------------------------------------------------------------------

    def _keep_looking(self) -> None:
        _yield_to_nodes()
        while not self._closing.is_set():
            is_followed = False
            try:
                session = _Session(self, self._find())
                self.view.stand(ended=None, booting=False)
                is_last = False
                while not is_last:
                    is_last = self._closing.is_set()
                    began = self._asks_since = time.monotonic()
                    self._add(session.look())
                    self._asks_since = None
                    is_followed = True
                    self._has_looked.set()
                    self._pause(time.monotonic() - began)
            except (ConsensusError, ValueError, OSError) as error:
                self._nothing_runs(str(error))
                self._has_looked.set()
                if is_followed:
                    self.on_ended(str(error))
            self._closing.wait(_FIND_S)

    def say_if_old(self) -> None:
        """Say that the picture is old if a look has had no answer for long. The next answer takes that back."""
        since = self._asks_since
        if since is not None and time.monotonic() - since > _OLD_S:
            old_s = time.monotonic() - since
            self.view.stand(
                trouble=f"The picture is {old_s:.0f} s old: the cluster's supervisor has not answered since."
            )

    def _nothing_runs(self, why: str) -> None:
        self._asks_since = None
        with self._lock:
            self._processes = {
                node: {**process, "state": "down", "how": "the cluster has ended", "pid": None, "address": None}
                for node, process in self._processes.items()
            }
            self._statuses.clear()
            events = self._changed_nodes(time.monotonic_ns())
        self._add(events)
        self.on_look([])
        self.view.stand(ended=cut(why), held=[], held_count=0, in_force=[], trouble=None)

    # --- the nodes ------------------------------------------------------------------------------------------------------

    def take_processes(
        self, time_ns: int, rows: list[dict[str, Any]], without_disk: Collection[str] = ()
    ) -> list[Event]:
        """Take in how the nodes' processes are, and which disks have gone. Return an event for each node that has changed."""
        with self._lock:
            for node in without_disk:
                self._last_said.pop(node, None)
            self._processes = {row["node"]: row for row in rows}
            for row in rows:
                if row["state"] != "up":
                    self._statuses.pop(row["node"], None)
            return self._changed_nodes(time_ns)

    def _changed_nodes(self, time_ns: int) -> list[Event]:
        """Return an event for each node that is not as it was shown last.

        A look may be older than the status that was taken in before it. A browser shows the event with the latest time, so what
        is known later has a later time.
        """
        events = []
        for node, process in self._processes.items():
            before = self._shown.get(node)
            time_us = self.us(time_ns) if before is None else max(self.us(time_ns), before["t"] + 1)
            status = {} if self._is_foreign and process["state"] == "up" else self._statuses.get(node)
            event = node_event(time_us, process, status, self._last_said.get(node))
            if before is None or {**before, "t": 0} != {**event, "t": 0}:
                self._shown[node] = event
                events.append(event)
        return events

    def _keep_asking(self) -> None:
        client: Client | None = None
        _yield_to_nodes()
        is_last = False
        while not is_last:
            is_last = self._closing.is_set()
            began = time.monotonic()
            self.say_if_old()
            with self._lock:
                up = {
                    node: row["address"]
                    for node, row in self._processes.items()
                    if row["state"] == "up" and row["address"]
                }
            if up:
                client = client or Client(self.view.about["cluster"], self._addresses, "page")
                self._take_statuses(client.status(up, _STATUS_S), up)
            took_s = min(time.monotonic() - began, _STATUS_S / 2)  # it is long also if one node hangs
            # What a log shows of itself in a flood only grows, and a browser draws that seldom.
            self._closing.wait(max(_IDLE_S if self.is_flooded else self._interval_s(), _REST * took_s))
        if client is not None:
            client.close()

    def _addresses(self) -> dict[str, str]:
        with self._lock:
            return {node: row["address"] for node, row in self._processes.items() if row["address"]}

    def _take_statuses(self, statuses: Mapping[str, dict[str, Any]], asked: Mapping[str, str]) -> None:
        now_ns = time.monotonic_ns()
        with self._lock:
            for node, address in asked.items():
                row = self._processes.get(node, {})
                if row.get("state") == "up" and row.get("address") == address:  # else it is another life's answer
                    self._statuses[node] = statuses.get(node)
                    if node in statuses:
                        self._last_said[node] = statuses[node]
            events = self._changed_nodes(now_ns)
        for event in events:
            self.predicates.status(event["t"], event["node"], event["vars"])
        self._add(events)


def _yield_to_nodes() -> None:
    """Let this thread yield to the nodes. Processes that other threads start do not inherit that."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class _Session:
    """One session by hand, of one supervisor: where the looks at it have come to."""

    def __init__(self, live: LiveView, control: Lookout) -> None:
        self._live, self._control = live, control
        self._next, self._since_ns = -1, 0
        self._budget, self._budgeted_at = float(BURST_MAX), time.monotonic()
        self._history: FileTail | None = None
        self._lines = 0
        self._calls: dict[int, DrawnCall] = {}
        self._waits: dict[int, DrawnMessage] = {}  # by number: messages that were not delivered as they arrived
        self._open: dict[str, int] = {}
        self._faults: dict[str, Event] = {}
        self._where = f"{control.pid}/"

    def look(self) -> list[Event]:
        """Look once, and return the events. Raises NotUp if the supervisor has ended."""
        after = self._next if self._next >= 0 else 2**62  # the first look is only to learn where the messages stand
        seen = self._control.ask("look", _SUPERVISOR_S, after=after, since_ns=self._since_ns, most=self._most())
        self._budget -= len(seen["lines"])
        live = self._live
        nodes = [row["node"] for row in seen["nodes"]]
        events = live.take_processes(seen["time"], seen["nodes"], _without_disk(seen["faults"]))
        events += self._new_faults(seen["faults"], nodes)
        live.folder = None if seen["folder"] is None else Path(seen["folder"])
        events += self._new_calls(live.folder)
        events += [self._message(line) for line in seen["lines"]]
        live.is_flooded = self._next >= 0 and seen["left_out"] > 0
        if live.is_flooded:
            events.append({"k": "thinned", "t": live.us(seen["time"]), "count": seen["left_out"]})
        self._next, self._since_ns = seen["next"], seen["time"]
        live.on_look(seen["in_force"])
        live.view.stand(
            held=[_held(one) for one in seen["held"]],
            held_count=seen["held_count"],
            in_force=seen["in_force"],
            run=live.folder and live.folder.name,
            trouble=seen["trouble"] and cut(seen["trouble"]),
        )
        return events

    def _most(self) -> int:
        """Return how many messages this look takes."""
        now = time.monotonic()
        self._budget = min(self._budget + (now - self._budgeted_at) * MESSAGES_PER_S, float(BURST_MAX))
        self._budgeted_at = now
        return max(int(self._budget), 1)

    def _message(self, line: dict[str, Any]) -> Event:
        time_us = self._live.us(line["time"])
        if "of" in line:
            waited = self._waits.get(line["of"])
            if waited is not None and line["fate"] in DELIVERED:
                self._delivered(waited)
            if waited is not None and line["fate"] != "duplicated":
                del self._waits[line["of"]]
            return fate_event(time_us, f"{self._where}{line['of']}", line["fate"])
        message = DrawnMessage(
            line["index"],
            time_us * 1000,
            line["from"],
            line["to"],
            line["type"],
            line["variable"],
            line["incarnation"],
            line["fields"],
            line["fate"],
            line["rule"],
        )
        self._live.predicates.message(time_us, message.sender, message.type, message.variable, message.fields)
        if message.fate in DELIVERED:
            self._delivered(message)
        elif message.fate in KEPT and len(self._waits) < _WAITS_MAX:
            self._waits[message.index] = message
        return {**message_event(message), "i": f"{self._where}{message.index}"}

    def _delivered(self, message: DrawnMessage) -> None:
        self._live.predicates.delivered(message.receiver, message.type, message.variable, message.fields)

    def _new_faults(self, receipts: list[dict[str, Any]], nodes: list[str]) -> list[Event]:
        """Return an event for each fault that has changed. One that is neither open nor ended did nothing, and was taken back."""
        events = []
        open_now = set()
        for one in receipts:
            identity = f"{self._where}{one['began_ns']}"
            ended_ns = one["ended_ns"]
            fault = DrawnFault(
                one["fault"],
                self._live.us(one["began_ns"]) * 1000,
                None if ended_ns is None else self._live.us(ended_ns) * 1000,
                one["bit"],
                tuple(one["nodes_down"]),
                tuple((a, b) for a, b in one["links_cut"]),
                tuple((a, b) for a, b in one["links_disturbed"]),
                one["evidence"],
            )
            event = fault_event(fault, nodes, identity)
            if ended_ns is None:
                open_now.add(identity)
            if self._faults.get(identity) != event:
                self._faults[identity] = event
                events.append(event)
            if ended_ns is not None:
                self._faults.pop(identity, None)
        taken_back = [self._faults.pop(identity) for identity in self._faults.keys() - open_now]
        return [*events, *({**event, "gone": True} for event in taken_back)]

    def _new_calls(self, folder: Path | None) -> list[Event]:
        """Return the events of the lines that the session's history has gained."""
        if folder is None:
            return []
        if self._history is None:
            self._history = FileTail(RunFiles(folder).history)
        events = []
        for line in self._history.new_objects():
            number, process, time_us = self._lines, str(line["process"]), self._live.us(line["time"])
            self._lines += 1
            if line["type"] == "invoke":
                self._open[process] = number
                value = from_jsonable(line.get("value"))
                call = DrawnCall(number, process, line["f"], str(line["key"]), value, line.get("node"), time_us * 1000)
            else:
                number = self._open.pop(process)
                answer = from_jsonable(line.get("value"))
                call = replace(
                    self._calls.pop(number),
                    ended=time_us * 1000,
                    outcome=line["type"],
                    answer=answer,
                    node=line.get("node"),
                    error=line.get("error"),
                )
                if call.outcome == "ok":
                    self._live.predicates.answer(call.began // 1000, time_us, call.f, call.key, answer, call.node)
            if call.ended is None:
                self._calls[number] = call
            events.append({**call_event(call), "id": f"{self._where}{number}"})
        return events


def _without_disk(receipts: list[dict[str, Any]]) -> set[str]:
    """Return the nodes whose disk a fault has taken or changed, and that have not started since."""
    return {
        node
        for receipt in receipts
        if receipt["fault"] in _TAKES_DISK and receipt["ended_ns"] is None
        for node in receipt["nodes_down"]
    }


def _held(one: dict[str, Any]) -> dict[str, Any]:
    """Return a held message for the page."""
    message = DrawnMessage(
        one["index"],
        0,
        one["from"],
        one["to"],
        one["type"],
        one["variable"],
        one["incarnation"],
        one["fields"],
        "held",
        one["rule"],
    )
    event = message_event(message)
    return {
        "index": one["index"],
        **{name: event[name] for name in ("from", "to", "type", "variable", "rule", "label", "value", "text")},
    }
