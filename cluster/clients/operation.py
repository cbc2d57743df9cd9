"""What a client can do with a machine of a replicated log, as data: an `Operation`. No I/O.

Theory of operation
-------------------
A function such as `kv_put` checks its arguments and returns an `Operation`: the command, and the function that turns the
machine's answer into what the caller gets. It sends nothing. A client carries the operation out:
`client.do(kv_put("owner", "alice"))`, or `await client.do(...)` with asyncio. The methods that people call, such as
`client.kv.put`, are derived from these functions (`cluster/clients/derived.py`), so that each operation has one definition:
name, arguments, defaults, docstring, encoding, decoding and timeout.

What takes several operations is a generator. It yields operations, and the client sends it the answer of each, or throws what
the operation raised:
- `Steps` ends with a result, such as waiting in the queue of a lock;
- `Stream` yields lists of items in between, which the caller gets one by one, such as all keys with a prefix.

Rules
-----
1. The docstring of a function describes the method that is derived from it. A function itself raises BadValue only.
2. An argument of the wrong type raises BadValue before anything is sent. What the machine knows better, such as how long a
   lease may be, the machine refuses.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any, Final, Generic, TypeAlias, TypeVar

from node.wire import BadValue

T = TypeVar("T")

#: How long a reply may take by default, in seconds.
TIMEOUT_S: Final = 5.0
#: How long a lease lasts by default, in seconds.
TTL_S: Final = 10.0
#: How many items an answer holds at most; a stream asks again for the rest.
PAGE: Final = 1_000
#: How long the leader holds back the answer to each question of an endless stream, in seconds. It may be long: the client
#: asks at intervals whether all its questions still wait (`watches.py`), and each question costs a round of the leader's.
_STREAM_WAIT_S: Final = 600.0
_streams: Final = count()
_SECONDS_MAX: Final = 1e9


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One command of a machine, or one question if `read`.

    `decode` turns the machine's answer into the result. `wait_ms` is how long the leader may hold back the answer to a question
    that waits for a change, in milliseconds. `timeout_s` is how long the reply may take in all, in seconds.
    """

    machine: str
    command: list[Any]
    decode: Callable[[Any], T]
    read: bool = False
    wait_ms: int = 0
    timeout_s: float = TIMEOUT_S


#: Yields operations and receives the answer of each; returns the result.
Steps: TypeAlias = Generator[Operation[Any], Any, T]
#: Yields operations and receives the answer of each; yields lists of items for the caller, and receives None for them.
Stream: TypeAlias = Generator[Operation[Any] | list[T], Any, None]


def session_close(session: int, timeout_s: float = TIMEOUT_S) -> Operation[bool]:
    """End a session now, with all locks and memberships that it holds. Returns whether there was such a session."""
    return Operation("session", ["close", session], bool, timeout_s=timeout_s)


# --- arguments and answers ------------------------------------------------------------------------------------------


def checked_text(what: str, text: object) -> str:
    """Return `text` if it is a string that can be sent; `what` names it in the error. Raises BadValue."""
    if not isinstance(text, str):
        raise BadValue(f"{what} is a string, and not the {type(text).__name__} {str(text)[:100]}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{what} is valid Unicode, and {text[:100]!r} is not: {error.reason}") from None
    return text


def checked_number(rule: str, number: object) -> int:
    """Return `number` if it is a whole number from 0 to 2**63 - 1; `rule` begins the error. Raises BadValue."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise BadValue(f"{rule}: not {str(number)[:100]}")
    return number


def checked_seconds(seconds: object) -> float:
    """Return `seconds` if it is a finite number. Raises BadValue."""
    with suppress(OverflowError):  # an int of hundreds of digits
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and math.isfinite(seconds):
            return seconds
    raise BadValue(f"a time is a number of seconds: not {str(seconds)[:100]}")


def lease_ms(ttl_s: object) -> int:
    """Return the length of a lease in milliseconds. Raises BadValue."""
    return int(max(min(checked_seconds(ttl_s), _SECONDS_MAX), -_SECONDS_MAX) * 1000)


def wait_ms(wait_s: object) -> int:
    """Return how long an answer may be held back, in milliseconds: 1 at least. Raises BadValue."""
    return max(lease_ms(wait_s), 1)


def stream_waits_s() -> Iterator[float]:
    """Yield how long each question of an endless stream may wait, in seconds.

    The first waits are of different lengths, so that streams that begin together do not ask again together.
    """
    yield _STREAM_WAIT_S * (0.5 + next(_streams) * 0.618 % 0.5)
    yield from repeat(_STREAM_WAIT_S)


def no_result(_answer: Any) -> None:
    """Decode the answer of a command that has no result."""
