"""The acts of a page: by name, what does it and which arguments it takes. Whatever a browser sends, the reply is a sentence.

Rules
-----
1. An act that is refused changes nothing, and its reply says why.
2. A number of acts may be under way at once; more are refused, so that nothing waits without bound.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cluster.errors import ConsensusError, Unknown
from harness.report.events import cut
from node.contract import BadInput
from node.storage.disk import DiskError

#: How many acts may be under way at once.
UNDER_WAY_MAX: Final = 64

Act: TypeAlias = Callable[..., str]
#: By name: the function, and the types of its arguments.
Acts: TypeAlias = Mapping[str, tuple[Act, Mapping[str, type]]]


class ActTable:
    """Acts by their names. Any thread may call `do`."""

    def __init__(self, acts: Acts, on_done: Callable[[], None]) -> None:
        """Make the table. `on_done` is called after each act, so that its effect shows at once."""
        self._acts, self._on_done = acts, on_done
        self._free = threading.BoundedSemaphore(UNDER_WAY_MAX)

    def do(self, act: Any, arguments: Any) -> dict[str, Any]:
        """Do what a browser asks. Returns `ok`, and `text`: what came of it, or why it was refused, or "unknown: " and why."""
        found = self._acts.get(act) if isinstance(act, str) else None
        if found is None:
            return _refused(f"there is no act {cut(str(act), 40)!r}")
        function, wanted = found
        if not isinstance(arguments, dict) or not _fits(arguments, wanted):
            needs = ", ".join(f"{name} ({kind.__name__})" for name, kind in wanted.items()) or "no arguments"
            return _refused(f"{act} takes {needs}")
        if not self._free.acquire(blocking=False):
            return _refused(f"{UNDER_WAY_MAX} acts are under way already: wait for one of them")
        try:
            return {"ok": True, "text": cut(function(**arguments))}
        except Unknown as error:
            return _refused(f"unknown: {error}")
        except (ConsensusError, BadInput, DiskError, OSError) as error:
            return _refused(str(error))
        finally:
            self._free.release()
            self._on_done()


def _refused(why: str) -> dict[str, Any]:
    return {"ok": False, "text": cut(why)}


def _fits(arguments: Mapping[str, Any], wanted: Mapping[str, type]) -> bool:
    """Return whether there is each argument that is wanted, of its type, and no other. A whole number is a float, too."""
    return arguments.keys() == wanted.keys() and all(
        type(arguments[name]) is kind or (kind is float and type(arguments[name]) is int)
        for name, kind in wanted.items()
    )


def checked_indices(indices: list[Any]) -> list[int]:
    """Return the numbers of the messages that an act is about. Raises BadInput if they are no numbers, or none."""
    if not indices or not all(type(index) is int for index in indices):
        raise BadInput("indices are a list of the numbers of messages, such as [12, 15]")
    return indices


def is_pair(pair: Any) -> bool:
    """Return whether this is the two ends of a link."""
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, str) for end in pair)
