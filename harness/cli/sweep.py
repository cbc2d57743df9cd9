"""`consensus sweep`: every single fault at every message of one operation."""

import os
from pathlib import Path

import click

from harness.cli.main import EXIT_INTERRUPTED, EXIT_UNKNOWN, EXIT_VIOLATED, FloatRange, output_option, print_json, say


@click.command()
@click.argument("algorithm")
@click.option("-n", "--nodes", type=click.IntRange(3, 99), default=5, show_default=True)
@click.option("--rivals", type=click.IntRange(1, 99), default=2, show_default=True, help="How many propose at once.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(["crash", "cut", "loss"]), help="Only this; again.")
@click.option("--deadline", type=FloatRange(0.1), default=1.5, show_default=True, help="No answer after S: blocked.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="One point in N, for a quick look.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Clusters at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Where every random draw comes from.")
@output_option
@click.pass_obj
def sweep(  # noqa: PLR0917 - a verb has as many arguments as it has options
    root: Path,
    algorithm: str,
    nodes: int,
    rivals: int,
    faults: tuple[str, ...],
    deadline: float,
    every: int,
    workers: int,
    seed: int,
    as_json: bool,
) -> int:
    """Run one operation once for each message, end and fault, and print which points it survived.

    Two rivals propose at once; a dry run lists the messages; then each is struck by a crash, a cut and a loss, at its sender
    and at its receiver. The exit code is 0 if every point is survived, 1 if one blocks or violates, 2 if one was no test.
    """
    from harness.records.run_folders import new_folder  # noqa: PLC0415 - only this needs them
    from harness.systematic.sweep import Sweeper  # noqa: PLC0415
    from harness.systematic.sweep_points import PointFault, PointOutcome  # noqa: PLC0415

    if rivals > nodes:
        raise click.BadParameter(f"{rivals} rivals cannot propose at {nodes} nodes: give at most one a node")
    folder = new_folder(root, f"sweep-{algorithm}", make=False)
    only = tuple(PointFault(fault) for fault in dict.fromkeys(faults)) or tuple(PointFault)
    sweeper = Sweeper(folder, algorithm, nodes, seed, deadline, rivals, workers, only, every)

    def progress(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            say(f"{done} of {of} points")

    try:
        found = sweeper.sweep(progress)
    except KeyboardInterrupt:
        say("interrupted: what was under way has ended with its nodes")
        os._exit(EXIT_INTERRUPTED)  # without waiting for the points under way; the kernel ends what they launched
    if as_json:
        print_json(folder=str(folder), **found.to_json())
    else:
        print(found.text())
        print(f"\n{len(found.results)} points in {found.took_s:.0f} s, on real processes. Their folders: {folder}")
    if found.of(PointOutcome.VIOLATES) or found.of(PointOutcome.BLOCKS) or found.violations:
        return EXIT_VIOLATED
    return EXIT_UNKNOWN if found.of(PointOutcome.NO_TEST) else 0
