"""What has the wrong type is refused before it is sent, and the message says what was wanted."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.clients import operations as asks
from cluster.clients.lock_queue import acquiring
from node.wire import BadValue

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: asks.kv_put(None, 1), "a key is a string, and not the NoneType None"),  # type: ignore[arg-type]
    (lambda: asks.kv_put("\udcff", 1), "a key is valid Unicode"),
    (lambda: asks.kv_put("k", object()), "a object cannot be encoded"),
    (lambda: asks.kv_get(7), "a key is a string, and not the int 7"),  # type: ignore[arg-type]
    (lambda: asks.kv_delete(b"k"), "a key is a string"),  # type: ignore[arg-type]
    (lambda: asks.kv_range(None, ""), "a prefix is a string"),  # type: ignore[arg-type]
    (lambda: asks.kv_compare_and_set("k", None, 1), "0 of what is absent: not None"),  # type: ignore[arg-type]
    (lambda: asks.kv_compare_and_set("k", True, 1), "0 of what is absent: not True"),
    (lambda: asks.kv_compare_and_set("k", 2**70, 1), "0 of what is absent: not 118"),
    (lambda: asks.kv_watch("k", -1, 1.0), "0 of what is absent: not -1"),
    (lambda: asks.kv_watch("k", 0, float("inf")), "a time is a number of seconds: not inf"),
    (lambda: asks.lock_acquire("l", "o", None), "a time is a number of seconds: not None"),  # type: ignore[arg-type]
    (lambda: asks.lock_try("l", "o", "1"), "a time is a number of seconds: not 1"),  # type: ignore[arg-type]
    (lambda: asks.lock_try("l", None, 1.0), "the owner of a lock is a string"),  # type: ignore[arg-type]
    (lambda: asks.lock_renew("l", None), "a fencing token is a whole number: not None"),  # type: ignore[arg-type]
    (lambda: asks.lock_release(3, 1), "the name of a lock is a string"),  # type: ignore[arg-type]
    (lambda: asks.member_join("members", None, None, 1.0), "the name of a member is a string"),  # type: ignore[arg-type]
    (lambda: asks.member_join("members", "m", None, float("nan")), "a time is a number of seconds: not nan"),
    (lambda: asks.task_add(None), "the name of a task is a string"),  # type: ignore[arg-type]
    (lambda: asks.cluster_add(4), "the name of a node is a string"),  # type: ignore[arg-type]
    (lambda: asks.member_watch("members", 5, 1.0), "what followed a View"),  # type: ignore[arg-type]
    (lambda: asks.task_mine("m", 5, 1.0), "`after` is a Share"),  # type: ignore[arg-type]
    (lambda: asks.task_owners(5, 1.0), "`after` is a Spread"),  # type: ignore[arg-type]
    (lambda: asks.lock_acquire("l", "o", 10**400), "a time is a number of seconds: not 1000"),
    (lambda: next(acquiring("l", "o", 1.0, float("nan"), lambda: 0.0)), "a time is a number of seconds: not nan"),
]


@pytest.mark.parametrize(("ask", "says"), BAD)
def test_a_wrong_type_is_refused(ask: Callable[[], Any], says: str) -> None:
    with pytest.raises(BadValue) as refused:
        ask()
    assert says in str(refused.value)


def test_a_lease_of_any_length_is_for_the_machine_to_refuse() -> None:
    for seconds in (-5.0, 0.0, 1e300):
        assert isinstance(asks.lock_acquire("l", "o", seconds).command[-1], int)
