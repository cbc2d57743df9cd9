"""`consensus check`: judges history files, from this project or from elsewhere."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.cli.convention import EXIT_BAD_ARGUMENTS, EXIT_UNKNOWN, EXIT_VIOLATED, print_json, print_stderr, verb

if TYPE_CHECKING:
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


@verb()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@click.option(
    "--model", type=click.Choice(MODEL_NAMES + JUDGE_NAMES), required=True, help="What the calls were made to."
)
@click.option(
    "--consistency",
    type=click.Choice(LEVEL_NAMES),
    default=_CONSISTENCY,
    show_default=True,
    help="What was promised to transactions: of list-append and rw-register.",
)
@click.option(
    "--initial",
    help="The first value of each register, as JSON or as a text, or how many permits a semaphore has.  [default: none; 1]",
)
@click.option(
    "--failed-cas",
    type=click.Choice(FAILED_CAS),
    default=FAILED_CAS[0],
    show_default=True,
    help="What a cas that failed shows: a mismatch if its error says so; a mismatch, too, if it has no error; nothing.",
)
@click.option(
    "--minimise", is_flag=True, help="Write a smallest invalid part of the history beside the file, as NAME.min.jsonl."
)
@click.option("--no-explain", is_flag=True, help="Name no few calls that contradict each other: only the verdict.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="After how many seconds a file is unknown.")
@click.option("--memory", type=click.FloatRange(0, min_open=True), help="At how many GB of memory a file is unknown.")
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=2_000_000,
    show_default=True,
    help="After how many configurations the search of one key ends as unknown.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="How many files are judged at the same time, each by a process.  [default: one for each core]",
)
def check(
    *,
    files: tuple[Path, ...],
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
    """Judge whether the histories in FILES keep to a model. A folder stands for its .jsonl, .json and .edn files; - is stdin.

    A file has JSON lines with Jepsen's fields, or is one JSON array of such objects, or EDN or a log as Jepsen writes it. Each
    event has type (invoke, ok, fail, info), process, f and value; index, time, key and error are optional. A line may also be a
    whole call, with start and end.

    \b
    consensus check history.jsonl --model cas-register
    consensus check store/ --model list-append --consistency serializable --timeout 60 --memory 2

    Exit code: 0 valid, 1 invalid, 2 unknown, 254 if a file is no history of the model. Of several files the worst counts.
    """
    from harness.checkers.history_file import CheckOptions  # noqa: PLC0415 - see harness.cli.verbs

    if minimise and Path("-") in files:
        raise click.UsageError("--minimise writes beside the file, and stdin is none: write it to a file first")
    if consistency != _CONSISTENCY and model not in _TRANSACTIONS:
        raise click.UsageError(f"--consistency is for {' and '.join(_TRANSACTIONS)}, and {model} has one meaning")
    options = CheckOptions(_initial(initial), consistency, budget, timeout, memory, not no_explain, failed_cas)
    try:
        options.model(model)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
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
def _with_stdin(files: tuple[Path, ...]) -> Iterator[dict[str, Path]]:
    """Yield the files by their names, with the files of folders, and with stdin as a file, since it is read twice."""
    with ExitStack() as stack:
        named: dict[str, Path] = {}
        for path in files:
            if path == Path("-"):
                from tempfile import TemporaryDirectory  # noqa: PLC0415 - it imports much, and few need it

                named["-"] = Path(stack.enter_context(TemporaryDirectory(prefix="consensus-check-"))) / "stdin"
                named["-"].write_bytes(sys.stdin.buffer.read())
            elif path.is_dir():
                # Not rglob: it raises where a folder cannot be listed, as many of /proc.
                found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
                histories = (one for one in sorted(found) if one.suffix in _SUFFIXES and ".min." not in one.name)
                named |= {str(one): one for one in histories}
            else:
                named[str(path)] = path
        if not named:
            raise click.UsageError(f"{files[0]} holds no {', '.join(_SUFFIXES)} file")
        yield named


def _check_one(name: str, path: Path, model: str, options: "CheckOptions", minimise: bool, as_json: bool) -> int:
    from harness.records.jsonable import BadFile  # noqa: PLC0415
    from node.wording import count  # noqa: PLC0415

    try:
        judged, written = _judge(path, model, options, minimise)
    except BadFile as error:
        raise click.ClickException(str(error).replace(str(path), name)) from None
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


@dataclass(frozen=True, slots=True)
class _Judge:
    """How each of several files is judged."""

    model: str
    options: "CheckOptions"
    minimise: bool

    def row(self, name: str, path: Path) -> dict[str, Any]:
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


def _check_many(named: dict[str, Path], judge: _Judge, workers: int, as_json: bool) -> int:
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


def _rows(named: dict[str, Path], judge: _Judge, workers: int) -> Iterator[dict[str, Any]]:
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


def _judge(path: Path, model: str, options: "CheckOptions", minimise: bool) -> "tuple[JudgedFile, Path | None]":
    from harness.checkers.history_file import judge_file, write_minimised  # noqa: PLC0415

    judged = judge_file(path, model, options)
    written = None
    if minimise and judged.violations:
        written = path.with_name(f"{path.stem}.min.jsonl")
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
