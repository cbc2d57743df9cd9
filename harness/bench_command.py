"""`consensus bench …`."""

import click

from harness.cli import output_option, print_json, say


@click.group()
def bench() -> None:
    """Measure, with the floor beside each figure: the same work with no consensus in it, in the same run."""


@bench.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--algorithm", default="paxos", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@output_option
def boot(nodes: int, algorithm: str, rounds: int, as_json: bool) -> None:
    """From nothing to the first decision, beside the start of as many bare Python processes."""
    from harness.bench.boot import boot as measure  # noqa: PLC0415 - only this needs it

    figures = measure(nodes, algorithm, rounds, lambda done: say(f"boot {done} of {rounds}"))
    if as_json:
        print_json(rows=[figures])
        return
    print(f"{nodes} {algorithm} nodes, {rounds} boots, medians")
    print(f"  all nodes ready        {figures['all_ready_s']:.3f} s")
    print(
        f"  first decision         {figures['first_decision_s']:.3f} s   (slowest {figures['first_decision_s_max']:.3f} s)"
    )
    print(f"  floor: bare processes  {figures['floor_s']:.3f} s")
    print(f"  ratio to the floor     {figures['ratio']:.1f}")


@bench.command("check")
@click.option("--scale", type=click.FloatRange(0.0001, 10), default=1.0, show_default=True, help="More or fewer calls.")
@output_option
def check_(scale: float, as_json: bool) -> None:
    """Histories of up to a million calls through `consensus check`, beside the JSON parser alone over the same lines."""
    from harness.bench.check import check as measure  # noqa: PLC0415 - only this needs it

    rows = list(measure(scale, say))
    if as_json:
        print_json(rows=rows)
        return
    for row in rows:
        print(f"{row['name']}: {row['calls']:,} calls, {row['status']}")
        print(
            f"  command {row['command_s']:.2f} s, of that reading {row['read_s']:.2f} s and judging {row['judged_s']:.3f} s;"
            f" processor {row['command_cpu_s']:.2f} s, floor {row['floor_cpu_s']:.2f} s; at most {row['peak_mb']} MB"
        )
