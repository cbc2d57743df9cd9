"""Exceptions that say what arrived, the likely cause, and what to do.

Two of them are outcomes rather than mistakes: `Refused` (definitely not done) and `Unknown` (it may have been done, or may
still be). An unknown outcome is never to be taken for a failure.
"""


class ConsensusError(Exception):
    """Anything that this package raises on purpose."""


class Refused(ConsensusError):
    """The call was definitely not done, and will not be."""


class CommandRefused(Refused):
    """A machine of the log said no: definitely not done. `kind` says why, for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Unknown(ConsensusError):
    """No answer came in time. The call may have been done, or may still be."""


class Mistake(ConsensusError):
    """You asked for what cannot be. Nothing was changed."""


class NoSuchNode(Mistake):
    """There is no node of that name."""


class WrongState(Mistake):
    """The node is not in the state that this needs: it is down already, or not suspended, and so on."""


class BootFailed(ConsensusError):
    """A node did not become ready. The message holds what it said last."""


class NotUp(Mistake):
    """There is no running cluster here."""


class AlreadyUp(Mistake):
    """There is a running cluster here already."""


class FaultFailed(ConsensusError):
    """A fault was injected and an independent look shows that it did not bite."""
