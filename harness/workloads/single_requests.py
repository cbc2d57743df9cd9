"""The workloads "echo" and "unique-ids", in which each request stands for itself."""

from collections.abc import Iterator
from typing import ClassVar

from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.client_calls import as_checker
from harness.checkers.evidence import Checker
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import TIMEOUT_S, SystemWorkload


class SingleRequestWorkload(SystemWorkload):
    """One kind of request, to any node."""

    f: ClassVar[str]

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, self.name: as_checker(CALL_JUDGES[self.name])}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        return PlannedCall(self.f, "", self.asked(client), self._rngs[client].choice(self.nodes), TIMEOUT_S)

    def asked(self, client: int) -> object:
        """Return what a client asks next."""
        return None

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(PlannedCall(self.f, "", self.asked(0), node, TIMEOUT_S) for node in self.nodes)


class EchoWorkload(SingleRequestWorkload):
    """Requests that a node answers with what they carry."""

    name = f = "echo"
    summary = "send texts, and get them back"
    functions = ("echo",)

    def asked(self, client: int) -> object:
        return f"please echo {self._rngs[client].randrange(1 << 32)}"


class UniqueIdsWorkload(SingleRequestWorkload):
    """Requests for ids."""

    name, f = "unique-ids", "generate"
    summary = "ask for ids, no two of which may be equal"
    functions = ("generate",)
