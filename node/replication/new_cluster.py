"""The numbers of a cluster that is made from the state of another one, by `restore` or `recover`.

The state may be older than what the old cluster went on to do. So its counters do not tell which numbers the old cluster has
given out: versions of keys, fencing tokens, tickets, views, sessions. The new cluster must give out higher ones, or a program
could take a number of the one for a number of the other, and a resource could let an old holder of a lock in.

Rules
-----
1. The numbers of a new cluster begin above a **floor**: `NUMBERS_PER_MS` times the milliseconds since 1970, at the moment at
   which the new cluster is made.
2. That is above each number of the old cluster, however long it went on, if it made at most `NUMBERS_PER_MS` changes in a
   millisecond on average, which is ten times more than was ever measured. The same holds if several clusters are made from one
   save, one after the other.
3. Rule 2 rests on the machine's clock: it must not be behind that of the machine on which the old cluster ran. A state that
   holds a number at or above the floor is refused (`FloorTooLow`), and so is a save from a later time.
4. The numbers stay below 2**53 until the year 2248, so that programs that read JSON numbers as floats read them exactly.
5. All sessions end. So every lock is free and every member is lost: its client cannot renew what it held in the old cluster.
   A program that goes on with an old token, version or session is refused.
"""

from typing import Final

NUMBERS_PER_MS: Final = 1024


def floor_at(time_ms: int) -> int:
    """Return the floor of a cluster that is made at `time_ms`, in milliseconds since 1970."""
    return time_ms * NUMBERS_PER_MS
