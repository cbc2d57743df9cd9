"""The machines that a replicated log drives, one a file, and how one is found by its name."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Final

from node.contract import BadInput
from node.machine import Machine

BUILT_IN: Final = {
    "once": "node.machines.once:OnceMachine",
    "kv": "node.machines.kv:KvMachine",
    "locks": "node.machines.locks:LocksMachine",
    "members": "node.machines.members:MembersMachine",
    "assignment": "node.machines.assignment:AssignmentMachine",
}
#: What a log drives if its spec names nothing.
DEFAULT: Final = tuple(BUILT_IN)


class UnknownMachine(BadInput):
    """No machine goes by this name. The message says which do."""


def load_machine(name: str) -> type[Machine]:
    """The machine called `name`: one of ours, or `module:Class`, imported from where the cluster was started.

    Raises:
        UnknownMachine: there is none, or it is not a whole `Machine`.
    """
    module_name, _, class_name = BUILT_IN.get(name, name).partition(":")
    if not class_name:
        raise UnknownMachine(f"no machine is called {name!r}: there are {', '.join(BUILT_IN)}, or give module:Class")
    if os.getcwd() not in sys.path:  # last, so that a folder called `node` or `cluster` there hides none of ours
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UnknownMachine(f"{name}: {class_name} cannot be imported from {module_name!r} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Machine)):
        raise UnknownMachine(f"{name}: {class_name} is not a subclass of node.machine.Machine")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UnknownMachine(f"{name}: {class_name} lacks {', '.join(missing)}")
    if not getattr(found, "name", ""):
        raise UnknownMachine(f"{name}: {class_name} lacks a `name` for clients to call it by")
    return found


def make_machines(names: Iterable[str]) -> dict[str, Machine]:
    """One new machine for each name, by what clients call it. Raises UnknownMachine."""
    machines: dict[str, Machine] = {}
    for machine_name in names:
        machine = load_machine(machine_name)()
        if machine.name in machines:
            raise UnknownMachine(f"two machines are called {machine.name!r}: rename one")
        machines[machine.name] = machine
    return machines
