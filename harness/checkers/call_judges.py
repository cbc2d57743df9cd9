"""The judges that need no sequential model, by the names that the command line and workloads use.

`docs/reference/judges.md` has the values that each takes. A name is also what `--model` of `consensus check` is given.
"""

from collections.abc import Mapping
from typing import Final

from harness.checkers.client_calls import CallJudge
from harness.checkers.counters import COUNTER, EVENTUAL_COUNTER
from harness.checkers.echoes_and_ids import ECHO, UNIQUE_IDS
from harness.checkers.grow_only_sets import BROADCAST, EVENTUAL_SET, SET
from harness.checkers.list_append import list_append
from harness.checkers.queues import QUEUE, UNORDERED_QUEUE
from harness.checkers.rw_register import rw_register
from harness.checkers.streams import STREAMS
from harness.checkers.transactions import Isolation

CALL_JUDGES: Final[Mapping[str, CallJudge]] = {
    "echo": ECHO,
    "unique-ids": UNIQUE_IDS,
    "broadcast": BROADCAST,
    "set": SET,
    "g-set": EVENTUAL_SET,
    "counter": COUNTER,
    "g-counter": EVENTUAL_COUNTER,
    "pn-counter": EVENTUAL_COUNTER,
    "queue": QUEUE,
    "unordered-queue": UNORDERED_QUEUE,
    "kafka": STREAMS,
    "list-append": list_append(Isolation.STRICT_SERIALIZABLE),
    "rw-register": rw_register(Isolation.STRICT_SERIALIZABLE),
}


def call_judge(name: str, level: Isolation = Isolation.STRICT_SERIALIZABLE) -> CallJudge:
    """Return the judge of this name; `level` is what transactions are promised, and nothing to the others."""
    of_transactions = {"list-append": list_append, "rw-register": rw_register}
    return of_transactions[name](level) if name in of_transactions else CALL_JUDGES[name]
