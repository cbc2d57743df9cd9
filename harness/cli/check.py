"""`consensus check`: judges a history file, from this project or from elsewhere."""

from pathlib import Path

import click

from harness.cli.convention import print_json, print_stderr, verb

#: The names in `harness.checkers.models.MODELS`, so that `--help` need not import them. A test compares both.
MODEL_NAMES = ("consensus", "register", "cas-register", "kv", "lock", "log")


@verb()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", type=click.Choice(MODEL_NAMES), required=True, help="The sequential model of the object.")
@click.option(
    "--minimise", is_flag=True, help="Write a smallest invalid part of the history beside the file, as NAME.min.jsonl."
)
@click.option(
    "--budget",
    type=click.IntRange(1),
    default=2_000_000,
    show_default=True,
    help="After how many configurations the search of one key ends as unknown.",
)
def check(file: Path, model: str, minimise: bool, budget: int, as_json: bool) -> int:
    """Judge whether the history in FILE is linearizable. FILE has JSON lines with Jepsen's fields.

    Each line has type (invoke, ok, fail, info), process, f and value; index, time, key and error are optional.

    Exit code: 0 valid, 1 invalid, 2 unknown, 254 if the file is no history of the model.
    """
    from harness.checkers.history_file import judge_file, write_minimised  # noqa: PLC0415 - see harness.cli.verbs
    from harness.records.jsonable import BadFile  # noqa: PLC0415
    from node.wording import count  # noqa: PLC0415

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
    print_stderr(f"{count(history.invoked, 'call')}, read in {judged.read_s:.2f} s, judged in {judged.judged_s:.2f} s")
    if written is not None:
        print_stderr(f"{count(len(judged.violations[0].minimised), 'call')} that are invalid by themselves: {written}")
    return judged.verdict.exit_code
