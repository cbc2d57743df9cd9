"""Locks: whether holds exclude each other and tokens rise, in n log n.

When it applies
---------------
The definite calls of each process must be acquire, release, acquire, ... in turn, from an acquire on; a release of unknown
outcome may stand for one, if the next call is an acquire; no call was told "held" or "not held"; and no acquire of unknown
outcome is followed by a release of its process. Else an order is searched (`harness/checkers/jit_linearizability.py`).

The proof
---------
A hold is an acquire and the release that follows it in its process. Its acquire takes effect at its end or before, its
release at its beginning or later; so it lasts at least from the acquire's end to the release's beginning: its core. (If a
release whose outcome is unknown is followed by an acquire of its process that succeeded, it took effect before that one.
If it is the last call of its process, that it took effect as it began is the choice that leaves most room.) If two cores
overlap, no order exists. If none do, let every acquire take effect at its end and every release at its beginning: holds are
then just their cores, and exclude each other. An acquire of unknown outcome that no release follows is left out, which is
the choice that leaves most room.

Cores that are apart have one order only, so tokens must rise along it. That is all there is to tokens.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple

from harness.checkers.certificate import Contradiction
from harness.checkers.models import HELD, NOT_HELD, ObjectCall

_NEVER: Final = float("inf")


class _Hold(NamedTuple):
    acquire: ObjectCall
    release: ObjectCall | None

    @property
    def until(self) -> float:
        return _NEVER if self.release is None else self.release.began

    @property
    def calls(self) -> tuple[ObjectCall, ...]:
        return (self.acquire,) if self.release is None else (self.acquire, self.release)


def take_turns(calls: Iterable[ObjectCall]) -> bool:
    """Whether `holds` applies: see above."""
    return _holds(calls) is not None


def holds(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Two holds at once, or two tokens that do not rise; None if there are none. Call it only if `take_turns`."""
    found = _holds(calls)
    assert found is not None
    found.sort(key=_core_began)
    longest = with_token = None
    for hold in found:
        if longest is not None and _core_began(hold) < longest.until:
            return _both(longest, hold)
        longest = hold
        token = hold.acquire.answer
        if isinstance(token, int):
            if with_token is not None and isinstance(with_token.acquire.answer, int):
                before = with_token.acquire.answer
                if token <= before:
                    return _no_rise(with_token, hold)
            with_token = hold
    return None


def _holds(calls: Iterable[ObjectCall]) -> list[_Hold] | None:
    """Every hold; None if the calls are not of the kind that can be paired."""
    by_process: dict[Hashable, list[ObjectCall]] = {}
    for call in calls:
        by_process.setdefault(call.argument, []).append(call)
    found: list[_Hold] = []
    for of_process in by_process.values():
        of_process.sort(key=lambda call: call.began)
        acquire: ObjectCall | None = None
        is_open = False  # an acquire of unknown outcome came before
        for call in of_process:
            if call.answer in (HELD, NOT_HELD) or (call.f == "release" and (is_open or acquire is None)):
                return None
            if call.f == "release":
                assert acquire is not None
                found.append(_Hold(acquire, call))
                acquire = None
            elif call.is_pending:
                is_open = True
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


def _both(one: _Hold, other: _Hold) -> Contradiction:
    """Two holds whose cores overlap; `other` began later."""
    calls = (*one.calls, other.acquire)
    second = len(one.calls)
    until = "" if one.release is None else ", and did not ask to release it before {1:began}"
    why = f"{{0:who}} held the lock at {{0:ended}}{until}, but {{{second}:who}} was given it by {{{second}:ended}}"
    return Contradiction(calls, why, other.calls)


def _no_rise(one: _Hold, other: _Hold) -> Contradiction:
    why = (
        "{0:who} was given the lock with token {0:token} by {0:ended}, and {1:who} after it, by {1:ended}, "
        "with token {1:token}, which is not higher"
    )
    return Contradiction((one.acquire, other.acquire), why, (*one.calls, *other.calls))
