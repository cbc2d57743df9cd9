"""The state machines that a replicated log drives, and how a node finds one by its name. See README.md."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Final

from node.contract import BadInput
from node.machine import Machine
from node.tuning import SHIPPED, Tuning
from node.wording import nearest

BUILT_IN: Final = {
    "once": "node.machines.once:OnceMachine",
    "kv": "node.machines.kv:KvMachine",
    "locks": "node.machines.locks:LocksMachine",
    "members": "node.machines.members:MembersMachine",
    "assignment": "node.machines.assignment:AssignmentMachine",
}
#: The machines of a log whose spec names none.
DEFAULT: Final = tuple(BUILT_IN)


class UnknownMachine(BadInput):
    """No machine has this name. The message names the machines that exist, or gives the reason why one cannot be used."""


def load_machine(name: str) -> type[Machine]:
    """Return the machine class for a name in the spec.

    Args:
        name: a built-in machine, or `module:Class`. The module is also searched for in the current directory.

    Raises:
        UnknownMachine: there is no such machine, or the class does not implement all of `Machine`.
    """
    module_name, _, class_name = BUILT_IN.get(name, name).partition(":")
    if not class_name:
        raise UnknownMachine(
            f"no machine is called {name!r}: {nearest(name, BUILT_IN)} (one of your own is module:Class)"
        )
    if os.getcwd() not in sys.path:
        # Last, so that a folder `node` or `cluster` there does not hide this project's packages.
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
        raise UnknownMachine(f"{name}: {class_name} lacks a `name`, by which clients address it")
    return found


def make_machines(names: Iterable[str], tuning: Tuning = SHIPPED) -> dict[str, Machine]:
    """Create one machine for each name of the spec, with its settings. Returns them by the names that clients use.

    Raises:
        UnknownMachine: a machine cannot be loaded, or two have the same name.
    """
    machines: dict[str, Machine] = {}
    for machine_name in names:
        machine = load_machine(machine_name).made_with(tuning)
        if machine.name in machines:
            raise UnknownMachine(f"two machines are called {machine.name!r}: rename one")
        machines[machine.name] = machine
    return machines
