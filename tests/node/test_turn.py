"""The core by itself: what waits to leave, and when."""

from collections.abc import Callable

import pytest

from harness.virtual.core import VirtualTimers
from harness.virtual.disk import VirtualDisk
from node.algorithms.paxos import Paxos, Prepare
from node.contract import Request
from node.frames import CommandFrame
from node.quorum import Ballot
from node.turn import NodeCore, Output

ROUTE = (b"route",)
REQUEST = Request("c", 1)
FRAME = CommandFrame(1, 0, 0, 0, "kv", b"")
MESSAGE = Prepare(Ballot(1, "n1"))


@pytest.fixture
def core() -> NodeCore:
    return NodeCore(Paxos, "n1", ("n1", "n2", "n3"), VirtualDisk(), VirtualTimers())


LATE: dict[str, Callable[[NodeCore], object]] = {
    "a message": lambda core: core.send("n2", "x", MESSAGE),
    "a reply": lambda core: core.refuse(REQUEST, ROUTE, "no"),
    "a reply to a frame": lambda core: core.command(REQUEST, ROUTE, FRAME),
}


@pytest.mark.parametrize("output", LATE)
def test_one_output_is_output(core: NodeCore, output: str) -> None:
    assert not core.has_output
    assert not core.has_work
    LATE[output](core)
    assert core.has_output
    assert core.has_work
    assert core.take_early() is None
    taken = core.take_output()
    assert taken is not None
    assert [bool(part) for part in taken] == [output == name for name in LATE]
    assert not core.has_output
    assert core.take_output() is None


def test_an_early_message_is_output_until_it_is_taken(core: NodeCore) -> None:
    core.send_early("n2", "x", MESSAGE)
    assert core.has_output
    assert core.has_work
    assert core.take_output() is None
    assert core.take_early() == Output([("n2", "x", MESSAGE)], [], {})
    assert not core.has_output


def test_what_a_node_sends_to_itself_is_work_and_no_output(core: NodeCore) -> None:
    core.send("n1", "x", MESSAGE)
    assert core.has_work
    assert not core.has_output
    assert core.take_output() is None
    assert core.to_itself == [("x", MESSAGE)]
    assert core.has_work
