"""The report of a run: `write_report` makes one self-contained page of a run folder. See README.md."""

from pathlib import Path

from harness.records.run_files import RunFiles


def write_report(folder: Path, target: Path | None = None) -> Path:
    """Write the page of a run folder.

    Args:
        folder: the run folder.
        target: the page's file; None for report.html in the run folder.

    Returns:
        The page's file.

    Raises:
        OSError: the page cannot be written.
    """
    from harness.report.page import page  # noqa: PLC0415 - the live page needs other modules of this room, and at once
    from harness.report.reading import read_run  # noqa: PLC0415

    path = RunFiles(folder).report if target is None else target
    path.write_text(page(read_run(folder)), encoding="utf-8", errors="backslashreplace")
    return path
