"""`consensus report` and `consensus runs`: what came of a run, as a page, and which runs there are."""

import os
import time
import webbrowser
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from harness.cli.main import output_option, print_json, say
from harness.records.run_folders import RunSummary, find_run, run_folders, summary


def _complete_run(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    root = (ctx.find_root().params.get("root") or Path(".consensus")).absolute()
    names = [str(folder.relative_to(root / "runs")) for folder in run_folders(root)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


#: A run's folder, or a part of its name; the newest without one.
run_argument = click.argument("run", required=False, shell_complete=_complete_run)


@click.command()
@run_argument
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Where the page goes.")
@click.pass_obj
def report(root: Path, run: str | None, show: bool, target: Path | None) -> int:
    """Make a page of a run: its verdict, a diagram of its messages, its faults and its operations.

    RUN is a run's folder, or a part of its name; without it, the newest. The page, report.html in that folder, holds
    everything itself, so it can be mailed. Its path is printed.
    """
    from harness.report import write_report  # noqa: PLC0415 - only this verb needs it

    folder = find_run(root, run)
    try:
        path = write_report(folder, target)
    except OSError as error:
        raise click.ClickException(f"the page cannot be written: {error}") from error
    print(path)
    if show and not webbrowser.open(path.absolute().as_uri()):
        say("no browser could be started; open the file above by hand")
    return 0


@click.command()
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="How many, the newest first.")
@output_option
@click.pass_obj
def runs(root: Path, limit: int, as_json: bool) -> int:
    """List the runs that are kept, the newest first, with what came of them."""
    folders = run_folders(root)
    found = [summary(folder, root) for folder in folders[:limit]]
    if as_json:
        print_json(runs=[one.to_json() for one in found], total=len(folders))
    elif not found:
        say(f"there is no run in {root / 'runs'}. Make some with `consensus scorecard`")
    else:
        _print(found, len(folders))
    return 0


def _print(found: list[RunSummary], total: int) -> None:
    """A line each. The name stands last and whole, to be copied."""
    colours = {"valid": "green", "invalid": "red", "unknown": "yellow"}
    said = [f"{one.status}: {', '.join(one.broken)}" if one.broken else one.status for one in found]
    widths = [max(map(len, said)), max(len(one.algorithm) for one in found)]
    for one, verdict in zip(found, said, strict=True):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.when_s))
        shown = click.style(verdict.ljust(widths[0]), fg=colours.get(one.status), bold=one.status == "invalid")
        click.echo(f"{when}  {shown}  {one.algorithm.ljust(widths[1])}  {one.name}", color=_colour())
    if total > len(found):
        say(f"{len(found)} of {total} runs; --limit shows more")


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None
