"""What the judges say, word by word, of runs and histories that are each a little different from a known one.

The other tests say which verdict is right. These compare every sentence with the one in `sentences/`, so that no limit, no
count and no word of an explanation changes unnoticed. `pytest --regenerate` writes the files again: read them as a diff.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.checkers.call_judges import CALL_JUDGES
from harness.checkers.client_calls import CallContext, ClientCall, as_checker
from harness.checkers.durability import durability
from harness.checkers.evidence import Checker, RunEvidence, Stall
from harness.checkers.guards import PlanExecution, guards
from harness.checkers.invariants import invariants
from harness.checkers.known_bad import known_bad
from harness.checkers.known_bad_calls import known_flaws
from harness.checkers.membership import membership
from harness.checkers.models import CasRegisterModel, ConsensusModel, KvModel, LockModel
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.properties import coherence, no_decoherence
from harness.checkers.transactions import Isolation
from harness.checkers.verdict import Verdict, VerdictStatus
from harness.mutants import paxos
from harness.records.history import Event, EventType, History
from harness.records.receipts import Receipt
from harness.workloads.registry import WORKLOADS
from node.algorithms.majority import Majority
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos
from node.storage.log_store import MemoryLog
from tests.harness.checkers import test_leases
from tests.harness.checkers.test_explanations import checkers_of
from tests.harness.checkers.test_invariants_on_paxos import runs as random_runs
from tests.harness.checkers.test_linearizable import MODELS, some_calls
from tests.harness.checkers.test_log_judges import LOG, disk
from tests.harness.checkers.test_log_judges import run as log_run
from tests.harness.checkers.test_transactions import JUDGES, some_transactions
from tests.harness.workloads.test_mixed import played, wrong

FILES = Path(__file__).with_name("sentences")
#: How many changed copies of each known run are judged, and how many random histories of each model.
COPIES, HISTORIES = 6, 60
#: What the errors of calls say that checkers tell apart.
#: The known bad runs that are tried with faults.
PAXOS_RUNS = ("coherence", "no decoherence", "fault tolerance", "liveness", "durability")
KV_RUNS = ("fault tolerance", "liveness", "durability", "membership", "sessions", "exclusion")
ERRORS = ("no answer", "not_yours: x", "not_member: x", "the session has ended", "mismatch", "timed out", "held")


def changed(history: History, rng: Random) -> History:
    """Return the history with one to three differences: an answer, an error, a call without an end, a time, another order."""
    events = list(history.events)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(events)) if events else 0
        ends = [number for number, event in enumerate(events) if event.type != "invoke"]
        match rng.randrange(6):
            case 0 if len(ends) > 1:
                end, another = rng.sample(ends, 2)
                if events[end].f == events[another].f:
                    events[end] = replace(events[end], value=events[another].value)
            case 1 if ends:
                end = rng.choice(ends)
                kind: EventType = rng.choice(("fail", "info"))
                events[end] = replace(events[end], type=kind, value=None, error=rng.choice(ERRORS))
            case 2 if ends:
                end = rng.choice(ends)
                if events[end].process not in {event.process for event in events[end + 1 :]}:
                    del events[end]
            case 3 if place and events[place - 1].process != events[place].process:
                one, other = events[place - 1 : place + 1]
                events[place - 1 : place + 1] = [replace(other, time=one.time), replace(one, time=other.time)]
            case 4:
                later = rng.choice((1, 500_000_000, 7_000_000_000))
                events[place:] = [replace(event, time=event.time + later) for event in events[place:]]
            case 5 if ends:
                end = rng.choice(ends)
                events[end] = wrong(events[end])
    return History([replace(event, index=number) for number, event in enumerate(events)])


def copies(run: RunEvidence, name: str) -> Iterator[RunEvidence]:
    """Yield the run itself, and changed copies of it."""
    yield run
    rng = Random(name)
    for _ in range(COPIES):
        yield replace(run, history=changed(run.history, rng))


def said(verdict: Verdict) -> str:
    return "; ".join((f"{verdict.status}: {verdict.evidence}", *verdict.more))


def of_runs() -> Iterator[str]:
    """Yield what each checker says of the known bad runs of every checker, and of changed copies of them."""
    for algorithm, model in (
        (Paxos, ConsensusModel()),
        (MultiPaxos, KvModel()),
        (MultiPaxos, CasRegisterModel()),
        (MultiPaxos, LockModel()),
    ):
        checkers = checkers_of(model)
        if isinstance(model, LockModel):
            del checkers["linearizability"]  # locks with leases are judged by exclusion
        for name, runs in known_bad(algorithm, model).items():
            for run in runs if isinstance(runs, tuple) else (runs,):
                for copy, (judge, check) in product(copies(run, name), checkers.items()):
                    if run.algorithm.keeps_log or judge in known_bad():
                        yield f"{name} by {judge}: {said(check(copy))}"


def of_calls() -> Iterator[str]:
    """Yield what the judges without a sequential model say."""
    for name, judge in CALL_JUDGES.items():
        check: Checker = as_checker(judge)
        for flaw, run in known_flaws(name).items():
            for copy in copies(run, f"{name} {flaw}"):
                yield f"{name} {flaw}: {said(check(copy))}"


def row(rng: Random, name: str, sent: dict[str, int]) -> tuple[str, Any, Any]:  # noqa: PLR0911 - one for each judge
    """Return a call of a judge's kind: its function, what it asks, and an answer, which is right more often than not."""
    number, right = rng.randrange(6), rng.random() < 0.8
    some = sorted(rng.sample(range(6), rng.randint(0, 4)))
    keys = rng.sample(["k", "l"], rng.randint(1, 2))
    sent["next"] = sent.get("next", 0) + 1
    match name:
        case "echo":
            return "echo", number, number if right else number + 1
        case "unique-ids":
            return "generate", None, sent["next"] if right else number
        case "broadcast" | "set" | "g-set":
            add = "broadcast" if name == "broadcast" else "add"
            return rng.choice(
                [(add, sent["next"], None), ("read", None, some), ("read", None, [*range(1, sent["next"])])]
            )
        case "counter" | "g-counter" | "pn-counter":
            change = number - 2 if name == "pn-counter" else number
            if rng.random() < 0.5:
                sent["sum"] = sent.get("sum", 0) + change
                return "add", change, None
            return "read", None, sent.get("sum", 0) + (0 if right else 1)
        case "queue" | "unordered-queue":
            if rng.random() < 0.5:
                return "enqueue", sent["next"], None
            sent["out"] = sent.get("out", 0) + 1
            return rng.choice([("dequeue", None, sent["out"] if right else None), ("drain", None, some[:2])])
        case "kafka":
            key = keys[0]
            if rng.random() < 0.5:
                sent[key] = sent.get(key, 0) + 1
                return "send", [key, number], sent[key] if right else sent[key] + 1
            offsets = {each: rng.randint(1, 3) for each in keys}
            polled = {
                each: [[place, rng.randrange(6)] for place in range(offset, 4)] for each, offset in offsets.items()
            }
            return rng.choice(
                [
                    ("poll", rng.choice([None, offsets]), polled),
                    ("commit_offsets", offsets, None),
                    ("list_committed_offsets", keys, offsets if right else {}),
                ]
            )
    raise AssertionError(name)


def of_services() -> Iterator[str]:
    """Yield what the judges of services say of random histories."""
    for name, judge in CALL_JUDGES.items():
        if name in ("list-append", "rw-register"):
            continue
        rng = Random(name)
        for _ in range(HISTORIES // 2):
            sent: dict[str, int] = {}
            calls = []
            for place in range(rng.randint(2, 9)):
                f, value, answer = row(rng, name, sent)
                ended = None if rng.random() < 0.1 else 10 * place + rng.choice((5, 5, 25))
                outcome: Any = "info" if ended is None else "fail" if rng.random() < 0.1 else "ok"
                about = {"process": rng.choice("abc"), "node": rng.choice(("n1", "n2"))}
                answer = answer if outcome == "ok" else None
                calls.append(ClientCall(f, value, answer, outcome, 10 * place, ended, about["process"], about["node"]))
            yield f"{name}: {said(judge.judge(calls, CallContext(nodes=('n1', 'n2'))))}"


def stream(rng: Random) -> Iterator[tuple[str, Any, Any]]:
    """Yield calls on two logs of messages: the function, what it asks, and an answer, which is wrong now and then."""
    held: dict[str, list[tuple[int, int]]] = {"k": [], "l": []}
    read, committed, number = {"k": 0, "l": 0}, dict[str, int](), 0
    for _ in range(rng.randint(4, 12)):
        key, wrong_one = rng.choice("kl"), rng.random() < 0.15
        last = held[key][-1][0] if held[key] else 0
        match rng.randrange(9):
            case 0 | 1 | 2:
                number += 1
                offset = rng.choice((last, 1)) if wrong_one else last + rng.randint(1, 2)
                held[key].append((offset, number))
                forms = (offset, offset, [offset, number], [key, [offset, number]], {"offset": offset}, "no offset")
                if rng.random() < 0.8:
                    yield "send", [key, number], rng.choice(forms[: 6 if wrong_one else 5])
                else:
                    yield (
                        "txn",
                        [["send", key, number], ["poll"]],
                        [["send", key, [offset, number]], ["poll", {key: []}]],
                    )
            case 3 | 4 | 5:
                some = [entry for entry in held[key] if entry[0] > read[key]][: rng.randint(1, 3)]
                if wrong_one and some:
                    some = rng.choice(
                        (some[::-1], some[1:], [*some, (some[-1][0] + 1, 99)], [(some[0][0], 99)], [*some, some[0]])
                    )
                asked = rng.choice((None, None, {key: read[key] + 1}, {key: last}))
                read[key] = max([read[key], *(offset for offset, _ in some)])
                yield (
                    "poll",
                    asked,
                    {key: [list(entry) for entry in some]}
                    if rng.random() < 0.95
                    else rng.choice(([], {key: 7}, {key: [["a", 1]]})),
                )
            case 6:
                committed[key] = last
                yield "commit_offsets", {key: last}, None
            case 7:
                others: tuple[Any, ...] = ({}, {key: 1}, {key: None}, [])
                listed = rng.choice(others) if wrong_one else dict(committed)
                yield "list_committed_offsets", rng.choice((["k", "l"], [key], None)), listed
            case 8:
                read[key] = rng.randint(0, read[key])
                yield rng.choice(("assign", "subscribe", "crash")), [key], None


def of_streams() -> Iterator[str]:
    """Yield what is said of random histories of logs of messages."""
    rng = Random(3)
    for _ in range(8 * HISTORIES):
        calls = []
        for place, (f, value, answer) in enumerate(stream(rng)):
            ended = None if rng.random() < 0.1 else 10 * place + rng.choice((5, 5, 5, 25))
            outcome: Any = "info" if ended is None else "fail" if rng.random() < 0.1 else "ok"
            process, node = rng.choice("abb"), rng.choice(("n1", "n2"))
            calls.append(
                ClientCall(f, value, answer if outcome == "ok" else None, outcome, 10 * place, ended, process, node)
            )
        yield said(CALL_JUDGES["kafka"].judge(calls, CallContext(nodes=("n1", "n2"))))


def of_leases() -> Iterator[str]:
    """Yield what is said of random holds of a lock, and of uses of what it protects."""
    rng = Random(1)
    for _ in range(HISTORIES):
        rows: list[test_leases.Row] = []
        began = 0
        for token in range(1, rng.randint(3, 6)):
            process = rng.choice("abc")
            began += rng.choice((15, 100, 490, 500, 510))
            rows.append(test_leases.acquire(process, began, began + 10, token if rng.random() < 0.9 else 1))
            for _ in range(rng.randint(0, 2)):
                began += rng.choice((15, 100, 300))
                outcome, error = rng.choice((("ok", None), ("ok", None), ("fail", "stale_token: 2"), ("info", "?")))
                f = rng.choice(("renew", "release", "use", "use", "holds"))
                rows.append(test_leases.with_token(f, process, began, rng.choice((token, token, 1)), outcome, error))
        yield ": ".join(test_leases.judged(*rows))


def of_members() -> Iterator[str]:
    """Yield what is said of random histories of members, whose leases last half a second or one."""
    rng = Random(4)
    for _ in range(4 * HISTORIES):
        events: list[Event] = []
        at_ms = 0
        rows: list[tuple[str, str, Any, Any, str | None]] = [
            ("join", member, {"group": "g", "details": None, "lease_s": rng.choice((0.5, 1.0))}, 1, None)
            for member in rng.sample("ab", rng.randint(1, 2))
        ]
        for _ in range(rng.randint(1, 5)):
            member, group = rng.choice("ab"), rng.choice("ggh")
            if all(key != member for f, key, *_ in rows if f == "join"):
                continue
            rows.append(
                rng.choice(
                    (
                        ("heartbeat", member, {"group": group}, 1, rng.choice((None, None, "not_member: x"))),
                        ("stays", member, {"group": "g"}, None, None),
                        ("leave", member, {"group": group}, 2, rng.choice((None, "not_member: x", "no answer"))),
                        ("view", group, None, [2, dict.fromkeys(rng.sample("ab", rng.randint(0, 2)))], None),
                        ("mine", member, None, [1, {}], rng.choice((None, "not_member: x"))),
                    )
                )
            )
        for f, key, value, answer, error in rows:
            at_ms += rng.choice((0, 40, 300, 450, 500, 900))
            about: dict[str, Any] = {"process": f"c{len(events)}", "f": f, "key": key}
            end: Any = {"type": "fail", "error": error} if error else {"type": "ok", "value": answer}
            events.append(Event(len(events), at_ms * 1_000_000, type="invoke", value=value, timeout_s=1.0, **about))
            at_ms += rng.choice((10, 20, 60))
            events.append(Event(len(events), at_ms * 1_000_000, **end, **about))
        fast = Receipt("clock", 300_000_000, rng.choice((None, 700_000_000)), bit=True, evidence={"rate": 2.0})
        receipts = (fast,) if rng.random() < 0.2 else ()
        run = RunEvidence(("n1", "n2", "n3"), MultiPaxos, History(events), receipts=receipts)
        yield said(membership(run))


def of_objects() -> Iterator[str]:
    """Yield how random histories contradict the sequential models."""
    for model, values in MODELS:
        rng = Random(f"{type(model).__name__} {len(values)}")
        for _ in range(HISTORIES):
            calls = some_calls(rng, model, values, 7)
            violation = find_contradiction(calls, model)
            if violation is not None:
                found = certify(calls, model, violation, lambda _place: None)
                yield f"{type(model).__name__}, {len(found.history)} of {len(calls)} calls: {found.sentence}"


def with_faults(run: RunEvidence, rng: Random) -> RunEvidence:
    """Return the run with some receipts, and with calls that are late or have no answer."""
    receipts = []
    for _ in range(rng.randint(1, 3)):
        began_s = rng.choice((0.0, 0.5, 1.0, 2.5))
        node, other = rng.sample(run.members, 2)
        kind = rng.choice(("kill", "cut", "delay", "loss", "clock"))
        receipts.append(
            Receipt(
                kind,
                int(began_s * 1e9),
                rng.choice((None, int((began_s + rng.choice((0.5, 2.0, 9.0))) * 1e9))),
                bit=rng.random() < 0.9,
                nodes_down=(node,) if kind == "kill" else (),
                links_cut=((node, other), (other, node)) if kind == "cut" else (),
                links_disturbed=((node, "client"),) if kind in ("delay", "loss") else (),
                evidence={"disk_lost": [node]} if rng.random() < 0.1 else {},
                late_s=rng.choice((0.0, 0.5, 2.0)) if kind == "delay" else 0.0,
                loss=rng.choice((0.0, 0.5, 1.0)) if kind in ("delay", "loss") else 1.0,
            )
        )
    stalls = (Stall(int(2e9), int(3e9)),) if rng.random() < 0.2 else ()
    return replace(
        run, history=changed(run.history, rng), receipts=tuple(receipts), stalls=stalls, faults_expected=True
    )


def of_faults() -> Iterator[str]:
    """Yield what is said of runs with faults, some of which excuse what is missing."""
    for algorithm, model, names in ((Paxos, ConsensusModel(), PAXOS_RUNS), (MultiPaxos, KvModel(), KV_RUNS)):
        bad, checkers = known_bad(algorithm, model), checkers_of(model)
        judges = (
            "fault tolerance",
            "liveness",
            "durability",
            "coherence",
            "no decoherence",
            "exclusion",
            "membership",
            "sessions",
        )
        for name, number in product(names, range(4 * COPIES)):
            run = bad[name]
            assert isinstance(run, RunEvidence)
            rng = Random(f"{name} {number}")
            faulty = with_faults(run, rng)
            plan = PlanExecution(2, rng.randint(0, 2), down=rng.choice(((), (), ("n2",))))
            found = {
                judge: checkers[judge](faulty) for judge in judges if faulty.algorithm.keeps_log or judge in known_bad()
            }
            found["guards"] = guards(faulty, plan, ("propose", "put"), {})
            for judge, verdict in found.items():
                yield f"{name} by {judge}: {said(verdict)}"


def nearly(line: Mapping[str, Any], rng: Random) -> Mapping[str, Any]:
    """Return a message of a record with one difference."""
    fields = dict(line["fields"])
    name = rng.choice([*fields, "from", "to", "fate", "incarnation"])
    match fields.get(name, line.get(name)):
        case [int(round_), str(node)]:
            fields[name] = [round_ + rng.choice((-1, 1)), node]
        case int(number) if name in fields:
            fields[name] = number + 1
        case str() if name in fields:
            fields[name] = "purple"
        case int(number):
            return {**line, name: number + 1}
        case _ if name == "fate":
            return {**line, name: "dropped" if line["fate"] == "passed" else "passed"}
        case _ if name in ("from", "to"):
            return {**line, name: rng.choice(("n1", "n2", "n3"))}
    return {**line, "fields": fields}


def of_messages() -> Iterator[str]:
    """Yield what is said of random runs of right and of broken algorithms, and of their records with one difference."""
    judges = (invariants, coherence, no_decoherence, durability)
    broken = (
        paxos.IgnoresAccepted,
        paxos.AcceptIgnoresPromise,
        paxos.PromiseInMemory,
        paxos.ReusesBallots,
        paxos.SmallQuorum1,
    )
    for algorithm in (Paxos, Majority, *broken):
        for run in random_runs(algorithm, range(2), 3, 600):
            rng = Random(algorithm.__name__)
            records = [run.messages]
            for _ in range(12 if algorithm in (Paxos, Majority) else 1):
                place = rng.randrange(len(run.messages))
                records.append([*run.messages[:place], nearly(run.messages[place], rng), *run.messages[place + 1 :]])
            for lines, judge in product(records, judges):
                yield f"{algorithm.__name__} by {judge.__name__}: {said(judge(replace(run, messages=lines)))}"


def of_disks() -> Iterator[str]:
    """Yield what is said of a log's run in which a disk, a replica or a call is not as it should be."""
    checkers = checkers_of(KvModel())
    for number in range(10 * COPIES):
        rng = Random(number)
        run = log_run()
        disks, replicas = dict(run.disks), {name: dict(said) for name, said in run.replicas.items()}
        node = rng.choice(run.members)
        match rng.randrange(6):
            case 0:
                disks[node] = disk(node, LOG[: rng.randint(0, 3)], commit=rng.randint(0, 4))
            case 1:
                disks[node] = disk(node, rng.sample(LOG, 4))
            case 2:
                del disks[node], replicas[node]
            case 3:
                replicas[node]["chain"] += 1
            case 4:
                replicas[node]["applied"] -= rng.randint(1, 2)
            case 5:
                disks = {name: disk(name, (*LOG, *LOG[-rng.randint(1, 2) :]), commit=6) for name in disks}
        history = changed(run.history, rng) if rng.random() < 0.5 else run.history
        changed_run = replace(run, disks=disks, replicas=replicas, history=history)
        for judge in ("agreement", "effects", "durability", "answers", "linearizability", "sessions"):
            yield f"{judge}: {said(checkers[judge](changed_run))}"


def of_transactions() -> Iterator[str]:
    """Yield what is said of random transactions, by the level of isolation that they were promised."""
    for write, judge in JUDGES.items():
        rng = Random(write)
        for number in range(HISTORIES):
            calls = some_transactions(rng, write, 14 if number % 2 else 5)
            for level in Isolation:
                yield f"{write}, {level.text}: {said(judge(calls, CallContext(), level))}"


def of_logs() -> Iterator[str]:
    """Yield what is said of a workload's history in which one answer is wrong."""
    run = played("mixed", 1, 2.0)
    checkers = checkers_of(KvModel())
    events = list(run.history.events)
    ends: dict[tuple[str, str], list[int]] = {}
    for number, event in enumerate(events):
        if event.type != "invoke":
            ends.setdefault((event.f, event.type), []).append(number)
    for (f, kind), numbers in ends.items():
        for number in numbers[:: max(1, len(numbers) // 3)][:3]:
            made: list[Event] = [*events]
            made[number] = wrong(made[number])
            for judge in ("answers", "exclusion", "membership", "sessions"):
                verdict = checkers[judge](replace(run, history=History(made)))
                yield f"{f} {kind} by {judge}: {said(verdict)}"


def of_workloads() -> Iterator[str]:
    """Yield what is said of the histories of all workloads of logs, changed, on disks of which some lack the end of the log."""
    judges = ("durability", "effects", "agreement", "answers", "exclusion", "membership", "sessions")
    checkers = checkers_of(KvModel())
    for name in WORKLOADS:
        if name in ("register", "cas-register"):
            continue
        run = played(name, 3, 1.0)
        rng, (whole, *_) = Random(name), run.disks.values()
        for _ in range(2 * COPIES):
            disks = {}
            short = rng.sample(run.members, rng.choice((0, 0, 1, 2)))
            for node in run.members:
                log = MemoryLog()
                last = len(whole.log.records) * (0.9 if node in short else 1)
                log.records = {slot: record for slot, record in whole.log.records.items() if slot <= last}
                disks[node] = replace(whole, node=node, log=log)
            copy = replace(run, history=changed(run.history, rng), disks=disks)
            for judge in judges:
                verdict = checkers[judge](copy)
                if verdict.status is not VerdictStatus.VALID:
                    yield f"{name} by {judge}: {said(verdict)}"


@pytest.mark.parametrize(
    "sentences",
    [
        of_runs,
        of_calls,
        of_services,
        of_streams,
        of_leases,
        of_members,
        of_objects,
        of_faults,
        of_messages,
        of_disks,
        of_transactions,
        of_logs,
        of_workloads,
    ],
)
def test_the_judges_say_what_they_have_said(sentences: Callable[[], Iterator[str]], regenerate: bool) -> None:
    path = FILES / f"{sentences.__name__}.txt"
    found = "".join(f"{line}\n" for line in dict.fromkeys(sentences()))
    if regenerate:
        path.write_text(found)
    expected: Any = path.read_text()
    assert found.splitlines() == expected.splitlines()
