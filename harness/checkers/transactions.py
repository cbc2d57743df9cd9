"""Transactions on lists and registers, as judges see them, and the levels of isolation by the anomalies that they forbid.

Sources: Adya, *Weak Consistency* (PhD thesis, MIT 1999), for the names that begin with G; Kingsbury and Alvaro, *Elle:
Inferring Isolation Anomalies from Experimental Observations* (VLDB 2020), for the method and the other names; Cerone and
Gotsman, *Analysing Snapshot Isolation* (JACM 2018), for snapshot isolation in terms of cycles.

The calls
---------
`f` is `txn`, and the value is the list of its steps: `["append", key, element]` and `["r", key, null]` for lists,
`["w", key, value]` and `["r", key, null]` for registers. In the value of the `ok` each `r` has what it read. Each element is
appended to its list once, and each value is written to its register once: so a read shows which transaction it depends on.

The anomalies
-------------
| name | what happened | forbidden from |
|---|---|---|
| G0 | transactions overwrote each other in a circle | read committed |
| G1a | a transaction read what an aborted one wrote | read committed |
| G1b | a transaction read what another one overwrote itself before it committed | read committed |
| G1c | transactions depend on each other in a circle, by overwriting and reading | read committed |
| dirty update | a committed transaction appended after an element of an aborted one | read committed |
| duplicate elements | one append took effect twice | read committed |
| incompatible order | two reads of a list of which neither is a beginning of the other | read committed |
| unexpected | a read returned what nobody wrote | read committed |
| internal | a transaction did not see its own writes, or read twice and differently | snapshot isolation |
| lost update | two transactions read the same version of a key, and both wrote the key | snapshot isolation |
| G-single | a circle in which exactly one transaction read what the next one overwrote | snapshot isolation |
| G-nonadjacent | a circle with several such reads, of which no two follow each other | snapshot isolation |
| G2-item | a circle with such reads that follow each other (write skew) | serializable |
| ...-realtime | a circle in which a transaction had also ended before another began | strict serializable |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from harness.checkers.client_calls import CallContext, ClientCall
from harness.checkers.sequential_model import text_of
from harness.records.jsonable import shown

READ: Final = "r"
_PLAIN: Final = frozenset({int, str})


class Isolation(IntEnum):
    """The levels, the weakest first."""

    READ_COMMITTED = 1
    SNAPSHOT_ISOLATION = 2
    SERIALIZABLE = 3
    STRICT_SERIALIZABLE = 4

    @property
    def text(self) -> str:
        """The level as people write it, such as "snapshot isolation"."""
        return self.name.lower().replace("_", " ")


#: The levels by the names of the command line.
ISOLATION_LEVELS: Final = {level.name.lower().replace("_", "-"): level for level in Isolation}


class Step(NamedTuple):
    """One step of a transaction: `f` is "r", "append" or "w"; `value` is what it read or wrote."""

    f: str
    key: Any
    value: Any


@dataclass(slots=True, eq=False)
class Transaction:
    """A transaction.

    Attributes:
        call: the call.
        steps: its steps, with what it read; those of a transaction of unknown outcome have writes only.
        is_committed: whether it committed: it was answered, or a committed transaction read what it wrote.
        number: its number among those that committed; -1 for others.
    """

    call: ClientCall
    steps: list[Step] = field(default_factory=list)
    is_committed: bool = False
    number: int = -1

    @property
    def has_failed(self) -> bool:
        """Whether it certainly did not commit."""
        return self.call.outcome == "fail"


class Anomaly(NamedTuple):
    """Something that a level of isolation forbids."""

    name: str
    sentence: str
    forbidden_from: Isolation


class NotJudged(Exception):
    """The history does not let one judge: a step has no form that is known, or a value is written twice."""


def transactions_of(calls: Sequence[ClientCall], write: str) -> list[Transaction]:
    """Return the transactions of the calls.

    Args:
        calls: the calls.
        write: the name of a step that writes: "append" or "w".

    Raises:
        NotJudged: the value of an invoke is no list of steps.
    """
    found = []
    for call in calls:
        steps = steps_of(call.value, write)
        if steps is None:
            raise NotJudged(f"a transaction is {steps_wanted(write)}, and not {shown(call.value)}")
        transaction = Transaction(call, is_committed=call.is_ok)
        if call.is_ok:
            answered = steps_of(call.answer, write)
            asked = [(step.f, step.key) for step in steps]
            if answered is None or [(step.f, step.key) for step in answered] != asked:
                raise NotJudged(f"the steps {shown(call.value)} were answered by {shown(call.answer)}")
            steps = answered
        else:
            steps = [step for step in steps if step.f != READ]
        transaction.steps = steps
        found.append(transaction)
    return found


def steps_wanted(write: str) -> str:
    """Return what the value of a transaction must be."""
    return f'a list of steps, ["{write}", key, value] and ["r", key, null]'


def steps_of(value: Any, write: str) -> list[Step] | None:
    """Return the steps that a value lists; None if it lists none."""
    if not isinstance(value, list | tuple):
        return None
    steps = []
    for step in value:
        if not isinstance(step, list | tuple) or not 2 <= len(step) <= 3 or not isinstance(step[0], str):
            return None
        f, key, item = step[0].removeprefix(":"), plain(step[1]), step[2] if len(step) == 3 else None
        if f not in (READ, write) or (f == write and len(step) < 3):
            return None
        steps.append(Step(f, key, item))
    return steps


def plain(value: Any) -> Any:
    """Return a value as it is compared and hashed: whole numbers and texts as they are, others as their canonical text."""
    return value if type(value) in _PLAIN or value is None else text_of(value)


def plain_list(values: Sequence[Any]) -> list[Any]:
    """Return a list whose items can be compared and hashed."""
    return list(values) if set(map(type, values)) <= _PLAIN else [plain(value) for value in values]


def number_committed(transactions: Sequence[Transaction]) -> list[Transaction]:
    """Number the committed transactions, and return them in this order."""
    committed = [transaction for transaction in transactions if transaction.is_committed]
    for number, transaction in enumerate(committed):
        transaction.number = number
    return committed


def describe(transaction: Transaction, context: CallContext) -> str:
    """Return who made a transaction and when, such as "c1 from 0.301 s to 0.305 s"."""
    call = transaction.call
    return f"{call.who} from {context.at(call.began)} to {context.at(call.ended)}"


def internal_anomalies(transaction: Transaction, context: CallContext, write: str) -> Iterator[Anomaly]:
    """Yield the reads of a transaction that contradict what it wrote or read itself before."""
    known: dict[Any, Any] = {}  # key to the value that a read must return
    ends: dict[Any, list[Any]] = {}  # key to the elements that a list that was not read yet must end with
    later: dict[Any, set[Any]] = {}  # key to what the transaction is still to write
    for f, key, value in transaction.steps:
        if f == write:
            later.setdefault(key, set()).add(plain(value))
    for f, key, value in transaction.steps:
        if f == write:
            later[key].discard(plain(value))
            if write == "w":
                known[key] = plain(value)
            elif key in known:
                known[key] = [*known[key], plain(value)]
            else:
                ends.setdefault(key, []).append(plain(value))
            continue
        seen = plain(value) if write == "w" else plain_list(value or ())
        expected, end = known.get(key, seen), [] if key in known else ends.get(key, [])
        problem = None
        if key in later and not later[key].isdisjoint([seen] if write == "w" else seen):
            problem = "it wrote what it read only after that"
        elif seen != expected:
            problem = f"by its own steps it is {shown(expected)}"
        elif end and seen[-len(end) :] != end:
            problem = f"by its own steps it ends with {shown(end)}"
        if problem is not None:
            sentence = f"{describe(transaction, context)} read {key} as {shown(seen)}, and {problem}"
            yield Anomaly("internal", sentence, Isolation.SNAPSHOT_ISOLATION)
        known[key] = seen
