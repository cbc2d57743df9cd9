"""The base of workloads of a replicated log whose clients call in every way that there is.

The clients take turns: one calls by single operations (`log_calls.py`), the next one by the blocking methods that people call,
the next one by those of asyncio (`api_calls.py`). So redirects, retries, pages, iterators and keepers of leases meet faults, too.
"""

from random import Random
from typing import Any, Final

from cluster.clients.outcomes import NotKnown
from harness.workloads.planned_call import PlannedCall
from harness.workloads.public_calls import operation_of, plain
from harness.workloads.workload import Callers, CallUnderWay, Workload
from node.contract import NodeId

#: The probability that a client restarts, and resumes its session, after a call without an answer.
_RESTART_PROBABILITY: Final = 0.3
#: The calls that one operation cannot serve.
_OF_METHODS: Final = ("range", "holds", "stays", "end")


class LogWorkload(Workload):
    """A workload of a replicated log. Each client of it is a client of the log, too."""

    needs_log = True

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._rng_restarts = Random(f"restarts/{self.name}/{seed}")

    def is_public(self, client: int) -> bool:
        """Return whether a client calls by the methods of the API."""
        return client % 3 != 0

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        number = self.first + client
        if self.is_public(client) or call.kept or call.f in _OF_METHODS:
            return callers.api.begin(number, call)
        operation = operation_of(call)
        limit_s = operation.timeout_s if call.wait_s else call.timeout_s

        def to_history(answer: Any) -> Any:
            return plain(call.f, answer)

        return callers.log.begin(
            number, call.f, call.key, call.value, operation, limit_s, to_history, self.repeats(client), call.node
        )

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        if isinstance(outcome, NotKnown) and self._rng_restarts.random() < _RESTART_PROBABILITY:
            self.restart(callers, client)

    def restart(self, callers: Callers, client: int) -> None:
        """Restart a client, which has no call open. It resumes its session."""
        callers.log.restart(self.first + client)
        callers.api.restart(self.first + client)
