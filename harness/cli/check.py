"""`consensus check`: any history file, judged."""

from pathlib import Path

import click

from harness.cli.main import output_option, print_json, say

#: The names in `harness.checkers.models.MODELS`, so that `--help` need not import them; a test compares.
MODEL_NAMES = ("consensus", "register", "cas-register", "kv", "lock", "log")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", type=click.Choice(MODEL_NAMES), required=True, help="What the object should be.")
@click.option("--minimise", is_flag=True, help="Write what it takes to be invalid beside the file, as NAME.min.jsonl.")
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=2_000_000,
    show_default=True,
    help="How many configurations the search of one key may meet before it is given up as unknown.",
)
@output_option
def check(file: Path, model: str, minimise: bool, budget: int, as_json: bool) -> int:
    """Judge whether a history is linearizable: JSON lines with Jepsen's fields, from here or anywhere.

    Each line has type (invoke, ok, fail, info), process, f, value; index, time, key and error are optional. The exit code
    is 0 for valid, 1 for invalid, 2 for unknown, 254 for a file that is no history of the model.
    """
    from harness.checkers.history_file import judge_file, write_minimised  # noqa: PLC0415 - only this needs them
    from harness.checkers.verdict import count  # noqa: PLC0415
    from harness.records.jsonable import BadFile  # noqa: PLC0415

    try:
        judged = judge_file(file, model, budget)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    written = None
    if minimise and judged.violations:
        written = file.with_name(f"{file.stem}.min.jsonl")
        write_minimised(judged, written)
    if as_json:
        print_json(file=str(file), model=model, minimised=written and str(written), **judged.to_json())
        return judged.verdict.exit_code
    print(f"{judged.verdict.status}: {judged.verdict.evidence}")
    for line in judged.verdict.more:
        print(f"  {line}")
    history = judged.history
    say(f"{count(history.invoked, 'call')}, read in {judged.read_s:.2f} s, judged in {judged.judged_s:.2f} s")
    if written is not None:
        say(f"{len(judged.violations[0].minimised)} calls that are invalid by themselves: {written}")
    return judged.verdict.exit_code
