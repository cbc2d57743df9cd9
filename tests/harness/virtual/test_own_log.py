"""A log of one's own on the log contract alone: the simulator drives it, judges it, and finds its mistakes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.faults.log_traits import LogTraits, log_traits
from harness.records.run_folders import as_file_name
from harness.runs.plan_generator import generate
from harness.systems.registry import is_command
from harness.virtual.judge import SAFETY, TIMER
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.simulator import run_simulate, simulate_seeds
from node.algorithms import UnknownAlgorithm, load_algorithm
from node.contract import BadInput, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import Log, StoredProgress
from node.storage.log_store import MemoryLog
from tests.docs.pages import blocks
from tests.fixed_leader_log import FixedLeaderLog

PATH = "tests/fixed_leader_log.py:FixedLeaderLog"
SAFE = SimulationSettings(look_for=(*SAFETY, TIMER, "client"))


class FollowersAnswer(FixedLeaderLog):
    """A follower answers questions from its own state, which may be old."""

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if isinstance(frame, ReadFrame):
            self.node.reply(request, Value(self.read(frame)))
        else:
            super().command(request, frame)


class ForgetsItsLast(FixedLeaderLog):
    """After a restart the leader puts other records in the place of those that it does not know as chosen."""

    def start(self) -> None:
        super().start()
        self.last = self.commit


class TimeBeginsAnew(FixedLeaderLog):
    """After a restart the leader counts from zero, and not from the time that the log has come to."""

    def timeout(self, name: str) -> None:
        time_ms, self.state.time_ms = self.state.time_ms, 0
        super().timeout(name)
        self.state.time_ms = time_ms


def test_the_log_survives_what_the_simulator_draws() -> None:
    tally = simulate_seeds(FixedLeaderLog, range(6), SAFE, 1)
    assert tally.failures == {}
    assert tally.seen["a decision"]
    assert tally.seen["a crash"]
    assert {"put", "put refused"} & {*tally.seen}
    assert "a change of leader" not in tally.seen


def test_only_what_it_can_do_must_have_happened() -> None:
    required = run_simulate(FixedLeaderLog, range(1), SAFE).required
    assert {"a hand-over", "a change of leader", "a change of members", "a snapshot"} & {*required} == set()


@pytest.mark.parametrize(
    ("broken", "seeds", "found"),
    [
        (FollowersAnswer, range(40), "order: "),
        (ForgetsItsLast, range(37, 60), "agreement: in slot "),
        (TimeBeginsAnew, range(650, 670), "client: the lease of "),
    ],
)
def test_its_mistakes_are_found(broken: type[FixedLeaderLog], seeds: range, found: str) -> None:
    failures = simulate_seeds(broken, seeds, SAFE, 3).failures
    assert any(text.startswith(found) for text in failures.values()), failures


def test_the_guide_shows_it_as_it_is() -> None:
    source = Path("tests/fixed_leader_log.py").read_text()
    shown = [block for block in blocks(Path("docs/guides/log.md")) if block.language == "python"]
    assert [block.text for block in shown if block.text.rstrip("\n") not in source] == []
    assert [block.text for block in shown if block.attributes.get("title") == "fixed_leader_log.py"] == [source]


def test_it_is_found_by_its_file() -> None:
    loaded = load_algorithm(PATH)
    assert loaded.__name__ == "FixedLeaderLog"
    assert not is_command(PATH)
    assert "/" not in as_file_name(PATH)


def test_a_file_whose_module_has_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("class Mine: ...")
    with pytest.raises(UnknownAlgorithm, match="another module is called 'random', too"):
        load_algorithm(f"{tmp_path}/random.py:Mine")


def test_plans_ask_the_class_what_its_log_can_do() -> None:
    assert log_traits("paxos") == LogTraits(keeps=False)
    assert log_traits("multipaxos") == LogTraits(True, True, True, "TakeOver")
    assert log_traits(PATH) == LogTraits(keeps=True)
    for seed in range(20):
        plan = generate(PATH, ("n1", "n2", "n3"), seed, workload="kv")
        faults = {step.fault for step in plan.steps}
        assert not faults & {"hand-over", "add-node", "remove-node", "replace-node"}


def test_a_log_without_snapshots_takes_no_state() -> None:
    disk: dict[str, Any] = {"commit": 3}
    log: Log = MemoryLog()
    stored: Mapping[str, Any] = disk
    assert FixedLeaderLog.stored_progress(stored) == StoredProgress(3, 0)
    with pytest.raises(BadInput, match="FixedLeaderLog makes no snapshots"):
        FixedLeaderLog.store_state(disk, log, 1, [b""])
