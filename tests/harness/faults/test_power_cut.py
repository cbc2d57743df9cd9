"""Power cuts: on an SQLite database in a process that is really killed, and the tails of writes by themselves."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from harness.faults import power_loss_vfs as powerloss
from harness.faults.power_cut import (
    Tail,
    UnsyncedWrite,
    lose_unsynced,
    read_disk_receipts,
    read_unsynced,
    surviving_writes,
)

CHANGES = [UnsyncedWrite(100 * number, bytes([number]) * 50) for number in range(8)]

#: Opens a database on the disk that loses power, in WAL mode. Inserts rows, prints a line after each and then the
#: count, and ends in order or by SIGKILL. Arguments: the path, the level of `synchronous`, the number of rows, `close`
#: or `kill`.
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
def test_the_surviving_writes_are_those_of_the_tail(seed: int) -> None:
    def kept(tail: Tail) -> list[UnsyncedWrite]:
        return surviving_writes(CHANGES, tail, Random(seed))

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


def test_without_unsynced_writes_none_survives() -> None:
    assert all(surviving_writes([], tail, Random(1)) == [] for tail in Tail)


def test_a_torn_page_ends_with_a_sector() -> None:
    for seed in range(20):
        (torn,) = surviving_writes([UnsyncedWrite(0, bytes(4096))], Tail.TORN, Random(seed))
        assert torn.data is not None
        assert len(torn.data) % 512 == 0


# --- on a real file -------------------------------------------------------------------------------------------------


def test_synced_writes_survive_a_power_cut(tmp_path: Path) -> None:
    assert child(tmp_path, inserts=20, end="kill").returncode == -signal.SIGKILL
    assert read_unsynced(tmp_path) == []
    assert rows(tmp_path) == 20


def test_unsynced_writes_are_lost_and_the_receipt_says_how_many_and_by_which_process(tmp_path: Path) -> None:
    assert child(tmp_path, "NORMAL", 20, "kill").returncode == -signal.SIGKILL
    unsynced = read_unsynced(tmp_path)
    assert unsynced
    lost = lose_unsynced(tmp_path, Tail.NONE, Random(1))
    assert [writes.bytes for writes in unsynced] == [receipt["lost_bytes"] for receipt in lost]
    assert all(receipt["writer"] not in (0, os.getpid()) for receipt in lost)
    assert read_disk_receipts(tmp_path) == lost
    assert read_unsynced(tmp_path) == []
    assert rows(tmp_path) == 0


def test_all_unsynced_writes_can_survive(tmp_path: Path) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    lose_unsynced(tmp_path, Tail.ALL, Random(1))
    assert rows(tmp_path) == 20


@pytest.mark.parametrize("tail", [Tail.PREFIX, Tail.TORN, Tail.REORDERED])
@pytest.mark.parametrize("seed", range(2))
def test_any_tail_leaves_a_database_that_opens(tmp_path: Path, tail: Tail, seed: int) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    lose_unsynced(tmp_path, tail, Random(seed))
    assert 0 <= rows(tmp_path) <= 20


def test_without_a_choice_of_a_tail_the_next_open_loses_everything_and_records_it(tmp_path: Path) -> None:
    child(tmp_path, "NORMAL", 20, "kill")
    assert rows(tmp_path) == 0
    assert {"none"} == {receipt["tail"] for receipt in read_disk_receipts(tmp_path)}


def test_an_orderly_end_loses_nothing(tmp_path: Path) -> None:
    assert child(tmp_path, "NORMAL", 20).returncode == 0
    assert read_unsynced(tmp_path) == []
    assert rows(tmp_path) == 20


# --- control files --------------------------------------------------------------------------------------------------


def test_the_process_dies_before_each_write_and_sync_in_turn_until_there_are_no_more(tmp_path: Path) -> None:
    statuses, inserted = [], []
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / powerloss.DIE_AT).write_text(str(number))
        done = child(folder, inserts=1)
        statuses.append(done.returncode)
        if done.returncode == 0:
            break
        (receipt,) = read_disk_receipts(folder)
        assert (receipt["fault"], receipt["number"]) == (powerloss.DIE_AT, number)
        acknowledged = len(done.stdout.split()[:1])  # the second line, if any, is the count of rows
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
def test_the_disk_fails_as_the_control_file_says_and_records_it(
    tmp_path: Path, name: str, text: str, error: str
) -> None:
    child(tmp_path, inserts=1)
    (tmp_path / name).write_text(text)
    done = child(tmp_path, inserts=20)
    assert done.returncode == 1
    assert error in done.stderr
    assert name in {receipt["fault"] for receipt in read_disk_receipts(tmp_path)}
    (tmp_path / name).unlink(missing_ok=True)
    assert rows(tmp_path) >= len(done.stdout.split())


def test_slow_syncs_are_recorded(tmp_path: Path) -> None:
    (tmp_path / powerloss.SLOW_SYNC).write_text("0.001")
    child(tmp_path, inserts=5)
    slowed = [receipt for receipt in read_disk_receipts(tmp_path) if receipt["fault"] == powerloss.SLOW_SYNC]
    assert len(slowed) >= 5
    assert {0.001} == {receipt["seconds"] for receipt in slowed}
