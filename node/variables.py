"""One algorithm instance per named variable, and what a turn gathers from all of them.

Rules
-----
1. An instance is made when its variable is first heard of, or at boot when its disk holds anything; `start` is its first call.
2. Sends and replies are only gathered here. The runtime releases them, after the commit.
3. A request is answered once: a second answer, or one whose client has stopped waiting, is dropped.
4. An algorithm that serves all variables has one instance, which goes by no name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from node.contract import Algorithm, Message, Node, NodeId, Request, Value
from node.frames import FrameReply
from node.storage.disk import Disk
from node.timers import Timers
from node.transport import Route

VARIABLES_MAX: Final = 100_000
WAITING_MAX: Final = 10_000
FRAMES_MAX: Final = 50_000

TimerKey = tuple[str, str] | Request


class ContractBroken(Exception):
    """The algorithm did what its contract forbids: a mistake of its author, so the node stops and says so."""


@dataclass(slots=True)
class Answer:
    """What a client is told, and the way back to it: a value, None for undecided, or why its request was refused."""

    route: Route
    number: int
    value: Value | None
    refused: str | None = None


@dataclass(slots=True)
class Turn:
    """What one turn has gathered."""

    early: list[tuple[NodeId, str, Message]] = field(default_factory=list)
    early_replies: dict[Route, list[FrameReply]] = field(default_factory=dict)
    sends: list[tuple[NodeId, str, Message]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    replies: dict[Route, list[FrameReply]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sends or self.answers or self.replies or self.early or self.early_replies)


@dataclass(slots=True)
class _Waiting:
    variable: str
    route: Route
    is_proposal: bool


class Variables:
    """Every variable of one node."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        disk: Disk,
        timers: Timers[TimerKey],
        machines: tuple[str, ...] = (),
    ) -> None:
        self._algorithm = algorithm
        self.machines = machines
        self.serves_all = algorithm.serves_all
        self.node = node
        self.members = members
        self.disk = disk
        self.timers = timers
        self.turn = Turn()
        self.latest: str | None = None
        self._instances: dict[str, Algorithm] = {}
        self._touched: dict[str, None] = {}
        self._waiting: dict[Request, _Waiting] = {}
        self._frames: dict[Request, Route] = {}

    def start(self) -> None:
        """Rebuild what the disk holds."""
        if self._algorithm.serves_all:
            self._instance("")
            return
        for name in self.disk.variables():
            self._instance(name)

    def propose(self, variable: str, request: Request, route: Route, timeout_s: float, value: Value) -> None:
        """A client's proposal. After `timeout_s` the client waits no longer."""
        if self._admit(request, _Waiting(variable, route, is_proposal=True), timeout_s):
            self._instance(variable).propose(request, value)

    def query(self, variable: str, request: Request, route: Route, timeout_s: float) -> None:
        """A client's query. After `timeout_s` the client waits no longer."""
        if self._admit(request, _Waiting(variable, route, is_proposal=False), timeout_s):
            self._instance(variable).query(request)

    def command(self, request: Request, route: Route, frame: Message) -> None:
        """A client's frame of commands or questions."""
        if not self._algorithm.serves_all:
            refused = f"{self._algorithm.__name__} decides values and takes no commands: use multipaxos"
            self._reply(route, FrameReply(request.number, None, refused, None))
        elif request not in self._frames and len(self._frames) >= FRAMES_MAX:
            refused = f"{FRAMES_MAX:,} frames are waiting here already: slow down"
            self._reply(route, FrameReply(request.number, None, refused, None))
        else:
            self._frames[request] = route
            self._instance("").command(request, frame)

    def answer_frame(self, request: Request, payload: Value | None, refused: str | None, leader: NodeId | None) -> None:
        """Gather the answer to a frame, if it has not been answered."""
        route = self._frames.pop(request, None)
        if route is not None:
            self._reply(route, FrameReply(request.number, payload, refused, leader))

    def answer_early(self, request: Request, payload: Value | None) -> None:
        """Gather the answer to a frame, to leave before the commit. To any other request it leaves after it."""
        route = self._frames.pop(request, None)
        if route is None:
            self.answer(request, payload, None)
        else:
            reply = FrameReply(request.number, payload, None, None)
            self.turn.early_replies.setdefault(route, []).append(reply)

    def _reply(self, route: Route, reply: FrameReply) -> None:
        self.turn.replies.setdefault(route, []).append(reply)

    def peer_lost(self, peer: NodeId) -> None:
        """The connection to `peer` has closed."""
        for name in self._instances:
            self._instances[name].peer_lost(peer)
            self._touched[name] = None

    def retire(self) -> bool:
        """Tell every instance that the node is to stop. True when none needs another turn."""
        waiting = [name for name, instance in self._instances.items() if not instance.retire()]
        self._touched.update(dict.fromkeys(waiting))
        return not waiting

    def receive(self, variable: str, sender: NodeId, message: Message) -> None:
        """A node's message. One for a variable beyond the limit is dropped, as if the network had lost it."""
        if variable in self._instances or len(self._instances) < VARIABLES_MAX:
            self._instance(variable).receive(sender, message)

    def timeout(self, key: TimerKey) -> None:
        """A timer has run out: an algorithm's own, or a request's deadline."""
        if isinstance(key, Request):
            waiting = self._waiting.pop(key)
            self._instance(waiting.variable).forget(key)
        else:
            variable, name = key
            self._instance(variable).timeout(name)

    def drained(self) -> None:
        """Tell each instance that had input in this turn that there is no more."""
        for name in self._touched:
            self._instances[name].drained()
        self._touched.clear()

    def released(self) -> None:
        """Tell the instance that serves all variables that what it asked for has left."""
        if self.serves_all:
            self._instance("").released()

    @property
    def has_gathered(self) -> bool:
        """Whether the next turn has something to do already, with nothing taken in."""
        return bool(self.turn) or self.disk.dirty

    def take_turn(self) -> Turn:
        """What has been gathered; gathering starts anew."""
        turn, self.turn = self.turn, Turn()
        return turn

    def answer(self, request: Request, value: Value | None, refused: str | None) -> None:
        """Gather an answer, if somebody still waits for it."""
        if request in self._frames:
            self.answer_frame(request, value, refused, None)
            return
        waiting = self._waiting.get(request)
        if waiting is None:
            return
        if waiting.is_proposal and value is None and refused is None:
            raise ContractBroken(f"{self._algorithm.__name__} answered a proposal with None, which only a query can be")
        del self._waiting[request]
        self.timers.cancel(request)
        self.turn.answers.append(Answer(waiting.route, request.number, value, refused))

    def status(self, most: int) -> dict[str, Mapping[str, object]]:
        """The status of up to `most` variables, the latest heard of first."""
        names = list(self._instances)[-most:][::-1]
        if self.latest is not None:
            names = [self.latest, *(name for name in names if name != self.latest)][:most]
        return {name: self._instances[name].status() for name in names}

    def __len__(self) -> int:
        return len(self._instances)

    def variable_of(self, request: Request) -> str:
        """The variable that a request which waits is about."""
        return self._waiting[request].variable

    def _admit(self, request: Request, waiting: _Waiting, timeout_s: float) -> bool:
        """Whether to hand the request on. A repeat of one that is in hand already is passed over."""
        if request in self._waiting:
            return False
        refused = None
        if len(self._waiting) >= WAITING_MAX:
            refused = f"{WAITING_MAX:,} requests are waiting here already: slow down"
        elif not self.serves_all and waiting.variable not in self._instances and len(self._instances) >= VARIABLES_MAX:
            refused = f"there are {VARIABLES_MAX:,} variables already"
        if refused is not None:
            self.turn.answers.append(Answer(waiting.route, request.number, None, refused))
            return False
        self._waiting[request] = waiting
        self.timers.set(request, timeout_s, timeout_s)
        return True

    def _instance(self, name: str) -> Algorithm:
        if self.serves_all:
            name = ""
        instance = self._instances.get(name)
        if instance is None:
            instance = self._instances[name] = self._algorithm(_VariableNode(name, self))
            instance.start()
        self._touched[name] = None
        self.latest = name
        return instance


class _VariableNode(Node):
    """The node as one variable's algorithm sees it."""

    def __init__(self, variable: str, variables: Variables) -> None:
        self._variable = variable
        self._variables = variables
        self.id = variables.node
        self.members = variables.members
        self.disk = variables.disk.variable(variable)
        self.log = variables.disk.log
        self.machines = variables.machines

    def send(self, to: NodeId, message: Message) -> None:
        if to not in self.members and not self._variables.serves_all:
            raise ContractBroken(f"{message.type_name()} was sent to {to!r}, and the members are {self.members}")
        self._variables.turn.sends.append((to, self._variable, message))

    def send_early(self, to: NodeId, message: Message) -> None:
        if to == self.id:
            raise ContractBroken(f"{message.type_name()} was sent early to the node itself, which knows already")
        self._variables.turn.early.append((to, self._variable, message))

    def reply(self, request: Request, value: Value | None) -> None:
        self._variables.answer(request, value, None)

    def reply_early(self, request: Request, value: Value | None) -> None:
        self._variables.answer_early(request, value)

    def refuse(self, request: Request, reason: str) -> None:
        self._variables.answer(request, None, reason)

    def variable_of(self, request: Request) -> str:
        return self._variables.variable_of(request)

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        self._variables.answer_frame(request, None, None, leader)

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        if not 0 <= least_s <= most_s:
            raise ContractBroken(f"timer {name!r} from {least_s} to {most_s} seconds: give 0 <= least_s <= most_s")
        self._variables.timers.set((self._variable, name), least_s, most_s)

    def cancel_timer(self, name: str) -> None:
        self._variables.timers.cancel((self._variable, name))
