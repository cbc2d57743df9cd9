"""`consensus trace`: checks that the processes of a run did what the pure classes do."""

from pathlib import Path

import click

from harness.cli.convention import EXIT_UNKNOWN, EXIT_VIOLATED, print_json, print_stderr, verb
from harness.records.run_files import RunFiles
from harness.records.run_folders import NoSuchRun, is_run, run_folders
from node.wording import count


@verb()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.pass_obj
def trace(root: Path, runs: tuple[str, ...], as_json: bool) -> int:
    """Give the recorded input of a run to the pure classes: each message that a node sent must be what its class sends.

    RUN is a run's folder, or a part of the names of several; without it, every run that was traced. The option `--trace` of
    `consensus scorecard`, `consensus test` and `consensus campaign` traces a run. The nodes' records are also compared with the
    proxy's record and with the disks.

    Exit code: 1 if anything differs, 2 if no run could be validated, else 0.
    """
    from harness.replay.trace_validation import validate  # noqa: PLC0415 - see harness.cli.verbs

    folders = [folder for wanted in runs for folder in _matching_runs(root, wanted)]
    if not runs:
        folders = [folder for folder in run_folders(root) if RunFiles(folder).traces.is_dir()]
        if not folders:
            raise NoSuchRun(f"no run in {root / 'runs'} was traced. `consensus scorecard --trace` makes such runs")
    reports = []
    for folder in dict.fromkeys(folders):
        reports.append(validate(folder))
        if not as_json:
            print_stderr(reports[-1].line())
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
            f"{len(done)} of {count(len(reports), 'run')} validated, {count(messages, 'message')}; "
            f"{len(differ)} differ from the pure classes"
        )
        for report in differ:
            print(f"  {report.folder}: {report.differences[0].text}")
    if differ:
        return EXIT_VIOLATED
    return 0 if done else EXIT_UNKNOWN


def _matching_runs(root: Path, wanted: str) -> list[Path]:
    """Return the run of this folder, or every run with this text in its name.

    Raises:
        NoSuchRun: there is none.
    """
    if is_run(Path(wanted)):
        return [Path(wanted)]
    found = [folder for folder in run_folders(root) if wanted in str(folder.relative_to(root / "runs"))]
    if not found:
        raise NoSuchRun(f"no run has {wanted!r} in its name in {root / 'runs'}, and it is no run's folder")
    return found
