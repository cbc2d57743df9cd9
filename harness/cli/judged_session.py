"""How a session by hand was judged at its end, for the verbs that end one."""

from pathlib import Path

from harness.records.run_folders import NOT_JUDGED, RunSummary, run_folders, summary


def judgement(session: RunSummary) -> str:
    """Return how a session by hand was judged, for people, with the reason if there is no clear answer."""
    if session.status == NOT_JUDGED:
        return f"not judged as a run ({session.evidence})"
    why = f" ({session.evidence})" if session.status == "unknown" else ""
    return f"judged as a run: {session.outcome}{why}"


def session_since(root: Path, ended_s: float, up_s: float) -> RunSummary | None:
    """Return the run of the session by hand that has just ended.

    Args:
        root: the folder of the cluster.
        ended_s: when its supervisor was asked to end, in seconds since 1970. The results are written after that.
        up_s: when its supervisor began. A run whose results could not be written has only a history, of any time since.

    Returns:
        The run; None if the session had neither a call nor a fault.
    """
    for folder in run_folders(root):
        found = summary(folder, root)
        if found.when_s < up_s:
            return None
        if found.by_hand and (found.when_s >= ended_s or found.status == NOT_JUDGED):
            return found
    return None
