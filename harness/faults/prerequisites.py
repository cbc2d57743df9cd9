"""What some families of faults need: nodes with a disk that can fail."""

from collections.abc import Iterable
from typing import Any


def experiment_arguments(families: Iterable[str]) -> dict[str, Any]:
    """Return the arguments with which an experiment's nodes can have the faults of these families.

    Args:
        families: families of faults. "disk" and "grey" need something; the others need nothing.

    Returns:
        Keyword arguments of `Experiment`: `vfs` for "disk" and "grey".
    """
    arguments: dict[str, Any] = {}
    if {"disk", "grey"} & set(families):
        from harness.faults import power_loss_vfs  # noqa: PLC0415 - registers an SQLite VFS

        arguments["vfs"] = power_loss_vfs.SPEC
    return arguments
