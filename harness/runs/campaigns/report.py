"""The report on a campaign: `campaign.json` for programs, `campaign.html` for people, a table for the terminal."""

from html import escape
from typing import Any, Final, NamedTuple

from harness.records.jsonable import write_document
from harness.runs.campaigns.campaign import RUNS_MAX, CampaignTally
from harness.runs.campaigns.grid import GridCell, columns, holes, rows, to_json
from node.algorithms import load_algorithm
from node.wording import count

DATA_NAME: Final = "campaign.json"
PAGE_NAME: Final = "campaign.html"

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .6rem; border: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left } .hole { background: #fde8e8; color: #a33 } .hit { background: #e7f5ea }
.invalid { color: #b00020 } .unknown { color: #a06000 } .valid { color: #19703a } code { background: #f4f4f4 }
"""


def merged(tally: CampaignTally) -> dict[str, Any]:
    """Return the object of `campaign.json`, without its schema."""
    campaign = tally.campaign
    cells = _cells(tally)
    return {
        "algorithm": campaign.algorithm,
        "seed": campaign.seed,
        "nodes": campaign.nodes,
        "time_s": campaign.time_s,
        "faults": list(campaign.faults),
        "wanted": campaign.runs,
        "done": len(tally.runs),
        "interrupted": tally.interrupted,
        **{status: tally.of(status) for status in ("valid", "invalid", "unknown")},
        "took_s": round(tally.took_s, 1),
        "runs_a_minute": round(tally.a_minute, 1),
        "out_of_time": tally.out_of_time,
        "shown": tally.shown,
        "features": {} if tally.guide is None else dict(sorted(tally.guide.met.items())),
        "curve": {} if tally.guide is None else tally.guide.curve.to_json(),
        "marks_never_met": tally.marks_never_met,
        "grid": to_json(tally.hits),
        "holes": [{"fault": fault, "role": cell.role, "phase": cell.phase} for fault, cell in holes(tally.hits, cells)],
        "never_fired": tally.never_fired,
        "runs": [run.to_json() for run in sorted(tally.runs, key=lambda run: run.number)],
    }


def save(tally: CampaignTally) -> None:
    """Write both files into the campaign's folder."""
    write_document(tally.campaign.folder / DATA_NAME, {"schema": 1, **merged(tally)})
    (tally.campaign.folder / PAGE_NAME).write_text(page(tally), encoding="utf-8")


def _cells(tally: CampaignTally) -> tuple[GridCell, ...]:
    return columns(load_algorithm(tally.campaign.algorithm))


def summary(tally: CampaignTally) -> str:
    """Return the tally in one line."""
    found = ", ".join(f"{tally.of(status)} {status}" for status in ("valid", "invalid", "unknown"))
    wanted = tally.campaign.runs
    asked = f" of {count(wanted, 'run')}" if wanted < RUNS_MAX else f" {'run' if len(tally.runs) == 1 else 'runs'}"
    return f"{len(tally.runs):,}{asked}: {found}; {tally.a_minute:.1f} a minute"


def met(tally: CampaignTally) -> list[str]:
    """Return what the runs have met, and what never, in sentences for people."""
    if tally.guide is None or not tally.runs:
        return []
    curve = tally.guide.curve
    sentences = [
        f"{len(tally.guide.met):,} features met, the last new one in run {curve.points[-1][0] if curve.points else 0:,}"
    ]
    if curve.changed_runs:
        sentences.append(
            f"new ones per run: {curve.changed_new / curve.changed_runs:.1f} by {count(curve.changed_runs, 'changed plan')}, "
            f"{curve.fresh_new / max(curve.fresh_runs, 1):.1f} by {count(curve.fresh_runs, 'fresh draw')}"
        )
    if tally.marks_never_met:
        sentences.append(f"marks that no run has reached: {', '.join(tally.marks_never_met)}")
    return sentences


class PhaseTable(NamedTuple):
    """The grid with one column for each phase: the phases, and a row for each fault."""

    phases: list[str]
    rows: list[tuple[str, list[str]]]


def by_phase(tally: CampaignTally) -> PhaseTable:
    """Return the grid by phase. A row has the fault and, for each phase, "hits at the sender+hits at the receiver"."""
    cells = _cells(tally)
    phases = list(dict.fromkeys(cell.phase or cell.role for cell in cells))
    table = [
        (
            fault,
            [
                "+".join(str(tally.hits[fault, cell]) for cell in cells if phase in (cell.phase, cell.role))
                for phase in phases
            ],
        )
        for fault in rows(tally.hits)
    ]
    return PhaseTable(phases, table)


def page(tally: CampaignTally) -> str:
    """Return the report as one HTML page that loads nothing from elsewhere."""
    heads = "".join(f"<th>{escape(cell.role)}<br>{escape(cell.phase)}</th>" for cell in _cells(tally))
    body = "".join(
        f"<tr><td>{escape(fault)}</td>{''.join(_square(tally.hits[fault, cell]) for cell in _cells(tally))}</tr>\n"
        for fault in rows(tally.hits)
    )
    never = ", ".join(tally.never_fired)
    kept = "".join(
        f"<tr><td><code>{run.number:05}</code></td><td>{run.seed}</td><td class={run.status}>{run.status}</td>"
        f"<td style='text-align:left'>{escape(run.evidence)}</td></tr>\n"
        for run in tally.kept
    )
    title = f"Campaign: {tally.campaign.algorithm}, seed {tally.campaign.seed}"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{_STYLE}</style>\n'
        f"<h1>{escape(title)}</h1><p>{escape(summary(tally))}.{' It was interrupted.' if tally.interrupted else ''}</p>\n"
        f"{''.join(f'<p>{escape(sentence)}.</p>' for sentence in (*tally.shown, *met(tally)))}\n"
        f"<h2>What was hit, and when</h2><p>How often each fault struck a node in each role and phase; red is a hole.</p>\n"
        f"<table><tr><th>fault</th>{heads}</tr>\n{body}</table>\n"
        + (f"<p>In plans, and never in force: {escape(never)}.</p>\n" if never else "")
        + (
            f"<h2>Not valid</h2><table><tr><th>run<th>seed<th>verdict<th>evidence</tr>\n{kept}</table>\n"
            if kept
            else ""
        )
        + "</html>\n"
    )


def _square(number: int) -> str:
    return f"<td class=hit>{number}</td>" if number else "<td class=hole>0</td>"
