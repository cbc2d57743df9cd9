"""`consensus campaign`: many runs of generated plans, and one report over them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.convention import EXIT_UNKNOWN, EXIT_VIOLATED, print_json, print_stderr, verb
from harness.cli.parameters import FloatRange, algorithm_parameter, workers_option
from harness.cli.plans import NameList
from harness.cli.signals import exit_code_after, noted_signals
from harness.cli.system_options import answers_option, disk_option, system_option, system_under_test
from harness.records.run_folders import new_folder

if TYPE_CHECKING:
    from harness.runs.campaigns.campaign import CampaignTally


@verb()
@click.option(
    "--runs", type=click.IntRange(1, 1_000_000), help="How many runs.  [default: 100; with --minutes as many as fit]"
)
@click.option("--minutes", type=FloatRange(0.01, 100_000), help="Begin no run after this time.")
@workers_option(2, 4, "How many runs at a time. A run takes half a core.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The seed of all plans.")
@algorithm_parameter(shown_default="paxos")
@click.option("--faults", type=NameList(), default=(), help="Faults or families, such as kill,cut.  [default: all]")
@click.option(
    "--time",
    "time_s",
    type=FloatRange(0.5, 3600),
    default=2,
    show_default=True,
    help="Seconds of a run; every sixth lasts four times as long.",
)
@click.option("-n", "--nodes", type=click.IntRange(1, 99), default=5, show_default=True, help="How many nodes.")
@click.option("--steps", type=click.IntRange(0, 1000), help="Faults per run.  [default: one every 0.8 s, at least 4]")
@click.option("--shipped", is_flag=True, help="Draw no settings: all are as shipped.")
@click.option("--guided", is_flag=True, help="Change plans that met something new, instead of drawing each one afresh.")
@click.option("--stop-at-first", is_flag=True, help="End after the first run that violates a promise.")
@click.option(
    "--workload", help="What the clients do, as for `consensus test`.  [default: mixed with a log, else register]"
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Run on the workers of this Dask scheduler, such as tcp://10.0.0.7:8786, instead of --workers.",
)
@click.option(
    "--beyond-tolerance",
    is_flag=True,
    help="Let any number of nodes and disks be damaged or lost for good, and judge only safety.",
)
@click.option("--keep", is_flag=True, help="Keep the folders of valid runs as well.")
@click.option("--trace", is_flag=True, help="Let the nodes record their input, for `consensus trace`. Implies --keep.")
@system_option
@disk_option
@answers_option
@click.pass_obj
def campaign(
    root: Path,
    /,
    *,
    runs: int | None,
    minutes: float | None,
    workers: int,
    seed: int,
    algorithm: str | None,
    faults: tuple[str, ...],
    time_s: float,
    nodes: int,
    steps: int | None,
    shipped: bool,
    guided: bool,
    stop_at_first: bool,
    beyond_tolerance: bool,
    keep: bool,
    trace: bool,
    workload: str | None,
    dask: str | None,
    volatile: bool | None,
    answers_within_s: float | None,
    system_file: str | None,
    as_json: bool,
) -> int:
    """Run many plans of ALGORITHM (paxos, module:Class, …) that are drawn from a seed, and merge their results.

    ALGORITHM may also be a command whose nodes speak Maelstrom's protocol, and `--system FILE` stands in its place for any
    command that listens on ports, as for `consensus test`.

    The folder of every run that is not valid is kept. The report counts which fault hit a node in which phase of the protocol,
    and shows the combinations that never occurred, and how large a share of such runs may fail. Ctrl-C ends the campaign with
    the runs so far.

    Exit code: 1 if a run violated a promise, 2 if a run was no test, 130 after Ctrl-C, else 0.
    """
    from harness.runs.campaigns.campaign import RUNS_MAX, Campaign  # noqa: PLC0415
    from harness.runs.campaigns.report import merged, save, summary  # noqa: PLC0415
    from harness.runs.campaigns.runner import run_campaign  # noqa: PLC0415 - see harness.cli.verbs
    from harness.workloads.registry import usual_workload, workload_for  # noqa: PLC0415
    from node.algorithms import load_algorithm  # noqa: PLC0415
    from node.contract import BadInput  # noqa: PLC0415

    if guided and dask is not None:
        raise BadInput("--guided runs in processes of this machine: leave out --dask")
    runs = runs or (RUNS_MAX if minutes else 100)
    if algorithm is not None and system_file is not None:
        raise click.UsageError("give either an algorithm, such as paxos, or a system with --system")
    target = algorithm if system_file is not None else algorithm or "paxos"
    system = system_under_test(
        target, volatile, ["shipped", "beyond_tolerance", "trace", "dask"], system_file, answers_within_s
    )
    if system is not None:
        algorithm, workload = system.name, system.workload(workload).name
    else:
        assert target is not None
        algorithm = target
        workload = workload or usual_workload(load_algorithm(algorithm))
        workload_for(workload, load_algorithm(algorithm))
    keep = keep or trace
    wanted = Campaign(Path(), runs, seed, algorithm, faults, time_s, nodes, steps, keep, trace, workload, not shipped)
    wanted = replace(wanted, beyond_tolerance=beyond_tolerance, system=system)
    wanted.plan(1)  # so that bad arguments are refused before a folder is made
    wanted = replace(wanted, folder=new_folder(root, f"campaign-{algorithm}"))

    def progress(tally: "CampaignTally") -> None:
        last = tally.runs[-1]
        if last.status != "valid":
            print_stderr(f"run {last.number:05}, seed {last.seed}: {last.status}: {last.evidence}")
        if len(tally.runs) % 10 == 0 or last.status != "valid" or len(tally.runs) == runs:
            print_stderr(summary(tally))

    with noted_signals() as signals:
        tally = run_campaign(
            wanted,
            workers=workers,
            guided=guided,
            minutes=minutes,
            stop_at_first=stop_at_first,
            progress=progress,
            dask=dask,
        )
    save(tally)
    if as_json:
        print_json(folder=str(wanted.folder), **merged(tally))
    else:
        _print(tally)
    if tally.of("invalid"):
        return EXIT_VIOLATED
    return exit_code_after(signals, EXIT_UNKNOWN if tally.of("unknown") else 0)


def _print(tally: "CampaignTally") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from harness.runs.campaigns.report import PAGE_NAME, by_phase, met, summary  # noqa: PLC0415

    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("fault")
    phases, lines = by_phase(tally)
    for phase in phases:
        table.add_column(phase, justify="right", overflow="fold")
    for fault, cells in lines:
        table.add_row(fault, *(Text(cell, "bold red" if "0" in cell.split("+") else "") for cell in cells))
    console.print(table)
    print("faults at senders + at receivers of such a message; 0: never tested\n")
    if tally.never_fired:
        print(f"in plans, but never in force: {', '.join(tally.never_fired)}")
    for run in tally.kept:
        console.print(Text(f"{run.number:05} {run.status}, seed {run.seed}: {run.evidence}"), soft_wrap=True)
    print("\n".join(["", *met(tally), *tally.shown]))
    print(f"{'interrupted: ' if tally.interrupted else ''}{summary(tally)}\n{tally.campaign.folder / PAGE_NAME}")
