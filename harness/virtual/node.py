"""The shell that runs a node without a process: the same core, an in-memory disk, and timers that expire on command.

Rules
-----
1. `turn` takes any number of inputs: first what the node sent to itself in the turn before, then the steps in their order.
   Then the turn ends as in a process (`node/turn.py`).
2. A node whose disk is lost refuses to boot, as a real node does. A `FaultModel` can say otherwise.
3. What breaks the contract raises `ContractBroken`, and an exception of an algorithm is not caught: both end a real node.
"""

from harness.virtual.compared_log import new_disk
from harness.virtual.core import LogCore, OwnMessagesTravelCore, VirtualCore, VirtualTimers
from harness.virtual.disk import VirtualDisk
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.inputs import take_in
from harness.virtual.output import TurnOutput, turn_output
from harness.virtual.steps import VARIABLE, CrashMoment, Fire, LastCommit, Step
from harness.virtual.watchdog import one_turn
from node.contract import Algorithm, Message, NodeId, Request
from node.instances import LOG_NAME, Waiting
from node.log_contract import Doubt, LogAlgorithm
from node.tuning import SHIPPED, Tuning
from node.turn import NodeCore


class VirtualNode:
    """One node, of one variable or of a log. Picklable; `harness/virtual/node_state.py` saves and restores it."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        fault_model: FaultModel = SOUND,
        machines: tuple[str, ...] = (),
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a node that is down and has an empty disk.

        Args:
            algorithm: the class that the node runs.
            node: the node's id.
            members: every node of the cluster, in the order of the spec.
            fault_model: how the node and its disk differ from a real node on a good disk.
            machines: the machines that a log drives; empty for the standard ones.
            tuning: the settings of the cluster.
        """
        self.algorithm, self.id, self.members = algorithm, node, members
        self.fault_model, self._machines, self.tuning = fault_model, machines, tuning
        self.instance_name = LOG_NAME if algorithm.keeps_log else VARIABLE
        self.disk = self._new_disk()
        self.has_disk = True
        self.up = False
        self.incarnation = 0
        self.reset()

    def _new_disk(self) -> VirtualDisk:
        return new_disk(self.fault_model)

    def reset(self) -> None:
        """Discard everything but the disk."""
        self.timers = VirtualTimers()
        self.core = self._new_core()
        self.wrote = False
        """Whether the last turn committed anything."""
        self.crashes_in_turn: CrashMoment | None = None
        """At which moment the next turn that has such a moment ends in a crash."""

    def _new_core(self) -> NodeCore:
        if self.algorithm.keeps_log:
            kind: type[NodeCore] = LogCore
        else:
            kind = OwnMessagesTravelCore if self.fault_model.own_messages_wait else VirtualCore
        return kind(self.algorithm, self.id, self.members, self.disk, self.timers, self._machines, self.tuning)

    # --- the present state ------------------------------------------------------------------------------------------

    @property
    def instance(self) -> Algorithm | None:
        """The algorithm's instance, if it has been made."""
        return self.core.instances.get(self.instance_name)

    @property
    def waiting(self) -> dict[Request, Waiting]:
        """The requests that wait for an answer here."""
        return self.core.waiting

    @property
    def to_self(self) -> list[Message]:
        """The messages that the node has sent to itself and has not taken in yet."""
        return [message for _, message in self.core.to_itself]

    @property
    def can_boot(self) -> bool:
        """False if the disk is lost: the node may have promised what it no longer knows, so it must not vote again."""
        return self.has_disk or self.fault_model.empty_disks_vote

    @property
    def owes_turn(self) -> bool:
        """Whether the node has something to take in or to release even if no input comes."""
        return self.up and self.core.has_work

    def is_set(self, timer: str) -> bool:
        """Return whether a timer of that name is set."""
        return (self.instance_name, timer) in self.timers.running

    def timer_range(self, timer: str) -> tuple[float, float]:
        """Return the range of a timer that is set, in seconds: its shortest and its longest time."""
        return self.timers.running[self.instance_name, timer]

    def timer_names(self) -> list[str]:
        """Return the names of the timers that are set."""
        return [key[1] for key in self.timers.running if not isinstance(key, Request)]

    def take_set_timers(self) -> list[str]:
        """Return the timers that were set since the last call and are still set, in the order in which they were set."""
        names = [
            key[1] for key in self.timers.set_lately if key in self.timers.running and not isinstance(key, Request)
        ]
        self.timers.set_lately.clear()
        return names

    # --- boots and crashes ------------------------------------------------------------------------------------------

    def boot(self) -> TurnOutput:
        """Start the node from its disk. Return the output of the boot's turn."""
        assert not self.up, f"{self.id} is up already"
        assert self.can_boot, f"{self.id} has run before and its disk is gone"
        self.has_disk = True
        self.up = True
        self.incarnation += 1
        self.disk.boot()
        with one_turn:
            self.core.boot()
            return self.end_turn()

    def crash(self) -> None:
        """Stop the node. It loses everything but what its disk has synced."""
        assert self.up, f"{self.id} is down already"
        self.up = False
        self.disk.crash()
        self.reset()

    def lose_disk(self) -> None:
        """Lose the node's directory, and with it the boot counter."""
        assert not self.up, f"{self.id} is up: its disk is lost while it is down"
        self.disk = self._new_disk()
        self.has_disk = False
        self.incarnation = 0
        self.reset()

    def doubt_disk(self, last_commit: LastCommit) -> None:
        """Let the node's disk end in a commit that does not check."""
        assert not self.up, f"{self.id} is up: its disk is found in doubt at a boot"
        doubt = Doubt.DAMAGED if last_commit is LastCommit.PROVEN_DAMAGED else Doubt.TORN_OR_DAMAGED
        self.disk.begin_doubt(doubt, loses_commit=last_commit is not LastCommit.TORN)

    # --- a turn -----------------------------------------------------------------------------------------------------

    def turn(self, *steps: Step) -> TurnOutput:
        """Take in what the node sent to itself, then the steps; commit; return what leaves the node."""
        assert self.up, f"{self.id} is down"
        core, timers, name = self.core, self.timers, self.instance_name
        known, stale = len(timers.set_lately), core.stale
        with one_turn:
            if core.to_itself:
                core.take_own_messages()
            for step in steps:
                # A message of the node to itself may have set the timer again: then the timer that was to expire is gone.
                if not isinstance(step, Fire) or (name, step.timer) not in timers.set_lately[known:]:
                    take_in(core, timers, name, step)
            output = self.end_turn()
        output.stale = core.stale > stale
        return output

    def end_turn(self) -> TurnOutput:
        """Commit, and return what leaves the node in this turn."""
        self.core.end_of_input()
        early = self.core.take_early()
        moment = self.crashes_in_turn
        if early is not None and moment is CrashMoment.EARLY:
            return turn_output(self.id, self.incarnation, early, crashed=moment)
        self.wrote = self.disk.dirty
        strikes = moment is CrashMoment.COMMITTED or (moment is CrashMoment.SNAPSHOT and self.disk.log.resizes)
        self.disk.commit(ends_doubt=not strikes)
        if strikes and self.wrote:
            return turn_output(self.id, self.incarnation, early, crashed=moment)
        late = self.core.take_output()
        if moment is CrashMoment.RELEASING and late is not None and len(late.sends) > 1:
            some = late._replace(sends=late.sends[: len(late.sends) // 2])
            return turn_output(self.id, self.incarnation, some, early, crashed=moment)
        output = turn_output(self.id, self.incarnation, late, early) if late or early else TurnOutput()
        if self.core.to_itself:
            output.to_self = self.to_self
        self.core.after_turn()
        if self.fault_model.time_stands_still and isinstance(self.instance, LogAlgorithm):
            self.instance.forget_time()
        return output
