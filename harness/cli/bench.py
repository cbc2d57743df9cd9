"""`consensus bench …`: the group of benchmarks, and those of boots, checks, failover and memory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.cli.bench_loads import latency, numbers, print_table, reads, scale, throughput, value_option, watchers
from harness.cli.convention import EXIT_VIOLATED, VerbGroup, print_json, print_stderr
from harness.cli.parameters import FloatRange, algorithm_parameter, log_parameter
from node.wording import count

_FAULTS = ("kill", "suspend", "cut-out", "cut-in", "hand-over")


@click.group(cls=VerbGroup)
def bench() -> None:
    """Measure. Beside each figure stands its floor: the same work without consensus, in the same run."""


for _command in (throughput, latency, reads, scale, watchers):
    bench.add_command(_command)


@bench.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), default=5, show_default=True, help="How many nodes.")
@algorithm_parameter(default="paxos")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="How many boots.")
def boot(nodes: int, algorithm: str, rounds: int, as_json: bool) -> None:
    """Measure the time from the launch of a cluster to its first decision.

    The floor is the start of as many Python processes that do nothing.
    """
    from harness.bench.boot import boot as measure  # noqa: PLC0415 - see harness.cli.verbs

    figures = measure(nodes, algorithm, rounds, lambda done: print_stderr(f"boot {done} of {rounds}"))
    if as_json:
        print_json(rows=[figures])
        return
    print(f"{count(nodes, f'{algorithm} node')}, {count(rounds, 'boot')}, medians")
    print(f"  all nodes ready        {figures['all_ready_s']:.3f} s")
    print(
        f"  first decision         {figures['first_decision_s']:.3f} s   (slowest {figures['first_decision_s_max']:.3f} s)"
    )
    print(f"  floor: bare processes  {figures['floor_s']:.3f} s")
    print(f"  ratio to the floor     {figures['ratio']:.1f}")


@bench.command("page")
@click.option("-n", "--nodes", type=click.IntRange(3, 9), default=5, show_default=True, help="How many nodes.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds.")
@click.option(
    "--seconds", type=FloatRange(0.2, 600), default=4.0, show_default=True, help="Seconds of each part of a round."
)
@click.option("--acts", type=click.IntRange(2), default=60, show_default=True, help="How many acts are measured.")
@click.option(
    "--messages",
    "messages_per_s",
    type=FloatRange(1, 100_000),
    default=2000.0,
    show_default=True,
    help="Offer as many puts as make so many messages a second.",
)
@click.option("--per-second", "puts_per_s", type=FloatRange(1, 100_000), help="Offer so many puts a second instead.")
def page_(
    nodes: int,
    rounds: int,
    seconds: float,
    acts: int,
    messages_per_s: float,
    puts_per_s: float | None,
    *,
    as_json: bool,
) -> None:
    """Measure the live page in headless Chromium: its start, frames, acts, and what it costs the cluster.

    The floor is the same load beside no page, in the same run. There are two loads: puts that begin at their times, so many a
    second, and one client that waits for each put. Frames are counted under the first.

    For example: consensus bench page --rounds 5
    """
    from harness.bench import page as bench_page  # noqa: PLC0415 - see harness.cli.verbs

    row = bench_page.page(nodes, rounds, seconds, acts, messages_per_s, puts_per_s, print_stderr)
    if as_json:
        print_json(rows=[row])
        return
    print(f"{count(nodes, 'multipaxos node')}, {count(round(row['messages_per_s']), 'message')} a second")
    print(
        f"  frames a second        {row['frames_per_s']:.1f}, {row['browser_ms_per_frame']:.1f} ms of the browser each"
    )
    print(
        f"  an act shows after     p50 {row['act_p50_ms']:.0f} ms, p99 {row['act_p99_ms']:.0f} ms, of {count(row['acts'], 'act')}"
    )
    print(
        f"  from the command on    {row['start_ms']} ms until the page is usable, {row['nodes_up_ms']} ms until all nodes are up"
    )
    names = dict(zip(bench_page.PARTS, ("without a page", "with its server", "with a browser, too"), strict=True))
    print(f"  puts a second, of {row['offered_puts_per_s']:.0f} that are offered")
    for part, name in names.items():
        fewer = _fewer(row[f"{part}_offered_loss"]) if part != "alone" else ""
        p50_ms, p99_ms = row[f"{part}_offered_p50_ms"], row[f"{part}_offered_p99_ms"]
        print(
            f"    {name:20} {row[f'{part}_offered_puts_per_s']:.0f}{fewer}; each takes p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms"
        )
    print("  puts a second of a client that waits for each")
    for part, name in names.items():
        fewer = _fewer(row[f"{part}_loss"]) if part != "alone" else ""
        print(f"    {name:20} {row[f'{part}_puts_per_s']:.0f}{fewer}")
    print("  shares of a core, under the load that is offered")
    for part, name in names.items():
        shares = ((who, row.get(f"{part}_{who}_core_share")) for who in ("cluster", "server", "browser"))
        print(f"    {name:20} {', '.join(f'{who} {share:.0%}' for who, share in shares if share is not None)}")


def _fewer(loss: float) -> str:
    """Return how many fewer puts there were, in words; `loss` is below 0 if there were more."""
    if not round(abs(loss) * 100):
        return ", as many"
    return f", {abs(loss):.0%} {'fewer' if loss > 0 else 'more'}"


@bench.command("check")
@click.option(
    "--scale", type=FloatRange(0.0001, 10), default=1.0, show_default=True, help="Multiplies the number of calls."
)
@click.option("--hard", type=click.IntRange(1), metavar="N", help="Judge N hard histories of known verdicts instead.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of the hard histories.")
@click.option(
    "--timeout",
    type=FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds after which a hard one is given up.",
)
@click.option(
    "--against",
    type=click.Choice(["porcupine"]),
    help="Judge the same files by it, one after the other. It needs Go, and with --hard only.",
)
@click.option(
    "--porcupine",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A clone of Porcupine.  [default: Go brings it]",
)
def check_(
    *,
    scale: float,
    hard: int | None,
    seed: int,
    timeout: float,
    against: str | None,
    porcupine: Path | None,
    as_json: bool,
) -> int | None:
    """Measure `consensus check` on histories of up to a million calls. The floor is the JSON parser alone over the same lines.

    With --hard, histories are wide or repetitive, and their verdicts are known. The exit code is 1 if one is wrong.

    \b
    consensus bench check --hard 2000
    consensus bench check --hard 50 --timeout 20 --against porcupine --porcupine ../porcupine
    """
    if (against or porcupine) and not (hard and against):
        raise click.UsageError("--against porcupine needs --hard, and --porcupine needs --against porcupine")
    if hard and against:
        return _check_beside(hard, seed, timeout, porcupine, as_json)
    if hard:
        return _check_hard(hard, seed, timeout, as_json)
    from harness.bench.check import check as measure  # noqa: PLC0415 - see harness.cli.verbs

    rows = list(measure(scale, print_stderr))
    if as_json:
        print_json(rows=rows)
        return None
    for row in rows:
        print(f"{row['name']}: {row['calls']:,} calls, {row['status']}")
        print(
            f"  command {row['command_s']:.2f} s, of that reading {row['read_s']:.2f} s and judging {row['judged_s']:.3f} s;"
            f" processor {row['command_cpu_s']:.2f} s, floor {row['floor_cpu_s']:.2f} s; at most {row['peak_mb']} MB"
        )
    return None


def _check_hard(count_: int, seed: int, timeout_s: float, as_json: bool) -> int:
    from harness.bench.hard_check import judged, summary  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for row in judged(count_, seed, timeout_s, len(os.sched_getaffinity(0))):
        rows.append(row)
        if row["status"] != row["expected"]:
            print_stderr(f"{row['kind']}, {row['size']}: {row['status']}, and it is {row['expected']}")
        elif len(rows) % 100 == 0:
            print_stderr(count(len(rows), "history", "histories"))
    figures = list(summary(rows))
    if as_json:
        print_json(kinds=figures, rows=rows)
    else:
        print("kind           histories  right  wrong   p50 s   p99 s   max s  explained s  named  unnamed  MB")
        for row in figures:
            print(
                f"{row['kind']:14} {row['histories']:9}  {row['right']:5}  {row['wrong']:5}  {row['cpu_s_p50']:6.3f}  "
                f"{row['cpu_s_p99']:6.2f}  {row['cpu_s_max']:6.2f}  {row['explained_s_max']:11.2f}  "
                f"{row['named_calls_max']:5}  {row['unnamed_calls_max']:7}  {row['peak_mb']:2}"
            )
    return EXIT_VIOLATED if figures[-1]["wrong"] else 0


def _check_beside(count_: int, seed: int, timeout_s: float, source: Path | None, as_json: bool) -> int:
    from harness.bench.hard_check import beside_porcupine  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    if not as_json:
        print(f"{'':60}  consensus check               Porcupine")
    for row in beside_porcupine(count_, seed, timeout_s, source):
        rows.append(row)
        if not as_json:
            both = "  ".join(
                f"{row[f'{who}_status']:8} {row[f'{who}_cpu_s']:6.2f} s {row[f'{who}_peak_mb']:5} MB"
                for who in ("ours", "porcupine")
            )
            print(f"{row['kind']:14} {row['size']:45}  {both}", flush=True)
    decided = {who: sum(row[f"{who}_status"] == row["expected"] for row in rows) for who in ("ours", "porcupine")}
    if as_json:
        print_json(rows=rows, decided=decided)
    else:
        print(f"decided rightly: consensus check {decided['ours']}, Porcupine {decided['porcupine']}, of {len(rows)}")
    return EXIT_VIOLATED if any({row["ours_status"], row["expected"]} == {"valid", "invalid"} for row in rows) else 0


@bench.command()
@click.option(
    "--how",
    type=click.Choice([*_FAULTS, "rolling"]),
    default="kill",
    show_default=True,
    help="What happens to the leader. cut-out: it cannot send; cut-in: it cannot receive; rolling: all nodes restart one after "
    "the other, under load.",
)
@click.option(
    "-n", "--nodes", type=click.IntRange(3, 15), help="How many nodes.  [default: 3, and 5 for a rolling restart]"
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many failovers; not for a rolling restart.",
)
@click.option(
    "--per-second",
    "per_s",
    type=FloatRange(1, 100_000),
    default=500.0,
    show_default=True,
    help="For a rolling restart: puts per second.",
)
@click.option(
    "--calm", "baseline_s", type=FloatRange(0.1, 600), default=5.0, show_default=True,
    help="For a rolling restart: seconds of load before it, without a fault, as the baseline.",
)  # fmt: skip
@click.option(
    "--rtt",
    "late_ms",
    type=numbers(0, 10_000, "0,20,100"),
    help="Milliseconds that each way between two nodes takes longer; a row of figures for each.",
)
@click.option("--loss", type=FloatRange(0, 0.9), default=0.0, help="How likely a message between two nodes is lost.")
@click.option(
    "--against", type=click.Choice(["etcd"]), help="With kill or suspend: measure etcd, too, if it is installed here."
)
@log_parameter
def failover(
    how: str,
    nodes: int | None,
    rounds: int,
    per_s: float,
    baseline_s: float,
    late_ms: tuple[int, ...] | None,
    loss: float,
    against: str | None,
    *,
    algorithm: str,
    as_json: bool,
) -> int:
    """Measure the time from a leader's failure to the next acknowledged put of a log, as a client sees it.

    Exit code: 1 if an acknowledged put is lost, else 0.
    """
    if against and how not in ("kill", "suspend"):
        raise click.UsageError(f"etcd can be compared with kill and suspend, not with {how}")
    if how == "rolling" and (late_ms or loss):
        raise click.UsageError("a rolling restart has no slow or lossy links: leave out --rtt and --loss")
    if how == "rolling":
        from harness.bench.rolling import rolling  # noqa: PLC0415 - see harness.cli.verbs

        rows = [rolling(nodes or 5, per_s, baseline_s, print_stderr, algorithm)]
    else:
        from harness.bench.failover import failover as measure  # noqa: PLC0415 - see harness.cli.verbs

        rows = [
            measure(how, nodes or 3, rounds, against is not None, print_stderr, each, loss, algorithm)
            for each in late_ms or (None,)
        ]
    if as_json:
        print_json(rows=rows)
    else:
        for row in rows:
            _print_failover(row)
    return EXIT_VIOLATED if any(row["lost"] or row.get("twice") for row in rows) else 0


def _print_failover(row: dict[str, Any]) -> None:
    if "restart_s" in row:
        print(
            f"rolling restart of {count(row['nodes'], 'node')} in {row['restart_s']:.1f} s, "
            f"{row['puts_per_s']:g} puts per second, {row['acknowledged']:,} acknowledged, "
            f"{row['lost']} lost, {row['twice']} done twice\n"
            f"  out of service         {row['out_of_service_ms']:.0f} ms in all, longest gap {row['longest_gap_ms']:.0f} ms; "
            f"{row['beyond_any_calm_gap_ms']:.0f} ms beyond the longest gap of the baseline; "
            f"{row['restarts_of_the_leader']} of the restarts were the leader's\n"
            f"  baseline: no fault     {row['calm_out_of_service_ms']:.0f} ms in all, "
            f"longest gap {row['calm_longest_gap_ms']:.0f} ms; 99 of 100 gaps are below {row['usual_gap_ms']:.1f} ms"
        )
    else:
        slow = "" if row["late_ms"] is None else f"round trips of {row['round_trip_ms']:g} ms and more: "
        lossy = f"{row['loss']:.0%} of all messages lost: " if row["loss"] else ""
        print(
            f"{slow}{lossy}{row['how']} of the leader of {row['nodes']}, {row['rounds']} times: "
            f"p50 {row['p50_ms']:.0f} ms, p90 {row['p90_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms, "
            f"slowest {row['max_ms']:.0f} ms; {row['lost']} lost; a put without a fault takes {row['usual_ms']:.1f} ms"
        )
        if row["bound_ms"] is not None:
            print(f"  bound: ten round trips and a second, {row['bound_ms']:.0f} ms; {row['beyond_bound']} beyond it")
        if row["peer"]:
            print(
                f"{row['peer']}: p50 {row['peer_p50_ms']:.0f} ms, p99 {row['peer_p99_ms']:.0f} ms; ratio {row['ratio']:.1f}"
            )


@bench.command()
@click.option("-n", "--nodes", type=click.IntRange(3, 15), default=3, show_default=True, help="How many nodes.")
@value_option
@click.option("--sessions", type=click.IntRange(1, 90_000), default=10_000, show_default=True, help="How many clients.")
@click.option("--keys", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True, help="How many keys.")
@click.option("--puts", type=click.IntRange(1), default=1_000_000, show_default=True, help="How many puts.")
@click.option("--time", "seconds", type=FloatRange(0.1), help="Stop after this many seconds, even if puts are left.")
@log_parameter
def memory(
    nodes: int,
    value_bytes: int,
    sessions: int,
    keys: int,
    puts: int,
    seconds: float | None,
    algorithm: str,
    as_json: bool,
) -> int:
    """Measure the memory and the disk of each node under many puts, while one follower is wiped and replaced.

    Exit code: 1 if an acknowledged put is lost or the nodes' states differ, else 0.
    """
    from harness.bench.memory import memory as measure  # noqa: PLC0415 - see harness.cli.verbs

    row = measure(nodes, sessions, keys, puts, value_bytes, seconds or float("inf"), print_stderr, algorithm)
    if as_json:
        print_json(rows=[row])
    else:
        names = sorted({node for sample in row["samples"] for node in sample["disk_mb"]})
        columns: dict[str, Callable[[dict[str, Any]], str]] = {
            "seconds": lambda sample: f"{sample['at_s']:.1f}",
            "puts": lambda sample: f"{sample['puts']:,}",
        }
        for what, title in (("memory_mb", "memory MB"), ("disk_mb", "disk MB")):
            columns |= {f"{node} {title}": _size_of(what, node) for node in names}
        print_table(row["samples"], columns)
        replaced = row["replaced"]
        print(
            f"{row['puts']:,} puts, {row['put_mb']:.0f} MB of values, over {row['keys']:,} keys in {row['sessions']:,} sessions: "
            f"{row['puts_per_s']:,.0f} per second\n"
            f"at most {row['memory_mb_max']:.0f} MB of memory and {row['disk_mb_max']:.0f} MB of disk per node\n"
            f"{replaced['node']} was wiped; {replaced['by']} caught up and voted {replaced['took_s']:.1f} s later, "
            f"{replaced['puts_meanwhile']:,} puts later\n"
            f"states at slot {row['slot']:,}: {'equal' if row['agree'] else 'NOT EQUAL'}; "
            f"{row['lost']} acknowledged puts lost, {row['twice']} done twice"
        )
    return 0 if row["agree"] and not row["lost"] and not row["twice"] else EXIT_VIOLATED


def _size_of(what: str, node: str) -> Callable[[dict[str, Any]], str]:
    return lambda sample: f"{sample[what][node]:.0f}" if node in sample[what] else "-"
