"""What `consensus live NAME` opens: a cluster, a run, or the virtual twin of a schedule or of a mutant."""

from pathlib import Path

import pytest

from cluster.errors import Mistake
from harness.cli.live_twin import find_twin, open_twin
from harness.replay.schedule import BadSchedule, Schedule
from harness.virtual.cluster import VirtualCluster
from harness.virtual.steps import to_json
from node.algorithms import BUILT_IN, UnknownAlgorithm
from node.algorithms.majority import Majority
from node.wire import encode_value
from tests.run_folders import split_brain


@pytest.fixture
def schedule() -> Schedule:
    cluster = VirtualCluster(Majority, ("n1", "n2", "n3"))
    cluster.propose("n1", encode_value("blue"))
    steps = tuple(to_json(done.step) for done in cluster.happened)
    return Schedule("majority", 3, steps, found_by="explore")


@pytest.mark.parametrize("name", [None, *BUILT_IN, "harness.mutants.paxos:SmallQuorum1"])
def test_an_algorithm_is_a_cluster_unless_it_is_to_be_virtual(tmp_path: Path, name: str | None) -> None:
    assert find_twin(tmp_path, name, None, virtual=False) is None
    wanted = find_twin(tmp_path, name, 5, virtual=True)
    assert wanted is not None
    assert (wanted.nodes, wanted.schedule, wanted.has_story) == (5, None, False)


def test_a_mutant_is_opened_with_its_story(tmp_path: Path) -> None:
    wanted = find_twin(tmp_path, "small-quorum-1", None, virtual=False)
    assert wanted is not None
    assert wanted.has_story
    view, _ = open_twin(tmp_path, wanted)
    assert "agreement" in {event["name"] for event in view.log.read(0, 10**6).events if event["k"] == "predicate"}


def test_a_schedule_is_opened_from_its_run_folder_and_from_its_file(tmp_path: Path, schedule: Schedule) -> None:
    folder = tmp_path / "runs" / "20260101-majority-explore"
    schedule.save_found(folder)
    for name in ("majority-explore", str(folder), str(folder / "schedule.json")):
        wanted = find_twin(tmp_path, name, None, virtual=False)
        assert wanted is not None
        assert wanted.schedule == schedule
    with pytest.raises(Mistake, match="leave out --nodes"):
        find_twin(tmp_path, "majority-explore", 5, virtual=False)
    (folder / "schedule.json").write_text("{}")
    with pytest.raises(BadSchedule):
        find_twin(tmp_path, "majority-explore", None, virtual=False)


def test_a_run_on_processes_is_opened_as_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20260101-failover"
    split_brain(folder)
    assert find_twin(tmp_path, "20260101-failover", None, virtual=False) is None
    with pytest.raises(Mistake, match="has no schedule"):
        find_twin(tmp_path, "20260101-failover", None, virtual=True)
    with pytest.raises(UnknownAlgorithm, match="no algorithm or mutant"):
        find_twin(tmp_path, "no-such-thing", None, virtual=True)
