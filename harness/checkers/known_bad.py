"""Runs that are known to be bad, one for each judge: a judge that does not find its own is not to be believed today.

Each is evidence made by hand, of a cluster of three on one variable. The suite judges all of them beside every real run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.evidence import Run
from harness.checkers.verdict import Status, Verdict
from harness.history import Event, History
from node.algorithms.paxos import Paxos
from node.contract import Stored
from node.disk import Contents
from node.wire import encode_value

Judge = Callable[[Run], Verdict]

_MEMBERS: Final = ("n1", "n2", "n3")
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Told:
    """A call from one second to another; an answer of `...` is none at all."""

    began: int
    ended: int
    node: str
    f: str
    value: str | None
    answer: Any


def _history(*calls: _Told) -> History:
    moments = sorted(
        [(call.began, 1, number, call) for number, call in enumerate(calls)]
        + [(call.ended, 0, number, call) for number, call in enumerate(calls)]
    )
    events = []
    for index, (second, begins, number, call) in enumerate(moments):
        of_call: dict[str, Any] = {"index": index, "time": second * _SECOND, "process": f"c{number}", "key": "x"}
        if begins:
            events.append(
                Event(
                    **of_call,
                    type="invoke",
                    f=call.f,
                    value=call.value,
                    node=call.node,
                    timeout_s=float(call.ended - call.began),
                )
            )
        elif call.answer is ...:
            events.append(Event(**of_call, type="info", f=call.f, error="no answer"))
        else:
            events.append(Event(**of_call, type="ok", f=call.f, value=call.answer, node=call.node))
    return History(events)


def _blue() -> _Told:
    return _Told(0, 1, "n1", "propose", "blue", "blue")


def _run(*calls: _Told, **about: Any) -> Run:
    return Run(_MEMBERS, Paxos, _history(*calls), **about)


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


def known_bad() -> dict[str, Run]:
    """By the name of the judge that must find it."""
    return {
        "coherence": _run(_blue(), _Told(0, 1, "n2", "propose", "red", "red")),
        "conflict resolution": _run(_blue(), _Told(0, 1, "n2", "query", None, "green")),
        "no decoherence": _run(_blue(), _Told(2, 3, "n2", "query", None, None)),
        "fault tolerance": _run(_blue(), _Told(2, 6, "n2", "propose", "red", ...)),
        "linearizability": _run(_blue(), _Told(2, 3, "n2", "query", None, None)),
        "invariants": _run(_blue(), messages=[_accept(0, "n2", "blue"), _accept(1, "n3", "red")]),
        "durability": _run(_blue(), disks={"n1": _disk("n1", "blue"), "n2": _disk("n2"), "n3": _disk("n3")}),
        "liveness": _run(_blue(), _Told(2, 8, "n2", "propose", "red", ...)),
    }


def undetected(judges: Mapping[str, Judge]) -> str | None:
    """The first judge that did not find what it must, in words; None if all did."""
    bad = known_bad()
    for name, judge in judges.items():
        if name not in bad:
            return f"there is no bad run by which to try the judge of {name}"
        verdict = judge(bad[name])
        if verdict.status is not Status.INVALID:
            return f"the judge of {name} says {verdict.status} of a run that is known to be bad ({verdict.evidence})"
    return None
