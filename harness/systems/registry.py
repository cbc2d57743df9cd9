"""The registry: every kind of system by its name in plans, and what a word of the command line stands for."""

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from harness.faults.catalogue import BadFault, CatalogueEntry, choose_faults
from harness.systems.system import BadSystem, System
from node.wording import nearest

#: The class of each kind, by the name that stands under "kind" in plans. A module is imported when its kind is used.
KINDS: Final[dict[str, tuple[str, str]]] = {
    "maelstrom": ("harness.systems.maelstrom.described", "MaelstromSystem"),
    "command": ("harness.systems.commands.described", "CommandSystem"),
}


def system_from(data: Any) -> System:
    """Return the system that stands as data in a plan. Raises BadSystem."""
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise BadSystem(f"a system is a map with a kind ({', '.join(KINDS)}), and this is {data!r}")
    if data["kind"] not in KINDS:
        raise BadSystem(f"no kind of system is called {data['kind']!r}: {nearest(data['kind'], KINDS)}")
    module, name = KINDS[data["kind"]]
    found: System = getattr(import_module(module), name).from_json(data)
    return found


def strikes(system: System) -> tuple[CatalogueEntry, ...]:
    """Return the entries of every fault that can strike a system."""
    return choose_faults((*system.faults, *system.more_faults))


def check_strikes(system: System, faults: Iterable[str]) -> tuple[CatalogueEntry, ...]:
    """Return the entries of faults, by name or family, or all that are drawn if none is named.

    A family stands for those of its faults that can strike the system.

    Raises:
        BadFault: one of them cannot strike it, or there is no such fault.
    """
    names = tuple(faults)
    drawn = {entry.name: entry for entry in choose_faults(system.faults)}
    able = {entry.name: entry for entry in strikes(system)}
    if not names:
        return tuple(drawn.values())
    found: dict[str, CatalogueEntry] = {}
    for name in names:
        fitting = [entry for entry in choose_faults([name]) if entry.name in able]
        if not fitting:
            raise BadFault(f"{name} cannot strike {system.name}, whose nodes are not ours: {nearest(name, able)}")
        found |= {entry.name: entry for entry in fitting if entry.name in drawn or entry.name in names}
    return tuple(found.values())


def system_of_command(command: str, *, volatile: bool = False, answers_within_s: float | None = None) -> System:
    """Return the system of nodes that a command starts and that speak Maelstrom's protocol. Raises BadSystem.

    Args:
        command: the command as people write it, such as "./raft.py" or "python3 raft.py".
        volatile: whether a kill takes away what a node has on its disk.
        answers_within_s: within how many seconds its nodes answer while a majority is up and connected; None: that is not asked.
    """
    from harness.systems.maelstrom.described import MaelstromSystem  # noqa: PLC0415 - only these nodes need it

    return MaelstromSystem.of_command(command, volatile=volatile, answers_within_s=answers_within_s)


def system_of_file(name: str) -> System:
    """Return the system of commands that a TOML file describes: a path, or the name of one that is shipped. Raises BadSystem."""
    from harness.systems.commands.described import CommandSystem  # noqa: PLC0415 - only these nodes need it

    found = CommandSystem(name)
    found.check()
    return found


def system_of(target: str) -> System:
    """Return the system that a text names: a TOML file, one that is shipped, or a command that speaks Maelstrom's protocol.

    Raises:
        BadSystem: there is no such system, or it cannot be started.
    """
    return system_of_command(target) if is_command(target) and not target.endswith(".toml") else system_of_file(target)


def is_command(target: str) -> bool:
    """Return whether what a user names as under test is a command, such as ./raft.py, rather than an algorithm of ours."""
    if re.fullmatch(r"\S*\.py:\w*", target):  # a class of a file
        return False
    return bool(re.search(r"[/\s]", target)) or Path(target).is_file()
