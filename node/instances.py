"""The node as an algorithm's instance sees it: the sends, replies and timers of an instance go to the core.

The core (`node/turn.py`) collects them, and the shell carries them out.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from node.contract import Algorithm, ContractBroken, Message, Node, NodeId, Request, Stored, Value
from node.log_contract import Doubt, Log, LogNode
from node.message_fields import check_message
from node.tuning import Tuning

#: The name of the one instance of an algorithm that keeps a log.
LOG_NAME: Final = ""

#: A timer of an algorithm, by its variable and its name, or the deadline of a request.
TimerKey: TypeAlias = tuple[str, str] | Request
#: The way back to a client. The core passes it on and never looks inside.
Route: TypeAlias = tuple[Any, ...]


#: A message to a node, about a variable.
Send: TypeAlias = tuple[NodeId, str, Message]


class Storage(Protocol):
    """The disk as the core sees it. The shell commits it."""

    @property
    def log(self) -> Log:
        """The node's log."""

    @property
    def dirty(self) -> bool:
        """Whether something was assigned since the last commit."""

    @property
    def doubt(self) -> Doubt:
        """Whether the last commit before the boot may be lost."""

    @property
    def doubts(self) -> int:
        """How many times the disk has been found in doubt."""

    def end_doubt(self) -> None:
        """End the doubt with the next commit."""

    def variables(self) -> list[str]:
        """Return the names of the variables that have anything stored."""

    def variable(self, name: str) -> MutableMapping[str, Stored]:
        """Return the keys and values of one variable."""


class TimerTable(Protocol):
    """The timers as the core sees them. The shell reports when one has expired."""

    def set(self, key: TimerKey, least_s: float, most_s: float) -> None:
        """Have `key` expire once, at a random time in the range, in seconds. It replaces an earlier timer of that key."""

    def cancel(self, key: TimerKey) -> None:
        """Cancel `key`, if it is set."""


@dataclass(slots=True)
class Waiting:
    """A request that waits for an answer."""

    variable: str
    route: Route
    is_proposal: bool


class Collector(Protocol):
    """The core as its instances see it: it collects their output. `NodeCore` is one."""

    algorithm: type[Algorithm]
    node: NodeId
    members: tuple[NodeId, ...]
    disk: Storage
    timers: TimerTable
    machines: tuple[str, ...]
    tuning: Tuning
    waiting: dict[Request, Waiting]

    def send(self, to: NodeId, variable: str, message: Message) -> None:
        """Collect a message for after the commit."""

    def send_early(self, to: NodeId, variable: str, message: Message) -> None:
        """Collect a message that may leave before the commit."""

    def reply(self, request: Request, value: Value | None, refused: str | None) -> None:
        """Collect an answer."""

    def reply_early(self, request: Request, payload: Value | None) -> None:
        """Collect an answer that may leave before the commit."""

    def mark(self, mark: str) -> None:
        """Note that a mark was reached."""

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        """Collect the answer that sends the client to `leader`, or to any node if None."""


class InstanceNode(Node):
    """The node as one variable's algorithm sees it."""

    def __init__(self, core: Collector, variable: str) -> None:
        self._core, self._variable = core, variable
        self.id, self.members = core.node, core.members
        self.disk, self.tuning = core.disk.variable(variable), core.tuning
        self._checked: Message | None = None
        """The last message that was checked: a broadcast is checked once."""

    def send(self, to: NodeId, message: Message) -> None:
        if message is not self._checked:
            check_message(self._core.algorithm, message)
            self._checked = message
        if to not in self.members:
            raise ContractBroken(
                f"{message.type_name()} was sent to {to!r}, which is no node: the members are {', '.join(self.members)}"
            )
        self._core.send(to, self._variable, message)

    def reply(self, request: Request, value: Value | None) -> None:
        _check_request(request)
        if value is not None and not isinstance(value, bytes):
            raise ContractBroken(
                f"a request was answered with the {type(value).__name__} {value!r}: give the bytes of a Value, or None"
            )
        self._core.reply(request, value, None)

    def sometimes(self, mark: str) -> None:
        if not isinstance(mark, str):
            raise ContractBroken(f"a mark is a text, but not the {type(mark).__name__} {mark!r}")
        self._core.mark(mark)

    def refuse(self, request: Request, reason: str) -> None:
        _check_request(request)
        if not isinstance(reason, str):
            raise ContractBroken(f"a request was refused for {reason!r}: give the reason as a text")
        self._core.reply(request, None, reason)

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        is_range = isinstance(least_s, int | float) and isinstance(most_s, int | float) and 0 <= least_s <= most_s
        if not isinstance(name, str) or not is_range:
            raise ContractBroken(
                f"timer {name!r} from {least_s!r} to {most_s!r} seconds: give a name and 0 <= least_s <= most_s"
            )
        self._core.timers.set((self._variable, name), least_s, most_s)

    def cancel_timer(self, name: str) -> None:
        self._core.timers.cancel((self._variable, name))


def _check_request(request: object) -> None:
    if not isinstance(request, Request):
        raise ContractBroken(f"{request!r} was answered, which is no Request: give the one that the call came with")


class LogInstanceNode(InstanceNode, LogNode):
    """The node as a log's algorithm sees it. It may send to nodes that joined later than the spec was written."""

    def __init__(self, core: Collector, variable: str) -> None:
        super().__init__(core, variable)
        self.log, self.machines = core.disk.log, core.machines
        self._known: dict[type[Message], None] = {}
        """The classes of which a message was checked. A log checks the first of each: its messages are large and many."""

    @property
    def doubt(self) -> Doubt:
        return self._core.disk.doubt

    @property
    def doubts(self) -> int:
        return self._core.disk.doubts

    def end_doubt(self) -> None:
        self._core.disk.end_doubt()

    def send(self, to: NodeId, message: Message) -> None:
        if type(message) not in self._known:
            self._check_first(message)
        self._core.send(to, LOG_NAME, message)

    def _check_first(self, message: Message) -> None:
        check_message(self._core.algorithm, message)
        self._known[type(message)] = None

    def send_early(self, to: NodeId, message: Message) -> None:
        if type(message) not in self._known:
            self._check_first(message)
        if to == self.id:
            raise ContractBroken(
                f"{message.type_name()} was sent early to the node itself: only peers get early messages"
            )
        self._core.send_early(to, LOG_NAME, message)

    def reply_early(self, request: Request, value: Value | None) -> None:
        self._core.reply_early(request, value)

    def variable_of(self, request: Request) -> str:
        return self._core.waiting[request].variable

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        self._core.redirect(request, leader)
