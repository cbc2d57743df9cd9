"""Runs that are known to be bad, one for each checker. A checker that does not find its own cannot be trusted.

Each is evidence made by hand, of a cluster of three nodes on one variable, or on one key of a log. With every real run, the
suite also gives each checker its known bad run (`undetected`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.known_bad_leaders import KNOWN_BREAKS, run_of
from harness.checkers.models import CasRegisterModel, KvModel, LockModel
from harness.checkers.sequential_model import Model
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, Stored
from node.log_contract import Record
from node.storage.disk import Contents
from node.wire import encode_value, pack_unchecked

_MEMBERS: Final = ("n1", "n2", "n3")
_SECOND: Final = 1_000_000_000
#: The runs that one checker must find.
BadRuns = RunEvidence | tuple[RunEvidence, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    """A client's call.

    Attributes:
        began_s: when it began, in seconds.
        ended_s: when it was answered or given up, in seconds.
        node: the node that the client asked; None for any.
        f: the kind of call.
        value: the value of the invoke.
        answer: the value of the answer; `...` if there was no answer.
        error: why there was none.
        timeout_s: for how long the client was ready to wait, in seconds; None: until `ended_s`.
    """

    began_s: int
    ended_s: int
    node: str | None
    f: str
    value: Any
    answer: Any
    error: str = "no answer"
    timeout_s: float | None = None


def _history(*calls: _Call, key: str = "x", process: str | None = None) -> History:
    moments = sorted(
        [(call.began_s, 1, number, call) for number, call in enumerate(calls)]
        + [(call.ended_s, 0, number, call) for number, call in enumerate(calls)]
    )
    events = []
    for index, (second, begins, number, call) in enumerate(moments):
        of_call: dict[str, Any] = {
            "index": index,
            "time": second * _SECOND,
            "process": process or f"c{number}",
            "key": key,
        }
        if begins:
            events.append(
                Event(
                    **of_call,
                    type="invoke",
                    f=call.f,
                    value=call.value,
                    node=call.node,
                    timeout_s=float(call.ended_s - call.began_s) if call.timeout_s is None else call.timeout_s,
                )
            )
        elif call.answer is ...:
            events.append(Event(**of_call, type="info", f=call.f, error=call.error))
        else:
            events.append(Event(**of_call, type="ok", f=call.f, value=call.answer, node=call.node))
    return History(events)


def _blue() -> _Call:
    return _Call(0, 1, "n1", "propose", "blue", "blue")


def _run(*calls: _Call, **about: Any) -> RunEvidence:
    return RunEvidence(_MEMBERS, Paxos, _history(*calls), **about)


def _accept(index: int, to: str, value: str) -> dict[str, Any]:
    return {
        "index": index,
        "time": index,
        "from": "n1",
        "to": to,
        "type": "Accept",
        "variable": "x",
        "incarnation": 1,
        "fields": {"ballot": [1, "n1"], "value": value},
        "fate": "passed",
        "rule": None,
    }


def _disk(node: str, decided: str | None = None) -> Contents:
    variables: dict[str, dict[str, Stored]] = {} if decided is None else {"x": {"decided": encode_value(decided)}}
    return Contents(node=node, cluster="0" * 32, incarnation=1, variables=variables)


def known_bad(algorithm: type[Algorithm] = Paxos, model: Model | None = None) -> dict[str, BadRuns]:
    """Return the known bad runs, by the name of the checker that must find each.

    Args:
        algorithm: what the real run executes: a log has checkers of its own.
        model: the sequential model of the real run's workload; None for set-once variables.
    """
    found: dict[str, BadRuns] = {
        "coherence": _run(_blue(), _Call(0, 1, "n2", "propose", "red", "red")),
        "conflict resolution": _run(_blue(), _Call(0, 1, "n2", "query", None, "green")),
        "no decoherence": _run(_blue(), _Call(2, 3, "n2", "query", None, None)),
        "fault tolerance": _run(_blue(), _Call(2, 6, "n2", "propose", "red", ...)),
        "linearizability": _run(_blue(), _Call(2, 3, "n2", "query", None, None)),
        "invariants": _run(_blue(), messages=[_accept(0, "n2", "blue"), _accept(1, "n3", "red")]),
        "durability": _run(_blue(), disks={"n1": _disk("n1", "blue"), "n2": _disk("n2"), "n3": _disk("n3")}),
        "liveness": _run(_blue(), _Call(2, 8, "n2", "propose", "red", ...)),
    }
    if algorithm.keeps_log:
        found |= _bad_log_runs()
    if isinstance(model, CasRegisterModel):
        found |= _bad_key_runs(model)
    if isinstance(model, LockModel):
        found |= _bad_lock_runs()
    return found


# --- logs -----------------------------------------------------------------------------------------------------------


def _put(value: str = "blue") -> bytes:
    return pack_unchecked([["put", "x", encode_value(value)]])


def _log_disk(node: str, *batches: bytes) -> Contents:
    """Return a disk that knows each of these batches as chosen, from slot 1 on."""
    disk = _disk(node)
    disk.variables = {"": {"commit": len(batches)}}
    for slot, batch in enumerate(batches, 1):
        disk.log.put(Record(slot, 1, "n1", batch))
    return disk


def _batch(session: int, sequence: int, machine: str, packed: bytes) -> bytes:
    return pack_unchecked((0, ((session, sequence, 1, machine, packed),)))


def _log_accept(index: int, to: str, batch: str) -> dict[str, Any]:
    fields = {"ballot": [1, "n1"], "slot": 1, "batch": batch, "commit": 0}
    return {**_accept(index, to, ""), "variable": "", "fields": fields}


def _log_run(*calls: _Call, key: str = "x", process: str | None = None, **about: Any) -> RunEvidence:
    return RunEvidence(_MEMBERS, MultiPaxos, _history(*calls, key=key, process=process), **about)


def _bad_log_runs() -> dict[str, BadRuns]:
    proposal = pack_unchecked([["propose", "x", encode_value("blue")]])
    disks = {"n1": _log_disk("n1", _batch(0, 0, "once", proposal)), "n2": _log_disk("n2"), "n3": _log_disk("n3")}
    states = {node: {"applied": 7, "chain": chain, "marks": {}} for chain, node in enumerate(_MEMBERS)}
    return {
        "invariants": (
            _log_run(_blue(), messages=[_log_accept(0, "n2", "00"), _log_accept(1, "n3", "01")]),
            *(run_of(said) for cases in KNOWN_BREAKS.values() for said in cases),
        ),
        "durability": _log_run(_blue(), disks=disks),
        "agreement": _log_run(_blue(), replicas=states),
        **_bad_answers(),
    }


def _bad_answers() -> dict[str, RunEvidence]:
    """Return the runs whose calls no single key or variable shows to be wrong."""
    put = {"n1": _log_disk("n1", _batch(0, 0, "kv", _put()))}
    lease = {"group": "members", "details": None, "lease_s": 9.0}
    joined = _Call(0, 1, None, "join", lease, 1)
    forgotten = _Call(2, 3, None, "view", None, [2, {}])
    first, second = ({"owner": owner, "lease_s": 9.0} for owner in ("a", "b"))
    return {
        "answers": _log_run(_Call(0, 1, None, "put", "blue", 1), _Call(2, 3, None, "range", None, []), disks=put),
        "membership": _log_run(joined, forgotten, key="members"),
        "sessions": _log_run(
            _Call(0, 1, None, "put", "blue", 1),
            _Call(2, 3, None, "put", "red", ..., "the session has ended"),
            process="a.1",
        ),
        "exclusion": _log_run(_Call(0, 1, None, "acquire", first, 1), _Call(2, 3, None, "acquire", second, 2)),
        "returns": _log_run(_Call(0, 9, None, "put", "blue", 1, timeout_s=4.0), process="api0.1"),
    }


def _bad_key_runs(model: CasRegisterModel) -> dict[str, RunEvidence]:
    put, get = ("put", "get") if isinstance(model, KvModel) else ("write", "read")
    blue = _Call(0, 1, None, put, "blue", 1)
    unanswered = _Call(2, 8, None, put, "red", ...)
    disks = {"n1": _log_disk("n1", _batch(0, 0, "kv", _put())), "n2": _log_disk("n2"), "n3": _log_disk("n3")}
    opened = _batch(0, 0, "session", pack_unchecked([["open"]]))
    twice = _log_disk("n1", opened, _batch(1, 1, "kv", _put()), _batch(1, 2, "kv", _put()))
    return {
        "fault tolerance": _log_run(blue, unanswered),
        "linearizability": _log_run(blue, _Call(2, 3, None, get, None, None)),
        "durability": _log_run(blue, disks=disks),
        "effects": _log_run(blue, disks={"n1": twice}),
        "liveness": _log_run(blue, unanswered),
    }


def _bad_lock_runs() -> dict[str, RunEvidence]:
    first, second = ({"owner": owner, "lease_s": 9.0} for owner in ("a", "b"))
    held = _Call(0, 1, None, "acquire", first, 1)
    unanswered = _Call(2, 8, None, "acquire", second, ...)
    asked = pack_unchecked([["try", "x", "a", 9_000]])
    disks = {"n1": _log_disk("n1", _batch(0, 0, "locks", asked)), "n2": _log_disk("n2"), "n3": _log_disk("n3")}
    return {
        "fault tolerance": _log_run(held, unanswered),
        "durability": _log_run(held, disks=disks),
        "liveness": _log_run(held, unanswered),
    }


def undetected(checkers: Mapping[str, Checker], bad_runs: Mapping[str, BadRuns] | None = None) -> str | None:
    """Return a sentence about the first checker that does not find a known bad run; None if each finds its own.

    Args:
        checkers: the checkers, by name.
        bad_runs: the known bad runs of each, by the same names; None for those of `known_bad()`.
    """
    bad_runs = known_bad() if bad_runs is None else bad_runs
    for name, check in checkers.items():
        if name not in bad_runs:
            return f"there is no known bad run for the checker of {name}"
        runs = bad_runs[name]
        for run in (runs,) if isinstance(runs, RunEvidence) else runs:
            verdict = check(run)
            if verdict.status is not VerdictStatus.INVALID:
                return (
                    f"the checker of {name} returned {verdict.status} for a run that is known to be bad "
                    f"({verdict.evidence})"
                )
    return None
