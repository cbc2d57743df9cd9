"""The report on a campaign: `campaign.json` for programs, `campaign.html` for people, a table for the terminal."""

from html import escape
from typing import Any, Final, NamedTuple

from harness.records.jsonable import write_document
from harness.report.scripts import style
from harness.runs.campaigns.campaign import RUNS_MAX, CampaignTally
from harness.runs.campaigns.grid import IDLE, GridCell, columns, holes, rows, to_json
from node.algorithms import load_algorithm
from node.wording import count

DATA_NAME: Final = "campaign.json"
PAGE_NAME: Final = "campaign.html"

#: What this page has beside the style of the page of a run.
_STYLE: Final = """
.hole { background: var(--bad-soft); color: var(--bad); } .hit { background: var(--good-soft); color: var(--good); }
td.invalid { color: var(--bad); font-weight: 700; } td.unknown { color: var(--open); font-weight: 700; }
td.evidence { overflow-wrap: anywhere; }
.grid td, .grid th { text-align: right; } .grid td:first-child, .grid th:first-child { text-align: left; }
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
    if tally.campaign.system is None:
        return columns(load_algorithm(tally.campaign.algorithm))
    return tuple(sorted({cell for _, cell in tally.hits} | {IDLE}))  # the messages that the runs have shown


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
    """Return the report as one HTML page that loads nothing from elsewhere, in the style of the page of a run."""
    title = f"Campaign: {tally.campaign.algorithm}, seed {tally.campaign.seed}"
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    status = "invalid" if tally.of("invalid") else "unknown" if tally.of("unknown") else "valid"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style()}{_STYLE}</style></head>\n<body>'
        f'<header class="{status}"><h1>{escape(title)}</h1><p class="story">{escape(summary(tally))}.'
        f"{' It was interrupted.' if tally.interrupted else ''}</p>"
        f"{''.join(f'<p>{escape(sentence)}.</p>' for sentence in (*tally.shown, *met(tally)))}</header>\n"
        f"{_grid(tally)}{_not_valid(tally)}</body></html>\n"
    )


def _grid(tally: CampaignTally) -> str:
    heads = "".join(f"<th>{escape(cell.role)}<br>{escape(cell.phase)}</th>" for cell in _cells(tally))
    body = "".join(
        f"<tr><td>{escape(fault)}</td>{''.join(_square(tally.hits[fault, cell]) for cell in _cells(tally))}</tr>\n"
        for fault in rows(tally.hits)
    )
    never = ", ".join(tally.never_fired)
    return (
        '<section><h2>What was hit, and when<span class="hint">How often each fault struck a node in each role and phase; red is '
        f'a hole.</span></h2><div class="wide"><table class="grid"><thead><tr><th>fault</th>{heads}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
        + (f'<p class="note">In plans, and never in force: {escape(never)}.</p>' if never else "")
        + "</section>\n"
    )


def _not_valid(tally: CampaignTally) -> str:
    kept = "".join(
        f'<tr><td class="number">{run.number:05}</td><td class="number">{run.seed}</td>'
        f'<td class="{escape(run.status)}">{escape(run.status)}</td><td class="evidence">{escape(run.evidence)}</td></tr>\n'
        for run in tally.kept
    )
    if not kept:
        return ""
    return (
        '<section><h2>Not valid</h2><div class="wide"><table><thead><tr><th class="number">run</th><th class="number">seed</th>'
        f"<th>verdict</th><th>evidence</th></tr></thead>\n<tbody>{kept}</tbody></table></div></section>"
    )


def _square(number: int) -> str:
    return f'<td class="hit">{number}</td>' if number else '<td class="hole">0</td>'
