"""The view of a run, from its folder alone: the events that the page of a run draws, too. Nothing is run again."""

from pathlib import Path
from typing import Final

from harness.page.event_log import EventLog
from harness.page.view import PageView
from harness.report.about import about_run
from harness.report.events import cut
from harness.report.reading import read_run
from harness.report.recorded_events import recorded_events

#: How many events are kept: a record is thinned to fewer.
EVENTS_MAX: Final = 200_000


def recorded_view(folder: Path) -> PageView:
    """Return the view of a run folder. What cannot be read of it is named in `gaps`, and is no error."""
    run = read_run(folder)
    log = EventLog(events_max=EVENTS_MAX)
    recorded = recorded_events(run)
    log.add(recorded.events)
    verdicts = {
        name: {"status": str(verdict.get("status")), "evidence": cut(str(verdict.get("evidence", "")))}
        for name, verdict in run.verdicts.items()
    }
    about = about_run(run, recorded.predicates) | {
        "faults": [],
        "system": bool(run.results.get("system")),
        "run": folder.name,
        "verdicts": verdicts,
        "gaps": [cut(gap) for gap in run.gaps],
    }
    view = PageView(log, about, folder=lambda: folder)
    view.stand(ended=None, held=[], held_count=0, in_force=[], run=folder.name, trouble=None)
    return view
