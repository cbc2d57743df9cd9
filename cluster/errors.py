"""The exceptions of this package. Each message gives the problem, the likely cause, and what to do.

Two of them are outcomes rather than mistakes: `Refused` (the call was definitely not done) and `Unknown` (it may have been
done, or may still be). A program must never treat an unknown outcome as a failure.
"""


class ConsensusError(Exception):
    """The base of every exception that this package raises on purpose, except `BadInput`, which is a ValueError."""


class Refused(ConsensusError):
    """The call was definitely not done, and will not be."""


class CommandRefused(Refused):
    """The call was definitely not done. `kind` is the reason for programs, as one name; the message is for people.

    Args:
        kind: what the machine of the log answered, such as "held" or "mismatch". The client has kinds of its own: "refused"
            (a node does not take the request), "not_sent" (the call never left) and "not_up" (there is no cluster).
        message: the reason in a sentence.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class AlgorithmFailed(ConsensusError):
    """The algorithm under test has failed by itself, whatever was done to it. For a judge that is a violation."""


class Unknown(ConsensusError):
    """No reply came in time. The call may have been done, or may still be."""


class LeaseLost(ConsensusError):
    """A lease has ended, or may have ended, before its keeper let go of it. Another client may have held the lock or the name."""


class Mistake(ConsensusError):
    """The caller asked for something impossible. Nothing was changed."""


class WindowFull(Mistake):
    """Too many calls are under way on this client. Nothing was sent."""


class ClientClosed(Mistake):
    """The client is closed. Nothing was sent."""


class NoSuchNode(Mistake):
    """No node has this name."""


class WrongState(Mistake):
    """The node is not in the state that the request needs: for instance, it is down already, or it is not suspended."""


class BootFailed(ConsensusError):
    """A process did not become ready. The message holds the last thing that it reported."""


class NotUp(Mistake):
    """No cluster runs here."""


class AlreadyUp(Mistake):
    """A cluster runs here already."""


class FaultFailed(ConsensusError):
    """A fault was injected, and an observer other than the injector saw that it had no effect."""
