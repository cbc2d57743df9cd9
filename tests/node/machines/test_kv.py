"""The machine of keys and values: what a watch returns, and what it waits for."""

import pytest

from node.machine import NotYet, Refusal
from node.machines.kv import KEY_CHARS_MAX, VALUE_BYTES_MAX, KvMachine
from node.tuning import Tuning
from tests.node.machines.two_replicas import Replicas, refused, waits


@pytest.fixture
def keys() -> Replicas[KvMachine]:
    return Replicas(KvMachine, Tuning(kv_history_entries=4))


def test_a_watch_returns_the_changes_and_up_to_where_they_are_all(keys: Replicas[KvMachine]) -> None:
    assert waits(keys.ask("watch", "a/", 0, 100))
    keys.do(1, "put", "a/1", b"one")
    keys.do(1, "put", "b/1", b"other")
    keys.do(1, "delete", "a/1")
    keys.do(1, "put", "b/2", b"other")
    assert keys.ask("watch", "a/", 0, 100) == [4, [[1, "a/1", b"one"], [3, "a/1", None]]]
    assert keys.ask("watch", "a/", 1, 100) == [4, [[3, "a/1", None]]]
    assert keys.ask("watch", "a/", 0, 1) == [2, [[1, "a/1", b"one"]]]
    assert keys.ask("watch", "a/", 3, 100) == NotYet("a/")
    assert keys.one.nothing_new() == [4, []]


def test_a_watch_that_begins_before_the_kept_changes_is_refused(keys: Replicas[KvMachine]) -> None:
    keys.do(1, "put", "a/1", b"")
    for _ in range(4):
        keys.do(1, "put", "b/1", b"")
    assert waits(keys.ask("watch", "a/", 1, 100))
    with pytest.raises(Refusal, match="before version 2"):
        keys.ask("watch", "a/", 0, 100)
    assert waits(keys.ask("watch", "a/", 5, 100))
    with pytest.raises(Refusal, match="version 6 is not in this log's history, whose latest is 5"):
        keys.ask("watch", "a/", 6, 100)


def test_a_watch_that_has_seen_everything_is_not_refused_however_much_else_has_changed(
    keys: Replicas[KvMachine],
) -> None:
    for _ in range(9):
        keys.do(1, "put", "b/1", b"")
    seen = keys.one.latest_version()
    keys.do(1, "put", "a/1", b"new")
    assert keys.one.query_again(["watch", "a/", 0, 100], seen) == [10, [[10, "a/1", b"new"]]]
    assert keys.one.query_again(["watch", "c/", 0, 100], seen) == NotYet("c/")
    with pytest.raises(Refusal, match="no longer kept"):
        keys.ask("watch", "a/", 0, 100)


def test_every_change_names_its_key(keys: Replicas[KvMachine]) -> None:
    keys.do(1, "put", "a", b"")
    keys.do(1, "put", "b", b"")
    keys.do(1, "delete", "a")
    assert list(keys.one.changed) == ["a", "b"]
    keys.one.changed.clear()
    assert keys.do(1, "delete", "a") is False
    keys.ask("watch", "", 0, 100)
    assert not keys.one.changed


def test_the_walk_of_a_watch_begins_at_the_version_that_it_asks_for(keys: Replicas[KvMachine]) -> None:
    """A watch costs what it returns, and not what is kept."""

    class Counted(list[tuple[int, str, bytes | None]]):
        looked_at = 0

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            Counted.looked_at += 1
            return super().__getitem__(index)

    for number in range(4):
        keys.do(1, "put", f"{number}", b"")
    keys.one.history = Counted(keys.one.history)  # type: ignore[assignment]
    keys.one.query(["watch", "", 3, 100])
    assert Counted.looked_at == 2  # the version of the first kept change, and the one change


# --- limits -------------------------------------------------------------------------------------------------------------


def test_keys_and_values_may_be_as_long_as_their_limits(keys: Replicas[KvMachine]) -> None:
    assert (KEY_CHARS_MAX, VALUE_BYTES_MAX) == (1024, 262_144)
    assert keys.do(1, "put", "k" * KEY_CHARS_MAX, b"v" * VALUE_BYTES_MAX) == 1
    assert refused(keys, 1, "put", "k" * (KEY_CHARS_MAX + 1), b"") == "bad_key"
    assert refused(keys, 1, "put", "", b"") == "bad_key"
    assert refused(keys, 1, "put", "k", b"v" * (VALUE_BYTES_MAX + 1)) == "too_large"


def test_an_answer_ends_with_the_entry_that_goes_beyond_its_limit() -> None:
    keys = Replicas(KvMachine, Tuning(kv_answer_bytes=1024, kv_answer_entries=3))
    for key, size in (("a", 511), ("b", 511), ("c", 1), ("d", 1), ("e", 1)):  # a and b fill an answer exactly
        keys.do(1, "put", key, b"v" * size)
    page, more = keys.ask("range", "", "", 100)
    assert ([entry[0] for entry in page], more) == (["a", "b", "c"], True)
    seen, changes = keys.ask("watch", "", 0, 100)
    assert (seen, [change[1] for change in changes]) == (3, ["a", "b", "c"])
    keys.do(1, "put", "a", b"v" * 512)  # one byte more
    assert [entry[0] for entry in keys.ask("range", "", "", 100)[0]] == ["a", "b"]
    assert [entry[0] for entry in keys.ask("range", "", "a", 2)[0]] == ["b", "c"]


def test_changes_are_kept_up_to_the_limit_of_their_bytes_also_after_a_rise() -> None:
    keys = Replicas(KvMachine, Tuning(kv_history_bytes=1024))
    for machine in (keys.one, keys.other):
        machine.rise(1)
    keys.do(1, "put", "a", b"v" * 512)
    keys.do(1, "put", "b", b"v" * 512)
    assert len(keys.ask("watch", "", 1, 100)[1]) == 2
    keys.do(1, "put", "c", b"v")
    with pytest.raises(Refusal, match="before version 3"):
        keys.ask("watch", "", 1, 100)
