"""A workload for tests of nodes that do not answer: it does not wait for them as long as the usual one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from harness.workloads.planned_call import PlannedCall
from harness.workloads.set_once import SetOnceWorkload

#: The name of the workload.
IMPATIENT: Final = f"{__name__}:Impatient"
_WAIT_S: Final = 0.5


class Impatient(SetOnceWorkload):
    """The usual workload, but each client waits half a second for each answer. The usual times are 1.1 to 5 s."""

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        return replace(super().next_call(client, now_s), timeout_s=_WAIT_S)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        for calls in super().final_calls():
            yield tuple(replace(call, timeout_s=_WAIT_S) for call in calls)
