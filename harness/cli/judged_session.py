"""How a session by hand was judged at its end, for the verbs that end one."""

from pathlib import Path

from harness.records.run_folders import NOT_JUDGED, RunSummary, run_folders, summary


def judgement(session: RunSummary) -> str:
    """Return how a session by hand was judged, for people, with the reason if there is no clear answer."""
    if session.status == NOT_JUDGED:
        return f"not judged as a run ({session.evidence})"
    why = f" ({session.evidence})" if session.status == "unknown" else ""
    return f"judged as a run: {session.outcome}{why}"


def session_since(root: Path, since_s: float) -> RunSummary | None:
    """Return the run of the session by hand that was saved after a time, in seconds since 1970; None if there is none."""
    for folder in run_folders(root):
        found = summary(folder, root)
        if found.when_s < since_s:
            return None
        if found.by_hand:
            return found
    return None
