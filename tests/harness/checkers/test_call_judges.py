"""The judges without a sequential model: each finds its flaws by name, and passes what has none."""

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any, Literal

import pytest

from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.client_calls import CallContext, ClientCall, as_checker
from harness.checkers.evidence import RunEvidence
from harness.checkers.known_bad import undetected
from harness.checkers.known_bad_calls import known_bad_calls, known_flaws
from harness.checkers.verdict import Verdict, VerdictStatus
from harness.records.history import Event, History
from node.algorithms.paxos import Paxos

NEVER = 1_000


def call(
    f: str, value: Any = None, answer: Any = None, began: int = 0, ended: int | None = 1, **more: Any
) -> ClientCall:
    """Return a call; without an end its outcome is unknown."""
    outcome: Literal["ok", "info"] = "info" if ended is None else "ok"
    return ClientCall(
        f, value, answer, **{"outcome": outcome, "began": began, "ended": ended, "process": began, **more}
    )


def in_turn(*rows: tuple[str, Any, Any], **more: Any) -> list[ClientCall]:
    """Return calls of which each ends before the next begins."""
    return [call(f, value, answer, 2 * n, 2 * n + 1, **more) for n, (f, value, answer) in enumerate(rows)]


def verdict(name: str, calls: Sequence[ClientCall], nodes: tuple[str, ...] = ()) -> Verdict:
    return CALL_JUDGES[name].judge(sorted(calls, key=lambda one: one.began), CallContext(nodes=nodes))


def test_each_judge_finds_its_known_bad_run() -> None:
    checkers = {name: as_checker(judge) for name, judge in CALL_JUDGES.items()}
    assert undetected(checkers, known_bad_calls()) is None


@pytest.mark.parametrize("name", CALL_JUDGES)
def test_each_judge_names_each_flaw_of_its_known_bad_runs(name: str) -> None:
    check = as_checker(CALL_JUDGES[name])
    for flaw, evidence in known_flaws(name).items():
        found = check(evidence)
        assert any(line.startswith(f"{flaw}: " if flaw else "") for line in (found.evidence, *found.more)), (
            flaw,
            found,
        )


def test_a_run_without_calls_is_unknown() -> None:
    for judge in CALL_JUDGES.values():
        assert as_checker(judge)(RunEvidence(("n1",), Paxos)).status == VerdictStatus.UNKNOWN


def test_a_good_run_is_valid_and_a_fault_that_did_not_happen_makes_it_unknown() -> None:
    event: dict[str, Any] = {"process": "c", "f": "echo", "key": "", "value": [1]}
    history = History([Event(0, 0, type="invoke", **event), Event(1, 1, type="ok", **event)])
    check = as_checker(CALL_JUDGES["echo"])
    assert check(RunEvidence(("n1",), Paxos, history)).status == VerdictStatus.VALID
    untested = check(RunEvidence(("n1",), Paxos, history, faults_expected=True))
    assert (untested.status, untested.evidence) == (
        VerdictStatus.UNKNOWN,
        "faults were expected, and the run has no receipt",
    )


READ_2 = ("read", None, [1, 2])
FLAWS: list[tuple[str, list[ClientCall], str]] = [
    ("echo", in_turn(("echo", {"a": 1}, {"a": 1.0})), "asked for the echo of {'a': 1}, and received {'a': 1.0}"),
    ("unique-ids", in_turn(("generate", None, None)), "received no id"),
    (
        "set",
        in_turn(("add", 1, None), ("add", 2, None), READ_2, ("read", None, [2])),
        "lost: process 0 added 1 by line 2",
    ),
    ("set", in_turn(("add", 1, None), ("read", None, []), ("read", None, [1])), "stale: process 0 added 1 by line 2"),
    ("set", in_turn(("read", None, [3])), "unexpected: process 0 at line 2 read 3, which no client had added"),
    ("set", in_turn(("read", None, [1]), ("add", 1, None)), "began only at line 3"),
    ("set", in_turn(("add", 1, None), ("read", None, [1, 1])), "duplicate: process 2 at line 4 read 1 twice"),
    ("set", in_turn(("add", 1, None), ("read", None, 1)), "which must be the list of all elements"),
    (
        "set",
        [
            call("add", 1, ended=9),
            call("add", 2, ended=9, began=1),
            call("read", None, [1], 2, 8),
            call("read", None, [2], 3, 8),
        ],
        "read it the other way round",
    ),
    (
        "broadcast",
        in_turn(("broadcast", 1, None), ("read", None, [])),
        "lost: process 0 added 1 by line 2, and the last read",
    ),
    (
        "counter",
        in_turn(("add", 1, None), ("read", None, 2)),
        "read 2, and by the changes the value was between 1 and 1",
    ),
    ("counter", in_turn(("read", None, "1")), "which must be a whole number"),
    ("g-counter", in_turn(("read", None, 1), ("add", 1, None)), "between 0 and 0"),
    (
        "pn-counter",
        [call("add", 5, began=-2, ended=None), *in_turn(("read", None, 3))],
        "the acknowledged changes add up to 0, and 1 change",
    ),
    ("queue", in_turn(("dequeue", None, 1)), "unexpected: process 0 at line 2 received 1"),
    ("queue", in_turn(("dequeue", None, 1), ("enqueue", 1, None)), "put in only from line 3 on"),
    (
        "queue",
        in_turn(("enqueue", 1, None), ("dequeue", None, None)),
        "lost: process 0 had put in 1 by line 2, it never left",
    ),
    (
        "queue",
        in_turn(("enqueue", 1, None), ("dequeue", None, None), ("dequeue", None, 1)),
        "empty: process 2 at line 4 found the queue empty, but process 0 had put in 1 by line 2",
    ),
    (
        "queue",
        in_turn(("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2)),
        "order: process 0 had put in 1 by line 2, before process 2 began to put in 2 at line 3, but 2 left first",
    ),
    ("unordered-queue", in_turn(("enqueue", 1, None), ("drain", None, [])), "lost: process 0 had put in 1"),
    (
        "kafka",
        in_turn(("send", ["k", 1], 5), ("poll", None, {"k": [[5, 2]]}), ("send", ["k", 2], 6)),
        "inconsistent offsets: offset 5 of k held 1",
    ),
    (
        "kafka",
        in_turn(("send", ["k", 1], 5), ("poll", None, {"k": [[5, 1], [6, 1]]})),
        "duplicate: 1 was sent to k once, and is at offset 5",
    ),
    ("kafka", in_turn(("poll", None, {"k": [[0, 1]]})), "unexpected: process 0 at line 2 polled 1 at offset 0 of k"),
    (
        "kafka",
        in_turn(*(("send", ["k", n], n) for n in range(3)), ("poll", None, {"k": [[0, 0], [2, 2]]})),
        "lost: offset 1 of k held 1 (by process 2 at line 4)",
    ),
    (
        "kafka",
        in_turn(
            *(("send", ["k", n], n) for n in range(2)),
            ("poll", {"k": 0}, {"k": [[1, 1]]}),
            ("poll", {"k": 0}, {"k": [[0, 0]]}),
        ),
        "skipped: offset 0 of k",
    ),
    (
        "kafka",
        in_turn(("send", ["k", 1], 0), ("poll", {"k": 0}, {"k": []})),
        "lost: process 0 at line 2 had sent 1 to offset 0 of k, and the last poll",
    ),
    (
        "kafka",
        in_turn(("send", ["k", 1], 0), ("send", ["k", 2], 1), ("poll", None, {"k": [[1, 2], [0, 1]]})),
        "not in order: process 4 at line 6 polled offset 0 of k after offset 1",
    ),
    (
        "kafka",
        in_turn(("commit_offsets", {"k": 3}, None), ("list_committed_offsets", ["k"], {})),
        "committed: process 0 at line 2 had committed offset 3 of k",
    ),
    ("kafka", in_turn(("list_committed_offsets", ["k"], {"k": 4})), "which nobody had committed"),
]


@pytest.mark.parametrize(("name", "calls", "wanted"), FLAWS)
def test_a_flaw_is_found_and_named(name: str, calls: list[ClientCall], wanted: str) -> None:
    found = verdict(name, calls)
    assert found.status == VerdictStatus.INVALID
    assert wanted in "\n".join([found.evidence, *found.more])


GOOD: list[tuple[str, list[ClientCall]]] = [
    ("set", [*in_turn(("add", 1, None), ("read", None, [1])), call("add", 2, began=4, ended=None)]),
    ("set", [call("add", 2, began=0, ended=None), call("read", None, [2], 4, 5), call("read", None, [2], 6, 7)]),
    ("broadcast", in_turn(("broadcast", 1, None), ("read", None, [1]))),
    ("g-set", in_turn(("add", 1, None), ("read", None, []), ("add", 2, None), ("read", None, [2, 1]))),
    ("counter", [call("add", 1, began=-1, ended=None), *in_turn(("read", None, 0), ("read", None, 1))]),
    (
        "pn-counter",
        [call("add", 5, began=-2, ended=None), call("add", -2, began=-1, ended=None), *in_turn(("read", None, 3))],
    ),
    ("g-counter", in_turn(("add", 1, None), ("read", None, 0), ("add", 1, None), ("read", None, 2))),
    ("queue", in_turn(("enqueue", 1, None), ("dequeue", None, 1), ("dequeue", None, None))),
    ("queue", [call("dequeue", began=-1, ended=None), *in_turn(("enqueue", 1, None), ("dequeue", None, None))]),
    (
        "unordered-queue",
        in_turn(("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2), ("drain", None, [1])),
    ),
    (
        "kafka",
        in_turn(
            ("send", [["send", "k", 1]], [["send", "k", [0, 1]]]),
            ("send", ["k", 2], ["k", [4, 2]]),
            ("poll", [["poll"]], [["poll", {"k": [[0, 1], [4, 2]]}]]),
            ("commit_offsets", {"k": 4}, None),
            ("list_committed_offsets", ["k"], {"k": 4}),
            ("poll", {"k": 5}, {"k": []}),
        ),
    ),
]


@pytest.mark.parametrize(("name", "calls"), GOOD)
def test_what_has_no_flaw_is_valid(name: str, calls: list[ClientCall]) -> None:
    found = verdict(name, calls)
    assert (found.status, found.evidence) == (VerdictStatus.VALID, found.evidence)


def test_a_node_that_was_not_read_at_the_end_is_unknown() -> None:
    calls = [call("broadcast", 1, node="n1"), call("read", None, [1], 2, 3, node="n1")]
    found = verdict("broadcast", calls, ("n1", "n2"))
    assert (found.status, found.evidence) == (VerdictStatus.UNKNOWN, "no read of n2 began after the end of all writes")


# --- brute force ----------------------------------------------------------------------------------------------------


def orders(calls: Sequence[ClientCall]) -> Any:
    """Yield every order of some of the calls that real time allows; a call without an end may be left out."""
    doubtful = [one for one in calls if one.ended is None]
    for number in range(1 << len(doubtful)):
        left_out = {id(one) for place, one in enumerate(doubtful) if number >> place & 1}
        kept = [one for one in calls if id(one) not in left_out]
        for order in permutations(kept):
            ends = [NEVER if one.ended is None else one.ended for one in order]
            if all(min(ends[place:]) >= one.began for place, one in enumerate(order)):
                yield order


def is_set(order: Sequence[ClientCall]) -> bool:
    state: set[int] = set()
    for one in order:
        if one.f == "add":
            state.add(one.value)
        elif set(one.answer) != state:
            return False
    return True


def is_queue(order: Sequence[ClientCall]) -> bool:
    state: list[int] = []
    for one in order:
        if one.f == "enqueue":
            state.append(one.value)
        elif (state.pop(0) if state else None) != one.answer:
            return False
    return True


def some_calls(rng: Random, name: str) -> list[ClientCall]:
    found = []
    count = rng.randint(1, 5)
    places = iter(rng.sample(range(2 * count), 2 * count))
    for number in range(count):
        began, ended = sorted((next(places), next(places)))
        if name == "set":
            f, value = rng.choice([("add", rng.randint(1, 2)), ("read", None)])
            answer: Any = rng.sample([1, 2], rng.randint(0, 2)) if f == "read" else None
        else:
            f, value = rng.choice([("enqueue", number), ("dequeue", None)])
            answer = rng.choice([None, *range(4)]) if f == "dequeue" else None
        unknown = f in ("add", "enqueue") and rng.random() < 0.2
        found.append(call(f, value, answer, began, None if unknown else ended))
    return found


@pytest.mark.parametrize(("name", "is_right"), [("set", is_set), ("queue", is_queue)])
def test_sets_and_queues_agree_with_all_orders(name: str, is_right: Any) -> None:
    rng, seen = Random(name), {True: 0, False: 0}
    for _ in range(600):
        calls = some_calls(rng, name)
        if not any(one.f in ("read", "dequeue") for one in calls):
            continue
        expected = any(is_right(order) for order in orders(calls))
        found = verdict(name, calls)
        assert (found.status == VerdictStatus.VALID) == expected, (calls, found)
        seen[expected] += 1
    assert min(seen.values()) > 50
