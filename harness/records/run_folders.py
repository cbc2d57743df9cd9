"""The run folders below a root: makes them, lists them, finds the one that a user names, and summarizes them.

A root is a folder such as `.consensus`; run folders are in its `runs/`, some of them below the folder of a scorecard, a
campaign or a test session.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import Mistake
from harness.records.jsonable import BadFile, read_document
from harness.records.results import RunResults
from harness.records.run_files import RunFiles
from node.contract import BadInput
from node.storage.free_space import is_full

#: Folders between `runs/` and a run's own: a scorecard's or a campaign's, and one more.
_DEPTH_MAX: Final = 3
_FOLDERS_A_SECOND_MAX: Final = 1_000
#: The folder below `runs/` that holds the runs of tests.
TESTS: Final = "pytest"
#: The file in the folder of a session by hand that says which system, with nodes that are not ours, is up or was.
SYSTEM_NAME: Final = "system.json"
#: The note in a run's results that says why it was not judged.
NOT_JUDGED: Final = "not judged"
#: The names of sessions by hand begin with this, after their time.
BY_HAND: Final = "by-hand-"


class NoSuchRun(Mistake):
    """No run folder has the name that the user gave. The message says where the search looked."""


# --- making one -----------------------------------------------------------------------------------------------------


def as_file_name(name: str) -> str:
    """Return a name, such as `folder/file.py:Class`, without what the name of a folder may not have."""
    return name.replace(":", "-").replace("/", "-")


def new_folder(root: Path, name: str = "") -> Path:
    """Make a folder for a run, or for a group of runs: `root/runs/TIME-NAME`. Every command makes its folders by this.

    Commands that run at the same time get different folders, since only one process can make a folder.

    Args:
        root: a folder such as `.consensus`.
        name: what comes after the time in the folder's name; the time alone if it is empty.

    Returns:
        The folder, which is empty.

    Raises:
        BadInput: `root/runs` cannot be made.
        Mistake: this second has a thousand such folders already.
    """
    runs = root / "runs"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        runs.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{runs} cannot be made: {error.strerror}. Choose another folder with --dir") from error
    stem = "-".join(filter(None, (time.strftime("%Y%m%d-%H%M%S"), as_file_name(name))))
    for number in range(1, _FOLDERS_A_SECOND_MAX):
        folder = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise BadInput(f"{folder} cannot be made: {error.strerror}") from error
        return folder
    raise Mistake(f"{runs} has {_FOLDERS_A_SECOND_MAX:,} runs of this second: try again in a second")


def drop_empty(folder: Path) -> None:
    """Remove a folder that `new_folder` has made if nothing came into it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def new_test_folder(root: Path, name: str) -> Path:
    """Make a folder for a run of a test: `root/runs/pytest/NAME-RANDOM`. No other process gets the same one."""
    tests = tests_folder(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    tests.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tests))


def tests_folder(root: Path) -> Path:
    """Return the folder of the runs of tests. It need not exist."""
    return root / "runs" / TESTS


# --- finding one ----------------------------------------------------------------------------------------------------


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run: it holds results or a history."""
    files = RunFiles(folder)
    return files.results.is_file() or files.history.is_file()


def run_folders(root: Path) -> list[Path]:
    """Return the run folders below `root`/runs, the newest first."""
    return sorted(_below(root / "runs", _DEPTH_MAX), key=lambda folder: (_when_s(folder), folder), reverse=True)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if not entry.is_dir() or entry.is_symlink():
            continue
        if is_run(entry):
            yield entry
        elif depth > 1:
            yield from _below(entry, depth - 1)


def _when_s(folder: Path) -> float:
    files = RunFiles(folder)
    for path in (files.results, files.history):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def find_run(root: Path, wanted: str | None) -> Path:
    """Find the run that a user names.

    Args:
        root: a folder such as `.consensus`.
        wanted: a run's folder, or a part of the name of a run below `root`; None for the newest run.

    Returns:
        The folder; the newest of those that fit.

    Raises:
        NoSuchRun: no run fits.
    """
    if wanted is not None and is_run(Path(wanted)):
        return Path(wanted)
    found = run_folders(root)
    if wanted is not None:
        found = [folder for folder in found if wanted in str(folder.relative_to(root / "runs"))]
    if not found and wanted is not None and Path(wanted).exists():
        raise NoSuchRun(f"{wanted} is no run's folder: it has neither results nor a history")
    if not found:
        which = "there is no run" if wanted is None else f"no run has {wanted!r} in its name"
        raise NoSuchRun(f"{which} in {root / 'runs'}. Make some with `consensus scorecard`, or name a run's folder")
    return found[0]


# --- summarizing one ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run folder. `status` is valid, invalid, unknown, or "not judged"; `broken` names the promises that were broken.

    `evidence` is that of a verdict with this status, or why the run was not judged. `when_s` is the time of the folder's
    results, or else of its history, in seconds since 1970.
    """

    path: Path
    name: str
    when_s: float
    algorithm: str
    status: str
    broken: tuple[str, ...]
    evidence: str
    by_hand: bool = False

    @property
    def outcome(self) -> str:
        """The status and the promises that were broken, as one text for people."""
        return f"{self.status}: {', '.join(self.broken)}" if self.broken else self.status

    def to_json(self) -> dict[str, Any]:
        """Return the row of `consensus runs -o json`. `when` is seconds since 1970."""
        return {
            "run": str(self.path),
            "name": self.name,
            "when": round(self.when_s, 3),
            "algorithm": self.algorithm,
            "status": self.status,
            "broken": list(self.broken),
            "evidence": self.evidence,
            "by_hand": self.by_hand,
        }


def summary(folder: Path, root: Path) -> RunSummary:
    """Summarize a run. A run whose results are missing or cannot be read counts as not judged."""
    files = RunFiles(folder)
    try:
        results = RunResults.load(files.results)
        algorithm, verdicts, by_hand = results.algorithm, results.verdicts, bool(results.about.get("by_hand"))
        why = str(results.notes.get(NOT_JUDGED, ""))
    except BadFile:
        algorithm, verdicts, by_hand = _planned_algorithm(files.plan), {}, BY_HAND in folder.name
        why = f"it has no results: {'the disk is full' if is_full(folder) else 'it was interrupted, or is under way'}"
    status = overall([verdict.status for verdict in verdicts.values()])
    return RunSummary(
        folder,
        str(folder.relative_to(root / "runs")) if folder.is_relative_to(root / "runs") else str(folder),
        _when_s(folder),
        algorithm,
        status,
        tuple(name for name, verdict in verdicts.items() if verdict.status == "invalid"),
        next((verdict.evidence for verdict in verdicts.values() if verdict.status == status), why),
        by_hand,
    )


def _planned_algorithm(plan: Path) -> str:
    """Return the algorithm of a run that was not judged, from its plan, if it has one."""
    try:
        return str(read_document(plan).get("algorithm", "?"))
    except BadFile:
        return "?"


def overall(statuses: list[str]) -> str:
    """Return one status over several verdicts, as `harness.checkers.verdict.merge` decides it; "not judged" without any."""
    for status in ("invalid", "unknown", "valid"):
        if status in statuses:
            return status
    return NOT_JUDGED
