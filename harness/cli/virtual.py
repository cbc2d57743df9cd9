"""`consensus explore` and `consensus simulate`: the same algorithms without processes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.main import FloatRange, NowAndThen, output_option, print_json, say
from harness.cli.plans import NameList

if TYPE_CHECKING:
    from harness.replay.schedule import Schedule
    from harness.virtual.fault_model import FaultModel
    from node.contract import Algorithm

_fault_model_option = click.option(
    "--odd",
    type=click.Choice(["empty-disks-vote", "disks-sync-late"]),
    multiple=True,
    help="Nodes whose disk is lost boot as if they were new; or a crash loses the last commit.",
)
_look_for_option = click.option(
    "--look-for", type=NameList(), default=(), help="Only these, such as agreement,validity.  [default: everything]"
)


@click.command()
@click.argument("algorithm")
@click.option("-n", "--nodes", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option(
    "--proposals", type=click.IntRange(1, 6), default=2, show_default=True, help="Each of a value of its own."
)
@click.option("--queries", type=click.IntRange(0, 6), default=0, show_default=True)
@click.option(
    "--ballots", type=click.IntRange(1, 9), default=2, show_default=True, help="At most so many begun in all."
)
@click.option("--crashes", type=click.IntRange(0, 6), default=0, show_default=True, help="At most so many in all.")
@click.option("--lose-disk", is_flag=True, help="A node that is down may lose its disk.")
@_fault_model_option
@click.option(
    "--calls-at", type=NameList(), default=(), help="Where clients call, such as n1,n3.  [default: n1,n2,...]"
)
@_look_for_option
@click.option(
    "--symmetry", is_flag=True, help="Follow one of the states that differ in names alone: slower, in less memory."
)
@click.option("--seconds", type=FloatRange(1), default=600.0, show_default=True, help="Stop after so long, and say so.")
@output_option
@click.pass_obj
def explore(
    root: Path,
    /,
    *,
    algorithm: str,
    seconds: float,
    odd: tuple[str, ...],
    look_for: tuple[str, ...],
    as_json: bool,
    **bounds: Any,
) -> int:
    """Try every interleaving of ALGORITHM up to a bound, and show a shortest schedule that breaks it.

    Messages may be lost, repeated, late and out of order; timers may run out at any time. "No violation" is said only of a
    search that was exhausted within its bounds, which are told with it. ALGORITHM may be a mutant's name, too (see `consensus
    mutants --list`). A schedule that breaks it is kept: `consensus replay` makes it happen on real processes.
    """
    from cluster.errors import NoSuchNode  # noqa: PLC0415 - only this needs them
    from cluster.spec import node_names  # noqa: PLC0415
    from harness.replay.schedule import Schedule  # noqa: PLC0415
    from harness.virtual.bounds import Bounds  # noqa: PLC0415
    from harness.virtual.explorer import run_explore  # noqa: PLC0415
    from harness.virtual.judge import EVERYTHING  # noqa: PLC0415
    from harness.virtual.search import Budget  # noqa: PLC0415

    cls, fault_model = _found(algorithm, odd, look_for)
    if strangers := set(bounds["calls_at"]) - set(node_names(bounds["nodes"])):
        raise NoSuchNode(f"there is no node {', '.join(sorted(strangers))}, with {bounds['nodes']} nodes")
    if not as_json:
        say(f"exploring {algorithm}; at most {seconds:g} s")
    wanted = Bounds(fault_model=fault_model, look_for=look_for or EVERYTHING, **bounds)
    now_and_then = NowAndThen()

    def progress(states: int, depth: int) -> None:
        if not as_json and now_and_then():
            say(f"{states:,} states, at depth {depth}")

    report = run_explore(cls, wanted, Budget(seconds=seconds), progress)
    report.algorithm = algorithm
    kept = _keep(root, algorithm, Schedule.explored(report, cls)) if report.violations else None
    if as_json:
        print_json(**report.to_json(), folder=str(kept) if kept else None)
    else:
        print("\n".join(report.lines()))
        _tell_kept(kept)
    return report.exit_code


@click.command()
@click.argument("algorithm")
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many schedules.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-n", "--nodes", type=click.IntRange(1, 15), default=3, show_default=True)
@click.option(
    "--values", type=click.IntRange(1, 6), default=6, show_default=True, help="Different ones, at most, a run."
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes.")
@click.option("--seconds", type=FloatRange(1), help="Stop after so long, and say so.")
@_fault_model_option
@_look_for_option
@output_option
@click.pass_obj
def simulate(
    root: Path,
    /,
    *,
    algorithm: str,
    seeds: int,
    first_seed: int,
    nodes: int,
    values: int,
    workers: int,
    seconds: float | None,
    odd: tuple[str, ...],
    look_for: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run ALGORITHM in virtual time, once for each seed: first a fault phase, then a recovery phase, in
    which every call must be answered.

    A seed that breaks a promise repeats exactly, and is shrunk to the least that still does, which is kept: `consensus replay`
    makes it happen on real processes, unless it is of a log. ALGORITHM may be a mutant's name, too.
    """
    from harness.replay.schedule import Schedule  # noqa: PLC0415 - only this needs it
    from harness.virtual.judge import EVERYTHING  # noqa: PLC0415
    from harness.virtual.simulation_settings import SimulationSettings  # noqa: PLC0415
    from harness.virtual.simulator import SeedTally, run_simulate  # noqa: PLC0415

    if not as_json:
        say(f"simulating {algorithm} for {seeds:,} seeds")
    cls, fault_model = _found(algorithm, odd, look_for)
    settings = SimulationSettings(nodes=nodes, values=values, fault_model=fault_model, look_for=look_for or EVERYTHING)
    now_and_then = NowAndThen()

    def progress(tally: SeedTally) -> None:
        if not as_json and now_and_then():
            say(f"{tally.runs:,} of {seeds:,} seeds, {len(tally.failures):,} of them failing")

    report = run_simulate(
        cls,
        range(first_seed, first_seed + seeds),
        settings,
        seconds=seconds,
        workers=workers,
        progress=progress,
    )
    report.algorithm = algorithm
    can_replay = report.shrunk and not cls.keeps_log  # of a log there is the seed, and what it was shrunk to
    kept = _keep(root, algorithm, Schedule.simulated(report, cls)) if can_replay else None
    if as_json:
        print_json(**report.to_json(), folder=str(kept) if kept else None)
    else:
        print("\n".join(report.lines()))
        _tell_kept(kept)
    return report.exit_code


def _found(name: str, odd: tuple[str, ...], look_for: tuple[str, ...]) -> "tuple[type[Algorithm], FaultModel]":
    """An algorithm by its own name or a mutant's, and how the disks under it are odd. Raises BadInput."""
    from harness.mutants.catalogue import MUTANTS  # noqa: PLC0415
    from harness.virtual.fault_model import FaultModel  # noqa: PLC0415
    from harness.virtual.judge import EVERYTHING  # noqa: PLC0415
    from node.algorithms import load_algorithm  # noqa: PLC0415
    from node.contract import BadInput  # noqa: PLC0415

    mutant = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    if mutant is not None and mutant.broken_node == "a-wiped-disk-votes":
        odd = (*odd, "empty-disks-vote")
    elif mutant is not None and mutant.broken_node is not None:
        raise BadInput(f"{name} breaks a process, not an algorithm: without processes there is nothing of it to see")
    if unknown := set(look_for) - set(EVERYTHING):
        raise BadInput(f"nothing is called {', '.join(sorted(unknown))}: look for some of {', '.join(EVERYTHING)}")
    fault_model = FaultModel(**{each.replace("-", "_"): True for each in odd})
    return load_algorithm(mutant.algorithm if mutant else name), fault_model


def _keep(root: Path, algorithm: str, schedule: "Schedule") -> Path:
    """Keep a schedule in a run folder of its own."""
    from harness.records.run_folders import new_folder  # noqa: PLC0415

    folder = new_folder(root, f"{algorithm}-{schedule.found_by}")
    schedule.save_found(folder)
    return folder


def _tell_kept(folder: Path | None) -> None:
    if folder is not None:
        say(f"on real processes: consensus replay {folder.name}")
