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


@bench.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 15), default=3, show_default=True)
@click.option("--value-bytes", type=click.IntRange(1, 65536), default=100, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=5.0, show_default=True, help="For each figure.")
@click.option("--against", type=click.Choice(["etcd"]), help="A peer that is installed here, driven in the same run.")
@output_option
def throughput(nodes: int, value_bytes: int, seconds: float, against: str | None, as_json: bool) -> None:
    """Durable puts a second on multipaxos, beside the same messages and syncs with no logic between, and beside a peer."""
    from harness.bench.throughput import throughput as measure  # noqa: PLC0415 - only this needs it

    rows = measure(nodes, value_bytes, seconds, against=against, progress=say)
    if as_json:
        print_json(rows=rows)
        return
    for row in rows:
        peer = f"; {row['peer']}: {row['peer_per_s']:,.0f} a second, ratio {row['ratio']:.1f}" if against else ""
        print(
            f"{row['in_flight']} in flight on {row['connections']} connections: {row['ours_per_s']:,.0f} puts a second, "
            f"p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms, {row['failed']} failed; "
            f"floor {row['floor_per_s']:,.0f}{peer}"
        )


@bench.command()
@click.option("--trouble", type=click.Choice(["kill", "suspend", "hand over"]), default="kill", show_default=True)
@click.option("-n", "--nodes", type=click.IntRange(3, 15), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True)
@output_option
def failover(trouble: str, nodes: int, rounds: int, as_json: bool) -> None:
    """From the leader's trouble to the next acknowledged put, on multipaxos, as a client sees it."""
    from harness.bench.failover import failover as measure  # noqa: PLC0415 - only this needs it

    row = measure(trouble, nodes, rounds, lambda done: say(f"{trouble} {done} of {rounds}"))
    if as_json:
        print_json(rows=[row])
        return
    print(
        f"{trouble} of the leader of {nodes}, {rounds} times: "
        f"p50 {row['p50_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms, slowest {row['max_ms']:.0f} ms"
    )
