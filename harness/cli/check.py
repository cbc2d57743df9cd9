"""`consensus check`: judges history files, from this project or from elsewhere."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import click

from harness.cli.convention import EXIT_BAD_ARGUMENTS, EXIT_UNKNOWN, EXIT_VIOLATED, print_json, print_stderr, verb

if TYPE_CHECKING:
    from harness.checkers.history_file import CheckOptions, JudgedFile

#: The names in `harness.checkers.models.MODELS` and `harness.checkers.call_judges.CALL_JUDGES`, so that `--help` need not
#: import them. A test compares them.
MODEL_NAMES = ("consensus", "register", "cas-register", "kv", "lock", "log")
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
@click.option("--initial", help="The first value of each register, as JSON or as a text.  [default: none]")
@click.option(
    "--minimise", is_flag=True, help="Write a smallest invalid part of the history beside the file, as NAME.min.jsonl."
)
@click.option("--no-explain", is_flag=True, help="Name no few calls that contradict each other: only the verdict.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="After how many seconds a file is unknown.")
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=2_000_000,
    show_default=True,
    help="After how many configurations the search of one key ends as unknown.",
)
def check(
    files: tuple[Path, ...],
    model: str,
    consistency: str,
    initial: str | None,
    minimise: bool,
    no_explain: bool,
    timeout: float | None,
    budget: int,
    as_json: bool,
) -> int:
    """Judge whether the histories in FILES keep to a model. A folder stands for its .jsonl, .json and .edn files; - is stdin.

    A file has JSON lines with Jepsen's fields, is one JSON array of such objects, or is EDN as Jepsen writes it. Each event has
    type (invoke, ok, fail, info), process, f and value; index, time, key and error are optional.

    \b
    consensus check history.jsonl --model cas-register
    consensus check store/ --model list-append --consistency serializable

    Exit code: 0 valid, 1 invalid, 2 unknown, 254 if a file is no history of the model. Of several files the worst counts.
    """
    from harness.checkers.history_file import CheckOptions  # noqa: PLC0415 - see harness.cli.verbs
    from harness.checkers.transactions import ISOLATION_LEVELS  # noqa: PLC0415

    if minimise and Path("-") in files:
        raise click.UsageError("--minimise writes beside the file, and stdin is none: write it to a file first")
    if consistency != _CONSISTENCY and model not in _TRANSACTIONS:
        raise click.UsageError(f"--consistency is for {' and '.join(_TRANSACTIONS)}, and {model} has one meaning")
    options = CheckOptions(_initial(initial), ISOLATION_LEVELS[consistency], budget, timeout, not no_explain)
    with _with_stdin(files) as named:
        if len(named) == 1:
            ((name, path),) = named.items()
            return _check_one(name, path, model, options, minimise, as_json)
        return _check_many(named, model, options, minimise, as_json)


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
    with TemporaryDirectory(prefix="consensus-check-") as folder:
        named: dict[str, Path] = {}
        for path in files:
            if path == Path("-"):
                named["-"] = Path(folder) / "stdin"
                named["-"].write_bytes(sys.stdin.buffer.read())
            elif path.is_dir():
                found = (one for one in sorted(path.rglob("*")) if one.suffix in _SUFFIXES and ".min." not in one.name)
                named |= {str(one): one for one in found}
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
    except ValueError as error:
        raise click.UsageError(str(error)) from None
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
        print_stderr(f"{count(len(judged.violations[0].minimised), 'call')} that are invalid by themselves: {written}")
    return judged.verdict.exit_code


def _check_many(named: dict[str, Path], model: str, options: "CheckOptions", minimise: bool, as_json: bool) -> int:
    from harness.records.jsonable import BadFile  # noqa: PLC0415

    codes: list[int] = []
    rows: list[dict[str, object]] = []
    for name, path in named.items():
        try:
            judged, written = _judge(path, model, options, minimise)
        except BadFile as error:
            codes.append(EXIT_BAD_ARGUMENTS)
            rows.append({"file": name, "status": "no history", "evidence": str(error)})
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        else:
            codes.append(judged.verdict.exit_code)
            rows.append({"file": name, "minimised": written and str(written), **judged.to_json()})
        if not as_json:
            print(f"{name}: {rows[-1]['status']}: {rows[-1]['evidence']}")
    if as_json:
        print_json(model=model, files=rows)
    return next(code for code in (EXIT_VIOLATED, EXIT_BAD_ARGUMENTS, EXIT_UNKNOWN, 0) if code in codes)


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
            print_stderr(f"{written} cannot be written: {error.strerror}")
            written = None
    elif minimise and judged.verdict.exit_code == EXIT_VIOLATED:
        print_stderr(
            f"--minimise writes nothing: the judge of {model} names the calls that are wrong, and makes no smaller history"
        )
    return judged, written
