"""The files of a run folder: the one place that names them.

| file | what it holds | written and read by |
|---|---|---|
| `results.json` | the verdicts, each with a line of evidence | `harness.records.results.RunResults` |
| `history.jsonl` | what clients asked and what they got | `history_recorder.HistoryRecorder`; `history.load` |
| `messages.jsonl` | every message on a link, and its fate | `messages.MessageRecorder`; `messages.load`, `tail.FileTail` |
| `receipts.jsonl` | every fault, with what an observer saw of it | `receipts.save`; `receipts.load` |
| `plan.json` | the steps of the run | `harness.runs.plan.Plan.save`; `harness.runs.plan.load` |
| `schedule.json` | a schedule that was found without processes | `harness.replay.schedule.Schedule.save`; `load` there |
| `traces/n1.jsonl` | what a traced node took in, turn by turn | `harness.systems.traced_node`; `harness.replay` |
| `report.html` | the page of the run | `harness.report.write_report` |
| `cluster.toml`, `nodes/`, `logs/` | the spec, each node's disk and log | `cluster.spec`, `node` |

The reader of the plan and that of the schedule know faults, algorithms and steps, so they are in later rooms. Both read
their JSON by `harness.records.jsonable.read_document`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

HISTORY_NAME: Final = "history.jsonl"
MESSAGES_NAME: Final = "messages.jsonl"
PLAN_NAME: Final = "plan.json"
RECEIPTS_NAME: Final = "receipts.jsonl"
REPORT_NAME: Final = "report.html"
RESULTS_NAME: Final = "results.json"
SCHEDULE_NAME: Final = "schedule.json"
TRACES_NAME: Final = "traces"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The paths of the files of one run folder. A file need not exist."""

    folder: Path

    @property
    def history(self) -> Path:
        """What clients asked and what they got."""
        return self.folder / HISTORY_NAME

    @property
    def messages(self) -> Path:
        """Every message that crossed a link."""
        return self.folder / MESSAGES_NAME

    @property
    def plan(self) -> Path:
        """The steps of the run."""
        return self.folder / PLAN_NAME

    @property
    def receipts(self) -> Path:
        """Every fault."""
        return self.folder / RECEIPTS_NAME

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.folder / REPORT_NAME

    @property
    def results(self) -> Path:
        """The verdicts."""
        return self.folder / RESULTS_NAME

    @property
    def schedule(self) -> Path:
        """The steps of a schedule that was found without processes."""
        return self.folder / SCHEDULE_NAME

    @property
    def traces(self) -> Path:
        """The folder of the traces, one file for each node."""
        return self.folder / TRACES_NAME

    def trace(self, node: str) -> Path:
        """Return the file of one node's trace."""
        return self.traces / f"{node}.jsonl"
