"""What a power cut leaves, on a SQLite file in a process that is really killed, and the tails by themselves."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from harness.faults import power_loss_vfs as powerloss
from harness.faults.power_cut import Tail, UnsyncedWrite, receipts, settle, survivors, unsynced

CHANGES = [UnsyncedWrite(100 * number, bytes([number]) * 50) for number in range(8)]

#: Opens a database on the disk that loses power, in WAL mode, and does what it is told; it prints a line when it has.
CHILD = """
import os, signal, sys
import apsw
import harness.faults.power_loss_vfs
db = apsw.Connection(sys.argv[1], vfs="powerloss")
for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=" + sys.argv[2]):
    db.execute("PRAGMA " + pragma)
db.execute("CREATE TABLE IF NOT EXISTS t (x)")
for number in range(int(sys.argv[3])):
    db.execute("INSERT INTO t VALUES (?)", (number,))
    print(number, flush=True)
print(db.execute("SELECT count(*) FROM t").fetchall()[0][0], flush=True)
if sys.argv[4] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
db.close()
"""


def child(folder: Path, level: str = "FULL", inserts: int = 0, end: str = "close") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(folder / "state.db"), level, str(inserts), end]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(folder: Path) -> int:
    done = child(folder)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


# --- the tails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_what_survives_is_what_the_tail_says(seed: int) -> None:
    def kept(tail: Tail) -> list[UnsyncedWrite]:
        return survivors(CHANGES, tail, Random(seed))

    assert kept(Tail.NONE) == []
    assert kept(Tail.ALL) == CHANGES
    prefix = kept(Tail.PREFIX)
    assert prefix == CHANGES[: len(prefix)] != CHANGES
    *whole, torn = kept(Tail.TORN)
    assert whole == CHANGES[: len(whole)]
    written, data = CHANGES[len(whole)].data, torn.data
    assert data is not None
    assert written is not None
    assert written.startswith(data)
    assert len(data) < len(written)
    reordered = kept(Tail.REORDERED)
    assert CHANGES[0] not in reordered
    assert reordered[-1] == CHANGES[-1]
    assert reordered == sorted(reordered, key=CHANGES.index)


def test_nothing_survives_of_nothing() -> None:
    assert all(survivors([], tail, Random(1)) == [] for tail in Tail)


def test_a_torn_page_ends_with_a_sector() -> None:
    for seed in range(20):
        (torn,) = survivors([UnsyncedWrite(0, bytes(4096))], Tail.TORN, Random(seed))
        assert torn.data is not None
        assert len(torn.data) % 512 == 0


# --- on a real file -------------------------------------------------------------------------------------------------


def test_what_was_synced_outlives_the_power_cut(tmp_path: Path) -> None:
    assert child(tmp_path, inserts=20, end="kill").returncode == -signal.SIGKILL
    assert unsynced(tmp_path) == []
    assert rows(tmp_path) == 20


def test_what_was_not_synced_is_lost_and_the_receipt_says_how_much_and_whose(tmp_path: Path) -> None:
    assert child(tmp_path, "NORMAL", 20, "kill").returncode == -signal.SIGKILL
    tails = unsynced(tmp_path)
    assert tails
    lost = settle(tmp_path, Tail.NONE, Random(1))
    assert [tail.bytes for tail in tails] == [receipt["lost_bytes"] for receipt in lost]
    assert all(receipt["writer"] not in (0, os.getpid()) for receipt in lost)
    assert receipts(tmp_path) == lost
    assert unsynced(tmp_path) == []
    assert rows(tmp_path) == 0


def test_all_of_it_can_survive(tmp_path: Path) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    settle(tmp_path, Tail.ALL, Random(1))
    assert rows(tmp_path) == 20


@pytest.mark.parametrize("tail", [Tail.PREFIX, Tail.TORN, Tail.REORDERED])
@pytest.mark.parametrize("seed", range(2))
def test_any_tail_leaves_a_database_with_the_first_so_many(tmp_path: Path, tail: Tail, seed: int) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    settle(tmp_path, tail, Random(seed))
    assert 0 <= rows(tmp_path) <= 20


def test_unsettled_it_is_lost_and_told(tmp_path: Path) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    assert rows(tmp_path) == 0
    assert {"none"} == {receipt["tail"] for receipt in receipts(tmp_path)}


def test_an_orderly_end_loses_nothing(tmp_path: Path) -> None:
    assert child(tmp_path, "NORMAL", 20).returncode == 0
    assert unsynced(tmp_path) == []
    assert rows(tmp_path) == 20


# --- what the small files do ----------------------------------------------------------------------------------------


def test_it_dies_at_each_boundary_in_turn_and_the_last_walk_is_clean(tmp_path: Path) -> None:
    statuses, inserted = [], []
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / powerloss.DIE_AT).write_text(str(number))
        done = child(folder, inserts=1)
        statuses.append(done.returncode)
        if done.returncode == 0:
            break
        (receipt,) = receipts(folder)
        assert (receipt["fault"], receipt["number"]) == (powerloss.DIE_AT, number)
        acknowledged = len(done.stdout.split()[:1])  # the second line is the count
        inserted.append((rows(folder) if acknowledged else 0, acknowledged))
    assert len(statuses) > 10
    assert [-signal.SIGKILL] * (len(statuses) - 1) + [0] == statuses
    assert all(kept >= acknowledged for kept, acknowledged in inserted)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        (powerloss.FAIL_WRITE, "3", "IOError"),
        (powerloss.FAIL_SYNC, "2", "IOError"),
        (powerloss.DISK_FULL, "5000", "FullError"),
    ],
)
def test_it_fails_as_it_is_told_and_says_so(tmp_path: Path, name: str, text: str, error: str) -> None:
    child(tmp_path, inserts=1)
    (tmp_path / name).write_text(text)
    done = child(tmp_path, inserts=20)
    assert done.returncode == 1
    assert error in done.stderr
    assert name in {receipt["fault"] for receipt in receipts(tmp_path)}
    (tmp_path / name).unlink(missing_ok=True)
    assert rows(tmp_path) >= len(done.stdout.split())


def test_a_slow_sync_is_counted(tmp_path: Path) -> None:
    (tmp_path / powerloss.SLOW_SYNC).write_text("0.001")
    child(tmp_path, inserts=5)
    slowed = [receipt for receipt in receipts(tmp_path) if receipt["fault"] == powerloss.SLOW_SYNC]
    assert len(slowed) >= 5
    assert {0.001} == {receipt["seconds"] for receipt in slowed}
