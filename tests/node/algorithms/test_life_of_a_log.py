"""The life of a log, message by message and timer by timer, compared with the files `life_of_*.txt`.

The other tests say what must hold whatever a leader sends and when. This one shows what is sent: a wait that is a tenth as
long, a message that is sent twice or a field that lags changes no promise, but it changes these files. `pytest --regenerate`
writes them again: read them as a diff.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.virtual.log_script import LogWorld
from harness.virtual.node import VirtualNode
from harness.virtual.output import TurnOutput
from harness.virtual.scheduled_events import ScheduledCall
from harness.virtual.steps import LastCommit, Step
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.raft import Raft
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.tuning import Tuning

#: Snapshots so often that a node that was down needs one, in several parts.
TUNING = Tuning(snapshot_slots=20, kept_slots=2, kept_bytes=1, snapshot_part_bytes=256)
#: So many characters of a message say what it is about.
SHOWN = 240


class Life(LogWorld):
    """A world that notes what each node sends, and the timers that it sets, chapter by chapter."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        self.numbers: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], str] = {}
        super().__init__(3, 1, algorithm, TUNING)

    def note(self, what: str, kind: str, first: str) -> None:
        self.numbers[what, kind] += 1
        self.first.setdefault((what, kind), first[:SHOWN])

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        output = super()._apply(node, step)
        for packet in output.packets:
            self.note(f"{packet.sender} to {packet.to}", type(packet.message).__name__, repr(packet.message))
        for reply in output.replies:
            self.note(f"{node} answers", reply.refused or "", f"{reply.value!r} {reply.leader or ''}")
        return output

    def _follow_up(self, replica: VirtualNode) -> None:
        for key in replica.timers.set_lately:
            if key in replica.timers.running:
                least_s, most_s = replica.timers.running[key]
                self.note(f"{replica.id} sets", f"{key[1]} from {least_s:g} to {most_s:g} s", "")
        super()._follow_up(replica)

    def chapter(self, title: str) -> Iterator[str]:
        """Yield what has happened since the last chapter: how often, and the first message of each kind."""
        yield f"{title}, at {self.now:.3f} s: {self.leader()} leads"
        for name, node in self.cluster.nodes.items():
            if node.up:
                status: Any = self.replica(name).status()
                yield f"    {name} is {status.role}, {status.ballot}, {status.waiting} wait, {status.details}"
        for (what, kind), number in self.numbers.items():
            yield f"  {what} {number} {kind} {self.first[what, kind]}".rstrip()
        self.numbers.clear()
        self.first.clear()


def life_of(algorithm: type[LogAlgorithm]) -> Iterator[str]:
    """Act the story, and yield it."""
    world = Life(algorithm)
    yield from leaders_and_calls(world)
    yield from members_and_disks(world)
    yield from slow_disks_and_links(world)
    world.check()


def leaders_and_calls(world: Life) -> Iterator[str]:
    world.wait_leader()
    world.pass_s(0.5)
    yield from world.chapter("A leader is elected")

    watch = world.watch("d", "k", 0)
    for number in range(3):
        world.do("c", "put", "k", b"first %d" % number)
    world.do("c", "get", "k")
    world.outcome(watch)
    quiet = world.watch("d", "q", 0, wait_s=0.3)
    yield f"  a watch of nothing ends: {world.outcome(quiet)} at {world.now:.2f} s"
    world.ask("d", "locks", ["try", "l", "d", 300])
    world.pass_s(1.0)
    yield from world.chapter("Three puts, a get, a watch and a lock whose lease ends")

    leader = world.wait_leader()
    follower = next(node for node in world.members if node != leader)
    asked: list[list[Any]] = [
        ["hand_over", "n9"], ["remove", "n9"], ["add", "n1"], ["add", "?"], ["add", "n4", "n5"], ["hand_over", follower],
    ]  # fmt: skip
    for command in asked:
        yield f"  {command}: {world.ask('d', 'cluster', command)}"
    world.wait_leader(other_than=leader)
    yield f"  nobody: {world.ask('d', 'nobody', ['x'])}"
    for machine, question in (("nobody", ["x"]), ("kv", ["x"]), ("kv", ["get", "k"]), ("cluster", ["members"])):
        call = world.question("d", machine, question)
        yield f"  {machine} {question}: {world.outcome(call)}"
    for node in world.members:
        world._call(ScheduledCall(world.now, 5.0, node, "blue"))
        world._call(ScheduledCall(world.now, 5.0, node, None))
    world.pass_s(0.5)
    yield from world.chapter("Refusals, a hand-over, and proposals at each node")

    old = world.wait_leader()
    world.crash(old)
    world.wait_leader(other_than=old)
    world.do("c", "put", "k", b"after the crash")
    world.restart(old)
    world.pass_s(0.5)
    yield from world.chapter(f"{old} has crashed, and is back")

    old = world.wait_leader()
    world.isolate(old)
    world.wait_leader(other_than=old)
    world.do("c", "put", "k", b"without the old leader")
    world.heal()
    world.pass_s(0.5)
    yield from world.chapter(f"{old} was cut off")


def members_and_disks(world: Life) -> Iterator[str]:
    world.restart("n4")
    world.change("add", "n4")
    world.pass_s(1.0)
    world.change("remove", "n4")
    world.pass_s(0.3)
    yield from world.chapter("n4 has joined and left")

    behind = next(node for node in world.members if node != world.leader())
    world.crash(behind)
    for number in range(50):
        world.do("c", "put", f"k{number % 20}", b"many %d" % number)
    world.restart(behind)
    world.pass_s(1.0)
    yield from world.chapter(f"{behind} takes in a snapshot")

    behind = next(node for node in world.members if node != world.leader())
    world.crash(behind)
    world.damage(LastCommit.TORN, behind)
    world.restart(behind)
    world.pass_s(1.0)
    yield from world.chapter(f"{behind} has lost its last commit")


def slow_disks_and_links(world: Life) -> Iterator[str]:
    old = world.wait_leader()
    world.slow_disks[old] = 0.3
    for number in range(20):
        world.do("c", "put", "k", b"slow %d" % number)
    world.slow_disks.clear()
    yield from world.chapter(f"The disk of {old} is slow")

    world.late_s = 0.3
    world.pass_s(5.0)
    old = world.wait_leader()
    world.crash(old)
    world.wait_leader(other_than=old)
    world.do("c", "put", "k", b"late")
    yield from world.chapter(f"Links are slow, and {old} has crashed")


@pytest.mark.parametrize("algorithm", [MultiPaxos, Raft])
def test_a_log_lives_as_it_has_lived(algorithm: type[LogAlgorithm], regenerate: bool) -> None:
    path = Path(__file__).with_name(f"life_of_{algorithm.__name__.lower()}.txt")
    found = "".join(f"{line}\n" for line in life_of(algorithm))
    if regenerate:
        path.write_text(found)
    assert found.splitlines() == path.read_text().splitlines()
