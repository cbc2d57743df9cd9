"""What the machine takes from a run is measured, and excuses as much and no more."""

import os
import time

import pytest

from harness.checkers.evidence import PROXY, ProcessorWait, RunEvidence, Stall
from harness.runs import machine_watch
from harness.runs.machine_watch import MachineWatch
from node.algorithms.multipaxos import MultiPaxos

S = 1_000_000_000


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> MachineWatch:
    monkeypatch.setattr(machine_watch, "_LOOK_EVERY_NS", 0)
    monkeypatch.setattr(time, "process_time_ns", lambda: 0)
    return MachineWatch(lambda: {"n1": 1, PROXY: 2})


@pytest.mark.parametrize(("ran_ns", "share"), [(0, 1.0), (S // 2, 0.5), (2 * S, 0.0)])
def test_only_what_others_use_excuses_a_wait(
    watch: MachineWatch, monkeypatch: pytest.MonkeyPatch, ran_ns: int, share: float
) -> None:
    times = {1: (0, 0), 2: (0, 0)}
    busy = [S, 2 * S]
    monkeypatch.setattr(machine_watch, "times_ns", times.get)
    monkeypatch.setattr(machine_watch, "_busy_ns", lambda: busy.pop(0))
    watch.rest(0)
    times[1] = (ran_ns, S)
    watch.rest(0)
    (wait,) = watch.waits
    assert wait.lost_ns == {"n1": int(S * share), PROXY: 0}


def test_the_kernel_says_how_long_a_process_has_run_and_waited() -> None:
    times = machine_watch.times_ns(os.getpid())
    assert times is not None
    assert times[0] > 0
    assert machine_watch.times_ns(2**30) is None
    assert machine_watch._busy_ns() > 0


def test_an_answer_may_be_late_by_what_the_proxy_and_one_node_have_lost_meanwhile() -> None:
    waits = [ProcessorWait(at * S, (at + 1) * S, {PROXY: S // 10, "n1": S // 5, "n2": S // 2}) for at in range(10)]
    run = RunEvidence(("n1", "n2", "n3"), MultiPaxos, waits=waits)
    assert run.allowance_s(2 * S, 4 * S) == pytest.approx(2 * 0.6)
    assert run.allowance_s(20 * S, 21 * S) == 0
    run.stalls = [Stall(2 * S, 2 * S + S // 10)]
    assert run.allowance_s(2 * S, 4 * S) == pytest.approx(2.0)
