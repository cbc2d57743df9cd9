"""`consensus export`: writes a run in the formats of other tools, or as a plan."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from harness.cli.convention import print_json, verb
from harness.cli.report import run_argument
from harness.records.run_files import PLAN_NAME, RunFiles
from harness.records.run_folders import find_run

_NAMES = {"edn": "history.edn", "chrome-trace": "trace.json", "plan": PLAN_NAME}


@verb()
@run_argument
@click.option(
    "--to",
    "form",
    type=click.Choice(tuple(_NAMES)),
    required=True,
    help="edn: the history and the faults in Jepsen's format. chrome-trace: for ui.perfetto.dev. "
    "plan: the faults as a plan, for `consensus test --plan`.",
)
@click.option(
    "--file",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The file to write; - is stdout.  [default: a file in the run's folder]",
)
@click.pass_obj
def export(root: Path, run: str | None, form: str, target: Path | None, as_json: bool) -> int:
    """Write a run for Jepsen's tools, for Perfetto, or as a plan of its faults, and print the file's path.

    RUN is a run's folder, or a part of its name; without it, the newest run.
    """
    folder = find_run(root, run)
    pieces = {"edn": _edn, "chrome-trace": _trace, "plan": _plan}[form](folder)
    if target == Path("-"):
        if as_json:
            raise click.UsageError("--file - writes the export to stdout, where -o json writes: name a file")
        sys.stdout.writelines(pieces)
        return 0
    path = target or folder / _NAMES[form]
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(pieces)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
    if as_json:
        print_json(run=str(folder), form=form, file=str(path))
    else:
        print(path)
    return 0


def _edn(folder: Path) -> Iterable[str]:
    from harness.records import history, receipts  # noqa: PLC0415 - only this form needs them
    from harness.records.jsonable import BadFile  # noqa: PLC0415
    from harness.report.edn import history_as_edn  # noqa: PLC0415

    files = RunFiles(folder)
    try:
        faults = receipts.load(files.receipts) if files.receipts.exists() else []
        events = history.load(files.history)
    except BadFile as error:
        raise click.ClickException(str(error)) from error
    return (f"{line}\n" for line in history_as_edn(events, faults))


def _trace(folder: Path) -> Iterable[str]:
    from harness.report.chrome_trace import trace  # noqa: PLC0415
    from harness.report.reading import read_run  # noqa: PLC0415

    return trace(read_run(folder))


def _plan(folder: Path) -> Iterable[str]:
    from harness.runs.plan import load  # noqa: PLC0415

    plan = RunFiles(folder).plan
    if not plan.exists():
        raise click.ClickException(
            f"{folder} has no {PLAN_NAME}: only a run with a plan, or a session by hand with faults, has one"
        )
    load(plan)
    return [plan.read_text(encoding="utf-8")]
