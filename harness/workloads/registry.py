"""The workloads by their names."""

from typing import Final

from harness.workloads.cas_registers import CasRegisterWorkload
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.locks import LockWorkload
from harness.workloads.set_once import SetOnceWorkload
from harness.workloads.workload import Workload
from node.contract import Algorithm, BadInput

#: In the order in which they are listed.
WORKLOADS: Final[dict[str, type[Workload]]] = {
    each.name: each for each in (SetOnceWorkload, KeyValueWorkload, CasRegisterWorkload, LockWorkload)
}


class UnknownWorkload(BadInput):
    """No workload is called that. The message says which are."""


def workload(name: str) -> type[Workload]:
    """The workload called `name`. Raises UnknownWorkload."""
    if name not in WORKLOADS:
        raise UnknownWorkload(f"no workload is called {name!r}; there are {', '.join(WORKLOADS)}")
    return WORKLOADS[name]


def workload_for(name: str, algorithm: type[Algorithm]) -> type[Workload]:
    """The workload called `name`, if `algorithm` can serve it. Raises UnknownWorkload."""
    found = workload(name)
    if found.needs_log and not algorithm.keeps_log:
        raise UnknownWorkload(
            f"the workload {name} changes state, and {algorithm.__name__} decides values once: "
            "test an algorithm that keeps a log, such as multipaxos"
        )
    return found
