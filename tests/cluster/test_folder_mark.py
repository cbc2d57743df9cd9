"""A cluster's folder: which cluster made it, which folder it is, and what `wipe` deletes in it."""

import os
import shutil
from pathlib import Path

import pytest

from cluster.errors import AlreadyUp, NotUp
from cluster.folder_lock import FolderLock, claim_cluster
from cluster.folder_mark import (
    MARK_NAME,
    CopiedFolder,
    FolderMark,
    adopt_folder,
    check_free,
    check_no_copy,
    read_mark,
    refresh_mark,
)
from cluster.spec import Spec, create, open_spec
from cluster.supervisor_file import SupervisorClient, publish_supervisor
from cluster.wiping import ForeignFiles, wipe
from node.settings import BadSpec


@pytest.fixture
def made(tmp_path: Path) -> Spec:
    """A cluster's folder with what its nodes and its supervisor leave in it."""
    spec = create(tmp_path / "here", nodes=2, algorithm="paxos")
    FolderLock(spec.root).release()
    publish_supervisor(spec.root, "tcp://127.0.0.1:1", "token")
    (spec.root / "supervisor.log").write_text("")
    spec.mark_launched("n3")
    spec.mark_removed("n3")
    for node in ("n1", "n2", "n3"):
        spec.mark_booted(node, 1)
        spec.log(node).write_text("")
        (spec.root / "nodes" / node).mkdir(parents=True)
        for suffix in ("", "-wal"):
            (spec.root / "nodes" / node / f"state.db{suffix}").write_bytes(b"x")
    spec.log("proxy").write_text("")
    (spec.root / "running").mkdir()
    (spec.root / "running" / "n1.json").write_text("{}")
    return spec


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- the mark ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_marked_with_its_cluster(made: Spec) -> None:
    mark = read_mark(made.root)
    assert mark is not None
    assert mark.cluster == made.settings.cluster
    assert mark.is_of(made.root)
    assert (made.root / MARK_NAME).stat().st_mode & 0o777 == 0o600


def test_a_copy_is_refused_and_names_the_original_and_the_way(made: Spec, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "copy")
    with pytest.raises(CopiedFolder, match=rf"copy of a cluster's folder \({made.root}\).*consensus restore FILE"):
        check_no_copy(tmp_path / "copy")
    with pytest.raises(CopiedFolder):
        SupervisorClient(tmp_path / "copy")  # its supervisor.json names the supervisor of the original
    with pytest.raises(CopiedFolder):
        refresh_mark(tmp_path / "copy", made.settings.cluster)
    with pytest.raises(CopiedFolder):
        wipe(tmp_path / "copy")
    assert names_in(tmp_path / "copy") == names_in(made.root)


def test_a_copy_in_the_place_of_the_original_is_a_copy(made: Spec, tmp_path: Path) -> None:
    made.root.rename(tmp_path / "aside")
    shutil.copytree(tmp_path / "aside", made.root)
    with pytest.raises(CopiedFolder, match="another folder that has its place now"):
        check_no_copy(made.root)


def test_a_moved_folder_stays_the_clusters(made: Spec, tmp_path: Path) -> None:
    moved = made.root.rename(tmp_path / "there")
    check_no_copy(moved)
    refresh_mark(moved, made.settings.cluster)
    assert read_mark(moved) == FolderMark.of(moved, made.settings.cluster)


def test_another_device_number_at_the_same_path_is_the_same_folder(made: Spec, tmp_path: Path) -> None:
    now = FolderMark.of(made.root, made.settings.cluster)
    FolderMark(now.cluster, now.device + 1, now.inode, now.path).save(made.root)
    check_no_copy(made.root)
    FolderMark(now.cluster, now.device + 1, now.inode, str(tmp_path / "elsewhere")).save(made.root)
    with pytest.raises(CopiedFolder):
        check_no_copy(made.root)


def test_a_folder_of_an_earlier_version_is_marked(made: Spec) -> None:
    (made.root / MARK_NAME).unlink()
    check_no_copy(made.root)
    refresh_mark(made.root, made.settings.cluster)
    assert read_mark(made.root) == FolderMark.of(made.root, made.settings.cluster)


def test_a_mark_of_another_cluster_is_refused(made: Spec) -> None:
    with pytest.raises(BadSpec, match="restore the spec"):
        refresh_mark(made.root, "0" * 32)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cluster": "x", "device": "?", "inode": 1, "path": ""}'])
def test_a_damaged_mark_is_an_error(made: Spec, text: str) -> None:
    (made.root / MARK_NAME).write_text(text)
    with pytest.raises(BadSpec, match="damaged"):
        check_no_copy(made.root)


def test_a_folder_from_a_backup_is_adopted_once_the_original_is_gone(made: Spec, tmp_path: Path) -> None:
    cluster = made.settings.cluster
    copy = Path(shutil.copytree(made.root, tmp_path / "copy"))
    with pytest.raises(CopiedFolder, match="is still there"):
        adopt_folder(copy, cluster)
    made.root.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    adopt_folder(copy, cluster)
    check_no_copy(copy)
    with pytest.raises(NotUp, match="no cluster is up"):  # and not that the original's supervisor replies
        SupervisorClient(copy)


def test_a_backup_at_the_path_of_the_original_is_adopted(made: Spec, tmp_path: Path) -> None:
    made.root.rename(tmp_path / "original")
    shutil.copytree(
        tmp_path / "original", made.root
    )  # while the original stands, so that the copy has an inode of its own
    shutil.rmtree(tmp_path / "original")
    with pytest.raises(CopiedFolder):
        check_no_copy(made.root)
    adopt_folder(made.root, made.settings.cluster)
    check_no_copy(made.root)


def test_one_process_at_a_time_has_the_claim_to_a_cluster() -> None:
    with claim_cluster("a" * 32), pytest.raises(AlreadyUp, match=rf"in another folder \(process {os.getpid()}\)"):
        claim_cluster("a" * 32)
    claim_cluster("a" * 32).close()


# --- making a folder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nodes", "logs", "booted", "launched", "removed", "running", "supervisor.log", "supervisor.json"]
)
def test_no_cluster_is_made_over_what_is_not_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BadSpec, match=f"holds {name} already"):
        create(tmp_path, nodes=1, algorithm="paxos")
    assert names_in(tmp_path) == [name]


def test_no_cluster_is_made_over_another(made: Spec) -> None:
    with pytest.raises(BadSpec, match="holds a cluster already"):
        create(made.root, nodes=1, algorithm="paxos")
    assert open_spec(made.root) == made


def test_a_folder_with_other_things_is_not_free(tmp_path: Path) -> None:
    check_free(tmp_path / "missing")
    (tmp_path / "runs").mkdir()
    check_free(tmp_path)
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(BadSpec, match=r"holds other things \(thesis.txt\).*--dir .*/\.consensus"):
        check_free(tmp_path)


def test_the_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("years")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match="cannot be written"):
        FolderLock(tmp_path)
    assert (tmp_path / "precious").read_text() == "years"


# --- wiping one -------------------------------------------------------------------------------------------------------


def test_all_that_a_cluster_made_is_deleted_and_nothing_else(made: Spec) -> None:
    (made.root / "runs" / "one").mkdir(parents=True)
    (made.root / "notes.txt").write_text("mine")
    os.mkfifo(made.root / "running" / "n1.control")
    assert wipe(made.root) == ["notes.txt", "runs"]
    assert names_in(made.root) == ["notes.txt", "runs", "runs/one"]


@pytest.mark.parametrize(
    "name",
    [
        "nodes/thesis.txt",
        "running/n2.control",
        "nodes/n9/state.db",
        "nodes/n1/thesis.txt",
        "logs/web.log",
        "booted/x.txt",
        "removed/x.y",
        "running/n9.json",
    ],
)
def test_something_else_in_the_clusters_place_stops_the_wipe(made: Spec, name: str) -> None:
    (made.root / name).parent.mkdir(exist_ok=True)
    (made.root / name).write_text("mine")
    before = names_in(made.root)
    with pytest.raises(ForeignFiles, match="nodes/n9" if name == "nodes/n9/state.db" else name):
        wipe(made.root)
    assert names_in(made.root) == before


@pytest.mark.parametrize("name", ["nodes", "logs", "nodes/n1", "logs/n1.log", "nodes/n1/state.db", "cluster.toml"])
def test_no_link_is_followed(made: Spec, tmp_path: Path, name: str) -> None:
    kept = (made.root / name).rename(tmp_path / "outside")
    (made.root / name).symlink_to(kept)
    before = names_in(tmp_path)
    with pytest.raises(ForeignFiles, match=name):
        wipe(made.root)
    assert names_in(tmp_path) == before


def test_a_folder_without_a_mark_is_not_wiped(made: Spec) -> None:
    (made.root / MARK_NAME).unlink()
    before = names_in(made.root)
    with pytest.raises(ForeignFiles, match="has no folder"):
        wipe(made.root)
    assert names_in(made.root) == before


def test_a_wipe_that_was_interrupted_can_be_repeated(made: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, count = os.unlink, 0

    def unlink_or_stop(path: str, *, dir_fd: int) -> None:
        nonlocal count
        count += 1
        if count > at:
            raise KeyboardInterrupt
        unlink(path, dir_fd=dir_fd)

    at = 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_or_stop)
        while True:
            count = 0
            try:
                assert wipe(made.root) == []
                break
            except KeyboardInterrupt:
                at += 1
                assert (made.root / MARK_NAME).exists()
    assert at > 1
    assert names_in(made.root) == []


def test_a_broken_spec_does_not_keep_its_cluster_from_being_deleted(made: Spec) -> None:
    made.path.write_text("broken")
    assert wipe(made.root) == []
