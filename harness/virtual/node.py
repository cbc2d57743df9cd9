"""The shell that runs a node without a process: the same core, an in-memory disk, and timers that expire on command.

Rules
-----
1. `turn` takes any number of inputs: first what the node sent to itself in the turn before, then the steps in their order.
   Then the turn ends as in a process (`node/turn.py`).
2. A node whose disk is lost refuses to boot, as a real one does. A `FaultModel` can say otherwise.
3. What breaks the contract raises `ContractBroken`, and what an algorithm raises goes through: both end a real node.
"""

from harness.virtual.core import ChattyCore, LogCore, VirtualCore, VirtualTimers
from harness.virtual.disk import VirtualDisk
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    Deliver,
    Fire,
    GiveUp,
    HearSelf,
    Packet,
    PeerLost,
    Propose,
    Query,
    Retire,
    SendFrame,
    Step,
)  # fmt: skip
from node.contract import Algorithm, Message, NodeId, Request, Value
from node.instances import LOG_NAME, Waiting
from node.limits import SHIPPED_LIMITS, LogLimits
from node.turn import NodeCore, Output

#: The one variable that a virtual node has, and that the calls of clients of a log are about.
VARIABLE = "colour"


class VirtualNode:
    """One node, of one variable or of a log. Picklable; `harness/virtual/node_state.py` saves and restores it."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        faults: FaultModel = SOUND,
        machines: tuple[str, ...] = (),
        limits: LogLimits = SHIPPED_LIMITS,
    ) -> None:
        """Make a node that is down and has an empty disk."""
        self.algorithm, self.id, self.members = algorithm, node, members
        self.faults, self._machines, self._limits = faults, machines, limits
        self._name = LOG_NAME if algorithm.keeps_log else VARIABLE
        self.disk = self._new_disk()
        self.has_disk = True
        self.up = False
        self.incarnation = 0
        self.reset()

    def _new_disk(self) -> VirtualDisk:
        return VirtualDisk(late=self.faults.disks_sync_late, log_late=self.faults.logs_sync_late)

    def reset(self) -> None:
        """Forget everything but the disk."""
        self.timers = VirtualTimers()
        self.core = self._new_core()
        self.crashes_in_turn = False
        """Whether the next turn in which this node sends something early ends there, in a crash."""

    def _new_core(self) -> NodeCore:
        if self.algorithm.keeps_log:
            kind: type[NodeCore] = LogCore
        else:
            kind = ChattyCore if self.faults.own_messages_wait else VirtualCore
        return kind(self.algorithm, self.id, self.members, self.disk, self.timers, self._machines, self._limits)

    # --- what others ask --------------------------------------------------------------------------------------------

    @property
    def instance(self) -> Algorithm | None:
        """The algorithm's instance, if it has been made."""
        return self.core.instances.get(self._name)

    @property
    def waiting(self) -> dict[Request, Waiting]:
        """The requests that wait for an answer here."""
        return self.core.waiting

    @property
    def to_self(self) -> list[Message]:
        """What the node has sent to itself and has not heard yet."""
        return [message for _, message in self.core.to_itself]

    @property
    def can_boot(self) -> bool:
        """False if the disk is lost: the node may have promised what it has forgotten, so it must not vote again."""
        return self.has_disk or self.faults.empty_disks_vote

    @property
    def owes_turn(self) -> bool:
        """Whether it has something to take in, or to let out, without input."""
        return self.up and self.core.has_work

    def is_set(self, timer: str) -> bool:
        """Return whether a timer of that name is set."""
        return (self._name, timer) in self.timers.running

    def timer_range(self, timer: str) -> tuple[float, float]:
        """Return the range of a timer that is set, in seconds."""
        return self.timers.running[self._name, timer]

    def timer_names(self) -> list[str]:
        """Return the names of the timers that are set."""
        return [key[1] for key in self.timers.running if not isinstance(key, Request)]

    def take_set_timers(self) -> list[str]:
        """Return the timers that were set since the last call, in order, if they are still set."""
        names = [
            key[1] for key in self.timers.set_lately if key in self.timers.running and not isinstance(key, Request)
        ]
        self.timers.set_lately.clear()
        return names

    # --- life -------------------------------------------------------------------------------------------------------

    def boot(self) -> TurnOutput:
        """Start from the disk."""
        assert not self.up, f"{self.id} is up already"
        assert self.can_boot, f"{self.id} has run before and its disk is gone"
        self.has_disk = True
        self.up = True
        self.incarnation += 1
        self.core.boot()
        return self.end_turn()

    def crash(self) -> None:
        """Lose everything but the disk."""
        assert self.up, f"{self.id} is down already"
        self.up = False
        self.disk.crash()
        self.reset()

    def lose_disk(self) -> None:
        """Lose the directory, in which the boot counter is, too."""
        assert not self.up, f"{self.id} is up: its disk is lost while it is down"
        self.disk = self._new_disk()
        self.has_disk = False
        self.incarnation = 0
        self.reset()

    # --- a turn -----------------------------------------------------------------------------------------------------

    def turn(self, *steps: Step) -> TurnOutput:
        """Take in what the node sent to itself, then any number of inputs. Nothing leaves before it is on disk."""
        assert self.up, f"{self.id} is down"
        known = len(self.timers.set_lately)
        stale = self.core.stale
        self.core.take_own_messages()
        for step in steps:
            # What the node sent to itself may have set the timer anew: then this is not the timer that was to expire.
            if not (isinstance(step, Fire) and (self._name, step.timer) in self.timers.set_lately[known:]):
                self._take_in(step)
        output = self.end_turn()
        output.stale = self.core.stale > stale
        return output

    def _take_in(self, step: Step) -> None:
        core = self.core
        match step:
            case Deliver(packet):
                core.receive(packet.sender, packet.incarnation, self._name, packet.message)
            case Fire(_, timer) if self.is_set(timer):
                self.timers.cancel((self._name, timer))
                core.timer_expired((self._name, timer))
            case Propose(_, request, value):
                core.propose(VARIABLE, request, request, 0.0, value)
            case Query(_, request):
                core.query(VARIABLE, request, request, 0.0)
            case GiveUp(_, request) if request in core.waiting:
                core.timer_expired(request)
            case SendFrame(_, request, frame):
                core.command(request, request, frame)
            case PeerLost(_, peer):
                core.peer_lost(peer)
            case Retire():
                core.retire()
            case HearSelf() | Fire() | GiveUp():
                pass  # what the node had sent to itself has cancelled the timer, or answered the request
            case _:
                raise AssertionError(f"{step} is not an input")

    def end_turn(self) -> TurnOutput:
        """Commit, and let out what the turn has asked for."""
        self.core.end_of_input()
        early = self.core.take_early()
        if early is not None and self.crashes_in_turn:
            output = self._let_out(early)  # the caller has the node crash, once it has looked at what this rests on
            output.crashed = True
            return output
        self.disk.commit()
        late = self.core.take_output()
        output = self._let_out(late, early)
        if self.core.to_itself:
            output.to_self = self.to_self
        self.core.after_turn()
        return output

    def _let_out(self, *outputs: Output | None) -> TurnOutput:
        let_out = TurnOutput()
        for output in outputs:
            if output is None:
                continue
            for to, _, message in output.sends:
                let_out.packets.append(Packet(self.id, self.incarnation, to, message))
            for _, request, value, refused in output.replies:
                let_out.replies.append(VirtualReply(request, value, refused))
            for route, replies in output.frame_replies.items():
                for _, payload, refused, leader in replies:
                    value = None if payload is None else Value(payload)
                    let_out.replies.append(VirtualReply(Request(*route), value, refused, True, leader))
        return let_out
