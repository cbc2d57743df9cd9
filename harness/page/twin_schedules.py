"""The schedules of a twin that are kept: in a file, as a test, and run on real processes, with both verdicts."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cluster.errors import Mistake
from harness.records.run_folders import new_folder
from harness.replay.kept_test import write_test
from harness.replay.schedule import Schedule
from harness.report.events import cut
from node.contract import BadInput
from node.wording import count

#: How long a replay may take, in seconds.
_REPLAY_S: Final = 300.0


class KeptSchedules:
    """What is kept of each position. `on_change` is called when something has changed. Any thread may call the methods."""

    def __init__(self, root: Path, on_change: Callable[[], None]) -> None:
        self._root, self._on_change = root, on_change
        self._lock = threading.Lock()
        self._replaying = threading.Lock()
        self._folders: dict[int, Path] = {}
        self._kept: dict[int, dict[str, Any]] = {}
        self.last_run: Path | None = None
        """The folder of the last run on real processes."""

    def of(self, position: int) -> dict[str, Any] | None:
        """Return what is kept of a position, as plain data for the page."""
        return self._kept.get(position)

    def save(self, position: int, schedule: Schedule) -> str:
        """Save a schedule to a run folder of its own, if it is not saved yet."""
        folder = self._folder(position, schedule)
        return f"saved: consensus replay {folder}"

    def keep_test(self, position: int, schedule: Schedule) -> str:
        """Write a test for pytest beside the saved schedule."""
        path = write_test(schedule, self._folder(position, schedule))
        self._note(position, test=str(path))
        return f"kept as a test: pytest {path}"

    def replay(self, position: int, schedule: Schedule) -> str:
        """Run a schedule on real processes, as `consensus replay` does, and note both verdicts."""
        if not schedule.steps:
            raise BadInput("nothing has happened yet")
        if (reason := schedule.why_no_replay()) is not None:
            raise BadInput(f"real processes cannot follow this schedule: {reason}")
        if not self._replaying.acquire(blocking=False):
            raise BadInput("another schedule runs on real processes: wait for it")
        try:
            file = self._folder(position, schedule) / "schedule.json"
            self._note(position, replay={"running": True})
            try:
                run = self._run(file)
            except BaseException:
                self._note(position, replay=None)
                raise
        finally:
            self._replaying.release()
        self.last_run = Path(run["run"])
        twin = "invalid" if schedule.violations else "valid"
        real = str(run["verdict"])
        broken = [
            f"{name}: {verdict['evidence']}"
            for name, verdict in run["verdicts"].items()
            if verdict["status"] == "invalid"
        ]
        said = f"{run['followed']} of {count(run['steps'], 'step')} had the same result"
        self._note(
            position,
            replay={
                "running": False,
                "same": twin == real,
                "twin": twin,
                "twin_evidence": [cut(str(violation)) for violation in schedule.violations],
                "real": real,
                "real_evidence": [cut(text) for text in broken or [str(run["evidence"])]],
                "followed": said,
                "run": self.last_run.name,
                "took_s": run["took_s"],
            },
        )
        how = "the same verdict" if twin == real else f"another verdict than {twin} in the twin"
        return f"real processes: {real}, {how}; {said}"

    def _run(self, file: Path) -> dict[str, Any]:
        """Run `consensus replay` in a process of its own: nodes end with the thread that has started them."""
        command = [
            sys.executable,
            "-m",
            "harness.cli.main",
            "replay",
            str(file),
            "--dir",
            str(self._root),
            "-o",
            "json",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_REPLAY_S, check=False)
            return dict(json.loads(done.stdout)["runs"][0])
        except subprocess.TimeoutExpired:
            raise Mistake(f"the replay has not ended within {_REPLAY_S:g} s") from None
        except (ValueError, LookupError, TypeError):
            raise Mistake(f"the replay has failed: {cut((done.stderr or done.stdout).strip())}") from None

    def _folder(self, position: int, schedule: Schedule) -> Path:
        with self._lock:
            folder = self._folders.get(position)
            if folder is None:
                folder = self._folders[position] = new_folder(self._root, f"{schedule.algorithm}-twin")
                schedule.save_found(folder)
                made = True
            else:
                made = False
        if made:
            self._note(position, folder=str(folder))
        return folder

    def _note(self, position: int, **what: Any) -> None:
        with self._lock:
            self._kept[position] = {**self._kept.get(position, {}), **what}
        self._on_change()
