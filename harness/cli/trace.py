"""`consensus trace`: have the processes done what the pure classes do?"""

from pathlib import Path

import click

from harness.cli.main import EXIT_UNKNOWN, EXIT_VIOLATED, output_option, print_json, say
from harness.records.run_files import RunFiles
from harness.records.run_folders import NoSuchRun, is_run, run_folders


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@output_option
@click.pass_obj
def trace(root: Path, runs: tuple[str, ...], as_json: bool) -> int:
    """Replay recorded runs through the pure classes: each message that a node sent must be what they send.

    RUN is a run's folder, or a part of the names of some; all that were traced, if left out. Runs are traced by `--trace` of
    `consensus scorecard`, `consensus test` and `consensus campaign`. What the nodes have noted is compared with what the proxy
    and the disks say. Exit code: 1 if anything differs, 2 if no run could be validated, else 0.
    """
    from harness.replay.trace_validation import validate  # noqa: PLC0415 - as in harness.cli.main: nobody else pays for it

    folders = [folder for wanted in runs for folder in _meant(root, wanted)]
    if not runs:
        folders = [folder for folder in run_folders(root) if RunFiles(folder).traces.is_dir()]
        if not folders:
            raise NoSuchRun(f"no run in {root / 'runs'} was traced. Make some: consensus scorecard --trace")
    reports = []
    for folder in dict.fromkeys(folders):
        reports.append(validate(folder))
        if not as_json:
            say(reports[-1].line())
    done = [report for report in reports if report.exit_code != EXIT_UNKNOWN]
    differ = [report for report in done if report.differences]
    if as_json:
        print_json(
            runs=[report.to_json() for report in reports],
            validated=len(done),
            differ=len(differ),
        )
    else:
        messages = sum(report.messages for report in done)
        print(
            f"{len(done)} of {len(reports)} runs validated, {messages:,} messages; {len(differ)} differ from the pure classes"
        )
        for report in differ:
            print(f"  {report.folder}: {report.differences[0].text}")
    if differ:
        return EXIT_VIOLATED
    return 0 if done else EXIT_UNKNOWN


def _meant(root: Path, wanted: str) -> list[Path]:
    """The runs that somebody means. Raises NoSuchRun."""
    if is_run(Path(wanted)):
        return [Path(wanted)]
    found = [folder for folder in run_folders(root) if wanted in str(folder.relative_to(root / "runs"))]
    if not found:
        raise NoSuchRun(f"no run has {wanted!r} in its name in {root / 'runs'}, and it is no run's folder")
    return found
