"""Values that were replaced more often than they can have been there. Found in one pass, without a search.

`find_overdrawn_value` proves nothing if it finds nothing.

The proof
---------
Let a call leave the value v if it requires v and makes another value, such as a `cas` from v. After it the object does not have
v, so before the next such call some call must make v again. One call makes v at most once. So no order exists if more definite
calls leave v than calls can make it, those of unknown outcome among them, and the initial value counted once.
"""

from collections.abc import Sequence

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall


def find_overdrawn_value(calls: Sequence[ObjectCall], model: Model) -> Contradiction | None:
    """Return why calls have no order, by the number of those that replace one value; None if no value shows it.

    Args:
        calls: all calls on the object.
        model: a model that names the `resulting_state` of every call that can change the state.
    """
    leaving: dict[ModelState, list[ObjectCall]] = {}
    making: dict[ModelState, list[ObjectCall]] = {}
    for call in calls:
        made, required = model.resulting_state(call), model.required_state(call)
        if made is NO_SINGLE_STATE or made == required:
            continue
        making.setdefault(made, []).append(call)
        if required is not NO_SINGLE_STATE and call.ended is not None:
            leaving.setdefault(required, []).append(call)
    for value, left in leaving.items():
        made_by = making.get(value, [])
        at_first = value == model.initial
        if len(left) <= len(made_by) + at_first:
            continue
        *others, last = sorted(left, key=lambda call: call.ended or 0)
        times = f"{len(made_by)} other calls can have made it" + (", and it was the first value" if at_first else "")
        template = f"{{0:process}} {{0:action}} by {{0:ended}}: {len(left)} calls replaced that value, but only {times}"
        return Contradiction((last,), template, (*others, *made_by))
    return None
