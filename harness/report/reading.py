"""A run folder as the report reads it: leniently, since a run that went wrong is the one that people look at.

Rules
-----
1. What is missing or torn is left out and said so in `gaps`; nothing here raises for what a file holds.
2. Times are nanoseconds since the first event of the history, as in the evidence of the judges. What happened before
   that, such as a fault, has a negative time.
3. An operation is a witness if its own words stand in the evidence of a broken promise.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from harness.records.jsonable import BadFile, from_jsonable, read_document, read_readable_lines, shown
from harness.records.links import CLIENT
from harness.records.run_files import RunFiles

LOG_LINES_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class DrawnCall:
    """A call. `ended` is None if nobody saw its end; `outcome` is ok, fail or info."""

    index: int
    process: str
    f: str
    key: str
    asked: Any
    asked_node: str | None
    began: int
    ended: int | None = None
    outcome: str = "info"
    answer: Any = None
    node: str | None = None
    error: str | None = None

    @property
    def latency_ns(self) -> int | None:
        """From the invoke to the answer; None if there was none."""
        return None if self.ended is None or self.outcome == "info" else self.ended - self.began


@dataclass(frozen=True, slots=True)
class DrawnMessage:
    """A message, and in `later` what became of it and of its copies after it came in: times and fates."""

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
        """Whether nothing was done to it."""
        return self.fate == "passed" and not self.later


@dataclass(frozen=True, slots=True)
class DrawnFault:
    """A receipt."""

    name: str
    began: int
    ended: int | None
    bit: bool
    nodes: tuple[str, ...]
    cut: tuple[tuple[str, str], ...]
    disturbed: tuple[tuple[str, str], ...]
    evidence: Mapping[str, Any]


@dataclass
class RunFolder:
    """What a run folder says."""

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    operations: list[DrawnCall] = field(default_factory=list)
    messages: list[DrawnMessage] = field(default_factory=list)
    faults: list[DrawnFault] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes' names: as the results have them, else as they are met."""
        named = self.results.get("nodes")
        if isinstance(named, list) and all(isinstance(node, str) for node in named):
            return tuple(named)
        met = {end: None for message in self.messages for end in (message.sender, message.receiver)}
        return tuple(sorted(end for end in met if end != "client"))

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """The verdict of each property, by its name: `status`, `evidence` and perhaps `more`."""
        found = self.results.get("verdicts")
        return {name: item for name, item in found.items() if isinstance(item, dict)} if isinstance(found, dict) else {}

    @cached_property
    def span(self) -> tuple[int, int]:
        """The first and the last time of anything."""
        times = [time for one in self.operations for time in (one.began, one.ended) if time is not None]
        times += [time for one in self.faults for time in (one.began, one.ended) if time is not None]
        if self.messages:
            times.append(min(message.time for message in self.messages))
            times.append(max(max((time for time, _ in one.later), default=one.time) for one in self.messages))
        return (min(times), max(times)) if times else (0, 0)

    def witnesses(self) -> dict[int, list[str]]:
        """The operations that stand in the evidence of broken promises: their index, and the promises' names."""
        return self._witnesses

    @cached_property
    def _witnesses(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for name, verdict in self.verdicts.items():
            if verdict.get("status") == "invalid":
                evidence = str(verdict.get("evidence", ""))
                times = set(_SECONDS.findall(evidence))
                for operation in self.operations:
                    if any(words in evidence for words in _words(operation)) or _certified(operation, evidence, times):
                        found.setdefault(operation.index, []).append(name)
        return found


#: A time in the judges' words.
_SECONDS: Final = re.compile(r"(\d+\.(\d+)) s\b")


def _words(operation: DrawnCall) -> Iterator[str]:
    """How the judges would tell of it: see `harness.checkers.evidence.told`, and fault tolerance's evidence."""
    yield f"{operation.process}'s {operation.f} for {operation.key} at {operation.began / 1e9:.2f} s "
    if operation.ended is not None and operation.outcome == "ok":
        who = f"{operation.node} answered" if operation.node is not None else f"{operation.process} was told"
        what = "undecided" if operation.answer is None else shown(operation.answer)
        yield f"{who} {what} at {operation.ended / 1e9:.2f} s"


def _certified(operation: DrawnCall, evidence: str, times: Iterable[tuple[str, str]]) -> bool:
    """Whether a certificate tells of it: who it was, and when, with as many decimals as stand there."""
    if operation.node is None or f"{operation.process} at {operation.node}" not in evidence:
        return False
    moments = [moment / 1e9 for moment in (operation.began, operation.ended) if moment is not None]
    return any(f"{moment:.{len(decimals)}f}" == text for text, decimals in times for moment in moments)


def read_run(folder: Path) -> RunFolder:
    """Read a run folder."""
    run = RunFolder(folder)
    run.results = _read_results(run)
    files = RunFiles(folder)
    history = _lines(run, files.history)
    messages = _lines(run, files.messages)
    first = next((line["time"] for line in history if isinstance(line.get("time"), int)), None)
    if first is None:
        first = next((line["time"] for line in messages if isinstance(line.get("time"), int)), 0)
    run.operations = _operations(run, history, first)
    run.messages = _messages(run, messages, first)
    run.faults = _faults(run, _lines(run, files.receipts), first)
    run.logs = {path.stem: _tail(path) for path in sorted(folder.glob("logs/*.log"))}
    if files.plan.is_file():
        run.extra[files.plan.name] = files.plan.read_text(encoding="utf-8", errors="replace")
    return run


def _read_results(run: RunFolder) -> dict[str, Any]:
    path = RunFiles(run.path).results
    if not path.exists():
        run.gaps.append(f"There is no {path.name}: this run was not judged.")
        return {}
    try:
        return read_document(path)
    except BadFile as error:
        run.gaps.append(f"{path.name} cannot be read: {error}")
        return {}


def _lines(run: RunFolder, path: Path) -> list[dict[str, Any]]:
    """The objects of a file. Lines that are none, such as the last one of a writer that was killed, are counted."""
    try:
        found, bad = read_readable_lines(path)
    except OSError:
        run.gaps.append(f"There is no {path.name}.")
        return []
    if bad:
        run.gaps.append(f"{path.name}: {bad} of {bad + len(found)} lines cannot be read, and are left out.")
    return found


def _operations(run: RunFolder, lines: Sequence[dict[str, Any]], first: int) -> list[DrawnCall]:
    calls: dict[int, DrawnCall] = {}
    open_calls: dict[str, int] = {}
    for number, line in enumerate(lines):
        try:
            process, time = str(line["process"]), line["time"] - first
            if line["type"] == "invoke":
                key = str(line.get("key", ""))
                asked = _value(line.get("value"))
                calls[number] = DrawnCall(number, process, str(line["f"]), key, asked, line.get("node"), time)
                open_calls[process] = number
            elif process in open_calls:
                invoke = open_calls.pop(process)
                calls[invoke] = replace(
                    calls[invoke],
                    ended=time,
                    outcome=str(line["type"]),
                    answer=_value(line.get("value")),
                    node=line.get("node") or calls[invoke].asked_node,
                    error=line.get("error"),
                )
        except (KeyError, TypeError) as error:
            run.gaps.append(f"history.jsonl, line {number + 1} is left out: {type(error).__name__} {error}")
    return list(calls.values())


def _messages(run: RunFolder, lines: Sequence[dict[str, Any]], first: int) -> list[DrawnMessage]:
    found: dict[int, DrawnMessage] = {}
    later: dict[int, list[tuple[int, str]]] = {}
    for line in lines:
        try:
            if "of" in line:
                later.setdefault(line["of"], []).append((line["time"] - first, line["fate"]))
                continue
            found[line["index"]] = DrawnMessage(
                line["index"],
                line["time"] - first,
                line["from"],
                line["to"],
                line["type"],
                line["variable"],
                line["incarnation"],
                line["fields"] if isinstance(line["fields"], dict) else {},
                line["fate"],
                line["rule"],
            )
        except (KeyError, TypeError) as error:
            run.gaps.append(f"messages.jsonl: a line is left out: {type(error).__name__} {error}")
    _name_variables_of_replies(found)
    for index, fates in later.items():
        if index in found:
            found[index] = replace(found[index], later=tuple(fates))
    return list(found.values())


def _name_variables_of_replies(messages: dict[int, DrawnMessage]) -> None:
    """A reply names no variable, but its request does: the last of that number on the way to that node."""
    asked: dict[tuple[str, Any], str | None] = {}
    for index, one in messages.items():
        number = one.fields.get("number")
        if one.sender == CLIENT and isinstance(number, int):
            asked[one.receiver, number] = one.variable
        elif one.receiver == CLIENT and not one.variable and isinstance(number, int):
            messages[index] = replace(one, variable=asked.get((one.sender, number)))


def _faults(run: RunFolder, lines: Sequence[dict[str, Any]], first: int) -> list[DrawnFault]:
    found = []
    for line in lines:
        try:
            ended = line["ended_ns"]
            found.append(
                DrawnFault(
                    str(line["fault"]),
                    line["began_ns"] - first,
                    None if ended is None else ended - first,
                    bool(line["bit"]),
                    tuple(map(str, line["nodes_down"])),
                    tuple((str(a), str(b)) for a, b in line["links_cut"]),
                    tuple((str(a), str(b)) for a, b in line["links_disturbed"]),
                    line["evidence"] if isinstance(line["evidence"], dict) else {},
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            run.gaps.append(f"receipts.jsonl: a line is left out: {type(error).__name__} {error}")
    return found


def _value(data: Any) -> Any:
    try:
        return from_jsonable(data)
    except ValueError:
        return data


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 32_768))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES_MAX:])
