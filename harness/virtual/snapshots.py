"""Turns mutable plain data into immutable snapshots, and snapshots into data.

Rules
-----
1. `thaw(freeze(x)) == x`. Two snapshots are equal exactly if their data are equal.
2. A snapshot is hashable, so it can be a key. It shares nothing mutable with its data.
3. The order of a dict is part of its snapshot, since an algorithm may choose by it. A set has no order; its snapshot is sorted
   by the text of the items.
"""

from collections import Counter, deque
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({list, tuple, set, frozenset, deque})


class Frozen(NamedTuple):
    """The snapshot of a mutable object: its class and its contents."""

    kind: type
    items: tuple[Any, ...]


def freeze(data: Any) -> Any:
    """Return a snapshot of plain data.

    Raises:
        TypeError: `data` holds something that is not plain data.
    """
    kind = type(data)
    if kind in _ATOMS:
        return data
    if kind in (dict, Counter):
        return Frozen(kind, tuple((key, freeze(value)) for key, value in data.items()))
    if isinstance(data, tuple):
        return data if kind is not tuple else tuple(map(freeze, data))
    if kind in (set, frozenset):
        return Frozen(kind, tuple(sorted(map(freeze, data), key=repr)))
    if kind in _CONTAINERS:
        return Frozen(kind, tuple(map(freeze, data)))
    if is_dataclass(data) and not isinstance(data, type):
        params: Any = kind.__dict__["__dataclass_params__"]
        if params.frozen:
            return data
        return Frozen(kind, tuple(freeze(getattr(data, field.name)) for field in fields(data)))
    if isinstance(data, Enum):
        return data
    raise TypeError(f"a {kind.__name__} is not plain data: hold int, str, bytes, tuple, list, dict, set or dataclasses")


def thaw(snapshot: Any) -> Any:
    """Return a new copy of the data of which `snapshot` was taken."""
    if type(snapshot) is tuple:
        return tuple(map(thaw, snapshot))
    if type(snapshot) is not Frozen:
        return snapshot
    kind: Any = snapshot.kind
    items = snapshot.items
    if kind is dict:
        return {key: thaw(value) for key, value in items}
    if kind is Counter:
        return Counter(dict(items))
    if kind in _CONTAINERS:
        return kind(map(thaw, items))
    copy = kind.__new__(kind)
    for field, item in zip(fields(kind), items, strict=True):
        setattr(copy, field.name, thaw(item))
    return copy
