"""The base of workloads for systems that are not ours: the system's own client makes the calls.

Such a workload says what clients ask, as any does. How a call is put to the nodes is the business of the system under test
(`harness/systems/system.py`), so one workload serves nodes of any kind. In addition it says which answers of the last round are
final: a system that only promises to agree in the end is asked again until it does, or until its time is up.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from cluster.clients.outcomes import Ok
from harness.checkers.evidence import Checker, RunEvidence
from harness.records.history import RecordedCall
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import Callers, CallUnderWay, Workload

#: How long a call waits for its answer, in seconds, before its outcome is unknown.
TIMEOUT_S: Final = 2.0


@runtime_checkable
class SystemCallers(Protocol):
    """What makes the calls of a system's clients: `harness.runs.system_run.SystemRun`."""

    def ask(self, client: int, call: PlannedCall) -> CallUnderWay:
        """Begin a call of a client, and record it."""


class SystemWorkload(Workload):
    """The calls of the clients of a system that is not ours."""

    ask_again_s: ClassVar[float] = 10.0
    """How long clients ask again after the heal, in seconds, in each round of the last calls."""

    @property
    def judges(self) -> dict[str, Checker]:
        found = super().judges
        del found["fault tolerance"]  # what such a system promises while a minority is down is not known here
        return found

    @property
    def bad_runs(self) -> Mapping[str, RunEvidence]:
        """Runs that are known to be bad, by the name of the judge that must find each, where `known_bad` has none."""
        return {}

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        assert isinstance(callers, SystemCallers), "only the run of a system that is not ours serves this workload"
        return callers.ask(client, call)

    def at_each_node(self, f: str, key: str) -> Iterator[PlannedCall]:
        """Yield one call of this kind for each node."""
        for node in self.nodes:
            yield PlannedCall(f, key, node=node, timeout_s=TIMEOUT_S)

    def before_last_round(self, calls: Sequence[RecordedCall]) -> None:
        """Take note of all calls that clients have made, before they make the last ones."""

    def is_final(self, call: PlannedCall, outcome: object) -> bool:
        """Return whether the outcome of a call of the last round is its last one. Otherwise the client asks again."""
        return isinstance(outcome, Ok)

    def value_of(self, outcome: object) -> Any:
        """Return the value of an answer; None if there is none."""
        return outcome.value if isinstance(outcome, Ok) else None
