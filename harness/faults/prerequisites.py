"""What must stand under nodes for some families of faults to be possible."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def needs(families: Iterable[str], folder: Path) -> dict[str, Any]:
    """A disk that can fail, and a clock that can be steered from `folder`, as arguments of an experiment."""
    families = set(families)
    found: dict[str, Any] = {}
    if "disk" in families:
        from harness.faults import power_loss_vfs as powerloss  # noqa: PLC0415 - registers an SQLite VFS

        found["vfs"] = powerloss.SPEC
    if "clock" in families:
        from harness.faults.limit_faults import steered  # noqa: PLC0415 - reads the kernel's limits, which not every system has

        found["command"] = steered(folder)
    return found
