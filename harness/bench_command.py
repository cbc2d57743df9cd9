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
