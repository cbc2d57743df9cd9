"""`consensus report` and `consensus runs`: a run as a page, and the list of runs."""

import os
import time
import webbrowser
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from harness.cli.convention import print_json, print_stderr, verb
from harness.cli.parameters import folder_of
from harness.records.run_folders import NOT_JUDGED, RunSummary, find_run, run_folders, summary
from node.wording import count


def _complete_run(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    root = folder_of(ctx)
    names = [str(folder.relative_to(root / "runs")) for folder in run_folders(root)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


#: A run's folder, or a part of its name; the newest run without it.
run_argument = click.argument("run", required=False, shell_complete=_complete_run)


@verb()
@run_argument
@click.option("--open/--no-open", "show", default=False, help="Open the page in the browser, or only print its path.")
@click.option(
    "--file",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.  [default: report.html in the run's folder]",
)
@click.pass_obj
def report(root: Path, run: str | None, show: bool, target: Path | None, as_json: bool) -> int:
    """Write a page about a run: its verdict, a diagram of its messages, its faults and its operations.

    RUN is a run's folder, or a part of its name; without it, the newest run. The page is one file that needs no other, so it
    can be sent to others. Its path is printed.
    """
    from harness.report import write_report  # noqa: PLC0415 - see harness.cli.verbs

    folder = find_run(root, run)
    try:
        path = write_report(folder, target)
    except OSError as error:
        raise click.ClickException(f"the page cannot be written: {error}") from error
    if as_json:
        print_json(run=str(folder), page=str(path))
    else:
        print(path)
    if show and not webbrowser.open(path.absolute().as_uri()):
        print_stderr("no browser could be started; open the file above yourself")
    return 0


@verb()
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="How many runs.")
@click.pass_obj
def runs(root: Path, limit: int, as_json: bool) -> int:
    """List the runs, the newest first, with their verdicts."""
    folders = run_folders(root)
    found = [summary(folder, root) for folder in folders[:limit]]
    if as_json:
        print_json(runs=[one.to_json() for one in found], total=len(folders))
    elif not found:
        print_stderr(f"there is no run in {root / 'runs'}. `consensus scorecard` makes some")
    else:
        _print(found, len(folders))
    return 0


def _print(found: list[RunSummary], total: int) -> None:
    """Print one line for each run. The name is last and never cut short, so that it can be copied."""
    colours = {"valid": "green", "invalid": "red", "unknown": "yellow"}
    verdicts = [one.outcome for one in found]
    widths = [max(map(len, verdicts)), max(len(one.algorithm) for one in found)]
    for one, verdict in zip(found, verdicts, strict=True):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.when_s))
        shown = click.style(verdict.ljust(widths[0]), fg=colours.get(one.status), bold=one.status == "invalid")
        click.echo(f"{when}  {shown}  {one.algorithm.ljust(widths[1])}  {one.name}", color=_colour())
        if one.status == NOT_JUDGED and one.evidence:
            click.echo(click.style(f"    {one.evidence}", dim=True), color=_colour())
    if total > len(found):
        print_stderr(f"{len(found)} of {count(total, 'run')}; --limit shows more")


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None
