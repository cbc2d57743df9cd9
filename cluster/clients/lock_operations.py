"""Operations on locks. The machine is `node/machines/locks.py`."""

from typing import NamedTuple

from cluster.clients.operation import (
    TIMEOUT_S,
    TTL_S,
    Operation,
    checked_number,
    checked_text,
    lease_ms,
    no_result,
    wait_ms,
)


class Place(NamedTuple):
    """A place in the queue of a lock. `token` is 0 while it waits."""

    ticket: int
    token: int


class Holder(NamedTuple):
    """The holder of a lock, its fencing token, and how many others wait for the lock."""

    owner: str
    token: int
    waiting: int


def lock_acquire(name: str, owner: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> Operation[Place]:
    """Take a place in the queue of a lock, or keep the one that this session's `owner` has. Its lease begins anew."""
    return Operation(
        "locks", ["acquire", *_claim(name, owner), lease_ms(ttl_s)], lambda answer: Place(*answer), timeout_s=timeout_s
    )


def lock_granted(name: str, ticket: int, wait_s: float, timeout_s: float = TIMEOUT_S) -> Operation[int]:
    """Wait until it is a ticket's turn.

    Returns:
        The fencing token, or 0 if the turn has not come within `wait_s` seconds.

    Raises:
        CommandRefused: "not_waiting": the ticket is in no queue.
    """
    command = ["granted", _name(name), ticket]
    return Operation(
        "locks", command, lambda answer: answer or 0, read=True, wait_ms=wait_ms(wait_s), timeout_s=timeout_s
    )


def lock_try(name: str, owner: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> Operation[int]:
    """Acquire a lock if no other owner holds it, without waiting.

    Args:
        name: the lock's name.
        owner: the holder's name, which others see. Two claims of one client with one name are the same holder.
        ttl_s: how long the lease lasts, in seconds: 0.1 to 600.
        timeout_s: how long the reply may take, in seconds.

    Returns:
        The fencing token.

    Raises:
        CommandRefused: "held": another owner holds it.
    """
    return Operation("locks", ["try", *_claim(name, owner), lease_ms(ttl_s)], int, timeout_s=timeout_s)


def lock_resume(
    name: str, token: int, owner: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S
) -> Operation[int]:
    """Go on with a lock that another session holds, such as that of this program before it was restarted.

    Args:
        name: the lock's name.
        token: the fencing token with which it is held, or with which it was resumed last.
        owner: the holder's name from now on.
        ttl_s: how long the lease lasts from now on, in seconds: 0.1 to 600.
        timeout_s: how long the reply may take, in seconds.

    Returns:
        The new fencing token. With it the lock is renewed and released; the old token is refused.

    Raises:
        CommandRefused: "not_held": there is no holder any more; "stale_token": it is held with another token.
    """
    command = ["resume", _name(name), _token(token), checked_text("the owner of a lock", owner), lease_ms(ttl_s)]
    return Operation("locks", command, int, timeout_s=timeout_s)


def lock_renew(name: str, token: int, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Begin the lease of a lock anew.

    Args:
        name: the lock's name.
        token: the fencing token with which it is held.
        timeout_s: how long the reply may take, in seconds.

    Raises:
        CommandRefused: "not_held": there is no holder; "stale_token": it is held with another token; "not_yours": another
            session holds it.
    """
    return Operation("locks", ["renew", _name(name), _token(token)], no_result, timeout_s=timeout_s)


def lock_release(name: str, token: int, timeout_s: float = TIMEOUT_S) -> Operation[None]:
    """Release a lock. The next one in the queue holds it then. Arguments and errors are those of `renew`."""
    return Operation("locks", ["release", _name(name), _token(token)], no_result, timeout_s=timeout_s)


def lock_give_up(name: str, owner: str, timeout_s: float = TIMEOUT_S) -> Operation[bool]:
    """Leave the queue of a lock, whether `owner` waits in it or holds the lock. Returns whether there was such a place."""
    return Operation("locks", ["give_up", *_claim(name, owner)], bool, timeout_s=timeout_s)


def lock_holder(name: str, timeout_s: float = TIMEOUT_S) -> Operation[Holder | None]:
    """Return the holder of a lock, or None if it is free. The answer is never older than the call."""
    return Operation(
        "locks",
        ["holder", _name(name)],
        lambda answer: None if answer is None else Holder(*answer),
        read=True,
        timeout_s=timeout_s,
    )


def _claim(name: object, owner: object) -> tuple[str, str]:
    return _name(name), checked_text("the owner of a lock", owner)


def _name(name: object) -> str:
    return checked_text("the name of a lock", name)


def _token(token: object) -> int:
    return checked_number("a fencing token is a whole number", token)
