"""`consensus crashpoints`: a power cut at every write and sync of an operation."""

import os
import shlex
from pathlib import Path

import click

from harness.cli.main import EXIT_INTERRUPTED, EXIT_UNKNOWN, EXIT_VIOLATED, output_option, print_json, say


@click.command()
@click.argument("algorithm")
@click.option("--operation", type=click.Choice(["propose", "boot"]), default="propose", show_default=True)
@click.option("--node-command", metavar="COMMAND", help="What starts a node, to test a runtime or a disk of your own.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="One boundary in N, for a quick look."
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Clusters at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Where every random draw comes from.")
@output_option
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
    """Cut a node's power before each write and each sync of an operation, and check what it remembers.

    Un-synced writes survive in each way there is: none, all, a prefix, a torn one, later ones without earlier ones. The exit
    code is 0 if each power cut was survived, 1 if something was lost or does not start, 2 if a power cut was no test.
    """
    from cluster.processes import NODE_COMMAND  # noqa: PLC0415 - only this needs it
    from harness.records.run_folders import new_folder  # noqa: PLC0415
    from harness.systematic.crashpoints import Walker  # noqa: PLC0415
    from harness.systematic.power_cuts import PowerCutTrial, WalkedOperation  # noqa: PLC0415
    from harness.systematic.sweep_points import PointOutcome  # noqa: PLC0415

    folder = new_folder(root, f"crashpoints-{algorithm}")
    command = tuple(shlex.split(node_command)) if node_command else NODE_COMMAND
    done = 0

    def progress(trial: PowerCutTrial) -> None:
        nonlocal done
        done += 1
        if done % 20 == 0:
            say(f"{done} power cuts, at boundary {trial.number}")

    try:
        walk = Walker(folder, algorithm, WalkedOperation(operation), command, seed, workers, every).walk(progress)
    except KeyboardInterrupt:
        say("interrupted: what was under way has ended with its nodes")
        os._exit(EXIT_INTERRUPTED)  # without waiting for the power cuts under way; the kernel ends what they launched
    if as_json:
        print_json(folder=str(folder), **walk.to_json())
    else:
        print(walk.text())
        print(f"\n{len(walk.trials)} power cuts in {walk.took_s:.0f} s, on real processes. Their folders: {folder}")
    if walk.of(PointOutcome.VIOLATES, PointOutcome.BLOCKS) or walk.violations:
        return EXIT_VIOLATED
    return EXIT_UNKNOWN if walk.of(PointOutcome.NO_TEST) or not walk.trials else 0
