"""A cluster that is made from an older copy of another one's state: no number of the one can be taken for one of the other."""

from random import Random
from typing import Any

import pytest

from node.machine import FloorTooLow, NotYet
from node.machines import DEFAULT
from node.replication.configuration import Configuration
from node.replication.new_cluster import NUMBERS_PER_MS, floor_at
from node.replication.state import CLUSTER, SESSION, ReplicatedState
from node.tuning import SHIPPED
from node.wire import pack_unchecked, unpack_unchecked

NOW_MS = 1_800_000_000_000
WRITES = 300


class Log:
    """One replica's state, which is driven as by a leader: each call is a slot."""

    def __init__(self, state: ReplicatedState | None = None) -> None:
        self.state = state or ReplicatedState(DEFAULT, Configuration(("n1", "n2", "n3")))
        self.sequences: dict[int, int] = {}

    def do(self, session: int, machine: str, *command: Any) -> Any:
        """Return the result of a command, or the kind of its refusal."""
        sequence = self.sequences[session] = self.sequences.get(session, 0) + 1
        frame = (session, sequence if session else 0, sequence if session else 0, machine, pack_unchecked([command]))
        (payload,) = self.state.apply(self.state.applied + 1, pack_unchecked((self.state.time_ms, (frame,))))
        return self._decoded(payload)

    def ask(self, machine: str, *question: Any) -> Any:
        """Return the answer to a question, the kind of its refusal, or None if it waits."""
        payload = self.state.read(machine, pack_unchecked([question]))
        return None if isinstance(payload, NotYet) else self._decoded(payload)

    @staticmethod
    def _decoded(payload: bytes) -> Any:
        results, errors = unpack_unchecked(payload)
        return errors[0][1] if errors else results[0]

    def open(self) -> int:
        number = self.do(0, SESSION, "open")
        assert isinstance(number, int)
        return number

    def in_new_cluster(self, now_ms: int = NOW_MS) -> "Log":
        """Return the cluster that is made from the present state."""
        state = ReplicatedState(DEFAULT, Configuration(()))
        state.restore(self.state.packed())
        state.begin_new_cluster(("a", "b"), floor_at(now_ms))
        return Log(state)


def numbers_given(log: Log, rng: Random) -> list[int]:
    """Work for a while. Returns every number that clients got: sessions, versions, tickets, tokens, views."""
    session = log.open()
    numbers = [session]
    for number in range(WRITES):
        key = rng.choice("abc")
        match rng.randrange(6):
            case 0 | 1:
                numbers.append(log.do(session, "kv", "put", key, b"x"))
            case 2:
                numbers += log.do(session, "locks", "acquire", key, f"owner {number}", 60_000)
            case 3:
                holder = log.ask("locks", "holder", key)
                if holder is not None:
                    log.do(session, "locks", "give_up", key, holder[0])
            case 4:
                numbers.append(log.do(session, "members", "join", f"{session}-{number}", b"", 60_000))
            case 5:
                log.do(session, "assignment", "add", f"task {number}")
                log.do(session, "assignment", "join", key, b"", 60_000)
                share = log.ask("assignment", "mine", key)
                numbers += [token for _, token in log.ask("assignment", "mine", key, 0)[1]] if share else []
    return [number for number in numbers if number]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_only_rise_over_a_save_more_work_and_a_restore(seed: int) -> None:
    rng = Random(seed)
    old = Log()
    numbers_given(old, rng)
    saved = old.in_new_cluster()  # the copy is made here, and the old cluster goes on
    of_old = numbers_given(old, rng)
    of_new = numbers_given(saved, rng)
    assert max(of_old) < min(of_new)
    # The same after that: the new cluster is lost, and the same old state is restored again a second later.
    again = Log(ReplicatedState(DEFAULT, Configuration(())))
    again.state.restore(old.state.packed())
    again.state.begin_new_cluster(("a",), floor_at(NOW_MS + 1000))
    assert max(of_new) < min(numbers_given(again, rng))
    assert max(of_new) < 2**53


def test_what_is_saved_is_there_and_keeps_its_order() -> None:
    old = Log()
    session = old.open()
    for key in ("b", "a", "c"):
        old.do(session, "kv", "put", key, key.encode())
    old.do(session, "once", "propose", "colour", b"blue")
    new = old.in_new_cluster()
    entries, more = new.ask("kv", "range", "", "", 10)
    assert ([value for _, value, _ in entries], more) == ([b"a", b"b", b"c"], False)
    versions = {key: version for key, _, version in entries}
    assert floor_at(NOW_MS) < versions["b"] < versions["a"] < versions["c"] == new.ask("kv", "version")
    assert new.ask("once", "query", "colour") == b"blue"
    assert new.state.configuration == Configuration(("a", "b"))


def test_sessions_locks_members_and_tasks_of_the_old_cluster_have_ended() -> None:
    old = Log()
    session = old.open()
    token = old.do(session, "locks", "try", "printer", "alice", 600_000)
    old.do(session, "members", "join", "alice", b"", 600_000)
    old.do(session, "assignment", "add", "task")
    old.do(session, "assignment", "join", "alice", b"", 600_000)
    new = old.in_new_cluster()
    assert new.ask("locks", "holder", "printer") is None
    assert new.ask("members", "view")[1] == []
    assert new.ask("assignment", "owners", 0)[1:] == [[], ["task"]]
    assert new.do(session, "locks", "renew", "printer", token) == "session_expired"
    assert new.do(0, SESSION, "resume", session, "alice again") == "session_expired"
    other = new.open()
    assert new.do(other, "locks", "renew", "printer", token) == "not_held"
    later = new.do(other, "locks", "try", "printer", "bob", 600_000)
    assert token < later
    assert new.do(other, "locks", "release", "printer", token) == "stale_token"


def test_a_version_of_the_old_cluster_is_refused() -> None:
    old = Log()
    session = old.open()
    version = old.do(session, "kv", "put", "a", b"x")
    view = old.do(session, "members", "join", "alice", b"", 600_000)
    new = old.in_new_cluster()
    other = new.open()
    assert new.do(other, "kv", "cas", "a", version, b"y") == "mismatch"
    assert new.ask("kv", "watch", "", version, 10) == "compacted"
    assert new.ask("kv", "watch", "", 0, 10) == "compacted"
    assert new.ask("members", "watch", view, 10) == "compacted"
    assert new.ask("kv", "watch", "", new.ask("kv", "version"), 10) is None  # waits for a change


def test_a_state_from_after_the_clock_is_refused() -> None:
    old = Log().in_new_cluster(NOW_MS)
    old.do(old.open(), "kv", "put", "a", b"x")
    with pytest.raises(FloorTooLow, match="has given out the number"):
        old.in_new_cluster(NOW_MS - 1)


def test_a_state_without_any_slot_becomes_that_of_slot_1() -> None:
    assert Log().in_new_cluster().state.applied == 1


def test_the_floor_leaves_room_for_every_change_that_a_cluster_can_make() -> None:
    changes_per_s_max = 135_000  # more than the fastest prototype has ever made
    assert changes_per_s_max * 7 < NUMBERS_PER_MS * 1000
    assert floor_at(8_770_000_000_000) < 2**53 < floor_at(8_800_000_000_000)  # in 2248


# --- copies of the state ----------------------------------------------------------------------------------------------


def test_a_copy_stays_as_it_was_while_the_log_goes_on() -> None:
    log = Log()
    session = log.open()
    for number in range(8):
        log.do(session, "kv", "put", f"key {number}", bytes(200_000))
    slot, size, _ = log.ask(CLUSTER, "save")
    expected = log.state.packed()
    log.do(session, "kv", "put", "a", b"later")
    parts = [log.ask(CLUSTER, "saved", slot, start) for start in range(0, size, SHIPPED.copy_part_bytes)]
    assert len(parts) > 2
    assert b"".join(parts) == expected
    assert log.ask(CLUSTER, "drop", slot) is None
    assert log.ask(CLUSTER, "saved", slot, 0) == "no_copy"


def test_a_copy_does_not_count_as_a_snapshot() -> None:
    """Replicas make snapshots after the same slots, and only one of them is asked for a copy."""
    log = Log()
    log.open()
    before = (log.state.slots_since_snapshot, log.state.bytes_since_snapshot)
    log.ask(CLUSTER, "save")
    assert before == (log.state.slots_since_snapshot, log.state.bytes_since_snapshot) != (0, 0)


def test_copies_are_few_and_are_dropped_when_no_client_fetches_them() -> None:
    log = Log()
    slots = []
    for _ in range(2):
        log.open()
        slots.append(log.ask(CLUSTER, "save")[0])
    log.open()
    assert log.ask(CLUSTER, "save") == "busy"
    for _ in range(SHIPPED.copy_idle_beats):
        log.state.copies.beat()
    assert log.ask(CLUSTER, "saved", slots[0], 0) != "no_copy"  # and its time begins anew
    log.state.copies.beat()
    assert log.ask(CLUSTER, "saved", slots[1], 0) == "no_copy"
    assert log.ask(CLUSTER, "saved", slots[0], 0) != "no_copy"
    log.state.copies.clear()
    assert log.ask(CLUSTER, "saved", slots[0], 0) == "no_copy"


def test_no_question_about_copies_ends_a_node() -> None:
    log = Log()
    for question in (["saved"], ["saved", 1, -1], ["saved", "x", 0], ["drop"], ["other"], []):
        assert log.ask(CLUSTER, *question) in ("bad_command", "no_copy")
    assert log.ask(CLUSTER, "members") == [["n1", "n2", "n3"], [], []]
