"""Linearizability: is there an order of all calls, each taking effect at once between its beginning and its end, that the
model allows? Herlihy and Wing, *Linearizability* (1990).

Rules
-----
1. Each key is judged alone: a history is linearizable exactly if each object's is (locality, same paper).
2. Where a theorem decides, no order is searched: `once.py`, `blocks.py`, `holds.py`, `entries.py`, each with its proof.
   `stale.py` finds the usual flaw of other registers.
3. Elsewhere `orders.py` searches, up to a bound. Beyond it the verdict is unknown, never valid.
4. A violation is told by a few calls that contradict each other. What a search found is minimised for that, and if what is
   left is still many calls, the sentence names the last ones.

Every decision procedure here is compared in the tests with a brute force that tries all orders.
"""

from collections.abc import Sequence

from harness.checkers.certificate import Clock, Contradiction, tell
from harness.checkers.jit_linearizability import CONFIGURATIONS_MAX, search
from harness.checkers.lock_holds import holds, take_turns
from harness.checkers.log_entries import appends_are_unique, entries
from harness.checkers.minimise import explain
from harness.checkers.models import (
    CasRegisterModel,
    ConsensusModel,
    KvModel,
    LockModel,
    LogModel,
    Model,
    ObjectCall,
    RegisterModel,
)
from harness.checkers.stale_values import stale
from harness.checkers.unique_writes import blocks, writes_are_unique
from harness.checkers.write_once import consensus


def decide(
    calls: Sequence[ObjectCall], model: Model, configurations_max: int = CONFIGURATIONS_MAX
) -> Contradiction | None:
    """Why the calls on one object have no order; None if they have one.

    Raises:
        TooHard: it was not found out.
    """
    kind = type(model)  # a subclass may answer otherwise
    if kind is ConsensusModel:
        return consensus(calls)
    if kind in (RegisterModel, CasRegisterModel, KvModel):
        if writes_are_unique(calls):
            return blocks(calls)
        found = stale(calls, model)
        if found is not None:
            return found
    if kind is LockModel and take_turns(calls):
        return holds(calls)
    if kind is LogModel and appends_are_unique(calls):
        return entries(calls)
    return search(calls, model, configurations_max)


def certificate(
    calls: Sequence[ObjectCall], model: Model, violation: Contradiction, clock: Clock
) -> tuple[str, Contradiction, list[ObjectCall]]:
    """A violation in one sentence, by calls that contradict each other; and a small history that shows it alone."""

    def judge(some: Sequence[ObjectCall]) -> Contradiction | None:
        return decide(some, model, CONFIGURATIONS_MAX // 10)

    told, few = explain(calls, model, violation, judge)
    return tell(told, clock), told, few
