"""A run as the page draws it: its calls, messages and faults, with times in nanoseconds since the first event of the history.

`reading.py` reads it from a run folder. A fault that began before the first event has a negative time.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.checkers.wording import answer_clause, call_clause
from harness.records.jsonable import shown
from harness.records.links import CLIENT
from harness.records.receipts import CLOCK_RATE

#: A time in a checker's evidence, and its decimals.
_SECONDS: Final = re.compile(r"(\d+\.(\d+)) s\b")
#: What a fault does to a node whose process goes on, for people. A clock's mark depends on its rate.
_MARKS: Final = {
    "clock-jump": "clock set back",
    "clock-skew": "clock slow",
    "hung-disk": "disk hangs",
    "descriptor-limit": "few descriptors",
    "file-limit": "no room in files",
    "memory-limit": "little memory",
}


@dataclass(frozen=True, slots=True)
class DrawnCall:
    """A client's call.

    Attributes:
        index: the number of its invoke's line in the history, from 0.
        process: the client.
        f: the kind of call.
        key: the variable or key.
        value: the value of the invoke.
        asked_node: the node that the client asked; None for any node.
        began: when it began.
        ended: when it was answered or given up; None if the history does not show it.
        outcome: ok, fail or info.
        answer: the value of the answer.
        node: the node that answered, or that was asked.
        error: the error of a fail or an info.
    """

    index: int
    process: str
    f: str
    key: str
    value: Any
    asked_node: str | None
    began: int
    ended: int | None = None
    outcome: str = "info"
    answer: Any = None
    node: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DrawnMessage:
    """A message.

    Attributes:
        index: the number of its first line in the record.
        time: when it arrived at the proxy.
        sender: the endpoint that sent it.
        receiver: the endpoint that it was sent to.
        type: the name of its type.
        variable: the variable that it concerns.
        incarnation: the sender's incarnation.
        fields: its fields, in the form that people read.
        fate: what happened to it on arrival.
        rule: the rule that decided; None for no rule.
        later: the times and fates of the message and its copies after its arrival.
    """

    index: int
    time: int
    sender: str
    receiver: str
    type: str
    variable: str | None
    incarnation: int | None
    fields: Mapping[str, Any]
    fate: str
    rule: str | None
    later: tuple[tuple[int, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it passed at once and no rule copied it."""
        return self.fate == "passed" and not self.later


@dataclass(frozen=True, slots=True)
class DrawnFault:
    """A fault, from its receipt.

    Attributes:
        name: the fault's name.
        began: when it was injected.
        ended: when it healed; None if it lasted to the end of the run.
        bit: whether an observer saw an effect.
        nodes: the nodes that no judge counts on: down, suspended, or with a mark.
        cut: the links that were cut.
        disturbed: the links that were slow or lossy.
        evidence: what the observer saw.
    """

    name: str
    began: int
    ended: int | None
    bit: bool
    nodes: tuple[str, ...]
    cut: tuple[tuple[str, str], ...]
    disturbed: tuple[tuple[str, str], ...]
    evidence: Mapping[str, Any]

    @property
    def mark(self) -> str | None:
        """What people read beside its nodes if their processes go on; None if they are down or suspended."""
        if self.name == "clock-skew" and self.evidence.get(CLOCK_RATE) == 0:
            return "clock stopped"
        if self.evidence.get("ended", "still up") != "still up":  # its process did not survive a limit
            return None
        return _MARKS.get(self.name)


class TimeSpan(NamedTuple):
    """The first and the last time of a run."""

    first: int
    last: int


@dataclass
class RunFolder:
    """What a run folder holds.

    Attributes:
        path: the folder.
        results: the contents of results.json.
        operations: the calls, in the order in which they began.
        messages: the messages, in the order of the record.
        lines: the lines of the record of messages, as they stand there.
        faults: the faults, in the order of their receipts.
        logs: the last lines of each log, by its name.
        extra: other files to show, by name.
        messages_limit: the size in bytes at which the record of messages has ended; None if it is whole.
        gaps: one sentence for each file or line that is missing or cannot be read.
        is_under_way: whether the session still runs, so that it cannot have been judged.
    """

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    operations: list[DrawnCall] = field(default_factory=list)
    messages: list[DrawnMessage] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    faults: list[DrawnFault] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    messages_limit: int | None = None
    gaps: list[str] = field(default_factory=list)
    is_under_way: bool = False

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes, from the results; without results, the endpoints of messages that are no clients.

        Every message is looked at for it once: each one's sender is compared with the nodes, and a session that goes on has no
        results yet.
        """
        named = self.results.get("nodes")
        if isinstance(named, list) and all(isinstance(node, str) for node in named):
            return tuple(named)
        seen = {end: None for message in self.messages for end in (message.sender, message.receiver)}
        return tuple(sorted(end for end in seen if end != CLIENT))

    @property
    def is_ours(self) -> bool:
        """Whether the nodes are ours, so that their messages, statuses and disks can be read."""
        return "system" not in self.results

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """The verdicts by name: maps with `status`, `evidence` and perhaps `more`."""
        found = self.results.get("verdicts")
        return {name: item for name, item in found.items() if isinstance(item, dict)} if isinstance(found, dict) else {}

    @cached_property
    def span(self) -> TimeSpan:
        """The first and the last time of all calls, messages and faults."""
        times = [time for call in self.operations for time in (call.began, call.ended) if time is not None]
        times += [time for fault in self.faults for time in (fault.began, fault.ended) if time is not None]
        if self.messages:
            times.append(min(message.time for message in self.messages))
            times.append(max(max((time for time, _ in one.later), default=one.time) for one in self.messages))
        return TimeSpan(min(times), max(times)) if times else TimeSpan(0, 0)

    @cached_property
    def witnesses(self) -> dict[int, list[str]]:
        """The calls that stand in the evidence of an invalid verdict: the call's index to the names of the verdicts."""
        found: dict[int, list[str]] = {}
        for name, verdict in self.verdicts.items():
            if verdict.get("status") == "invalid":
                evidence = str(verdict.get("evidence", ""))
                times = set(_SECONDS.findall(evidence))
                for call in self.operations:
                    if any(clause in evidence for clause in _clauses(call)) or _is_named(call, evidence, times):
                        found.setdefault(call.index, []).append(name)
        return found


def _clauses(call: DrawnCall) -> Iterator[str]:
    """Yield the clauses with which checkers describe a call (see `harness/checkers/wording.py`)."""
    yield call_clause(call.process, call.f, call.key, call.asked_node, call.began / 1e9)
    if call.ended is not None and call.outcome == "ok":
        value = "undecided" if call.answer is None else shown(call.answer)
        yield answer_clause(call.node, call.process, value, call.ended / 1e9)


def _is_named(call: DrawnCall, evidence: str, times: Iterable[tuple[str, str]]) -> bool:
    """Return whether a certificate names a call: its process and node, and one of its times.

    Args:
        call: the call.
        evidence: the certificate.
        times: the times in the certificate, as text, each with its decimals.
    """
    if call.node is None or f"{call.process} at {call.node}" not in evidence:
        return False
    moments = [moment / 1e9 for moment in (call.began, call.ended) if moment is not None]
    return any(f"{moment:.{len(decimals)}f}" == text for text, decimals in times for moment in moments)
