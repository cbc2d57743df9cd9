"""The page: one HTML file that holds everything and asks nobody for anything.

Rules
-----
1. Whatever comes from a run goes through `html.escape`, or into the JSON block (see `diagram.py`); nothing else.
2. The page's own policy forbids every request, and every script but ours, by its digest. So even a mistake in rule 1
   would run nothing and tell nobody.
3. The first screen says what came of the run: which promises were broken, by what evidence, what the disks say.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from harness.records.jsonable import shown
from harness.records.run_folders import overall
from harness.report import charts
from harness.report.diagram import (
    answer_colours,
    answered,
    as_json_block,
    asked,
    diagram_data,
    value_colour,
    what_is_broken,
)
from harness.report.final_state import final_state
from harness.report.reading import DrawnCall, DrawnFault, RunFolder

ASSETS: Final = Path(__file__).parent / "assets"
ROWS_MAX: Final = 500
PROMISES: Final = {
    "coherence": "every computer ends with the same state",
    "conflict resolution": "many proposals are no error; one is picked",
    "no decoherence": "once anyone can see a decision, nobody ever sees another",
    "fault tolerance": "it goes on while a minority is down",
    "linearizability": "the answers have an order in which each makes sense",
    "invariants": "wire and disks keep to the protocol",
    "durability": "what was acknowledged is on the disks that must have it",
    "liveness": "everything is answered once all is whole",
    "guards": "this run was a test",
}
MARKS: Final = {"invalid": "✗", "valid": "✓", "unknown": "?", "not judged": "?"}
WORDS: Final = {"invalid": "broken", "valid": "kept", "unknown": "not shown", "not judged": "not judged"}


def page(run: RunFolder) -> str:
    """The whole file."""
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = (ASSETS / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    witnesses = run.witnesses()
    data = diagram_data(run)
    title = f"{run.results.get('algorithm', 'a run')}: {_headline(run)}"
    body = "".join(
        (
            _top(run, witnesses),
            _section("diagram", "Who sent what, and what became of it", _diagram(run, data)),
            _section(
                "over-time", "Operations by process", charts.by_process(run, witnesses), "Click to go there above."
            ),
            _section("latency", "Latency", charts.latency(run), "From asking to the answer; a cross had none."),
            _section("throughput", "Throughput", charts.throughput(run)),
            _section("faults", "What was broken, and who saw it", _receipts(run)),
            _section("operations", "What clients asked and were told", _operations(run, witnesses)),
            _section("rest", "What else the run left", _rest(run)),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{body}"
        f'<script type="application/json" id="data">{as_json_block(data)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _section(name: str, title: str, content: str, hint: str = "") -> str:
    said = f'<span class="hint">{escape(hint)}</span>' if hint else ""
    return f'<section id="{name}"><h2>{escape(title)}{said}</h2>{content}</section>'


# --- the first screen -----------------------------------------------------------------------------------------------


def _headline(run: RunFolder) -> str:
    statuses = {name: str(verdict.get("status")) for name, verdict in run.verdicts.items()}
    broken = [name for name, status in statuses.items() if status == "invalid"]
    if broken:
        return f"{_and(broken)} {'is' if len(broken) == 1 else 'are'} broken"
    untried = [name for name, status in statuses.items() if status != "valid"]
    if not statuses:
        return "this run was not judged"
    if len(untried) == len(statuses):
        return "this run has shown nothing"
    return f"no promise was broken; {_and(untried)} not shown" if untried else "every promise was kept"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _top(run: RunFolder, witnesses: Mapping[int, list[str]]) -> str:
    status = overall([str(verdict.get("status")) for verdict in run.verdicts.values()])
    results = run.results
    name = " · ".join(str(results[key]) for key in ("algorithm", "scenario", "variant") if results.get(key))
    first, last = run.span
    facts = [
        f"{len(run.nodes)} nodes",
        f"{len(run.operations):,} operations",
        f"{len(run.messages):,} messages",
        f"{len(run.faults):,} {'fault' if len(run.faults) == 1 else 'faults'}",
        f"{(last - first) / 1e9:.1f} s",
        f"seed {results.get('seed', '?')}",
    ]
    story = f'<p class="story">{escape(str(results["story"]))}</p>' if results.get("story") else ""
    disks = final_state(run)  # first: it may find that they cannot be read
    gaps = "".join(f'<p class="gap">{escape(gap)}</p>' for gap in run.gaps[:8])
    headline = _headline(run)
    return (
        f'<header class="{escape(status.replace(" ", "-"))}"><div class="line">'
        f'<span class="name">{escape(name or run.path.name)}</span>'
        f'<span class="facts">{escape(" · ".join(facts))}</span></div>'
        f'<h1><span class="mark">{MARKS.get(status, "?")}</span> {escape(headline[:1].upper() + headline[1:])}</h1>{story}'
        f"{gaps}</header>{_cards(run, witnesses)}{disks}"
    )


def _cards(run: RunFolder, witnesses: Mapping[int, list[str]]) -> str:
    order = {"invalid": 0, "unknown": 1, "valid": 2}
    ranked = sorted(run.verdicts.items(), key=lambda item: order.get(str(item[1].get("status")), 1))
    cards = []
    for name, verdict in ranked:
        status = str(verdict.get("status"))
        more = verdict.get("more")
        others = "".join(f"<li>{escape(str(line))}</li>" for line in more) if isinstance(more, list) else ""
        cards.append(
            f'<article class="card {escape(status)}"><h3><span class="mark">{MARKS.get(status, "?")}</span>{escape(name)}'
            f'<span class="word">{escape(WORDS.get(status, status))}</span></h3>'
            f'<p class="promise">{escape(PROMISES.get(name, ""))}</p>'
            f'<p class="evidence">{escape(str(verdict.get("evidence", "")))}</p>'
            + (f"<details><summary>and more</summary><ul>{others}</ul></details>" if others else "")
            + _steps(run, [index for index, names in witnesses.items() if name in names])
            + "</article>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _steps(run: RunFolder, indexes: Iterable[int]) -> str:
    """The operations of a contradiction, each of which leads to its place in the diagram."""
    wanted = set(indexes)
    found = sorted((one for one in run.operations if one.index in wanted), key=lambda one: one.ended or one.began)
    colours = answer_colours(run)
    steps = []
    for one in found[:6]:
        colour = value_colour(one.answer, colours) or ""
        steps.append(
            f'<button class="step" data-jump="{one.began // 1000}" data-operation="{one.index}">'
            f'<span class="when">{(one.ended or one.began) / 1e9:.3f} s</span> {escape(one.process)} asked '
            f"{escape(one.asked_node or 'any node')}: {escape(asked(one))} "
            f'<span class="value {colour}">{escape(answered(one))}</span></button>'
        )
    return f'<div class="steps">{"".join(steps)}</div>' if steps else ""


# --- the diagram ----------------------------------------------------------------------------------------------------


def _diagram(run: RunFolder, data: Mapping[str, Any]) -> str:
    notes = []
    if data["leftOut"]:
        total = sum(data["leftOut"].values())
        by_type = ", ".join(f"{count:,} {name}" for name, count in data["leftOut"].items())
        notes.append(
            f"This run has {len(run.messages):,} messages; {len(run.messages) - total:,} are on this page: those near a "
            f"violation and a fault, all of the rarer kinds, and of the others one in several, evenly. Left out: {by_type}. "
            "messages.jsonl has all."
        )
    if data["operationsLeftOut"]:
        notes.append(f"{data['operationsLeftOut']:,} operations are left out of the diagram; history.jsonl has all.")
    said = "".join(f'<p class="note thinned">{escape(note)}</p>' for note in notes)
    return (
        f'{said}<div class="frame"><div class="bar-of-tools" id="tools"></div>'
        '<div class="stage"><div class="scroller" id="scroller" tabindex="0" aria-label="space-time diagram, time running '
        'down; the arrow keys step from message to message"><div class="lanes" id="lanes"></div>'
        '<div class="canvas" id="canvas"></div></div>'
        '<aside id="details"><p class="hint">Point at an arrow or a bar; click to keep it. With the diagram in focus, '
        "↓ and ↑ step through the messages.</p></aside></div>"
        '<p class="note" id="drawn"></p></div>'
        '<noscript><p class="gap">The diagram is drawn by a script, and scripts are off here. The rest needs none.</p></noscript>'
    )


# --- tables ---------------------------------------------------------------------------------------------------------


def _receipts(run: RunFolder) -> str:
    if not run.faults:
        return '<p class="note">Nothing was broken.</p>'
    rows = "".join(_receipt(fault, run) for fault in run.faults[:ROWS_MAX])
    return (
        '<div class="wide"><table><thead><tr><th>fault</th><th>of</th><th class="number">from</th><th class="number">to</th>'
        f"<th>bit?</th><th>what somebody other than its injector saw</th></tr></thead><tbody>{rows}</tbody></table></div>"
        f"{_cut_off(len(run.faults))}"
    )


def _receipt(fault: DrawnFault, run: RunFolder) -> str:
    bit = '<span class="yes">it bit</span>' if fault.bit else '<span class="no">not shown</span>'
    ended = "its end" if fault.ended is None else f"{fault.ended / 1e9:.3f} s"
    return (
        f'<tr><td><button class="link" data-jump="{fault.began // 1000}">{escape(fault.name)}</button></td>'
        f'<td>{escape(what_is_broken(fault, run.nodes))}</td><td class="number">{fault.began / 1e9:.3f} s</td>'
        f'<td class="number">{ended}</td><td>{bit}</td><td>{_evidence(fault.evidence)}</td></tr>'
    )


def _evidence(evidence: Mapping[str, Any]) -> str:
    """In a line; what is counted by link is summed, and unfolds."""
    words, folded = [], ""
    for name, item in evidence.items():
        if name == "by link" and isinstance(item, dict):
            sums: dict[str, int] = {}
            for counts in item.values():
                for what, count in counts.items() if isinstance(counts, dict) else ():
                    sums[str(what)] = sums.get(str(what), 0) + (count if isinstance(count, int) else 0)
            words.append(", ".join(f"{count:,} {what}" for what, count in sums.items()))
            lines = "\n".join(f"{link}: {json.dumps(counts)}" for link, counts in item.items())
            folded = f"<details><summary>by link</summary><pre>{escape(lines)}</pre></details>"
        else:
            words.append(f"{name} {shown(item, 80)}")
    return f"{escape('; '.join(words))}{folded}"


def _operations(run: RunFolder, witnesses: Mapping[int, list[str]]) -> str:
    colours = answer_colours(run)
    ranked = sorted(run.operations, key=lambda one: one.index not in witnesses)[:ROWS_MAX]
    rows = "".join(_operation(one, witnesses, colours) for one in sorted(ranked, key=lambda one: one.index))
    return (
        '<div class="wide tall"><table><thead><tr><th class="number">at</th><th>process</th>'
        "<th>variable</th><th>asked</th><th>node</th>"
        '<th>answer</th><th>by</th><th class="number">took</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{_cut_off(len(run.operations))}"
    )


def _operation(one: DrawnCall, witnesses: Mapping[int, list[str]], colours: Mapping[str, int]) -> str:
    colour = (value_colour(one.answer, colours) if one.outcome == "ok" else None) or ""
    kind = f"{one.outcome}{' witness' if one.index in witnesses else ''}"
    took = "" if one.ended is None else charts.duration(one.ended - one.began)
    error = f' <span class="hint">{escape(str(one.error))}</span>' if one.error else ""
    return (
        f'<tr class="{escape(kind)}"><td class="number"><button class="link" data-jump="{one.began // 1000}" '
        f'data-operation="{one.index}">{one.began / 1e9:.3f} s</button></td><td>{escape(one.process)}</td>'
        f"<td>{escape(one.key)}</td><td>{escape(asked(one))}</td><td>{escape(one.asked_node or 'any')}</td>"
        f'<td><span class="value {colour}">{escape(answered(one))}</span>{error}</td><td>{escape(str(one.node or ""))}</td>'
        f'<td class="number">{escape(took)}</td></tr>'
    )


def _cut_off(total: int) -> str:
    return f'<p class="note">The table holds {ROWS_MAX:,} of {total:,}.</p>' if total > ROWS_MAX else ""


def _rest(run: RunFolder) -> str:
    parts = [
        f"<details><summary>{escape(name)}, its last lines</summary><pre>{escape(text)}</pre></details>"
        for name, text in run.logs.items()
        if text
    ]
    parts += [
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in run.extra.items()
    ]
    results = json.dumps(run.results, indent=2, ensure_ascii=False)
    parts.append(f"<details><summary>results.json</summary><pre>{escape(results)}</pre></details>")
    return "".join(parts)
