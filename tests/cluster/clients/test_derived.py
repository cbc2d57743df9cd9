"""The blocking and the asyncio client have the same operations, with the same arguments and docstrings."""

import inspect
from typing import Any

import pytest

from cluster.clients.configuration import AsyncClusterConfiguration, ClusterConfiguration
from cluster.clients.groups import Assignment, AsyncAssignment, AsyncMembers, Members
from cluster.clients.kv import AsyncKv, Kv
from cluster.clients.locks import AsyncLocks, Locks
from cluster.clients.log_client import LogClient

PAIRS = [
    (Kv, AsyncKv),
    (Locks, AsyncLocks),
    (Members, AsyncMembers),
    (Assignment, AsyncAssignment),
    (ClusterConfiguration, AsyncClusterConfiguration),
]
#: Methods that differ on purpose: an asyncio `watch` has no end, and the tasks of an asyncio client each name their owner.
DIFFERENT = {"watch", "acquire", "try_acquire", "resume", "give_up", "joined"}


def methods(group: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(group, name) for name in dir(group) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS)
def test_both_clients_have_the_same_operations(blocking: type, asynchronous: type) -> None:
    one, other = methods(blocking), methods(asynchronous)
    assert one.keys() == other.keys()
    assert len(one) > 3
    for name in one.keys() - DIFFERENT:
        assert inspect.signature(one[name]).parameters == inspect.signature(other[name]).parameters
        assert one[name].__doc__ == other[name].__doc__


@pytest.mark.parametrize("group", [group for pair in PAIRS for group in pair])
def test_every_operation_has_a_docstring(group: type) -> None:
    for method in methods(group).values():
        assert method.__doc__


def test_help_shows_the_arguments_of_the_call() -> None:
    client = LogClient("0" * 32, dict)
    assert str(inspect.signature(client.kv.put)) == "(key: str, value: object, timeout_s: float = 5.0) -> int"
    assert list(inspect.signature(Kv.put).parameters) == ["self", "key", "value", "timeout_s"]
    assert list(inspect.signature(client.members.join).parameters) == ["name", "details", "ttl_s", "timeout_s"]
    assert inspect.iscoroutinefunction(AsyncKv.put)
    client.close()
