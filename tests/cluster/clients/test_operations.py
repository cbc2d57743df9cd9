"""An argument of the wrong type is refused before anything is sent, and the message says what is wanted."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.clients import operations
from cluster.clients.kv_operations import KeyPage
from cluster.clients.operations import ASSIGNMENT, MEMBERS, Operation
from node.wire import BadValue, encode_value

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: operations.kv_put(None, 1), "a key is a string, and not the NoneType None"),  # type: ignore[arg-type]
    (lambda: operations.kv_put("\udcff", 1), "a key is valid Unicode"),
    (lambda: operations.kv_put("k", object()), "a object cannot be encoded"),
    (lambda: operations.kv_get(7), "a key is a string, and not the int 7"),  # type: ignore[arg-type]
    (lambda: operations.kv_get_with_version(7), "a key is a string, and not the int 7"),  # type: ignore[arg-type]
    (lambda: operations.kv_delete(b"k"), "a key is a string"),  # type: ignore[arg-type]
    (lambda: next(operations.kv_range(None)), "a prefix is a string"),  # type: ignore[arg-type]
    (lambda: operations.kv_compare_and_set("k", None, 1), "0 for an absent key: not None"),  # type: ignore[arg-type]
    (lambda: operations.kv_compare_and_set("k", True, 1), "0 for an absent key: not True"),
    (lambda: operations.kv_compare_and_set("k", 2**70, 1), "0 for an absent key: not 118"),
    (lambda: operations.kv_watch("k", -1, 1.0), "0 for an absent key: not -1"),
    (lambda: operations.kv_watch("k", 0, float("inf")), "a time is a number of seconds: not inf"),
    (lambda: next(operations.kv_changes("k", -1)), "0 for an absent key: not -1"),
    (lambda: operations.lock_acquire("l", "o", None), "a time is a number of seconds: not None"),  # type: ignore[arg-type]
    (lambda: operations.lock_acquire("l", "o", 10**400), "a time is a number of seconds: not 1000"),
    (lambda: operations.lock_try("l", "o", "1"), "a time is a number of seconds: not 1"),  # type: ignore[arg-type]
    (lambda: operations.lock_try("l", None, 1.0), "the owner of a lock is a string"),  # type: ignore[arg-type]
    (lambda: operations.lock_renew("l", None), "a fencing token is a whole number: not None"),  # type: ignore[arg-type]
    (lambda: operations.lock_release(3, 1), "the name of a lock is a string"),  # type: ignore[arg-type]
    (lambda: next(operations.lock_wait("l", "o", 1.0, float("nan"))), "a time is a number of seconds: not nan"),
    (lambda: MEMBERS.join(None), "the name of a member is a string"),  # type: ignore[arg-type]
    (lambda: ASSIGNMENT.join("m", None, float("nan")), "a time is a number of seconds: not nan"),
    (lambda: MEMBERS.watch(5, 1.0), "`after` is a View"),  # type: ignore[arg-type]
    (lambda: next(MEMBERS.views(5)), "`after` is a View"),  # type: ignore[arg-type]
    (lambda: operations.task_add(None), "the name of a task is a string"),  # type: ignore[arg-type]
    (lambda: operations.task_mine("m", 5, 1.0), "`after` is a Share"),  # type: ignore[arg-type]
    (lambda: operations.task_owners(5, 1.0), "`after` is a TaskOwners"),  # type: ignore[arg-type]
    (lambda: operations.configuration_add(4), "the name of a node is a string"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("define", "message"), BAD)
def test_a_wrong_type_is_refused(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(BadValue) as refused:
        define()
    assert message in str(refused.value)


def test_a_lease_of_any_length_is_for_the_machine_to_refuse() -> None:
    for seconds in (-5.0, 0.0, 1e300):
        assert isinstance(operations.lock_acquire("l", "o", seconds).command[-1], int)


def test_a_group_has_its_own_machine() -> None:
    assert [group.view().machine for group in (MEMBERS, ASSIGNMENT)] == ["members", "assignment"]


def test_an_operation_has_the_timeout_of_the_call() -> None:
    assert operations.kv_put("k", 1, 0.5).timeout_s == 0.5
    assert operations.kv_watch("k", 0, 2.0).timeout_s == 2.0 + 5.0
    assert operations.task_mine("m", wait_s=2.0, timeout_s=0.5).timeout_s == 2.5


def test_a_range_reads_page_after_page() -> None:
    value = encode_value(1)
    stream = operations.kv_range("k")
    first = next(stream)
    assert isinstance(first, Operation)
    page = first.decode([[["k1", value, 7], ["k2", value, 8]], True])
    assert isinstance(page, KeyPage)
    assert stream.send(page) == [("k1", 1, 7), ("k2", 1, 8)]
    second = next(stream)
    assert isinstance(second, Operation)
    assert second.command[1:3] == ["k", "k2"]
    assert stream.send(second.decode([[["k3", value, 9]], False])) == [("k3", 1, 9)]
    with pytest.raises(StopIteration):
        next(stream)


def test_an_iterator_of_changes_goes_on_after_what_it_has_seen() -> None:
    stream = operations.kv_changes("k", 3)
    first = next(stream)
    assert isinstance(first, Operation)
    assert stream.send(first.decode([5, []])) == []  # no change in time, but five of other keys
    again = next(stream)
    assert isinstance(again, Operation)
    assert (first.command[1], first.command[2], again.command[1], again.command[2]) == ("k", 3, "k", 5)
    changes = again.decode([9, [[6, "k", None], [8, "k", encode_value(1)]]])
    assert stream.send(changes) == [(6, "k", None), (8, "k", 1)]
    last = next(stream)
    assert isinstance(last, Operation)
    assert last.command[2] == 9
