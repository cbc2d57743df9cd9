"""The sizes of a replicated log that a spec may set."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LogLimits:
    """The sizes of a replicated log. A run may set them low, so that rare events happen often."""

    snapshot_slots: int = 20_000
    """Slots after which a replica makes a snapshot."""
    snapshot_bytes: int = 16 * 1024 * 1024
    """Bytes of batches after which a replica makes a snapshot."""
    kept_slots: int = 256
    """Slots of the log that outlive a snapshot of it, so that a replica that missed little need not fetch a snapshot."""
    kept_bytes: int = 4 * 1024 * 1024
    """Bytes of batches that outlive a snapshot."""
    part_bytes: int = 128 * 1024
    """Bytes of one part of a snapshot, on disk and on the wire."""
    window: int = 256
    """How many slots above the commit index a replica accepts, and how many slots a candidate may be behind."""


#: The sizes of a log whose spec sets none.
SHIPPED_LIMITS: Final[LogLimits] = LogLimits()
