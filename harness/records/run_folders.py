"""The run folders below a root: which there are, what came of them, and which one somebody means."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import Mistake
from node.contract import BadInput

RESULTS_NAME: Final = "results.json"
HISTORY_NAME: Final = "history.jsonl"
#: Folders between `runs/` and a run's own: a scorecard's or a campaign's, and one more.
_DEPTH_MAX: Final = 3


class NoSuchRun(Mistake):
    """No run folder is called that. The message says where it was looked for."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run folder. `status` is valid, invalid, unknown, or "not judged"; `broken` are the promises that were broken."""

    path: Path
    name: str
    when_s: float
    algorithm: str
    status: str
    broken: tuple[str, ...]
    evidence: str

    def to_json(self) -> dict[str, Any]:
        """The run, for programs. `when` is seconds since 1970."""
        return {
            "run": str(self.path),
            "name": self.name,
            "when": round(self.when_s, 3),
            "algorithm": self.algorithm,
            "status": self.status,
            "broken": list(self.broken),
            "evidence": self.evidence,
        }


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / RESULTS_NAME).is_file() or (folder / HISTORY_NAME).is_file()


def run_folders(root: Path) -> list[Path]:
    """The run folders below `root`/runs, the newest first."""
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
    for name in (RESULTS_NAME, HISTORY_NAME):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def find_run(root: Path, wanted: str | None) -> Path:
    """The run that somebody means: a folder, or a part of the name of one below `root`; None is the newest.

    Raises:
        NoSuchRun: there is none.
    """
    if wanted is not None and is_run(Path(wanted)):
        return Path(wanted)
    found = run_folders(root)
    if wanted is not None:
        found = [folder for folder in found if wanted in str(folder.relative_to(root / "runs"))]
    if not found:
        which = "there is no run" if wanted is None else f"no run has {wanted!r} in its name"
        raise NoSuchRun(f"{which} in {root / 'runs'}. Make some with `consensus scorecard`, or name a run's folder")
    return found[0]


def summary(folder: Path, root: Path) -> RunSummary:
    """What came of a run. A folder without readable results was not judged."""
    try:
        results = json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))
        verdicts = {name: (item["status"], item["evidence"]) for name, item in results["verdicts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        results, verdicts = {}, {}
    if not results:
        results = _planned(folder)
    status = overall([status for status, _ in verdicts.values()])
    return RunSummary(
        folder,
        str(folder.relative_to(root / "runs")) if folder.is_relative_to(root / "runs") else str(folder),
        _when_s(folder),
        str(results.get("algorithm", "?")),
        status,
        tuple(name for name, (each, _) in verdicts.items() if each == "invalid"),
        next((str(evidence) for each, evidence in verdicts.values() if each == status), ""),
    )


def _planned(folder: Path) -> dict[str, Any]:
    """What a run that was not judged was to be, from its plan, if it has one."""
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"algorithm": plan["algorithm"]} if isinstance(plan, dict) and "algorithm" in plan else {}


def overall(statuses: list[str]) -> str:
    """One word over several verdicts, as `harness.checkers.verdict.merge` has it."""
    for status in ("invalid", "unknown", "valid"):
        if status in statuses:
            return status
    return "not judged"


def new_folder(root: Path, name: str, *, make: bool = True) -> Path:
    """A folder for a run that nobody has used: made, or at least its parent."""
    runs = root / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{runs} cannot be made: {error.strerror}. Choose another folder with --dir") from error
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name.replace(':', '-')}"
    for number in range(1, 1000):
        folder = runs / (stem if number == 1 else f"{stem}-{number}")
        if folder.exists():
            continue
        if make:
            folder.mkdir()
        return folder
    raise Mistake(f"{runs} has a thousand runs of this second: wait for the next")
