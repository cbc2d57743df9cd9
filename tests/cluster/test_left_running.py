"""Which processes of clusters are left over, by their marks; the processes themselves are made up."""

import json
import os
import shutil
from pathlib import Path

import pytest

from cluster import left_running
from cluster.folder_lock import FolderLock
from cluster.left_running import cluster_processes
from cluster.process_mark import VARIABLE, ProcessMark
from cluster.processes import FoundProcess, born_at
from cluster.spec import Spec, create

PROGRAM, SUPERVISOR_PID, NODE_PID = 900_000, 900_001, 900_002  # above any process id of this machine


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return create(tmp_path / "here", nodes=1, algorithm="paxos")


def process_of(
    spec: Spec, role: str, pid: int, parent: int, *, parent_lives: bool = True, command: str = "--ready-fd"
) -> FoundProcess:
    environment = ProcessMark.of(role, spec.settings.cluster, spec.root).environment()
    return FoundProcess(pid, 0.0, parent, parent_lives, (command,), "running", environment[VARIABLE])


def left_over(monkeypatch: pytest.MonkeyPatch, *processes: FoundProcess) -> list[str]:
    monkeypatch.setattr(left_running, "own_processes", lambda _variable: list(processes))
    return [one.left_over for one in cluster_processes()]


def supervised(spec: Spec) -> tuple[FoundProcess, FoundProcess]:
    return (
        process_of(spec, "n1", NODE_PID, SUPERVISOR_PID),
        process_of(spec, "supervisor", SUPERVISOR_PID, 1, parent_lives=False),
    )


def name_supervisor(spec: Spec, pid: int) -> None:
    (spec.root / "supervisor.json").write_text(json.dumps({"pid": pid, "born": born_at(os.getpid())}))


def test_what_a_folder_names_is_in_use(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = supervised(spec)
    name_supervisor(spec, SUPERVISOR_PID)
    assert left_over(monkeypatch, *processes) == ["", ""]


def test_a_supervisor_that_is_starting_is_in_use(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = supervised(spec)
    lock = FolderLock(spec.root)  # of `consensus up`, which hands it over
    assert left_over(monkeypatch, *processes) == ["", ""]
    lock.release()


def test_a_supervisor_whose_folder_is_gone_is_left_over_with_its_nodes(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = supervised(spec)
    shutil.rmtree(spec.root)
    expected = ["its folder is gone", "its supervisor is left over: its folder is gone"]
    assert left_over(monkeypatch, *processes) == expected
    create(spec.root, nodes=1, algorithm="paxos")  # another cluster in the same place
    assert left_over(monkeypatch, *processes) == expected


def test_a_supervisor_beside_another_one_is_left_over(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = supervised(spec)
    name_supervisor(spec, os.getpid())
    assert left_over(monkeypatch, *processes)[0] == "another supervisor serves its folder"


def test_nodes_of_a_living_program_are_never_left_over(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    of_a_test = process_of(spec, "n1", NODE_PID, PROGRAM)
    orphan = process_of(spec, "n1", NODE_PID, 1, parent_lives=False)
    assert left_over(monkeypatch, of_a_test) == [""]
    assert left_over(monkeypatch, orphan) == ["the process that has launched it has ended"]
    shutil.rmtree(spec.root)
    assert left_over(monkeypatch, of_a_test) == [""]


def test_a_program_that_inherits_a_mark_is_no_process_of_a_cluster(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_over(monkeypatch, process_of(spec, "n1", NODE_PID, 1, command="sleep")) == []


def test_a_mark_of_another_form_is_none() -> None:
    for text in ("", "{}", "[]", '{"role": 1}'):
        assert ProcessMark.read(text) is None
