"""The start and the end of an experiment, and where it leaves its evidence."""

from pathlib import Path

import pytest

from cluster.clients.outcomes import Ok
from cluster.processes import is_alive
from cluster.spec import create
from harness.network.network import NetworkError
from harness.records import history, receipts
from harness.runs.experiment import Experiment


def test_a_run_on_a_cluster_that_exists_makes_its_folder_when_it_has_something_to_record(tmp_path: Path) -> None:
    spec = create(tmp_path / "cluster", nodes=3, algorithm="paxos")
    folder = tmp_path / "run"

    def make_folder() -> Path:
        folder.mkdir()
        return folder

    with Experiment(make_folder, spec=spec, record=False) as idle:
        assert idle.cluster.status()
    assert not idle.has_history
    assert not folder.exists()
    with Experiment(make_folder, spec=spec, record=False) as run:
        run.propose("colour", "blue")
        with run.faults.partition(["n1"]):
            pass
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "receipts.jsonl"]
    assert [call.answer for call in history.load(run.files.history).operations] == ["blue"]
    assert [receipt.fault for receipt in receipts.load(run.files.receipts)] == ["partition"]
    assert run.messages() == []
    assert set(run.evidence().disks) == {"n1", "n2", "n3"}
    with Experiment(tmp_path / "again", spec=spec) as again:  # the disks keep what was decided
        assert isinstance(outcome := again.query("colour"), Ok)
        assert outcome.value == "blue"
    assert again.messages()


def test_the_end_takes_every_step_even_if_one_fails(tmp_path: Path) -> None:
    run = Experiment(tmp_path / "run", nodes=3, algorithm="paxos").start()
    processes = [run.cluster.process(node).pid for node in run.nodes]
    run.begin_propose("colour", "blue")
    run.faults.partition(["n1"])
    run.network.proxy.kill()  # so the partition cannot be healed
    with pytest.raises(NetworkError):
        run.end()
    run.end()  # a second end does nothing
    assert not any(pid is not None and is_alive(pid) for pid in processes)
    (call,) = history.load(run.files.history).operations
    assert call.outcome == "info"
    assert [receipt.fault for receipt in receipts.load(run.files.receipts)] == ["partition"]
