"""The state of a replica against the reference: equal after any commands, and each part that differs is found."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from harness.checkers.reference.log import Batch, ReferenceLog
from harness.checkers.reference.states import differences
from node.machines import DEFAULT
from node.replication.configuration import Configuration
from node.replication.state import ReplicatedState
from node.tuning import tuning_of
from node.wire import pack_unchecked, unpack_unchecked

TUNING = tuning_of({"session_idle_ms": 2_000, "lease_ms_max": 1_000, "kv_history_entries": 4})


def command(rng: Random) -> tuple[str, list[Any]]:
    """Draw a command of any machine. Many of them are refused."""
    key, lock, member, task = (f"{kind}{rng.randint(1, 3)}" for kind in "klmt")
    return rng.choice(
        (
            ("kv", ["put", key, b"%d" % rng.randrange(100)]),
            ("kv", ["delete", key]),
            ("kv", ["cas", key, rng.randint(0, 20), b"new"]),
            ("once", ["propose", key, b"%d" % rng.randrange(100)]),
            ("locks", ["acquire", lock, rng.choice(("a", "b")), 300]),
            ("locks", ["try", lock, rng.choice(("a", "b")), 300]),
            ("locks", ["resume", lock, rng.randint(1, 12), "a", 300]),
            ("locks", [rng.choice(("renew", "release")), lock, rng.randint(1, 12)]),
            ("locks", ["give_up", lock, rng.choice(("a", "b"))]),
            (rng.choice(("members", "assignment")), ["join", member, b"", rng.choice((200, 900))]),
            (rng.choice(("members", "assignment")), [rng.choice(("heartbeat", "leave")), member]),
            ("assignment", [rng.choice(("add", "add", "remove")), task]),
            ("session", [rng.choice(("open", "open", "close", "resume")), rng.randint(1, 3), "c1"]),
        )
    )


def played(seed: int, slots: int = 60) -> tuple[ReplicatedState, ReferenceLog]:
    """Return a state and a reference after the same slots of random commands of three sessions."""
    rng, time_ms = Random(seed), 0
    state, log = ReplicatedState(DEFAULT, Configuration(("n1",)), TUNING), ReferenceLog(TUNING)
    for slot in range(1, slots + 1):
        time_ms += rng.choice((0, 50, 50, 400))
        frames = []
        for _ in range(rng.randint(0, 3)):
            machine, asked = command(rng)
            if machine == "session":
                asked = {"open": asked[:1], "close": asked[:2]}.get(asked[0], asked)
            session = 0 if machine == "session" else rng.randint(0, 3)
            sequence = rng.randint(max(slot - 3, 1), slot) if session else 0
            frames.append((session, sequence, max(sequence - 2, 1), machine, pack_unchecked([asked])))
        state.apply(slot, pack_unchecked((time_ms, frames)))
        log.advance(Batch(time_ms, frames))
    return state, log


@pytest.mark.parametrize("seed", range(20))
def test_a_state_is_that_of_the_reference(seed: int) -> None:
    state, log = played(seed)
    assert list(differences(state.packed(), state.machines, log)) == []
    restored = ReplicatedState(DEFAULT, Configuration(("n1",)), TUNING)
    restored.restore(state.packed())
    assert list(differences(restored.packed(), restored.machines, log)) == []


def one_claim_ends_sooner(machines: dict[str, Any], _: Any) -> None:
    machines["locks"][2][0][5] -= 50


def one_key_is_missing(machines: dict[str, Any], _: Any) -> None:
    machines["kv"][2].pop()


def one_change_is_not_kept(machines: dict[str, Any], _: Any) -> None:
    machines["kv"][1].pop(0)


def one_member_has_two_tasks_more(machines: dict[str, Any], _: Any) -> None:
    one, other = machines["assignment"][3]
    one[2].append(other[2].pop())


def a_session_was_not_used(_: Any, sessions: Any) -> None:
    sessions[1][0][1] -= 50


def a_state_of_no_form(machines: dict[str, Any], _: Any) -> None:
    machines["members"].pop()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (one_claim_ends_sooner, "'locks' has the claims"),
        (one_key_is_missing, "'kv' has the entries"),
        (one_change_is_not_kept, "'kv' has the history"),
        (one_member_has_two_tasks_more, "no member has two tasks more"),
        (a_session_was_not_used, "last use in ms"),
        (a_state_of_no_form, "has not the form"),
    ],
)
def test_each_part_that_differs_is_found(change: Callable[[dict[str, Any], Any], None], expected: str) -> None:
    slot = 2
    state, log = ReplicatedState(DEFAULT, Configuration(("n1",)), TUNING), ReferenceLog(TUNING)
    frames = [
        (0, 0, 0, "session", [["open"]]),
        (1, 1, 1, "kv", [["put", "k1", b"1"], ["put", "k2", b"2"]]),
        (1, 2, 1, "locks", [["try", "l1", "a", 300]]),
        (1, 3, 1, "assignment", [["join", "m1", b"", 300], ["join", "m2", b"", 300], ["add", "t1"], ["add", "t2"]]),
        (1, 4, 1, "members", [["join", "m1", b"", 300]]),
    ]
    packed = [(*rest, pack_unchecked(commands)) for *rest, commands in frames]
    for each in range(1, slot + 1):
        state.apply(each, pack_unchecked((100 * each, packed if each == slot else ())))
        log.advance(Batch(100 * each, packed if each == slot else ()))
    assert list(differences(state.packed(), state.machines, log)) == []
    *head, sessions, machines = unpack_unchecked(state.packed())
    by_name = dict(machines)
    change(by_name, sessions)
    changed = pack_unchecked((*head, sessions, list(by_name.items())))
    (found, *_) = differences(changed, state.machines, log)
    assert expected in found
