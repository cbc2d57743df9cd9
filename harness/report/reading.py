"""Reads a run folder for the report. It is lenient, since people look most often at a run that failed.

Rules
-----
1. A file or a line that is missing or torn is left out, and a sentence in `gaps` says so. Nothing that a file holds raises.
2. Times are nanoseconds since the first event of the history, as in the evidence of the checkers. A fault that began before
   that event has a negative time.
3. A call is a witness if the evidence of an invalid verdict names it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from harness.records.jsonable import BadFile, from_jsonable, read_document, read_readable_lines
from harness.records.links import CLIENT
from harness.records.messages import PAGE_BYTES_MAX, SOME_BYTES_MAX, limit_reached
from harness.records.run_files import RunFiles
from harness.report.drawn_run import DrawnCall, DrawnFault, DrawnMessage, RunFolder

#: How many lines at the end of each log the report shows.
LOG_LINES_MAX: Final = 60
_LOG_BYTES_MAX: Final = 32_768


def read_run(folder: Path, *, is_under_way: bool = False) -> RunFolder:
    """Read a run folder, also while its session runs. What cannot be read stands in the result's `gaps`."""
    run = RunFolder(folder, is_under_way=is_under_way)
    run.results = _read_results(run)
    files = RunFiles(folder)
    history = _lines(run, files.history)
    messages = _lines(run, files.messages, may_be_missing=is_under_way or bool(run.results.get("by_hand")))
    first = next((line["time"] for line in history if isinstance(line.get("time"), int)), None)
    if first is None:
        first = next((line["time"] for line in messages if isinstance(line.get("time"), int)), 0)
    run.messages_limit = _limit_of(run, files.messages) if messages else None
    run.operations = _operations(run, history, first)
    run.messages, run.lines = _messages(run, messages, first), messages
    run.faults = _faults(run, _lines(run, files.receipts), first)
    run.logs = {path.stem: _tail(path) for path in sorted(folder.glob("logs/*.log"))}
    if files.plan.is_file():
        run.extra[files.plan.name] = files.plan.read_text(encoding="utf-8", errors="replace")
    return run


def _limit_of(run: RunFolder, path: Path) -> int | None:
    """Return the size at which the record for people alone has ended, as that of a session by hand; None if it is whole."""
    judged, for_people = "invariants" in run.verdicts, run.results.get("by_hand") or run.results.get("by") == "the tour"
    return limit_reached(path, SOME_BYTES_MAX, PAGE_BYTES_MAX) if for_people and not judged else None


def _read_results(run: RunFolder) -> dict[str, Any]:
    path = RunFiles(run.path).results
    if not path.exists():
        under_way = " yet: the session is still running, and is judged when it ends"
        run.gaps.append(f"There is no {path.name}{under_way if run.is_under_way else ': this run was not judged'}.")
        return {}
    try:
        return read_document(path)
    except BadFile as error:
        run.gaps.append(f"{path.name} cannot be read: {error}")
        return {}


def _lines(run: RunFolder, path: Path, *, may_be_missing: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a file. Lines that hold none, such as a last line that was cut short, are counted as a gap."""
    try:
        found, bad = read_readable_lines(path)
    except OSError:
        if not may_be_missing:
            run.gaps.append(f"There is no {path.name}.")
        return []
    if bad:
        run.gaps.append(f"{path.name}: {bad} of {bad + len(found)} lines cannot be read and are left out.")
    return found


def _operations(run: RunFolder, lines: Sequence[dict[str, Any]], first: int) -> list[DrawnCall]:
    calls: dict[int, DrawnCall] = {}
    open_calls: dict[str, int] = {}
    for number, line in enumerate(lines):
        try:
            process, time = str(line["process"]), line["time"] - first
            if line["type"] == "invoke":
                key = str(line.get("key", ""))
                value = _value(line.get("value"))
                calls[number] = DrawnCall(number, process, str(line["f"]), key, value, line.get("node"), time)
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
    """Give each reply the variable of its request, which is the last request with that number to that node."""
    variables: dict[tuple[str, Any], str | None] = {}  # node and request number to the variable
    for index, message in messages.items():
        number = message.fields.get("number")
        if message.sender == CLIENT and isinstance(number, int):
            variables[message.receiver, number] = message.variable
        elif message.receiver == CLIENT and not message.variable and isinstance(number, int):
            messages[index] = replace(message, variable=variables.get((message.sender, number)))


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
        file.seek(max(0, size - _LOG_BYTES_MAX))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES_MAX:])
