"""Saves and restores the whole state of a virtual node that keeps a log. Two states are equal if nothing can tell them apart.

Theory of operation
-------------------
A replica of a log is a graph of objects that share parts. Its *image* is a pickle, from which `thaw_log_node` makes the node
again. Pickles of equal graphs may differ, since they show which strings are one object. So states are compared by a *digest* of
the graph written out as plain tuples: each attribute by its name, a shared object by the number of its first visit, a dictionary
in the order of its keys.

What cannot change is left out: the node's id and settings, and functions. So is the range of a timer, which an explorer ignores.
"""

import io
import marshal
import pickle
from collections import Counter, deque
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

from harness.virtual.node import VirtualNode
from node.contract import ContractBroken, Message, Node, NodeId, Request
from node.instances import LOG_NAME
from node.log_contract import LogAlgorithm, Record
from node.quorum import Ballot
from node.replication.state import ReplicatedState
from node.tuning import Tuning

_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
_LEFT_OUT: Final = (Node, Tuning, type, FunctionType, MethodType, BuiltinFunctionType)


@dataclass(slots=True, eq=False)
class LogNodeState:
    """A node of a log between two turns, hashable."""

    digest: bytes
    """128 bits that differ between any two states that differ."""
    up: bool
    incarnation: int
    disk: bool | None
    """None if the disk is lost."""
    timers: tuple[tuple[str, None], ...]
    """The timers that are set."""
    known: tuple[tuple[NodeId, int], ...]
    """The highest incarnation of each peer of which a message has arrived."""
    promised: Ballot | None
    leading: Ballot | None
    serving: bool
    applied: int
    records: tuple[Record, ...]
    """The log on the disk."""
    waiting: tuple[Request, ...] = ()
    image: bytes = b""
    """What `thaw_log_node` needs; empty until `keep_image`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogNodeState) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


#: By name: what every state of an exploration has. An image names it, in the place of a copy.
_SHARED: Final[dict[str, Any]] = {}


def _shared(name: str) -> Any:
    return _SHARED[name]


class _Pickler(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, Tuning) or (isinstance(item, type) and issubclass(item, LogAlgorithm)):
            name = f"{type(item).__name__} {id(item)}"
            _SHARED[name] = item
            return _shared, (name,)
        return NotImplemented


def freeze_log_node(node: VirtualNode, promised: Ballot | None = None) -> LogNodeState:
    """Return the whole state of a node of a log, between two turns. `promised` is what it had promised if it is down."""
    disk, core, replica = node.disk, node.core, node.instance
    assert not disk.dirty, "a snapshot is taken between two turns"
    assert replica is None or isinstance(replica, LogAlgorithm)
    records = tuple(disk.log.records[slot] for slot in sorted(disk.log.records))
    timers = tuple(sorted(node.timer_names()))
    known = tuple(sorted(core.incarnations.items()))
    if replica is not None:
        promised = replica.promised
    elif not node.has_disk:
        promised = None
    written = Graph().write(
        (
            (node.up, node.incarnation, node.has_disk, timers, known, promised),
            (disk.stored.get(LOG_NAME, {}), disk.doubt, disk.doubts, records, disk.log.parts, disk.log.first),
            (disk.unsynced(), core.to_itself, list(core.frames), replica),
        )
    )
    return LogNodeState(
        blake2b(marshal.dumps(written, 0), digest_size=16).digest(),
        node.up,
        node.incarnation,
        True if node.has_disk else None,
        tuple((timer, None) for timer in timers),
        known,
        promised,
        None if replica is None else replica.leading,
        replica is not None and replica.serving,
        0 if replica is None else replica.state.applied,
        records,
    )


def keep_image(state: LogNodeState, node: VirtualNode) -> None:
    """Keep what is needed to restore a node to a state, in which it is now."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump((node.disk, node.core, node.timers))
    state.image = buffer.getvalue()


def thaw_log_node(node: VirtualNode, state: LogNodeState) -> None:
    """Restore a node to a state."""
    node.up, node.incarnation, node.has_disk = state.up, state.incarnation, state.disk is not None
    node.reset()
    node.disk, node.core, node.timers = pickle.loads(state.image)  # noqa: S301 - made by `keep_image`


class Graph:
    """Writes a graph of objects as tuples of plain data."""

    def __init__(self) -> None:
        self._visited: dict[int, int] = {}

    def write(self, item: Any) -> Any:
        """Return an item as plain data.

        Raises:
            ContractBroken: the item, or something in it, is neither plain data nor an object that holds such.
        """
        kind = type(item)
        if kind in _ATOMS:
            return item
        if isinstance(item, tuple):
            return tuple(map(self.write, item))
        if kind in (dict, Counter):
            return tuple((self.write(key), self.write(value)) for key, value in item.items())
        if kind in (list, deque):
            return list(map(self.write, item))
        if kind in (set, frozenset):
            return tuple(sorted(map(self.write, item), key=repr))
        return self._write_object(item)

    def _write_object(self, item: Any) -> Any:
        kind = type(item)
        if isinstance(item, _LEFT_OUT):
            return None
        if isinstance(item, ReplicatedState):
            return item.snapshot(), item.applied, item.chain
        if isinstance(item, Enum):
            return item.name
        if isinstance(item, Message):
            return kind.__name__, tuple(self.write(getattr(item, field.name)) for field in fields(item))
        number = self._visited.get(id(item))
        if number is not None:
            return kind.__name__, number
        self._visited[id(item)] = len(self._visited)
        return kind.__name__, tuple((name, self.write(value)) for name, value in _attributes(item))


def _attributes(item: Any) -> list[tuple[str, Any]]:
    if is_dataclass(item):
        return [(field.name, getattr(item, field.name)) for field in fields(item)]
    found = list(getattr(item, "__dict__", {}).items())
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(item, name):
                found += [(name, getattr(item, name))]
    if not found and not hasattr(item, "__dict__"):
        raise ContractBroken(f"an attribute holds a {type(item).__name__}, which cannot be kept: hold plain data")
    return found
