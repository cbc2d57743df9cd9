"""`consensus mutants`: checks that the judges catch every mutant and accept the shipped code."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.convention import EXIT_VIOLATED, exit_interrupted, print_json, print_stderr, verb
from harness.records.jsonable import write_document
from harness.records.run_folders import new_folder
from node.wording import count

if TYPE_CHECKING:
    from harness.mutants.catalogue import Mutant
    from harness.mutants.trial import MutantReport, MutantTrial, ShippedTrial


@verb()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="How many clusters run at a time."
)
@click.option(
    "--unbroken",
    "times",
    type=click.IntRange(0, 1000),
    default=1,
    show_default=True,
    help="How often each script runs on the shipped code.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of every random draw.")
@click.option("--list", "only_list", is_flag=True, help="List the mutants, and run nothing.")
@click.pass_obj
def mutants(
    root: Path, names: tuple[str, ...], workers: int, times: int, seed: int, only_list: bool, as_json: bool
) -> int:
    """Break a copy of the shipped code in each known way, and check that the judges catch every break.

    Each mutant NAME (without a name: every mutant) runs through a short script in which its break shows, and all judges of
    the suite judge the run. The shipped code runs through the same scripts, and must be valid.

    Exit code: 0 if every mutant was caught and the shipped code is valid, else 1.
    """
    from harness.mutants.catalogue import choose  # noqa: PLC0415 - see harness.cli.verbs
    from harness.mutants.trial import MutantTrial, try_all  # noqa: PLC0415

    chosen = choose(names)
    if only_list and as_json:
        print_json(mutants=[_plain(mutant) for mutant in chosen])
        return 0
    if only_list:
        for mutant in chosen:
            print(f"{mutant.name:30} {mutant.imitates:42} {mutant.script.about}")
        return 0
    folder = new_folder(root, "mutants")

    def progress(done: "MutantTrial | ShippedTrial") -> None:
        print_stderr(_mutant_line(done) if isinstance(done, MutantTrial) else _shipped_line(done))

    try:
        outcome = try_all(chosen, folder, workers=workers, times=times, seed=seed, progress=progress)
    except KeyboardInterrupt as error:
        exit_interrupted(error, "the runs under way have ended with their nodes")
    write_document(folder / "mutants-results.json", {"schema": 1, **outcome.to_json()})
    if as_json:
        print_json(folder=str(folder), **outcome.to_json())
    else:
        _print(outcome)
        print(f"run folders: {folder}")
    return EXIT_VIOLATED if outcome.survivors or outcome.accused else 0


def _plain(mutant: "Mutant") -> dict[str, str]:
    return {
        "name": mutant.name,
        "original": mutant.original,
        "imitates": mutant.imitates,
        "script": mutant.script.name,
        "about": mutant.script.about,
    }


def _mutant_line(trial: "MutantTrial") -> str:
    how = f"caught by {', '.join(trial.last.violated)}" if trial.caught else "SURVIVED"
    again = "" if trial.tries == 1 else f" at try {trial.tries}"
    return f"{trial.mutant.name}: {how}{again}, {trial.took_s:.1f} s"


def _shipped_line(one: "ShippedTrial") -> str:
    how = "valid" if one.valid else f"{one.shown.verdict.status} ({one.shown.verdict.evidence})"
    return f"unbroken {one.algorithm}, {one.script.name}: {how}, {one.passed} of {one.times}"


def _print(outcome: "MutantReport") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    for column in ("", "mutant", "imitates", "caught by", "s"):
        table.add_column(column, justify="right" if column == "s" else "left")
    for trial in outcome.trials:
        mark = Text("✓", "bold green") if trial.caught else Text("✗", "bold red")
        by, evidence = trial.last.violated, trial.last.verdict.evidence.partition(": ")[2]
        caught_by = Text(f"{by[0] if by else trial.last.verdict.status}: {evidence}")
        table.add_row(mark, trial.mutant.name, trial.mutant.imitates, caught_by, f"{trial.took_s:.1f}")
    console.print(table)
    for one in outcome.accused:
        console.print(Text(f"✗ {_shipped_line(one)}", "bold red"))
    data = outcome.to_json()
    runs = sum(one.times for one in outcome.unbroken)
    print(
        f"\n{data['caught']} of {count(data['of'], 'mutant')} caught, median {data['median_s']} s, "
        f"slowest {data['slowest_s']} s. "
        f"The shipped code was valid in {sum(one.passed for one in outcome.unbroken)} of {count(runs, 'run')} of their scripts."
    )
