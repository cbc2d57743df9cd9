"""What `consensus check` does: judges history files, and prints the verdicts. `check.py` makes a verb of it."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.cli.plain_options import BadUse, PlainOption
from harness.cli.printing import (
    EXIT_BAD_ARGUMENTS,
    EXIT_UNKNOWN,
    EXIT_VIOLATED,
    print_error,
    print_json,
    print_stderr,
)

if TYPE_CHECKING:
    from pathlib import Path

    from harness.checkers.history_file import CheckOptions, JudgedFile
    from harness.checkers.models import FailedCas

#: The names in `harness.checkers.models.MODELS` and `harness.checkers.call_judges.CALL_JUDGES`, so that `--help` need not
#: import them. A test compares them.
MODEL_NAMES = (
    "consensus",
    "register",
    "cas-register",
    "kv",
    "lock",
    "log",
    "multi-register",
    "versioned-register",
    "mutex",
    "semaphore",
)
JUDGE_NAMES = (
    "echo",
    "unique-ids",
    "broadcast",
    "set",
    "g-set",
    "counter",
    "g-counter",
    "pn-counter",
    "queue",
    "unordered-queue",
    "kafka",
    "list-append",
    "rw-register",
)
LEVEL_NAMES = ("read-committed", "snapshot-isolation", "serializable", "strict-serializable")
FAILED_CAS = ("by-error", "mismatch", "ignore")
#: The files of a folder that are judged.
_SUFFIXES = (".jsonl", ".json", ".edn")


#: What may be judged at several levels of consistency, and the level by default.
_TRANSACTIONS: Final = ("list-append", "rw-register")
_CONSISTENCY: Final = "strict-serializable"

OPTIONS: Final = (
    PlainOption("--model", "What the calls were made to.", choices=MODEL_NAMES + JUDGE_NAMES, required=True),
    PlainOption(
        "--consistency",
        "What was promised to transactions: of list-append and rw-register.",
        choices=LEVEL_NAMES,
        default=_CONSISTENCY,
        shows_default=True,
    ),
    PlainOption(
        "--initial",
        "The first value of each register, as JSON or as a text, or how many permits a semaphore has.  [default: none; 1]",
    ),
    PlainOption(
        "--failed-cas",
        "What a cas that failed shows: a mismatch if its error says so; a mismatch, too, if it has no error; nothing.",
        choices=FAILED_CAS,
        default=FAILED_CAS[0],
        shows_default=True,
    ),
    PlainOption(
        "--minimise", "Write a smallest invalid part of the history beside the file, as NAME.min.jsonl.", kind="flag"
    ),
    PlainOption("--no-explain", "Name no few calls that contradict each other: only the verdict.", kind="flag"),
    PlainOption("--timeout", "After how many seconds a file is unknown.", kind="float", least=0, above=True),
    PlainOption("--memory", "At how many GB of memory a file is unknown.", kind="float", least=0, above=True),
    PlainOption(
        "--budget",
        "After how many configurations the search of one key ends as unknown.",
        kind="int",
        least=1,
        default=2_000_000,
        shows_default=True,
    ),
    PlainOption(
        "--workers",
        "How many files are judged at the same time, each by a process.  [default: one for each core]",
        kind="int",
        least=1,
        most=64,
    ),
)


def run(
    *,
    files: tuple[str, ...],
    model: str,
    consistency: str,
    initial: str | None,
    failed_cas: "FailedCas",
    minimise: bool,
    no_explain: bool,
    timeout: float | None,
    memory: float | None,
    budget: int,
    workers: int | None,
    as_json: bool,
) -> int:
    """Judge the files as `consensus check` does, print the verdicts, and return the exit code.

    Raises:
        BadUse: the options do not fit each other.
    """
    from harness.checkers.history_file import CheckOptions  # noqa: PLC0415 - see harness.cli.verbs

    if minimise and "-" in files:
        raise BadUse("--minimise writes beside the file, and stdin is none: write it to a file first")
    if consistency != _CONSISTENCY and model not in _TRANSACTIONS:
        raise BadUse(f"--consistency is for {' and '.join(_TRANSACTIONS)}, and {model} has one meaning")
    options = CheckOptions(_initial(initial), consistency, budget, timeout, memory, not no_explain, failed_cas)
    try:
        options.model(model)
    except ValueError as error:
        raise BadUse(str(error)) from None
    with _with_stdin(files) as named:
        if len(named) == 1:
            ((name, path),) = named.items()
            return _check_one(name, path, model, options, minimise, as_json)
        judge = _Judge(model, options, minimise)
        return _check_many(named, judge, workers or len(os.sched_getaffinity(0)), as_json)


def _initial(text: str | None) -> str | None:
    from harness.checkers.sequential_model import text_of  # noqa: PLC0415

    if text is None:
        return None
    try:
        return text_of(json.loads(text))
    except ValueError:
        return text_of(text)


@contextmanager
def _with_stdin(files: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the files by their names, with the files of folders, and with stdin as a file, since it is read twice."""
    with ExitStack() as stack:
        named: dict[str, str] = {}
        for path in files:
            if path == "-":
                from tempfile import TemporaryDirectory  # noqa: PLC0415 - it imports much, and few need it

                named["-"] = os.path.join(stack.enter_context(TemporaryDirectory(prefix="consensus-check-")), "stdin")
                with open(named["-"], "wb") as file:
                    file.write(sys.stdin.buffer.read())
            elif os.path.isdir(path):
                from pathlib import Path  # noqa: PLC0415 - its import takes a while

                # Not rglob: it raises where a folder cannot be listed, as many of /proc.
                found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
                histories = (one for one in sorted(found) if one.suffix in _SUFFIXES and ".min." not in one.name)
                named |= {str(one): str(one) for one in histories}
            else:
                named[path] = path
        if not named:
            raise BadUse(f"{files[0]} holds no {', '.join(_SUFFIXES)} file")
        yield named


def _check_one(name: str, path: str, model: str, options: "CheckOptions", minimise: bool, as_json: bool) -> int:
    from harness.records.jsonable import BadFile  # noqa: PLC0415
    from node.wording import count  # noqa: PLC0415

    try:
        judged, written = _judge(path, model, options, minimise)
    except BadFile as error:
        print_error(EXIT_BAD_ARGUMENTS, str(error).replace(path, name))
        return EXIT_BAD_ARGUMENTS
    if as_json:
        print_json(file=name, model=model, minimised=written and str(written), **judged.to_json())
        return judged.verdict.exit_code
    print(f"{judged.verdict.status}: {judged.verdict.evidence}")
    for line in judged.verdict.more:
        print(f"  {line}")
    for note in judged.notes:
        print_stderr(f"note: {note}")
    print_stderr(f"{count(judged.invoked, 'call')}, read in {judged.read_s:.2f} s, judged in {judged.judged_s:.2f} s")
    if written is not None:
        number = len(judged.violations[0].minimised)
        themselves = "is invalid by itself" if number == 1 else "are invalid by themselves"
        print_stderr(f"{count(number, 'call')} that {themselves}: {written}")
    return judged.verdict.exit_code


class _Judge(NamedTuple):
    """How each of several files is judged."""

    model: str
    options: "CheckOptions"
    minimise: bool

    def row(self, name: str, path: str) -> dict[str, Any]:
        """Judge one file, and return its row of the table: JSON, with its exit code under `exit_code`."""
        from harness.records.jsonable import BadFile  # noqa: PLC0415

        try:
            judged, written = _judge(path, self.model, self.options, self.minimise)
        except BadFile as error:
            return _no_verdict(name, "no history", str(error), EXIT_BAD_ARGUMENTS)
        code = judged.verdict.exit_code
        return {"file": name, "minimised": written and str(written), **judged.to_json(), "exit_code": code}


def _no_verdict(name: str, status: str, evidence: str, code: int) -> dict[str, Any]:
    return {"file": name, "status": status, "evidence": evidence, "exit_code": code}


def _check_many(named: dict[str, str], judge: _Judge, workers: int, as_json: bool) -> int:
    from node.wording import count  # noqa: PLC0415

    began = time.monotonic()
    rows = []
    width = max(map(len, named))
    for row in _rows(named, judge, workers):
        rows.append(row)
        if not as_json:
            calls, seconds = (f"{row['calls']:,}", f"{row['judged_s']:.2f} s") if "calls" in row else ("", "")
            print(f"{row['file']:{width}}  {row['status']:10}  {calls:>9}  {seconds:>8}  {row['evidence']}", flush=True)
            for note in row.get("notes", ()):
                print_stderr(f"{row['file']}: note: {note}")
    if as_json:
        print_json(model=judge.model, files=rows)
    how_many = Counter(row["status"] for row in rows)
    totals = ", ".join(f"{how_many[status]} {status}" for status in sorted(how_many))
    took = f"{time.monotonic() - began:.1f} s in {count(min(workers, len(rows)), 'process', 'processes')}"
    print_stderr(f"{count(len(rows), 'file')}: {totals}; {sum(row.get('calls', 0) for row in rows):,} calls; {took}")
    codes = {row["exit_code"] for row in rows}
    return next(code for code in (EXIT_VIOLATED, EXIT_BAD_ARGUMENTS, EXIT_UNKNOWN, 0) if code in codes)


def _rows(named: dict[str, str], judge: _Judge, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the rows in the order of the files. A file whose process is killed is unknown, and the others are judged."""
    from harness.checkers import history_file  # noqa: F401, PLC0415 - imported once, before the processes are forked
    from harness.runs.forks import Forks  # noqa: PLC0415

    waiting, done = list(named), {}
    forks: Forks[str] = Forks()
    try:
        for name in named:
            while name not in done:
                while waiting and len(forks) < workers:
                    following = waiting.pop(0)
                    forks.start(following, partial(judge.row, following, named[following]))
                for ended in forks.ended():
                    row = ended.result or _no_verdict(ended.about, "unknown", ended.how, EXIT_UNKNOWN)
                    done[ended.about] = row
            yield done.pop(name)
    finally:
        forks.end_all()


def _judge(path: str, model: str, options: "CheckOptions", minimise: bool) -> "tuple[JudgedFile, Path | None]":
    from harness.checkers.history_file import judge_file, write_minimised  # noqa: PLC0415

    judged = judge_file(path, model, options)
    written = None
    if minimise and judged.violations:
        from pathlib import Path  # noqa: PLC0415

        written = Path(path).with_name(f"{Path(path).stem}.min.jsonl")
        try:
            write_minimised(judged, written)
        except OSError as error:  # the verdict is told all the same
            written.unlink(missing_ok=True)
            judged.notes += (f"{written} cannot be written: {error.strerror}",)
            written = None
    elif minimise and judged.verdict.exit_code == EXIT_VIOLATED:
        why = f"the judge of {model} names the calls that are wrong, and makes no smaller history"
        judged.notes += (f"--minimise writes nothing: {why}",)
    return judged, written
