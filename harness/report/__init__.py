"""What a run shows people: `write_report` makes one self-contained page of a run folder."""

from pathlib import Path

from harness.records.run_files import RunFiles
from harness.report.page import page
from harness.report.reading import read_run


def write_report(folder: Path, target: Path | None = None) -> Path:
    """Write the page of a run folder, by default into it. Returns where it is. Raises OSError if it cannot be written."""
    path = RunFiles(folder).report if target is None else target
    path.write_text(page(read_run(folder)), encoding="utf-8", errors="backslashreplace")
    return path
