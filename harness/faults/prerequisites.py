"""What some families of faults need: nodes with a disk that can fail, and nodes with a clock that can be steered."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def experiment_arguments(families: Iterable[str], folder: Path) -> dict[str, Any]:
    """Return the arguments with which an experiment's nodes can have the faults of these families.

    Args:
        families: families of faults. "disk" and "clock" need something; the others need nothing.
        folder: the folder of the experiment, in which the files that steer clocks are kept.

    Returns:
        Keyword arguments of `Experiment`: `vfs` for "disk", `command` for "clock".
    """
    families = set(families)
    arguments: dict[str, Any] = {}
    if "disk" in families:
        from harness.faults import power_loss_vfs  # noqa: PLC0415 - registers an SQLite VFS

        arguments["vfs"] = power_loss_vfs.SPEC
    if "clock" in families:
        from harness.faults.limit_faults import steered_command  # noqa: PLC0415 - needs `resource`, a Unix module

        arguments["command"] = steered_command(folder)
    return arguments
