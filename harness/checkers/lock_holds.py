"""Locks: whether holds exclude each other and tokens rise, in n log n.

When it applies
---------------
`holds_can_be_paired` says whether it does. The definite calls of each process must be acquire, release, acquire, ... in turn,
beginning with an acquire. A release of unknown outcome may stand for a definite one, if the next call is an acquire. No call
returned "held" or "not held". No acquire of unknown outcome is followed by a release of its process. Otherwise
`jit_linearizability.py` searches for an order.

The proof
---------
A hold is an acquire and the release that follows it in its process. The acquire takes effect at its end or before, the
release at its beginning or later. So the hold lasts at least from the acquire's end to the release's beginning: its *core*.
(If a release of unknown outcome is followed by an acquire of its process that succeeded, the release took effect before that
acquire. If it is the last call of its process, the choice that leaves most room is that it took effect as it began.)

If two cores overlap, no order exists. If none do, let every acquire take effect at its end and every release at its
beginning: the holds are then exactly their cores, and exclude each other. An acquire of unknown outcome that no release
follows is left out, which is the choice that leaves most room.

Cores that do not overlap have only one order, so tokens must rise along it. No other condition concerns tokens.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import HELD, NOT_HELD, ObjectCall

_NEVER: Final = float("inf")


class _Hold(NamedTuple):
    """An acquire, and the release that follows it; None if none does."""

    acquire: ObjectCall
    release: ObjectCall | None

    @property
    def core_ends(self) -> float:
        return _NEVER if self.release is None else self.release.began

    @property
    def calls(self) -> tuple[ObjectCall, ...]:
        return (self.acquire,) if self.release is None else (self.acquire, self.release)


def holds_can_be_paired(calls: Iterable[ObjectCall]) -> bool:
    """Return whether `check_lock_holds` applies: see "When it applies" above."""
    return _holds(calls) is not None


def check_lock_holds(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Return the calls of two holds that overlap, or of two tokens that do not rise; None if the calls have an order.

    The caller must have found that `holds_can_be_paired`.
    """
    holds = _holds(calls)
    assert holds is not None
    holds.sort(key=_core_began)
    latest = with_token = None
    for hold in holds:
        if latest is not None and _core_began(hold) < latest.core_ends:
            return _overlap(latest, hold)
        latest = hold
        token = hold.acquire.answer
        if isinstance(token, int):
            if with_token is not None and isinstance(with_token.acquire.answer, int):
                before = with_token.acquire.answer
                if token <= before:
                    return _no_rise(with_token, hold)
            with_token = hold
    return None


def _holds(calls: Iterable[ObjectCall]) -> list[_Hold] | None:
    """Return every hold; None if the calls cannot be paired."""
    by_process: dict[Hashable, list[ObjectCall]] = {}
    for call in calls:
        by_process.setdefault(call.argument, []).append(call)
    found: list[_Hold] = []
    for calls_of_process in by_process.values():
        calls_of_process.sort(key=lambda call: call.began)
        acquire: ObjectCall | None = None
        has_pending_acquire = False
        for call in calls_of_process:
            if call.answer in (HELD, NOT_HELD) or (call.f == "release" and (has_pending_acquire or acquire is None)):
                return None
            if call.f == "release":
                assert acquire is not None
                found.append(_Hold(acquire, call))
                acquire = None
            elif call.is_pending:
                has_pending_acquire = True
            elif acquire is not None:
                return None
            else:
                acquire = call
        if acquire is not None:
            found.append(_Hold(acquire, None))
    return found


def _core_began(hold: _Hold) -> int:
    assert hold.acquire.ended is not None
    return hold.acquire.ended


def _overlap(one: _Hold, other: _Hold) -> Contradiction:
    """Describe two holds whose cores overlap; that of `other` began later."""
    calls = (*one.calls, other.acquire)
    second = len(one.calls)
    until = "" if one.release is None else " and did not begin to release it before {1:began}"
    template = (
        f"{{0:process}} held the lock from {{0:ended}} on{until}, but {{{second}:process}} also acquired it by "
        f"{{{second}:ended}}"
    )
    return Contradiction(calls, template, other.calls)


def _no_rise(one: _Hold, other: _Hold) -> Contradiction:
    template = (
        "{0:process} acquired the lock with token {0:token} by {0:ended}, and after that {1:process} acquired it by {1:ended} "
        "with token {1:token}, which is not higher"
    )
    return Contradiction((one.acquire, other.acquire), template, (*one.calls, *other.calls))
