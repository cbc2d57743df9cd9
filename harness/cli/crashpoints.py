"""`consensus crashpoints`: cuts a node's power at every write and sync of an operation."""

import shlex
from pathlib import Path

import click

from harness.cli.convention import EXIT_UNKNOWN, EXIT_VIOLATED, exit_interrupted, print_json, print_stderr, verb
from harness.cli.parameters import algorithm_parameter, workers_option
from node.wording import count


@verb()
@algorithm_parameter(required=True)
@click.option(
    "--operation",
    type=click.Choice(["propose", "boot", "long", "snapshot", "catch-up", "save", "restore", "recover"]),
    default="propose",
    show_default=True,
    help="What the node does when its power is cut; or the command that is killed before each of its steps.",
)
@click.option(
    "--node-command", metavar="COMMAND", help="The command that starts a node, to test your own runtime or disk."
)
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Try one boundary in this many.")
@workers_option(2, 2, "How many clusters run at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of every random draw.")
@click.pass_obj
def crashpoints(
    root: Path,
    algorithm: str,
    operation: str,
    node_command: str | None,
    every: int,
    workers: int,
    seed: int,
    as_json: bool,
) -> int:
    """Cut a node's power before each write and each sync of an operation, and check that it forgets nothing.

    Un-synced writes survive in every way: none, all, a prefix, a torn write, later writes without earlier ones. Of a
    log that can ask other nodes, the last commit is damaged, too.

    The commands save, restore and recover are killed before each step, and either the old state or the new one must be there.

    Exit code: 0 if every power cut was survived, 1 if anything was lost or a node does not start, 2 if a power cut was no test.
    """
    if operation in ("save", "restore", "recover"):
        return _rescue(operation, algorithm, every, as_json)
    from cluster.processes import NODE_COMMAND  # noqa: PLC0415 - see harness.cli.verbs
    from harness.records.run_folders import new_folder  # noqa: PLC0415
    from harness.systematic.crashpoints import Walker  # noqa: PLC0415
    from harness.systematic.power_cuts import PowerCutTrial, WalkedOperation  # noqa: PLC0415
    from harness.systematic.sweep_points import PointOutcome  # noqa: PLC0415
    from node.algorithms import A_LOG, load_algorithm  # noqa: PLC0415

    # What cannot be walked is refused before a folder is made.
    if WalkedOperation(operation).needs_log and not load_algorithm(algorithm).keeps_log:
        raise click.UsageError(
            f"{algorithm} keeps no log, and so no snapshots: {operation} is for logs, such as {A_LOG}"
        )
    load_algorithm(algorithm)
    folder = new_folder(root, f"crashpoints-{algorithm}")
    command = tuple(shlex.split(node_command)) if node_command else NODE_COMMAND
    done = 0

    def progress(trial: PowerCutTrial) -> None:
        nonlocal done
        done += 1
        if done % 20 == 0:
            print_stderr(f"{count(done, 'power cut')}, at boundary {trial.number}")

    try:
        walk = Walker(folder, algorithm, WalkedOperation(operation), command, seed, workers, every).walk(progress)
    except KeyboardInterrupt as error:
        exit_interrupted(error, "the power cuts under way have ended with their nodes")
    if as_json:
        print_json(folder=str(folder), **walk.to_json())
    else:
        print(walk.text())
        print(
            f"\n{count(len(walk.trials), 'power cut')} in {walk.took_s:.0f} s, on real processes. Run folders: {folder}"
        )
    if walk.with_outcome(PointOutcome.VIOLATES, PointOutcome.BLOCKS) or walk.violations:
        return EXIT_VIOLATED
    return EXIT_UNKNOWN if walk.with_outcome(PointOutcome.NO_TEST) or not walk.trials else 0


def _rescue(operation: str, algorithm: str, every: int, as_json: bool) -> int:
    """Walk a save, a restore or a recovery. Returns the exit code."""
    from harness.systematic.rescue_points import RescueOperation, walk_rescue  # noqa: PLC0415 - see harness.cli.verbs

    walk = walk_rescue(RescueOperation(operation), algorithm, every=every)
    if as_json:
        print_json(algorithm=algorithm, **walk.to_json())
    else:
        print(walk.text())
    return EXIT_VIOLATED if walk.troubles else 0
