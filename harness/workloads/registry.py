"""The registry: every workload by its name."""

from importlib import import_module
from typing import Final

from harness.workloads.cas_registers import CasRegisterWorkload
from harness.workloads.groups import AssignmentWorkload, MembersWorkload
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.locks import LockWorkload
from harness.workloads.mixed import MixedWorkload
from harness.workloads.reads import ReadsWorkload
from harness.workloads.set_once import SetOnceWorkload
from harness.workloads.watches import WatchWorkload
from harness.workloads.workload import Workload
from node.algorithms import A_LOG
from node.contract import Algorithm, BadInput
from node.wording import nearest

#: In the order in which messages list them.
WORKLOADS: Final[dict[str, type[Workload]]] = {
    each.name: each
    for each in (
        SetOnceWorkload,
        KeyValueWorkload,
        CasRegisterWorkload,
        LockWorkload,
        WatchWorkload,
        MembersWorkload,
        AssignmentWorkload,
        ReadsWorkload,
        MixedWorkload,
    )
}


class UnknownWorkload(BadInput):
    """There is no workload of this name, or the algorithm cannot serve it. The message says what to use."""


def find_workload(name: str) -> type[Workload]:
    """Return the workload `name`: one of ours, or `module:Class`.

    Raises:
        UnknownWorkload: there is no such workload.
    """
    module, colon, class_name = name.partition(":")
    if colon:
        try:
            found = getattr(import_module(module), class_name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownWorkload(f"the workload {name} cannot be loaded: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Workload)):
            raise UnknownWorkload(f"{name} is no subclass of harness.workloads.workload.Workload")
        return found
    if name not in WORKLOADS:
        raise UnknownWorkload(f"no workload is called {name!r}: {nearest(name, WORKLOADS)}")
    return WORKLOADS[name]


def usual_workload(algorithm: type[Algorithm]) -> str:
    """Return the name of the workload for a run with `algorithm` that names none: all that its clients can ask."""
    return MixedWorkload.name if algorithm.keeps_log else SetOnceWorkload.name


def workload_for(name: str, algorithm: type[Algorithm]) -> type[Workload]:
    """Return the workload `name` for a run with `algorithm`.

    Raises:
        UnknownWorkload: there is no such workload, or it needs a replicated log and the algorithm has none.
    """
    found = find_workload(name)
    if found.needs_log and not algorithm.keeps_log:
        raise UnknownWorkload(
            f"the workload {name} needs a replicated log, but {algorithm.__name__} decides each value once: "
            f"test an algorithm with a log, such as {A_LOG}"
        )
    return found
