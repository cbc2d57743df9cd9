"""The outcome of a call. Every client of this package, blocking or asyncio, uses these three classes.

Theory of operation
-------------------
A call has no outcome until a node replies or the call's time is up. `Ok` and `NotDone` are definite: only a reply produces
them, or the certainty that the call never left the client. `NotKnown` is the rest: no reply came in time, so the call may
have been done, or may still be done later. A timeout never makes a call that was sent definite.

A method that waits for its call returns the value of `Ok` and raises the other two: `value_of` does that.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.errors import CommandRefused, Unknown
from node.contract import NodeId


# Not frozen: that would make it 70% slower to create, and a load test creates one for each call.
@dataclass(slots=True)
class Ok:
    """The call was done.

    `value` is the result: what the machine of the log answered, or the decided value of a variable, None for undecided.
    `node` is the node that replied, where the client reports it: calls on variables do, calls on a log do not.
    """

    value: Any
    node: NodeId | None = None


@dataclass(frozen=True, slots=True)
class NotDone:
    """The call was definitely not done, and will not be. `kind` is for programs (see `CommandRefused`), `reason` for people."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotKnown:
    """The call may have been done, or may still be. `reason` is for people."""

    reason: str


Outcome: TypeAlias = Ok | NotDone | NotKnown


def value_of(outcome: Outcome, *, read: bool = False) -> Any:
    """Return the value of an outcome, or raise the exception that stands for it.

    Args:
        outcome: how the call ended.
        read: whether the call changes nothing. Then the message of `Unknown` does not warn of a later effect.

    Raises:
        CommandRefused: the outcome is `NotDone`.
        Unknown: the outcome is `NotKnown`.
    """
    match outcome:
        case Ok(value):
            return value
        case NotDone(kind, reason):
            raise CommandRefused(kind, reason)
        case NotKnown(reason):
            raise Unknown(reason if read else f"{reason}: it may have been done, or may still be")
