"""Simulated logs that are compared with those of real disks."""

import pytest

from harness.mutants.unasked_logs import UNASKED_LOGS
from harness.virtual.compared_log import ComparedLog
from harness.virtual.log_fault_schedule import draw_log_fault_schedule
from harness.virtual.simulation_settings import SimulationSettings
from node.algorithms.multipaxos import MultiPaxos
from node.log_contract import Record
from node.storage.log_store import DiskLog


@pytest.mark.parametrize(("broken", "seed"), UNASKED_LOGS.items(), ids=lambda case: getattr(case, "__name__", None))
def test_a_simulation_shows_a_broken_log_of_a_real_disk(
    broken: type[DiskLog], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert draw_log_fault_schedule(seed).real_logs
    monkeypatch.setattr(ComparedLog, "twin_class", broken)
    assert "the log of a real disk answers" in str(SimulationSettings().simulate(MultiPaxos, seed).violations)


def test_the_twin_loses_what_a_crash_loses_and_keeps_what_was_committed() -> None:
    log = ComparedLog()
    log.put(Record(1, 1, "n1", b"a"))
    log.put_part(1, 0, b"part")
    log.commit()
    log.put(Record(2, 1, "n1", b"b"))
    log.keep_only(2)
    assert len(log.since(1, 100)) == 2
    log.crash()
    assert [record.slot for record in log.since(1, 100)] == [1]
    assert (log.get(1), log.get(2), log.part(1, 0)) == (Record(1, 1, "n1", b"a"), None, b"part")
    log.put(Record(2, 2, "n2", b"c"))
    log.keep_up_to(1)
    log.truncate(2)
    log.commit()
    assert (log.since(1, 100), log.get(1), log.wrong) == ([], None, None)
    log.restore(({3: Record(3, 1, "n1", b"")}, {}, 3))
    assert (log.get(3), log.wrong) == (Record(3, 1, "n1", b""), None)
