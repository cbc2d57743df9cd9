"""`consensus explore` and `consensus simulate`: the same algorithms without processes."""

from typing import Any

import click

from harness.cli import output_option, print_json, say


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
@click.option(
    "--symmetry", is_flag=True, help="Follow one of the states that differ in names alone: slower, in less memory."
)
@click.option(
    "--seconds", type=click.FloatRange(1), default=600.0, show_default=True, help="Stop after so long, and say so."
)
@output_option
def explore(algorithm: str, seconds: float, as_json: bool, **bounds: Any) -> int:
    """Try every interleaving of ALGORITHM up to a bound, and show a shortest schedule that breaks it.

    Messages may be lost, repeated, late and out of order; timers may run out at any time. "No violation" is said only of a
    search that was exhausted within its bounds, which are told with it.
    """
    from harness.explorer import run_explore  # noqa: PLC0415 - only this needs it
    from harness.virtual.bounds import Bounds  # noqa: PLC0415
    from harness.virtual.search import Budget  # noqa: PLC0415

    if not as_json:
        say(f"exploring {algorithm}; at most {seconds:g} s")
    report = run_explore(algorithm, Bounds(**bounds), Budget(seconds=seconds))
    if as_json:
        print_json(**report.to_json())
    else:
        print("\n".join(report.lines()))
    return report.exit_code


@click.command()
@click.argument("algorithm")
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many schedules.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-n", "--nodes", type=click.IntRange(1, 15), default=3, show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes.")
@click.option("--seconds", type=click.FloatRange(1), help="Stop after so long, and say so.")
@output_option
def simulate(
    algorithm: str, seeds: int, first_seed: int, nodes: int, workers: int, seconds: float | None, as_json: bool
) -> int:
    """Run ALGORITHM in virtual time, once for each seed: first a storm of faults, then a calm that demands answers.

    A seed that breaks a promise repeats exactly, and is shrunk to the least that still does.
    """
    from harness.simulator import Settings, run_simulate  # noqa: PLC0415 - only this needs it

    if not as_json:
        say(f"simulating {algorithm} for {seeds:,} seeds")
    report = run_simulate(
        algorithm, range(first_seed, first_seed + seeds), Settings(nodes=nodes), seconds=seconds, workers=workers
    )
    if as_json:
        print_json(**report.to_json())
    else:
        print("\n".join(report.lines()))
    return report.exit_code
