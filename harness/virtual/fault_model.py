"""How a virtual node may differ from a real node on a good disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultModel:
    """How a virtual node may differ from a real node on a good disk. Schedule files hold it under the key `oddities`."""

    disks_sync_late: bool = False
    """A commit is synced only by the next commit, so a crash loses the last one."""
    logs_sync_late: bool = False
    """The same, of the log alone: the other keys on the disk may then be ahead of the log."""
    empty_disks_vote: bool = False
    """A node whose disk was lost boots as if it were new."""
    real_logs: bool = False
    """Each log is compared with that of a real disk. A node behaves as without it."""
    own_messages_wait: bool = False
    """What a node sends to itself travels like any other message."""

    time_stands_still: bool = False
    """A replica of a log counts no time. Its election timeout may end at any moment (the step `ElectionTimeout`)."""


SOUND = FaultModel()
