"""`consensus explore` and `consensus simulate`: search for violations without processes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from harness.cli.convention import ProgressTimer, print_json, print_stderr, shown_path, verb
from harness.cli.parameters import FloatRange, algorithm_parameter
from harness.cli.plans import NameList
from harness.cli.searched import find_algorithm, kinds_that_count
from harness.cli.signals import exit_code_after, noted_signals
from node.wording import count

if TYPE_CHECKING:
    from harness.replay.schedule import Schedule

_fault_model_option = click.option(
    "--odd",
    "fault_model",
    type=click.Choice(["empty-disks-vote", "disks-sync-late", "own-messages-wait"]),
    multiple=True,
    help="empty-disks-vote: a node whose disk is lost boots as if it were new. disks-sync-late: a crash loses the last commit. "
    "own-messages-wait: what a node sends to itself travels like any other message. May be given several times.",
)
_look_for_option = click.option(
    "--look-for",
    type=NameList(),
    default=(),
    help="Only violations of these kinds, such as agreement,validity, and breaks of the contract.  [default: all]",
)
_ignore_option = click.option(
    "--ignore", type=NameList(), default=(), help="No violations of these kinds, such as fault-tolerance."
)

_workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), help="How many processes.  [default: one for each core]"
)

#: How many seeds there are for a simulation that ends by the clock.
_SEEDS_MAX: Final = 10**9


@verb()
@algorithm_parameter(required=True)
@click.option("-n", "--nodes", type=click.IntRange(1, 9), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--proposals",
    type=click.IntRange(0, 6),
    help="How many proposals of different values, or how many commands of a log.  [default: 2; of a log: 0]",
)
@click.option("--queries", type=click.IntRange(0, 6), default=0, show_default=True, help="How many queries.")
@click.option(
    "--ballots", type=click.IntRange(1, 9), default=2, show_default=True, help="How many ballots may begin, at most."
)
@click.option("--crashes", type=click.IntRange(0, 6), default=0, show_default=True, help="How many crashes, at most.")
@click.option(
    "--inputs",
    "turn_inputs",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="How many inputs a node may take in in one turn, in any order.",
)
@click.option("--lose-disk", is_flag=True, help="A node that is down may lose its disk.")
@_fault_model_option
@click.option(
    "--calls-at", type=NameList(), default=(), help="The nodes that clients call, such as n1,n3.  [default: n1,n2,...]"
)
@_look_for_option
@_ignore_option
@click.option(
    "--symmetry",
    is_flag=True,
    help="Explore only one of the states that differ only in node names: slower, with less memory.",
)
@click.option(
    "--ballot-fields",
    type=NameList(),
    default=(),
    help="Fields of messages whose integers count as ballots, such as term. A class names them as `ballot_fields`.",
)
@click.option("--seconds", type=FloatRange(1), default=600.0, show_default=True, help="Stop after this time.")
@click.option(
    "--memory", "memory_gb", type=FloatRange(0.1), default=2.0, show_default=True, help="Stop at this many GB."
)
@_workers_option
@click.pass_obj
def explore(
    root: Path,
    /,
    *,
    algorithm: str,
    workers: int | None,
    seconds: float,
    memory_gb: float,
    fault_model: tuple[str, ...],
    look_for: tuple[str, ...],
    ignore: tuple[str, ...],
    as_json: bool,
    **bounds: Any,
) -> int:
    """Try every schedule of ALGORITHM up to a bound, and print a shortest schedule that breaks a promise.

    Messages may be lost, repeated, late and out of order; timers may expire at any time. The command prints "no violation" only
    if it has tried every schedule within the bounds, which it prints, too. ALGORITHM may also be a mutant's name (see `consensus
    mutants --list`). A schedule that breaks a promise is kept, and `consensus replay` runs it on real processes, unless several
    inputs share a turn in it, or a node crashes in the middle of one.

    Kinds of violations: agreement, validity, stability, promise, ballot, contract, incarnation, leader, state, once, order, lock,
    durability, timer, client, fault-tolerance.

    Exit code: 0 if every schedule was tried and none breaks a promise, 1 if one does, 2 if the search was cut short or has
    shown nothing.
    """
    from cluster.errors import NoSuchNode  # noqa: PLC0415 - see harness.cli.verbs
    from cluster.spec import node_names  # noqa: PLC0415
    from harness.replay.schedule import Schedule  # noqa: PLC0415
    from harness.virtual.bounds import Bounds  # noqa: PLC0415
    from harness.virtual.explorer import NoSuchBound, can_divide, run_explore, unbounded_numbers  # noqa: PLC0415
    from harness.virtual.search import Budget  # noqa: PLC0415

    workers = workers or len(os.sched_getaffinity(0))
    cls, model = find_algorithm(algorithm, fault_model)
    kinds = kinds_that_count(look_for, ignore)
    if bounds["proposals"] is None:
        bounds["proposals"] = 0 if cls.keeps_log else Bounds().proposals
    if not bounds["proposals"] and not cls.keeps_log:
        raise NoSuchBound("without a proposal nothing is decided: give at least --proposals 1")
    if unknown := set(bounds["calls_at"]) - set(node_names(bounds["nodes"])):
        raise NoSuchNode(f"there is no node {', '.join(sorted(unknown))} among {count(bounds['nodes'], 'node')}")
    wanted = Bounds(fault_model=model, look_for=kinds, **bounds)
    if not as_json:
        limits = f"at most {seconds:g} s and {memory_gb:g} GB"
        divides = can_divide(cls, wanted)
        alone = "" if divides or workers == 1 else ": a log, and with --symmetry, is explored by one process"
        print_stderr(f"exploring {algorithm} on {_cores(workers if divides else 1)}{alone}; {limits}")
    if (warning := unbounded_numbers(cls, wanted)) is not None:
        print_stderr(f"consensus: {warning}")
    progress_timer = ProgressTimer()

    def progress(states: int, depth: int) -> None:
        if not as_json and progress_timer.is_due():
            print_stderr(f"{count(states, 'state')}, at depth {depth}")

    with noted_signals() as signals:
        report = run_explore(cls, wanted, Budget(seconds=seconds, memory_bytes=int(memory_gb * 1e9)), progress, workers)
    report.algorithm = algorithm
    kept = _keep(root, algorithm, Schedule.explored(report, cls)) if report.violations else None
    if as_json:
        print_json(**report.to_json(), folder=str(kept.folder) if kept else None)
    else:
        print("\n".join(report.lines()))
        if kept:
            kept.print_hint()
    return exit_code_after(signals, report.exit_code)


@verb()
@algorithm_parameter(required=True)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    help="How many schedules, one for each seed.  [default: 1000; with --seconds as many as fit]",
)
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True, help="The lowest seed.")
@click.option("-n", "--nodes", type=click.IntRange(1, 15), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--values",
    type=click.IntRange(1, 6),
    default=6,
    show_default=True,
    help="How many different values per run, at most.",
)
@_workers_option
@click.option("--seconds", type=FloatRange(1), help="Stop after this time.")
@click.option(
    "--rivals",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="So many more calls in each run, at any node, at any time of the faults. Not for logs.",
)
@_fault_model_option
@_look_for_option
@_ignore_option
@click.pass_obj
def simulate(
    root: Path,
    /,
    *,
    algorithm: str,
    seeds: int | None,
    first_seed: int,
    nodes: int,
    values: int,
    workers: int | None,
    seconds: float | None,
    rivals: int,
    fault_model: tuple[str, ...],
    look_for: tuple[str, ...],
    ignore: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run ALGORITHM in virtual time, once for each seed: a phase of faults, then a phase in which every call must be answered.

    A seed that breaks a promise does so each time. Its schedule is reduced to the fewest steps that still break the promise, and
    is kept. `consensus replay` runs it on real processes, unless the algorithm keeps a log, or several inputs share a turn, or a
    node crashes in the middle of one. ALGORITHM may also be a mutant's name.

    Kinds of violations: agreement, validity, stability, promise, ballot, contract, incarnation, leader, state, once, order, lock,
    durability, timer, client, fault-tolerance.

    Exit code: 0 if every seed was run and none breaks a promise, 1 if one does, 2 if seeds are missing or have shown nothing.
    """
    from harness.replay.schedule import Schedule  # noqa: PLC0415 - see harness.cli.verbs
    from harness.virtual.simulation_settings import SimulationSettings  # noqa: PLC0415
    from harness.virtual.simulator import SHRINK_S, SeedTally, run_simulate  # noqa: PLC0415
    from node.contract import BadInput  # noqa: PLC0415

    workers = workers or len(os.sched_getaffinity(0))
    cls, model = find_algorithm(algorithm, fault_model)
    kinds = kinds_that_count(look_for, ignore)
    if rivals and cls.keeps_log:
        raise BadInput("--rivals is for algorithms of one variable: in each run of a log, clients make calls enough")
    until_time = seeds is None and seconds is not None
    asked = _SEEDS_MAX if until_time else seeds or 1000
    if not as_json:
        how_long = f"{seconds:g} s" if until_time else count(asked, "seed")
        print_stderr(f"simulating {algorithm} for {how_long} on {_cores(workers)}")
    settings = SimulationSettings(nodes=nodes, values=values, rivals=rivals, fault_model=model, look_for=kinds)
    progress_timer = ProgressTimer()

    def progress(tally: SeedTally) -> None:
        if not as_json and progress_timer.is_due():
            seen = count(tally.runs, "seed") if until_time else f"{tally.runs:,} of {count(asked, 'seed')}"
            print_stderr(f"{seen}, {len(tally.failures):,} of them failing")
        if not as_json and tally.failures:
            print_stderr(f"seed {min(tally.failures)} fails; reducing it takes {SHRINK_S:g} s at most")

    with noted_signals() as signals:
        report = run_simulate(
            cls,
            range(first_seed, first_seed + asked),
            settings,
            seconds=seconds,
            until_time=until_time,
            workers=workers,
            progress=progress,
        )
    report.algorithm = algorithm
    can_replay = report.shrunk and not cls.keeps_log  # a log's result is the seed and its shrunk fault schedule
    kept = _keep(root, algorithm, Schedule.simulated(report, cls)) if can_replay else None
    if as_json:
        print_json(**report.to_json(), folder=str(kept.folder) if kept else None)
    else:
        print("\n".join(report.lines()))
        if kept:
            kept.print_hint()
    return exit_code_after(signals, report.exit_code)


def _cores(workers: int) -> str:
    return count(min(workers, len(os.sched_getaffinity(0))), "core")


class _Kept(NamedTuple):
    folder: Path
    schedule: "Schedule"

    def print_hint(self) -> None:
        """Print the command that replays the schedule on real processes, or why none does."""
        reason = self.schedule.why_no_replay()
        if not self.schedule.steps:
            print_stderr(f"kept in {shown_path(self.folder)}, without a schedule")
        elif reason is None:
            print_stderr(f"on real processes: consensus replay {shown_path(self.folder)}")
        else:
            print_stderr(f"kept in {shown_path(self.folder)}. Real processes cannot follow it: {reason}")


def _keep(root: Path, algorithm: str, schedule: "Schedule") -> _Kept:
    """Write a schedule to a new run folder."""
    from harness.records.run_folders import new_folder  # noqa: PLC0415

    folder = new_folder(root, f"{algorithm}-{schedule.found_by}")
    schedule.save_found(folder)
    return _Kept(folder, schedule)
