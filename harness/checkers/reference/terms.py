"""What all reference machines share: the moment of a command, and refusals."""

from typing import Any, Final, NamedTuple

#: The true time of a command is up to so many milliseconds later than the time that the log notes, so every lease lasts longer
#: by as much.
BEAT_MS: Final = 50
#: How long a lease may last, in milliseconds.
LEASE_MS: Final = range(100, 600_001)


class LogInstant(NamedTuple):
    """When a command takes effect, by the log's time in milliseconds, and for which session; 0 for none."""

    time_ms: int
    session: int


class No(Exception):
    """The answer that a command or a question is refused. `kind` is what clients read as the reason."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def check_lease(at: LogInstant, lease_ms: int) -> None:
    """Raise No unless a session may begin a lease of this length."""
    if not at.session:
        raise No("no_session")
    if lease_ms not in LEASE_MS:
        raise No("bad_ttl")


def check_name(name: str) -> None:
    """Raise No unless the name of a lock, an owner, a member or a task is 1 to 200 bytes long."""
    if not 1 <= len(name.encode()) <= 200:
        raise No("bad_name")


def unknown_command(command: Any) -> No:
    """Return the answer to a command that no machine knows."""
    return No(f"bad_command {command!r:.100}")
