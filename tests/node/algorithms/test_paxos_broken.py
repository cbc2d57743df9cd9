"""Mistakes that real systems have made in Paxos, each with the schedule that exposes it. The shipped class passes every one.

A schedule delivers the packets that exist, and continues where the shipped class has sent none. It ends with the values that are
decided according to answers and disks. Two such values are a violation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.mutants.paxos import (
    AcceptDoesNotRaise,
    AcceptedInMemory,
    AcceptIgnoresPromise,
    AdoptsLowest,
    CountsMessages,
    CountsOldAcks,
    CountsOldPromises,
    IgnoresAccepted,
    PromiseInMemory,
    ReusesBallots,
    SendsOnce,
    SmallQuorum1,
    SmallQuorum2,
)
from node.algorithms.paxos import Accept, Accepted, Decided, Paxos, Prepare, Promise
from node.contract import NodeId, Value
from node.quorum import Ballot
from tests.node.algorithms.schedule import Schedule

RED, BLUE, GREEN = Value(b"red"), Value(b"blue"), Value(b"green")


# --- the schedules --------------------------------------------------------------------------------------------------


def phase_1(net: Schedule, proposer: NodeId, quorum: str) -> None:
    """Have these nodes, and no others, promise the proposer's ballot."""
    net.deliver(Prepare, proposer, quorum)
    net.drop(Prepare, proposer)
    net.deliver(Promise, quorum, proposer)


def phase_2(net: Schedule, proposer: NodeId, quorum: str) -> None:
    """Have these nodes accept the proposer's value. Its Decided messages are lost; other Accepts stay in flight."""
    net.deliver(Accept, proposer, quorum)
    net.deliver(Accepted, quorum, proposer)
    net.drop(Decided, proposer)


def chosen_then_a_second_proposer(net: Schedule) -> None:
    """Rows 1 and 6: red is chosen by a and b; c proposes through b, which has been down in between."""
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    phase_2(net, "a", "ab")
    net.crash("a", "b")
    net.in_flight = []
    net.restart("b")
    net.propose("c", BLUE)
    net.wait_for_answers("bc")


def three_ballots(net: Schedule) -> None:
    """Row 2: a has red of ballot 1, c has blue of ballot 2, which is chosen; both are reported to the third ballot."""
    net.propose("a", RED)
    phase_1(net, "a", "abc")
    phase_2(net, "a", "a")
    net.in_flight = []
    net.propose("b", BLUE)
    phase_1(net, "b", "bc")
    phase_2(net, "b", "bc")
    net.crash("b")
    net.in_flight = []
    net.propose("c", GREEN)
    net.wait_for_answers("ac")


def late_accept(net: Schedule) -> None:
    """Rows 3 and 5: b promises a, then c, and accepts blue, which is chosen; then it restarts, and a's Accept comes."""
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    net.propose("c", BLUE)
    phase_1(net, "c", "bc")
    phase_2(net, "c", "bc")
    net.crash("b", "c")
    net.restart("b")
    phase_2(net, "a", "ab")
    net.wait_for_answers("ab")


def accepted_without_a_promise(net: Schedule) -> None:
    """Row 4: c accepts blue of ballot 2 without having promised it, then gets a's late Accept of ballot 1."""
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    net.propose("b", BLUE)
    phase_1(net, "b", "ab")
    phase_2(net, "b", "bc")
    net.crash("b")
    net.deliver(Accept, "a", "c")
    net.in_flight = []
    net.propose("c", GREEN)
    net.wait_for_answers("ac")


def one_promise_held(net: Schedule) -> None:
    """Row 8: a's first Accept is under way when a is killed; a proposes again, then the Accept comes to c."""
    net.propose("a", RED)
    phase_1(net, "a", "bc")  # a has not received its own Prepare
    net.deliver(Accept, "a", "b")
    first_life = net.find(Accept, "a", "c")
    net.crash("a")
    net.in_flight = []
    net.restart("a")
    net.propose("a", BLUE)
    phase_1(net, "a", "ac")
    phase_2(net, "a", "ac")
    net.crash("a")
    net.in_flight = first_life
    net.deliver()
    net.propose("b", GREEN)
    net.wait_for_answers("bc")


def one_promise_alone(net: Schedule) -> None:
    """Row 9: red is chosen by a and b; c receives its own promise first."""
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    phase_2(net, "a", "ab")
    net.crash("a")
    net.in_flight = []
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "c")
    net.deliver(Promise, "c", "c")
    net.wait_for_answers("bc")


def one_acceptance(net: Schedule) -> None:
    """Rows 9 and 22: only a accepts red, and its Accepted comes twice."""
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    net.deliver(Accept, "a", "a")
    net.deliver(Accepted, "a", "a", keep=True)
    net.deliver(Accepted, "a", "a", keep=True)
    net.crash("a")
    net.in_flight = []
    net.propose("c", BLUE)
    net.wait_for_answers("bc")


def acknowledged_late(net: Schedule) -> None:
    """Row 22: b's acceptance of a's ballot 1 (red) comes when a has gone on to ballot 3 (blue, from c's ballot 2)."""
    net.propose("a", RED)
    phase_1(net, "a", "abc")
    net.deliver(Accept, "a", "b")
    late = net.find(Accepted, "b", "a")
    net.in_flight = []
    net.propose("c", BLUE)
    phase_1(net, "c", "acd")
    net.deliver(Accept, "c", "c")
    net.in_flight = []
    net.fire("a")  # sends its Accept again, and is beaten by its own acceptor
    net.deliver(None, "a", "a")
    net.deliver(None, "a", "a")
    net.in_flight = []
    net.fire("a")
    phase_1(net, "a", "acd")
    assert {packet.message for packet in net.find(Accept, "a")} == {Accept(Ballot(3, "a"), BLUE)}
    phase_2(net, "a", "ac")
    net.in_flight = late
    net.deliver()
    net.drop()
    net.crash("a", "c")
    net.propose("d", GREEN)
    net.wait_for_answers("bde")


def promised_late(net: Schedule) -> None:
    """Row 22: b's promise of a's ballot 1 comes when b has accepted blue, which is chosen, and a is at ballot 2."""
    net.propose("a", RED)
    net.deliver(Prepare, "a", "ab")
    late = net.find(Promise, "b", "a")
    net.in_flight = []
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "bc")
    net.deliver(Promise, "bc", "c")
    phase_2(net, "c", "bc")
    net.crash("c")
    net.deliver(Prepare, "c", "a")
    net.in_flight = []
    net.fire("a")  # sends its Prepare again, and is beaten by its own acceptor
    net.deliver(None, "a", "a")
    net.deliver(None, "a", "a")
    net.in_flight = []
    net.fire("a")
    net.deliver(Prepare, "a", "a")
    net.deliver(Promise, "a", "a")
    net.in_flight += late
    net.deliver(Promise, "b", "a")
    net.wait_for_answers("ab")


def one_accept_lost(net: Schedule) -> None:
    """Row 23: c is down and a's only Accept to b is lost."""
    net.crash("c")
    net.propose("a", RED)
    phase_1(net, "a", "ab")
    net.drop(Accept, "a", "b")
    net.wait_for_answers("ab")


Story = Callable[[Schedule], None]


@dataclass(frozen=True)
class Row:
    number: int
    broken: type[Paxos]
    schedule: Story
    members: str = "abc"


ROWS = [
    Row(1, IgnoresAccepted, chosen_then_a_second_proposer),
    Row(2, AdoptsLowest, three_ballots),
    Row(3, AcceptIgnoresPromise, late_accept),
    Row(4, AcceptDoesNotRaise, accepted_without_a_promise),
    Row(5, PromiseInMemory, late_accept),
    Row(6, AcceptedInMemory, chosen_then_a_second_proposer),
    Row(8, ReusesBallots, one_promise_held),
    Row(9, SmallQuorum1, one_promise_alone),
    Row(9, SmallQuorum2, one_acceptance),
    Row(22, CountsOldAcks, acknowledged_late, "abcde"),
    Row(22, CountsOldPromises, promised_late),
    Row(22, CountsMessages, one_acceptance),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.broken.__name__}")
def test_the_break_decides_two_values(row: Row) -> None:
    net = Schedule(row.broken, row.members)
    row.schedule(net)
    assert len(net.decisions()) == 2


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.schedule.__name__)
def test_the_shipped_class_decides_one_value(row: Row) -> None:
    net = Schedule(Paxos, row.members)
    row.schedule(net)
    assert len(net.decisions()) == 1
    assert len(net.answers) >= 1


def test_what_is_sent_once_makes_no_progress() -> None:
    with pytest.raises(AssertionError, match="no progress"):
        one_accept_lost(Schedule(SendsOnce))
    one_accept_lost(Schedule(Paxos))


def test_two_ballots_show_nothing_of_row_2() -> None:
    """Show why the schedule has three: of two reports with one value, the lowest ballot is the highest."""
    net = Schedule(AdoptsLowest)
    chosen_then_a_second_proposer(net)
    assert net.decisions() == {RED}
