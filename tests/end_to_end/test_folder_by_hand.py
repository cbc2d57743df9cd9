"""The folder of a cluster by hand: copies, moves, other people's files, disks that are full, a folder that is gone."""

import shutil
from collections.abc import Iterator

import pytest

from tests.end_to_end.hand import Hand, QuickHand, end, run_in_this_process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    """A cluster of three nodes, for the tests that leave it as they found it."""
    hand = QuickHand(tmp_path_factory.mktemp("shared"))
    try:
        hand.good("up", "-d", "-n", "3")
        yield hand
    finally:
        end(hand)


def test_a_copied_folder_commands_nothing(shared: Hand) -> None:
    shared.good("propose", "colour", "blue")
    copy = QuickHand(shared.folder / "copy")
    copy.folder.mkdir()
    shutil.copytree(shared.folder / ".consensus", copy.folder / ".consensus")
    before = shared.rows()
    for command in (
        ("propose", "shape", "round"),
        ("kill", "n1"),
        ("ps",),
        ("down",),
        ("down", "--wipe"),
        ("up", "-d"),
    ):
        copy.fails(1, "is a copy of a cluster's folder", *command)
    copy.fails(1, "the same cluster is up already, in another folder", "up", "-d", "--adopt")
    shown = copy.run("inspect", "n1")  # reads only
    assert (shown.returncode, "blue" in shown.stdout, "shows the copy only" in shown.stderr) == (0, True, True)
    assert [row["pid"] for row in before.values()] == [row["pid"] for row in shared.rows().values()]
    assert shared.good("query", "shape") == "undecided"


def test_a_folder_that_moves_or_comes_back_from_a_backup_goes_on(hand: Hand) -> None:
    home = hand.folder / ".consensus"
    hand.good("up", "-d", "-n", "1")
    hand.good("propose", "colour", "blue")
    hand.good("down")
    moved = QuickHand(hand.folder / "moved")
    moved.folder.mkdir()
    home.rename(moved.folder / ".consensus")
    moved.good("up", "-d")
    try:
        assert moved.good("query", "colour") == '"blue"'
    finally:
        moved.good("down")
    shutil.copytree(moved.folder / ".consensus", home)
    shutil.rmtree(moved.folder)
    hand.fails(1, "consensus up --adopt", "up", "-d")
    hand.good("up", "-d", "--adopt")
    assert hand.good("query", "colour") == '"blue"'


def test_a_users_folder_is_neither_used_nor_wiped(hand: Hand) -> None:
    project = hand.folder / "proj"
    for name in ("logs/web.log", "nodes/model.txt"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("mine")
    for command in (("up", "-d"), ("down", "--wipe")):
        done = run_in_this_process("--dir", str(project), *command)
        assert done.returncode in (1, 254)
        assert "other things (logs, nodes)" in done.stderr or "no cluster is up" in done.stderr
    assert sorted(path.name for path in project.rglob("*")) == ["logs", "model.txt", "nodes", "web.log"]


def test_an_empty_name_is_no_folder() -> None:
    done = run_in_this_process("--dir", "", "up", "-d")
    assert done.returncode == 254
    assert "the name of the folder is empty" in done.stderr


def test_a_wipe_keeps_what_the_user_put_there_and_says_so(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1", "--prepare", "disk")
    hand.good("inject", "fail-sync", "node=n1")  # the disk that can fail has files of its own
    hand.run("propose", "colour", "blue", "--timeout", "0.5")
    (hand.folder / ".consensus" / "notes.txt").write_text("mine")
    (hand.folder / ".consensus" / "nodes" / "model.txt").write_text("mine")
    done = hand.run("down", "--wipe")
    assert done.returncode == 1
    assert "nodes/model.txt. Move it elsewhere" in done.stderr
    (hand.folder / ".consensus" / "nodes" / "model.txt").unlink()
    assert "is deleted, except notes.txt" in hand.run("down", "--wipe").stderr
    hand.fails(254, "holds other things (notes.txt)", "up", "-d")
