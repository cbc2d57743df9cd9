"""The registry of the workloads for systems that are not ours, by name."""

from importlib import import_module
from typing import Final

from harness.checkers.transactions import ISOLATION_LEVELS
from harness.workloads.agreeing import (
    BroadcastWorkload,
    CounterWorkload,
    GrowOnlyCounterWorkload,
    GrowOnlySetWorkload,
)
from harness.workloads.lin_kv import LinKvWorkload
from harness.workloads.message_logs import MessageLogWorkload
from harness.workloads.plain_kv import PlainKvWorkload, PutGetWorkload
from harness.workloads.registry import UnknownWorkload
from harness.workloads.single_requests import EchoWorkload, UniqueIdsWorkload
from harness.workloads.system_workload import SystemWorkload
from harness.workloads.transactions import ListAppendWorkload, RwRegisterWorkload, TransactionWorkload, at_level
from node.wording import nearest

#: In the order in which messages list them.
SYSTEM_WORKLOADS: Final[dict[str, type[SystemWorkload]]] = {
    each.name: each
    for each in (
        LinKvWorkload,
        PlainKvWorkload,
        PutGetWorkload,
        EchoWorkload,
        UniqueIdsWorkload,
        BroadcastWorkload,
        GrowOnlySetWorkload,
        GrowOnlyCounterWorkload,
        CounterWorkload,
        ListAppendWorkload,
        RwRegisterWorkload,
        MessageLogWorkload,
    )
}


def system_workload(name: str) -> type[SystemWorkload]:
    """Return the workload `name`: one of ours, or `module:Class`. Raises UnknownWorkload.

    A level of isolation may follow the name of a workload of transactions: `txn-rw-register/read-committed`.
    """
    of_ours, slash, level = name.partition("/")
    if slash:
        known = SYSTEM_WORKLOADS.get(of_ours)
        if known is None or not issubclass(known, TransactionWorkload) or level not in ISOLATION_LEVELS:
            levels = ", ".join(ISOLATION_LEVELS)
            raise UnknownWorkload(f"{name!r} names no workload of transactions with a level of isolation: {levels}")
        return at_level(known, ISOLATION_LEVELS[level])
    module, colon, class_name = name.partition(":")
    if not colon:
        if name not in SYSTEM_WORKLOADS:
            raise UnknownWorkload(f"no workload of such nodes is called {name!r}: {nearest(name, SYSTEM_WORKLOADS)}")
        return SYSTEM_WORKLOADS[name]
    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownWorkload(f"the workload {name} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, SystemWorkload)):
        raise UnknownWorkload(f"{name} is no subclass of harness.workloads.system_workload.SystemWorkload")
    return found
