"""`consensus sweep`: tries every single fault at every message of one operation."""

from pathlib import Path

import click

from harness.cli.convention import EXIT_UNKNOWN, EXIT_VIOLATED, exit_interrupted, print_json, print_stderr, verb
from harness.cli.parameters import FloatRange, algorithm_parameter, workers_option
from node.wording import count


@verb()
@algorithm_parameter(required=True)
@click.option("-n", "--nodes", type=click.IntRange(3, 99), default=5, show_default=True, help="How many nodes.")
@click.option(
    "--rivals", type=click.IntRange(1, 99), default=2, show_default=True, help="How many clients propose at once."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(["crash", "cut", "loss"]),
    help="Only this fault. May be given several times.",
)
@click.option(
    "--deadline",
    type=FloatRange(0.1),
    default=1.5,
    show_default=True,
    help="After how many seconds a call counts as blocked.",
)
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Try one point in this many.")
@workers_option(2, 2, "How many clusters run at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of every random draw.")
@click.pass_obj
def sweep(  # noqa: PLR0917 - a command has as many arguments as it has options
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
    """Run one operation once for each message, end and fault, and print which of these points ALGORITHM survived.

    Two rivals propose at once, and a dry run lists the messages. Then a crash, a cut and a loss are tried at the sender and at
    the receiver of each message. A log elects its leader first: it is called n1 then, whichever node it is.

    \b
    consensus sweep paxos -n 3
    consensus sweep raft -n 3 --fault crash

    Exit code: 0 if every point is survived, 1 if a point blocks or violates a promise, 2 if a point was no test.
    """
    from harness.records.run_folders import drop_empty, new_folder  # noqa: PLC0415 - see harness.cli.verbs
    from harness.systematic.sweep import Sweeper  # noqa: PLC0415
    from harness.systematic.sweep_points import PointFault, PointOutcome  # noqa: PLC0415
    from node.algorithms import load_algorithm  # noqa: PLC0415

    if rivals > nodes:
        raise click.BadParameter(
            f"{rivals} rivals cannot propose at {count(nodes, 'node')}: at most one rival for each node"
        )
    load_algorithm(algorithm)  # an unknown algorithm is refused before a folder is made
    folder = new_folder(root, f"sweep-{algorithm}")
    only = tuple(PointFault(fault) for fault in dict.fromkeys(faults)) or tuple(PointFault)
    sweeper = Sweeper(folder, algorithm, nodes, seed, deadline, rivals, workers, only, every)

    def progress(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            print_stderr(f"{done} of {count(of, 'point')}")

    try:
        found = sweeper.sweep(progress)
    except KeyboardInterrupt as error:
        exit_interrupted(error, "the points under way have ended with their nodes")
    finally:
        drop_empty(folder)
    if as_json:
        print_json(folder=str(folder), **found.to_json())
    else:
        print(found.text())
        print(
            f"\n{count(len(found.results), 'point')} in {found.took_s:.0f} s, on real processes. Run folders: {folder}"
        )
    if found.with_outcome(PointOutcome.VIOLATES) or found.with_outcome(PointOutcome.BLOCKS) or found.violations:
        return EXIT_VIOLATED
    return EXIT_UNKNOWN if found.with_outcome(PointOutcome.NO_TEST) else 0
