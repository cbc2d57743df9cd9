"""How a virtual node may differ from a real one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultModel:
    """How a virtual node may differ from a real node on a good disk. Each field is a fault, or shows what a rule is for."""

    disks_sync_late: bool = False
    """A commit is synced only by the next one, so a crash loses the last: a disk that lies."""
    logs_sync_late: bool = False
    """The same, of the log alone: what the other keys say may then be ahead of the log."""
    empty_disks_vote: bool = False
    """A node whose disk was lost boots as if it were new."""
    own_messages_wait: bool = False
    """What a node sends to itself travels like any other message."""


SOUND = FaultModel()


SOUND = FaultModel()
