"""`consensus scorecard`: measures the article's table of algorithms by properties."""

import time
from pathlib import Path

import click

from harness.checkers.properties import PROPERTIES
from harness.cli.convention import (
    EXIT_UNKNOWN,
    EXIT_VIOLATED,
    exit_interrupted,
    print_json,
    print_stderr,
    shown_path,
    verb,
)
from harness.cli.parameters import algorithm_parameter, workers_option
from harness.records.run_folders import new_folder
from harness.runs.scorecard import Job, ScorecardCell, ScorecardRun, broken_contracts, cells, jobs, run_all
from node.algorithms import load_algorithm
from node.wording import count


@verb()
@algorithm_parameter(many=True)
@click.option("--only", metavar="PART", help="Only scenarios with PART in their name.")
@workers_option(4, 8, "How many runs at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of every random draw.")
@click.option("--trace", is_flag=True, help="Let the nodes record their input, for `consensus trace`.")
@click.pass_obj
def scorecard(
    root: Path, algorithms: tuple[str, ...], only: str | None, workers: int, seed: int, trace: bool, as_json: bool
) -> int:
    """Run every algorithm through every scenario of the article, and print which promises it kept.

    Without ALGORITHM, which is a name or module:Class, all of ours are run. Each run leaves a
    folder with its history, messages, receipts, node logs and disks.

    Exit code: 0 if every cell was measured, whether the promise was kept or not; 2 if a cell is unknown; 1 if an algorithm failed
    by itself.
    """
    for algorithm in algorithms:
        load_algorithm(algorithm)
    wanted = jobs(algorithms or None, only)
    folder = new_folder(root)
    started = time.monotonic()
    results = _with_progress(wanted, folder, workers, seed, trace=trace)
    table, broken = cells(results), broken_contracts(results)
    outside = {result.job.name: result.outside for result in results if result.outside}
    if as_json:
        print_json(cells=[cell.to_json() for cell in table], contract=broken, outside=outside)
    else:
        for name, why in broken.items():
            print(f"{name} breaks its contract: {why}\n")
        _print(table)
        if only is not None:
            print(f"\nonly {only}: a tick means not broken by that; the whole table: consensus scorecard")
        print(
            f"\n{count(len(wanted), 'run')} in {time.monotonic() - started:.0f} s, on real processes. "
            f"Run folders: {shown_path(folder)}"
        )
    if broken:
        return EXIT_VIOLATED
    return EXIT_UNKNOWN if any(cell.holds is None for cell in table) else 0


def _with_progress(wanted: list[Job], folder: Path, workers: int, seed: int, *, trace: bool) -> list[ScorecardRun]:
    from rich.console import Console  # noqa: PLC0415 - costs 80 ms
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(wanted))

        def one_more(result: ScorecardRun) -> None:
            if not console.is_terminal:
                print_stderr(f"{result.job.name}: {result.took_s:.1f} s")
            for line in result.outside:
                # `progress` moves its bar below what its console prints.
                console.print(f"{result.job.name}: {line}, by no fault of this run", markup=False, highlight=False)
            progress.update(task, advance=1, description=f"{result.job.scenario.story} ({result.job.algorithm})")

        try:
            return run_all(wanted, folder, workers=workers, seed=seed, progress=one_more, trace=trace)
        except KeyboardInterrupt as error:
            progress.stop()
            exit_interrupted(
                error, f"the runs under way have ended with their nodes. Run folders: {shown_path(folder)}"
            )


def _print(table: list[ScorecardCell]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    marks = {True: Text("✓", "bold green"), False: Text("✗", "bold red"), None: Text("?", "bold yellow")}
    algorithms = list(dict.fromkeys(cell.algorithm for cell in table))
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2))
    shown.add_column("")
    for algorithm in algorithms:
        shown.add_column(algorithm, justify="center")
    by_place = {(cell.property, cell.algorithm): cell for cell in table}
    for property_ in PROPERTIES:
        shown.add_row(property_, *(marks[by_place[property_, algorithm].holds] for algorithm in algorithms))
    console = Console(highlight=False)
    console.print(shown)
    for cell in table:
        if cell.holds is not True:
            console.print()
            console.print(marks[cell.holds], Text(f"{cell.algorithm}, {cell.property}: {cell.evidence}"))
            console.print(Text(f"  {shown_path(Path(cell.run))}" if cell.run else "", "dim"), soft_wrap=True)
