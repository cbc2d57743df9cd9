"""`consensus mutate`: makes every small change of a module, and lists those that no run shows."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.convention import EXIT_INTERRUPTED, EXIT_VIOLATED, ProgressTimer, print_json, print_stderr, verb
from harness.cli.parameters import FloatRange
from harness.cli.signals import exit_code_after, noted_signals
from node.wording import count

if TYPE_CHECKING:
    from harness.mutation.campaign import MutationReport


@verb()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option(
    "--simulate", "algorithms", multiple=True, metavar="ALGORITHM",
    help="Simulate this algorithm on each change. May be given several times.  [default: MODULE's, or paxos and the logs]",
)  # fmt: skip
@click.option("--tests", multiple=True, metavar="PATH", help="Run these tests of pytest on each change, too.")
@click.option(
    "--seeds", type=click.IntRange(0, 100_000), default=200, show_default=True, help="Seeds of each algorithm."
)
@click.option(
    "--seconds", type=FloatRange(0.1, 3600), default=8.0, show_default=True,
    help="Processor time for a change's seeds, and as much for its tests.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="How many changes at a time.")
@click.option("--sample", type=click.IntRange(1), help="Try only so many changes, drawn from all.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The seed of that draw.")
@click.option(
    "--equivalents", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file of changes that make no difference.  [default: that of the shipped modules]",
)  # fmt: skip
@click.option("--list", "only_list", is_flag=True, help="List the changes, and try none.")
@click.pass_obj
def mutate(
    root: Path,
    /,
    *,
    modules: tuple[str, ...],
    algorithms: tuple[str, ...],
    tests: tuple[str, ...],
    seeds: int,
    seconds: float,
    workers: int,
    sample: int | None,
    seed: int,
    equivalents: Path | None,
    only_list: bool,
    as_json: bool,
) -> int:
    """Make every small change of MODULE, one at a time, and list those that no run shows.

    A change exchanges an operator, moves a boundary, removes a statement or a check, returns early, or swaps arguments. Simulated
    runs and tests that reach the change run on it. What survives is code that they do not guard. MODULE is a module, a package
    (every module in it), or module:Class, an algorithm. Killed changes are remembered, so a second call goes on where the first
    was interrupted.

    Exit code: 1 if a change survived, 130 after Ctrl-C, else 0.
    """
    from harness.mutation.campaign import MutationCampaign, run_mutation  # noqa: PLC0415 - see harness.cli.verbs
    from harness.mutation.changes import changes_of  # noqa: PLC0415
    from harness.mutation.equivalents import SHIPPED, load_equivalents  # noqa: PLC0415
    from harness.mutation.patched_module import modules_of, source_of  # noqa: PLC0415

    if "" not in sys.path:
        sys.path.insert(0, "")
    names = [name.partition(":")[0] for name in modules]
    if only_list:
        changes = [
            change
            for name in names
            for module in modules_of(name)
            for change in changes_of(module, source_of(module).read_text())
        ]
        if as_json:
            print_json(changes=[{"module": one.module, "line": one.line, "name": one.name} for one in changes])
        else:
            print("\n".join(change.name for change in changes))
        return 0
    campaign = MutationCampaign(
        names,
        algorithms or _algorithms_of(modules),
        tests,
        seeds,
        seconds,
        workers,
        sample or 0,
        seed,
        load_equivalents(equivalents or SHIPPED),
    )
    folder = root / "mutation"
    progress_timer = ProgressTimer()

    def progress(report: "MutationReport") -> None:
        if not as_json and progress_timer.is_due():
            rate = 60 * report.tried / max(report.took_s, 1e-9)
            print_stderr(
                f"{len(report.outcomes):,} of {count(report.asked, 'change')}, {len(report.survivors):,} survived, "
                f"{rate:.0f} a minute"
            )

    def say(line: str) -> None:
        if not as_json:
            print_stderr(line)

    with noted_signals() as signals:
        report = run_mutation(campaign, folder, say=say, progress=progress)
    if as_json:
        print_json(**report.to_json())
    else:
        _print(report)
    if report.interrupted:
        return exit_code_after(signals, EXIT_INTERRUPTED)
    return exit_code_after(signals, EXIT_VIOLATED if report.survivors else 0)


def _algorithms_of(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Return the algorithms to simulate: those that are changed themselves, or else the shipped ones that are right."""
    from node.algorithms import BUILT_IN, LOGS  # noqa: PLC0415

    own = [name for name in modules if ":" in name]
    for short, path in BUILT_IN.items():
        home = path.partition(":")[0]
        own += [short for name in modules if f"{home}.".startswith(f"{name}.") or name.startswith(f"{home}.")]
    return tuple(dict.fromkeys(own)) or ("paxos", *LOGS)


def _print(report: "MutationReport") -> None:
    for outcome in report.survivors:
        print(f"{outcome.change.name}  [{outcome.fate}, {count(outcome.cases, 'case')}]")
        print("\n".join(report.diff(outcome)[2:]))
    fates = ", ".join(f"{number:,} {fate}" for fate, number in sorted(report.fates.items()))
    rate = f", {60 * report.tried / report.took_s:.0f} a minute" if report.tried and report.took_s else ""
    print(f"{count(len(report.outcomes), 'change')} of {report.asked:,}: {fates}")
    low, high = report.interval
    sampled = f" ({100 * low:.1f} to {100 * high:.1f} % of all {report.made:,}, with 95 % confidence)"
    score = f"score {100 * report.score:.1f} %{sampled if report.asked < report.made else ''}"
    print(f"{score}; {report.tried:,} tried in {report.took_s:.0f} s{rate}")
