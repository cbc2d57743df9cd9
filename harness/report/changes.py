"""What the record shows of each node over time: its role, its ballot, what it has voted for or accepted, and what it has decided.

Theory of operation
-------------------
A message shows something of its sender: a Vote its vote, an Accepted what it has accepted, a Decided what it knows. The table
`SHOWS` has a function for each type of message. An answer to a client shows what the node that gave it has decided, also in a
run without a record of messages. `changes` goes through all of them in the order of time, and keeps what is new.

Rules
-----
1. A change has the time at which the proxy saw the message, or the client the answer. The node may have changed a little before.
2. What no message has shown is not known, and no change says so. What a node sends to itself does not cross the wire, such as a
   proposer's own acceptance.
3. A restart takes a node's role, and nothing that is on its disk.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from harness.checkers.recorded_messages import LogReader
from harness.records.jsonable import canonical, from_jsonable
from harness.report.drawn_run import DrawnCall, DrawnMessage, RunFolder
from node.algorithms import load_algorithm
from node.authors import status_of
from node.log_contract import LogAlgorithm
from node.offline import replica_on_disk

#: How many changes a page carries at most. Beyond it, changes of a log's position are left out.
CHANGES_MAX: Final = 20_000
#: The calls whose answer is the decided value of a variable.
_SET_ONCE: Final = ("propose", "query")


class NodeChange(NamedTuple):
    """What is new about one node."""

    time: int
    """In nanoseconds since the first event of the history."""
    node: str
    variable: str
    """The variable, or "" for what is not about one."""
    field: str
    """role, ballot, holds, decided or log."""
    value: Any
    """A text; for holds and decided the value itself."""
    message: int | None = None
    """The number of the message that shows it."""
    operation: int | None = None
    """The number of the client's call whose answer shows it."""
    ballot: str = ""
    """For holds: the ballot under which the value was accepted."""


#: The fields that are about a variable.
_OF_A_VARIABLE: Final = ("holds", "decided")

#: What a message shows of its sender: pairs of a field and a value.
Shown = Iterator[tuple[str, Any]]


def _ballot(data: Any) -> str:
    match data:
        case [int(round_), str(node)]:
            return f"{round_}·{node}"
    return ""


def _value(fields: Mapping[str, Any]) -> Any:
    try:
        return from_jsonable(fields.get("value"))
    except ValueError:
        return fields.get("value")


def _decided(message: DrawnMessage) -> Shown:
    if message.fields.get("value") is not None:
        yield "decided", _value(message.fields)


def _leads(message: DrawnMessage) -> Shown:
    yield "role", "leader"
    yield from _decided(message)


def _vote(message: DrawnMessage) -> Shown:
    yield "holds", _value(message.fields)


#: The fields by which a message of a log differs from one of the same name about a single value.
_OF_A_LOG: Final = ("commit", "slot", "slots")


def _under(role: str, in_a_log: str) -> Callable[[DrawnMessage], Shown]:
    """Return a function that reads the ballot of a message, the role that it shows, and the position in a log.

    Messages about a single value and those of a log share names. "" is for a message that shows no role.
    """

    def read(message: DrawnMessage) -> Shown:
        fields = message.fields
        yield "ballot", _ballot(fields.get("promised")) or _ballot(fields.get("ballot"))
        yield "role", in_a_log if any(name in fields for name in _OF_A_LOG) else role
        if isinstance(fields.get("commit"), int):
            yield "log", f"slot {fields['commit']}"

    return read


#: By the name that a type of message has on the wire. A Reply names no variable: the client's call in the history does.
SHOWS: Final[Mapping[str, Callable[[DrawnMessage], Shown]]] = {
    "Answer": _leads,
    "Alive": _decided,
    "Vote": _vote,
    "Prepare": _under("preparing", "candidate"),
    "Promise": _under("", "follower"),
    "Accept": _under("proposing", "leader"),
    "Accepted": _under("", "follower"),
    "Rejected": _under("", ""),
    "Decided": _decided,
    "Canvass": _under("canvassing", "canvassing"),
    "Heartbeat": _under("leader", "leader"),
    "HeartbeatAck": _under("follower", "follower"),
}


def changes(run: RunFolder) -> list[NodeChange]:
    """Return every change, in the order of time."""
    every = [*_first_roles(run), *_of_messages(run), *_of_answers(run), *_of_restarts(run)]
    every.sort(key=lambda change: change.time)
    known: dict[tuple[str, str, str], str] = {}
    found: list[NodeChange] = []
    for change in every:
        key, text = (change.node, change.variable, change.field), text_of(change.value) + change.ballot
        if known.get(key, "") == text or (change.field == "log" and len(found) > CHANGES_MAX):
            continue
        known[key] = text
        found.append(change)
    return found


def text_of(value: Any) -> str:
    """Return a text that is equal for equal values."""
    try:
        return canonical(value)
    except TypeError:
        return repr(value)


def _first_roles(run: RunFolder) -> Iterator[NodeChange]:
    """Yield the role of a node that leads from the start, as a replica with an empty disk reports it."""
    if not run.is_ours:
        return
    try:
        algorithm = load_algorithm(str(run.results["algorithm"]))
        roles = {node: status_of(replica_on_disk(algorithm, node, run.nodes, {})) for node in run.nodes}
    except Exception:  # noqa: BLE001 - a user's algorithm may raise anything, or be elsewhere; then no role is known
        return
    for node, status in roles.items():
        if status.leads:
            yield NodeChange(run.span.first, node, "", "role", "leader")


def _of_messages(run: RunFolder) -> Iterator[NodeChange]:
    of_log = _shown_by_a_log(run)
    proposed: dict[tuple[str, str], Any] = {}  # variable and ballot to the value that an Accept asks for
    for message in run.messages:
        shows = SHOWS.get(message.type, of_log)
        if shows is None or message.sender not in run.nodes:
            continue
        variable = message.variable or ""
        for field_, value in shows(message):
            if value is None or value == "" or (field_ in _OF_A_VARIABLE and not variable):
                continue
            yield NodeChange(message.time, message.sender, variable, field_, value, message.index)
        match message.type:
            case "Accept" if "value" in message.fields:
                proposed[variable, _ballot(message.fields.get("ballot"))] = _value(message.fields)
            case "Accepted":
                ballot = _ballot(message.fields.get("ballot"))
                if (variable, ballot) in proposed:
                    value = proposed[variable, ballot]
                    yield NodeChange(
                        message.time, message.sender, variable, "holds", value, message.index, ballot=ballot
                    )


def _shown_by_a_log(run: RunFolder) -> Callable[[DrawnMessage], Shown] | None:
    """Return what the messages of a log show that are not in `SHOWS`: the log's class knows; None if it is no log of ours."""
    try:
        algorithm = load_algorithm(str(run.results["algorithm"])) if run.is_ours else None
    except Exception:  # noqa: BLE001 - a user's algorithm may be elsewhere
        return None
    if algorithm is None or not issubclass(algorithm, LogAlgorithm):
        return None
    reader = LogReader(algorithm)

    def read(message: DrawnMessage) -> Shown:
        if (said := reader.said(message.type, message.fields)) is not None:
            yield "ballot", _ballot([*said.ballot])
            yield "role", "leader"
            yield "log", f"slot {said.commit}"
        elif (ballot := reader.candidacy(message.type, message.fields)) is not None:
            yield "ballot", _ballot([*ballot])
            yield "role", "candidate"

    return read


def _of_answers(run: RunFolder) -> Iterator[NodeChange]:
    for call in run.operations:
        if is_decision(call):
            assert call.ended is not None
            assert call.node is not None
            yield NodeChange(call.ended, call.node, call.key, "decided", call.answer, operation=call.index)


def is_decision(call: DrawnCall) -> bool:
    """Return whether a call's answer is the decided value of a variable, and it is known which node gave it."""
    return (
        call.f in _SET_ONCE
        and call.outcome == "ok"
        and call.answer is not None
        and call.ended is not None
        and call.node is not None
    )


def _of_restarts(run: RunFolder) -> Iterator[NodeChange]:
    for fault in run.faults:
        if fault.ended is not None and fault.name != "suspend" and fault.mark is None:
            for node in fault.nodes:
                if node in run.nodes:
                    yield NodeChange(fault.ended, node, "", "role", "")
