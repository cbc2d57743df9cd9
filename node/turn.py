"""A node without I/O: what a node does with its input, and in which order its output may leave.

Theory of operation
-------------------
`NodeCore` holds one algorithm instance for each named variable, or one for a whole log. It has no socket, file, clock or
thread: a shell gives it input, and carries out its output. There are five shells: the process (`node/runtime.py`), the virtual
node of simulator and explorer, the stepped node, the traced node, and the broken node. h11 and etcd's RawNode have the same
structure.

A shell works in turns. Each turn has these steps:

    core.take_own_messages()                  # what the node sent to itself in the turn before
    core.receive(...)                         # any number of inputs, in any order:
    core.propose(...), core.query(...), core.command(...)
    core.timer_expired(...), core.peer_lost(...), core.commit_took(...)
    core.end_of_input()
    release(core.take_early())                # what rests on nothing that this turn saves
    disk.commit()                             # durable, or the shell stops
    release(core.take_output())               # everything else
    core.after_turn()                         # work that no client waits for; its output belongs to the next turn

Rules
-----
1. Nothing leaves before what it rests on is durable: `take_output` refuses to give anything while the disk has unsaved
   assignments. What a node sends to itself waits for the commit, too.
2. An instance is made when the first input for its variable comes, or at boot if the disk holds keys of it. `start` is the first
   method that the core calls on it.
3. A message is stale if its sender has sent another one under a higher incarnation. The core drops it.
4. A request is answered once. The core drops a second answer, and an answer to a client that has stopped waiting.
5. An algorithm that keeps a log has one instance, under the empty name.
"""

from typing import NamedTuple

from node.algorithms import A_LOG
from node.authors import status_of
from node.contract import Algorithm, ContractBroken, Message, NodeId, Request, Value
from node.frames import CommandFrame, FrameReply, ReadFrame
from node.instances import (
    LOG_NAME,
    InstanceNode,
    LogInstanceNode,
    Route,
    Send,
    Storage,
    TimerKey,
    TimerTable,
    Waiting,
)
from node.log_contract import LogAlgorithm
from node.tuning import SHIPPED, Tuning


class ClientReply(NamedTuple):
    """The answer to a proposal or a query: a value, None for undecided, or the reason why it was refused."""

    route: Route
    request: Request
    value: Value | None
    refused: str | None


class Output(NamedTuple):
    """What leaves a node in one turn. Frames of one client are answered together, in one frame."""

    sends: list[Send]
    replies: list[ClientReply]
    frame_replies: dict[Route, list[FrameReply]]


class NodeCore:
    """One node, without I/O."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        disk: Storage,
        timers: TimerTable,
        machines: tuple[str, ...] = (),
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a node that has not booted.

        Args:
            algorithm: the class of which the core makes an instance for each variable.
            node: this node's id.
            members: every node of the spec, in its order.
            disk: where the instances keep what must outlive a crash.
            timers: where the instances set timers.
            machines: the machines that a log drives; empty for the standard ones.
            tuning: the settings of the cluster.
        """
        self.algorithm, self.node, self.members = algorithm, node, members
        self.disk, self.timers, self.machines, self.tuning = disk, timers, machines, tuning
        self.keeps_log = algorithm.keeps_log
        self.instances: dict[str, Algorithm] = {}
        self.waiting: dict[Request, Waiting] = {}
        self.frames: dict[Request, Route] = {}
        self.to_itself: list[tuple[str, Message]] = []
        """What the node has sent to itself, and takes in next: what it rests on is durable."""
        self.incarnations: dict[NodeId, int] = {}
        """By peer: the highest incarnation in its messages."""
        self.reached: set[str] = set()
        """The marks that instances have reached since the boot: see `Node.sometimes`."""
        self.new_marks: list[str] = []
        """Those of them that the shell has not taken yet. A process logs each once."""
        self.stale = 0
        """How many stale messages were dropped."""
        self._log: LogAlgorithm | None = None
        self.latest: str | None = None
        """The variable that the last input was about."""
        self._early_sends: list[Send] = []
        self._early_frame_replies: dict[Route, list[FrameReply]] = {}
        self._sends: list[Send] = []
        self._replies: list[ClientReply] = []
        self._frame_replies: dict[Route, list[FrameReply]] = {}
        self._unsaved_to_itself: list[tuple[str, Message]] = []

    def boot(self) -> None:
        """Rebuild the instances from the disk. Their output belongs to the first turn."""
        for name in [LOG_NAME] if self.keeps_log else self.disk.variables():
            self.instance(name)

    # --- input ------------------------------------------------------------------------------------------------------

    def take_own_messages(self) -> None:
        """Take in what the node sent to itself in earlier turns."""
        if self.to_itself:
            messages, self.to_itself = self.to_itself, []
            for variable, message in messages:
                self.instance(variable).receive(self.node, message)

    def receive(self, sender: NodeId, incarnation: int, variable: str, message: Message) -> bool:
        """Take in a message of a node.

        Returns:
            False if the message is stale: the core has dropped it and counted it.
        """
        if incarnation < self.incarnations.get(sender, 0):
            self.stale += 1
            return False
        self.incarnations[sender] = incarnation
        instance = self.instances.get(variable)
        if instance is None:
            if len(self.instances) >= self.tuning.variables_max:
                return True  # dropped, as if the network had lost it
            instance = self.instance(variable)
        self.latest = variable
        instance.receive(sender, message)
        return True

    def propose(self, variable: str, request: Request, route: Route, timeout_s: float, value: Value) -> None:
        """Take in a client's proposal. The client stops waiting after `timeout_s` seconds."""
        if self._admit(request, Waiting(variable, route, is_proposal=True), timeout_s):
            self.instance(variable).propose(request, value)

    def query(self, variable: str, request: Request, route: Route, timeout_s: float) -> None:
        """Take in a client's query. The client stops waiting after `timeout_s` seconds."""
        if self._admit(request, Waiting(variable, route, is_proposal=False), timeout_s):
            self.instance(variable).query(request)

    def refuse(self, request: Request, route: Route, reason: str) -> None:
        """Refuse a request without giving it to an instance."""
        self._replies.append(ClientReply(route, request, None, reason))

    def command(self, request: Request, route: Route, frame: CommandFrame | ReadFrame) -> None:
        """Take in a client's frame of commands or questions."""
        if self._log is None:
            refused = f"{self.algorithm.__name__} decides values and takes no commands: use {A_LOG}"
        elif request not in self.frames and len(self.frames) >= self.tuning.frames_max:
            refused = f"{self.tuning.frames_max:,} frames are waiting here already: slow down"
        else:
            self.frames[request] = route
            self._log.command(request, frame)
            return
        self._frame_replies.setdefault(route, []).append(FrameReply(request.number, None, refused, None))

    def timer_expired(self, key: TimerKey) -> None:
        """Take in that a timer has expired: a timer of an algorithm, or a request's deadline."""
        if isinstance(key, Request):
            waiting = self.waiting.pop(key)
            self.instance(waiting.variable).forget(key)
        else:
            variable, name = key
            self.instance(variable).timeout(name)

    def peer_lost(self, peer: NodeId) -> None:
        """Take in that the connection to `peer` has closed. Only a log uses this."""
        if self._log is not None:
            self._log.peer_lost(peer)

    def commit_took(self, milliseconds: int | None) -> None:
        """Take in how long the last commit took; None if that needs no report. Only a log uses this."""
        if self._log is not None and milliseconds is not None:
            self._log.commit_took(milliseconds)

    def retire(self) -> bool:
        """Ask the log to hand over. Returns True when the node may stop."""
        return self._log is None or self._log.retire()

    def election_timeout(self) -> None:
        """Take in that a log's replica has waited in vain for too long. Only explorers use this."""
        if self._log is not None:
            self._log.election_timeout()

    def end_of_input(self) -> None:
        """End the input of this turn: a log that batches sends its batch now."""
        if self._log is not None:
            self._log.end_of_input()

    # --- output -----------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether the next turn has something to do even if no input comes."""
        return bool(
            self.to_itself
            or self._unsaved_to_itself
            or self._sends
            or self._replies
            or self._frame_replies
            or self._early_sends
            or self._early_frame_replies
            or self.disk.dirty
        )

    @property
    def has_output(self) -> bool:
        """Whether something waits to leave."""
        return bool(
            self._sends or self._replies or self._frame_replies or self._early_sends or self._early_frame_replies
        )

    def take_early(self) -> Output | None:
        """Return what may leave before the commit; None if there is nothing."""
        if not (self._early_sends or self._early_frame_replies):
            return None
        early = Output(self._early_sends, [], self._early_frame_replies)
        self._early_sends, self._early_frame_replies = [], {}
        return early

    def take_output(self) -> Output | None:
        """Return everything else, after the commit; None if there is nothing.

        The caller must have committed the disk.
        """
        if self.disk.dirty:
            self.refuse_output()
        if self._unsaved_to_itself:
            self.to_itself += self._unsaved_to_itself
            self._unsaved_to_itself = []
        if not (self._sends or self._replies or self._frame_replies):
            return None
        output = Output(self._sends, self._replies, self._frame_replies)
        self._sends, self._replies, self._frame_replies = [], [], {}
        return output

    def after_turn(self) -> None:
        """Have the log do the work that no client waits for, once the turn's output has left."""
        if self._log is not None:
            self._log.after_turn()

    def latest_instances(self, most: int) -> dict[str, Algorithm]:
        """Return up to `most` replicas, by variable. The variable of the latest input comes first."""
        names = list(self.instances)[-most:][::-1] if most > 0 else []
        if self.latest is not None:
            names = [self.latest, *(name for name in names if name != self.latest)][:most]
        return {name: self.instances[name] for name in names}

    def refuse_output(self) -> None:
        """Raise AssertionError: the shell asks for the turn's output before it has committed what that rests on."""
        raise AssertionError("the turn's output was about to leave before the commit of what it rests on")

    # --- what instances ask for -------------------------------------------------------------------------------------

    def send(self, to: NodeId, variable: str, message: Message) -> None:
        """Collect a message for after the commit."""
        if to == self.node:
            self._unsaved_to_itself.append((variable, message))
        else:
            self._sends.append((to, variable, message))

    def send_early(self, to: NodeId, variable: str, message: Message) -> None:
        """Collect a message that may leave before the commit."""
        self._early_sends.append((to, variable, message))

    def reply(self, request: Request, value: Value | None, refused: str | None) -> None:
        """Collect an answer, if its client still waits."""
        if request in self.frames:
            self._reply_to_frame(request, value, refused, None)
            return
        waiting = self.waiting.get(request)
        if waiting is None:
            return
        if waiting.is_proposal and value is None and refused is None:
            raise ContractBroken(f"{self.algorithm.__name__} answered a proposal with None, which only a query can be")
        del self.waiting[request]
        self.timers.cancel(request)
        self._replies.append(ClientReply(waiting.route, request, value, refused))

    def mark(self, mark: str) -> None:
        """Note that a mark was reached."""
        if mark not in self.reached:
            self.reached.add(mark)
            self.new_marks.append(mark)

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        """Collect the answer to a frame that sends its client to `leader`, or to any node if None."""
        self._reply_to_frame(request, None, None, leader)

    def _reply_to_frame(
        self, request: Request, payload: Value | None, refused: str | None, leader: NodeId | None
    ) -> None:
        route = self.frames.pop(request, None)
        if route is not None:
            reply = FrameReply(request.number, payload, refused, leader)
            self._frame_replies.setdefault(route, []).append(reply)

    def reply_early(self, request: Request, payload: Value | None) -> None:
        """Collect the answer to a frame that may leave before the commit. Any other answer leaves after it."""
        route = self.frames.pop(request, None)
        if route is None:
            self.reply(request, payload, None)
        else:
            reply = FrameReply(request.number, payload, None, None)
            self._early_frame_replies.setdefault(route, []).append(reply)

    # --- instances --------------------------------------------------------------------------------------------------

    def instance(self, name: str) -> Algorithm:
        """Return the instance of a variable, for input. Makes the instance if it is new."""
        if self.keeps_log:
            name = LOG_NAME
        instance = self.instances.get(name)
        if instance is None:
            instance = self.instances[name] = self.algorithm(self.node_for(name))
            if isinstance(instance, LogAlgorithm):
                self._log = instance
            instance.start()
            status_of(instance)  # raises if it is none: better at once than when somebody asks
        self.latest = name
        return instance

    def node_for(self, name: str) -> InstanceNode:
        """Return the node as the instance of a variable sees it."""
        return LogInstanceNode(self, name) if self.keeps_log else InstanceNode(self, name)

    def _admit(self, request: Request, waiting: Waiting, timeout_s: float) -> bool:
        """Return whether to give the request to its instance. A request that waits already is ignored."""
        if request in self.waiting:
            return False
        refused = None
        if len(self.waiting) >= self.tuning.requests_max:
            refused = f"{self.tuning.requests_max:,} requests are waiting here already: slow down"
        elif (
            not self.keeps_log
            and waiting.variable not in self.instances
            and len(self.instances) >= self.tuning.variables_max
        ):
            refused = f"there are {self.tuning.variables_max:,} variables already"
        if refused is not None:
            self.refuse(request, waiting.route, refused)
            return False
        self.waiting[request] = waiting
        self.timers.set(request, timeout_s, timeout_s)
        return True
