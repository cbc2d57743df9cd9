"""A simulated log is asked every kind of call, and its answers are judged by the log."""

from collections import Counter
from dataclasses import replace

import pytest

from harness.mutants import unasked
from harness.virtual.log_events import OTHER_KINDS, ScheduledOperation
from harness.virtual.log_fault_schedule import draw_log_fault_schedule
from harness.virtual.log_judge import LogJudge
from harness.virtual.log_requests import ClientMemory, request_of
from harness.virtual.log_simulation import LogSimulation
from harness.virtual.output import VirtualReply
from harness.virtual.simulation_settings import DEFAULT_SETTINGS
from harness.virtual.simulator import simulate_seeds
from node.algorithms import load_algorithm
from node.algorithms.raft import Raft
from node.contract import Request, Value
from node.frames import CommandFrame
from node.log_contract import LogAlgorithm
from node.wire import pack_unchecked


def test_every_kind_of_call_is_drawn_and_can_be_asked() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(200):
        for call in draw_log_fault_schedule(seed).calls:
            if isinstance(call, ScheduledOperation):
                drawn[call.kind] += 1
                request = request_of(call, ClientMemory("c1", "c1.1"), 0)
                assert request.wait_ms == 0 or request.read
    assert {kind for kinds in OTHER_KINDS.values() for kind in kinds} <= set(drawn)


@pytest.mark.parametrize("mutant", [unasked.RangesAreCutShort, unasked.WatchesBeginOneTooLate])
def test_a_machine_that_answers_wrong_is_found_without_a_story(mutant: type[LogAlgorithm]) -> None:
    tally = simulate_seeds(mutant, range(40), DEFAULT_SETTINGS, failures_max=1)
    assert "no place in the log" in next(iter(tally.failures.values()))


@pytest.mark.parametrize("withdraws", [True, False])
def test_the_answer_to_a_withdrawn_frame_is_that_of_the_frame_without_commands(withdraws: bool) -> None:
    """The frame may arrive after the one that withdraws it. No other frame is answered without results."""
    judge = LogJudge(Raft)
    frame = CommandFrame(1, 2, 6, 6, "cluster", pack_unchecked([["remove", "n1"]]))
    judge.record_frame(Request("c1", 1), frame)
    if withdraws:
        judge.record_frame(Request("c1", 2), replace(frame, number=2, machine="session", packed=pack_unchecked([])))
    judge.check_reply("n1", VirtualReply(Request("c1", 1), Value(pack_unchecked([[], []])), None, to_frame=True))
    assert [violation.text for violation in judge.violations] == (
        [] if withdraws else ["n1 answers 1 commands with 0 results"]
    )


def test_copies_of_an_answer_do_not_each_ask_for_more() -> None:
    """A removed node cannot take in what it is sent. Each copy of an answer made it ask again, and the copies multiplied."""
    done = LogSimulation(load_algorithm("multipaxos"), draw_log_fault_schedule(124)).run()
    assert len(done.steps) < 10_000
