"""Scripts in virtual time about what a fault excuses: a log that hides behind a fault that slows it down is found out.

Both clients put all the time, one call after the other. The judge of fault tolerance then judges the run by its
history and its receipts, as it judges a run on real processes.
"""

from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.checkers.evidence import RunEvidence
from harness.checkers.properties import fault_tolerance
from harness.checkers.verdict import VerdictStatus
from harness.faults.catalogue import find_fault
from harness.faults.link_faults import expand_links
from harness.mutants.virtual_script import start, virtual_script
from harness.records.history import Event, EventType, History
from harness.records.links import Link
from harness.records.receipts import Receipt
from harness.virtual.log_script import LogWorld
from node.contract import NodeId
from node.log_contract import LogAlgorithm

_CALL_S: Final = 4.0
_LONG_CALL_S: Final = 8.0  # over links that are so late, shorter calls need no answer
_PAUSE_S: Final = 0.05


class _JudgedPuts:
    """Two clients of a world that put all the time, and the receipts of the faults that the script makes."""

    def __init__(self, world: LogWorld, call_s: float = _CALL_S) -> None:
        self.world, self.receipts, self._call_s = world, list[Receipt](), call_s
        self._events: list[Event] = []
        self._puts = 0
        self._open: dict[str, LogCall] = {}

    def fault(
        self, name: str, nodes: tuple[NodeId, ...] = (), links: tuple[Link, ...] = (), **arguments: float
    ) -> None:
        """Note that a fault of the catalogue is in force from now on. The script makes it itself."""
        disturbance = find_fault(name).excuse.disturbance(arguments)
        began_ns = self._now_ns()
        self.receipts.append(Receipt(name, began_ns, None, True, nodes, (), links, {}, *disturbance))

    def put_for(self, seconds: float) -> None:
        """Have both clients put, one call after the other, for so long."""
        world, end = self.world, self.world.now + seconds
        calls = self._open
        while world.now < end:
            for client in world.clients:
                call = calls.get(client)
                if call is not None and call.outcome is not None:
                    self._completed(client, call.outcome)
                    del calls[client]
                elif call is None:
                    self._puts += 1
                    calls[client] = world.begin(client, "put", "k", b"%d" % self._puts, for_s=self._call_s)
                    self._note(client, "invoke", self._puts, timeout_s=self._call_s)
            world.pass_s(_PAUSE_S)

    def check(self, algorithm: type[LogAlgorithm]) -> None:
        """Raise AssertionError if the log owed an answer and gave none."""
        self.world.check()
        members = self.world.members
        verdict = fault_tolerance(RunEvidence(members, algorithm, History(self._events), self.receipts))
        assert verdict.status is not VerdictStatus.INVALID, verdict.evidence

    def _completed(self, client: str, outcome: Ok | NotDone | NotKnown) -> None:
        match outcome:
            case Ok(value):
                self._note(client, "ok", value)
            case NotDone(_, reason):
                self._note(client, "fail", None, reason)
            case NotKnown(reason):
                self._note(client, "info", None, reason)

    def _note(
        self, client: str, kind: EventType, value: Any, error: str | None = None, timeout_s: float | None = None
    ) -> None:
        self._events.append(
            Event(len(self._events), self._now_ns(), client, kind, "put", "k", value, error, None, timeout_s)
        )

    def _now_ns(self) -> int:
        return int(self.world.now * 1e9)


@virtual_script
def a_kill_behind_late_links(algorithm: type[LogAlgorithm]) -> None:
    """Messages between nodes are 0.1 s late, and the leader is killed; some put must be answered soon."""
    world, *_ = start(algorithm, nodes=5)
    puts = _JudgedPuts(world)
    world.late_s = 0.1
    puts.fault("delay", links=expand_links("nodes", world.members), seconds=0.1)
    puts.put_for(3.0)
    leader = world.leader()
    if leader is not None:
        world.crash(leader)
        puts.fault("kill", nodes=(leader,))
    puts.put_for(14.0)
    puts.check(algorithm)


@virtual_script
def puts_over_lossy_links(algorithm: type[LogAlgorithm]) -> None:
    """A fifth of the messages between nodes is lost; puts must be answered all the same."""
    world, *_ = start(algorithm)
    puts = _JudgedPuts(world)
    world.loss = 0.2
    puts.fault("drop", links=expand_links("nodes", world.members), probability=0.2)
    puts.put_for(30.0)
    puts.check(algorithm)


@virtual_script
def puts_on_slow_disks(algorithm: type[LogAlgorithm]) -> None:
    """The disks of all nodes take 0.2 s a sync; puts must be answered all the same."""
    world, *_ = start(algorithm)
    puts = _JudgedPuts(world, _LONG_CALL_S)
    for node in world.members:
        world.slow_disks[node] = 0.2
        links = tuple(link for link in expand_links("all", world.members) if node in link)
        puts.fault("slow-sync", links=links, seconds=0.2)
    puts.put_for(60.0)
    puts.check(algorithm)
