"""The page of a run: one HTML file that holds everything and makes no request.

Rules
-----
1. Every string of a run goes through `html.escape`, or into the JSON block (see `diagram.py`).
2. The page's own policy forbids every request, and every script except ours, which it names by its digest. So even a mistake
   in rule 1 could run no script and send no data.
3. The first screen shows the result of the run: which promises were broken, the evidence, and the decisions on the disks.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape
from typing import Final

from harness.records.run_folders import overall
from harness.report import charts
from harness.report.colours import answer_colours, value_colour
from harness.report.drawn_run import RunFolder
from harness.report.final_state import final_state
from harness.report.page_data import as_json_block, page_data
from harness.report.recorded_events import RecordedEvents
from harness.report.scripts import script, style
from harness.report.tables import operations_table, receipts_table, settings_table
from harness.report.wording import answer_text, call_text
from node.wording import count

#: What each verdict is about; the first four in the article's words.
PROMISES: Final = {
    "coherence": "every computer ends with the same state",
    "conflict resolution": "many proposals are no error; one is picked",
    "no decoherence": "once anyone can see a decision, nobody ever sees another",
    "fault tolerance": "it goes on while a minority is down",
    "linearizability": "all answers fit one order of the calls",
    "invariants": "messages and disks keep to the protocol",
    "durability": "every acknowledged value is on enough disks",
    "liveness": "every call after the heal is answered in time",
    "guards": "the run was a test",
    "echo": "each answer is what was sent",
    "unique-ids": "no id comes twice",
    "broadcast": "each node has every message in the end",
    "g-set": "each node has every element in the end",
    "g-counter": "each node has the sum in the end",
    "pn-counter": "each node has the sum in the end",
    "isolation": "transactions see each other as the level of isolation allows",
    "kafka": "no message is lost, and offsets keep their values",
    "contract": "no node fails by itself",
    "recovery": "each node comes up again on its own disk",
}
STATUS_MARKS: Final = {"invalid": "✗", "valid": "✓", "unknown": "?", "not judged": "?"}
STATUS_WORDS: Final = {"invalid": "broken", "valid": "kept", "unknown": "not shown", "not judged": "not judged"}


def page(run: RunFolder) -> str:
    """Return the whole file as text."""
    source = script()
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    recorded, data = page_data(run)
    title = f"{run.results.get('algorithm', 'a run')}: {_headline(run)}"
    body = "".join(
        (
            _first_screen(run),
            _section("moment", "The nodes at any moment", _stage(run)),
            _section("diagram", "Space-time diagram: every message and its fate", _diagram(run, recorded)),
            _section(
                "over-time",
                "Operations by process",
                charts.by_process(run, run.witnesses),
                "Click to see that time in the diagram above.",
            ),
            _section(
                "latency",
                "Latency",
                charts.latency(run),
                "The time from a call to its answer. A cross marks a call without an answer.",
            ),
            _section("throughput", "Throughput", charts.throughput(run)),
            _section("faults", "Faults, and what observers saw of them", receipts_table(run)),
            _section("settings", "Settings", settings_table(run)),
            _section("operations", "Calls of the clients, and their answers", operations_table(run)),
            _section("rest", "Other files of the run", _other_files(run)),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style()}</style></head><body>{body}"
        f'<script type="application/json" id="data">{as_json_block(data)}</script>'
        f"<script>{source}</script></body></html>\n"
    )


def _section(name: str, title: str, content: str, hint: str = "") -> str:
    hint_html = f'<span class="hint">{escape(hint)}</span>' if hint else ""
    return f'<section id="{name}"><h2>{escape(title)}{hint_html}</h2>{content}</section>'


# --- the first screen -----------------------------------------------------------------------------------------------


def _headline(run: RunFolder) -> str:
    statuses = {name: str(verdict.get("status")) for name, verdict in run.verdicts.items()}
    broken = [name for name, status in statuses.items() if status == "invalid"]
    if broken:
        return f"{_and(broken)} {'is' if len(broken) == 1 else 'are'} broken"
    untried = [name for name, status in statuses.items() if status != "valid"]
    if not statuses and run.is_under_way:
        return "this session is still running"
    if not statuses:
        return "this run was not judged"
    if len(untried) == len(statuses):
        return "this run has shown nothing"
    if untried:
        return f"no promise was broken, but {_and(untried)} {'was' if len(untried) == 1 else 'were'} not shown"
    return "every promise was kept"


def _and(names: list[str]) -> str:
    """Return names as a list for people, such as "coherence, liveness and durability"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _first_screen(run: RunFolder) -> str:
    status = overall([str(verdict.get("status")) for verdict in run.verdicts.values()])
    results = run.results
    name = " · ".join(str(results[key]) for key in ("algorithm", "scenario", "variant") if results.get(key))
    first, last = run.span
    facts = [
        f"{count(len(run.nodes), 'node')}",
        f"{len(run.operations):,} operations",
        f"{count(len(run.messages), 'message')}",
        f"{len(run.faults):,} {'fault' if len(run.faults) == 1 else 'faults'}",
        f"{(last - first) / 1e9:.1f} s",
        "still running" if run.is_under_way and not results else f"seed {results.get('seed', '?')}",
    ]
    story = f'<p class="story">{escape(str(results["story"]))}</p>' if results.get("story") else ""
    disks = final_state(run)  # before `gaps`, to which it adds a sentence if the disks cannot be read
    gaps = "".join(f'<p class="gap">{escape(gap)}</p>' for gap in run.gaps[:8])
    headline = _headline(run)
    return (
        f'<header class="{escape(status.replace(" ", "-"))}"><div class="line">'
        f'<span class="name">{escape(name or run.path.name)}</span>'
        f'<span class="facts">{escape(" · ".join(facts))}</span></div>'
        f'<h1><span class="mark">{STATUS_MARKS.get(status, "?")}</span> {escape(headline[:1].upper() + headline[1:])}</h1>{story}'
        f"{gaps}</header>{_cards(run)}{disks}"
    )


def _cards(run: RunFolder) -> str:
    """Return a card for each verdict, the invalid ones first."""
    order = {"invalid": 0, "unknown": 1, "valid": 2}
    ranked = sorted(run.verdicts.items(), key=lambda item: order.get(str(item[1].get("status")), 1))
    cards = []
    for name, verdict in ranked:
        status = str(verdict.get("status"))
        more = verdict.get("more")
        others = "".join(f"<li>{escape(str(line))}</li>" for line in more) if isinstance(more, list) else ""
        cards.append(
            f'<article class="card {escape(status)}"><h3><span class="mark">{STATUS_MARKS.get(status, "?")}</span>{escape(name)}'
            f'<span class="word">{escape(STATUS_WORDS.get(status, status))}</span></h3>'
            f'<p class="promise">{escape(PROMISES.get(name, ""))}</p>'
            f'<p class="evidence">{escape(str(verdict.get("evidence", "")))}</p>'
            + (f"<details><summary>further violations</summary><ul>{others}</ul></details>" if others else "")
            + _witness_buttons(run, [index for index, names in run.witnesses.items() if name in names])
            + "</article>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _witness_buttons(run: RunFolder, indexes: Iterable[int]) -> str:
    """Return a button for each of these calls, at most six, which leads to its place in the diagram."""
    wanted = set(indexes)
    found = sorted((call for call in run.operations if call.index in wanted), key=lambda call: call.ended or call.began)
    colours = answer_colours(run)
    buttons = []
    for call in found[:6]:
        colour = value_colour(call.answer, colours) or ""
        buttons.append(
            f'<button class="step" data-jump="{call.began // 1000}" data-operation="{call.index}">'
            f'<span class="when">{(call.ended or call.began) / 1e9:.3f} s</span> {escape(call.process)} asked '
            f"{escape(call.asked_node or 'any node')}: {escape(call_text(call))} "
            f'<span class="value {colour}">{escape(answer_text(call))}</span></button>'
        )
    return f'<div class="steps">{"".join(buttons)}</div>' if buttons else ""


# --- the nodes at a moment ---


def _stage(run: RunFolder) -> str:
    many = len({call.key for call in run.operations}) > 1
    hint = " Of several variables it shows the one that is chosen at the diagram, or what is newest." if many else ""
    return (
        '<div class="frame stage" id="stage"><div class="player" id="player"></div><div class="stage-body">'
        '<div id="picture"></div><div class="stage-side"><div id="predicates"></div>'
        '<h4>Calls of clients</h4><ul id="calls"></ul><p id="legend"></p>'
        '<button id="save-ring">Save as SVG</button></div></div>'
        f'<p class="note">The picture shows what the record has shown until this moment.{hint} A dashed label is a value '
        "that a node has voted for or accepted; a filled one with ✓ is what it knows as decided. "
        "A bar across a link is a cut.</p></div>"
    )


# --- the diagram ----------------------------------------------------------------------------------------------------


def _diagram(run: RunFolder, recorded: RecordedEvents) -> str:
    notes = []
    if not run.messages:
        how = ": `consensus up` without `--no-record` records them" if run.results.get("by_hand") else ""
        notes.append(f"No message of this run was recorded{how}.")
    if run.messages_limit:
        last = max(message.time for message in run.messages) / 1e9
        ends = f"The record of messages ends at {last:.1f} s, at its limit of {run.messages_limit // 2**20} MiB."
        notes.append(ends + (" `consensus up --record` has none." if run.results.get("by_hand") else ""))
    if recorded.left_out:
        total = sum(recorded.left_out.values())
        by_type = ", ".join(f"{count:,} {name}" for name, count in recorded.left_out.items())
        notes.append(
            f"This run has {count(len(run.messages), 'message')}; {len(run.messages) - total:,} are on this page: those near a "
            f"violation or a fault, all of the rarer kinds, and an even selection of the others. Left out: {by_type}. "
            "messages.jsonl has all messages."
        )
    if recorded.calls_left_out:
        notes.append(
            f"{recorded.calls_left_out:,} operations are left out of the diagram. history.jsonl has all operations."
        )
    notes_html = "".join(f'<p class="note thinned">{escape(note)}</p>' for note in notes)
    return (
        f'{notes_html}<div class="frame"><div class="bar-of-tools" id="tools"></div>'
        '<div class="scroll-frame"><div class="scroller" id="scroller" tabindex="0" aria-label="space-time diagram; time runs '
        'down, and the arrow keys step from message to message"><div class="lanes" id="lanes"></div>'
        '<div class="canvas" id="canvas"></div></div><aside id="details" hidden></aside></div>'
        '<p class="note">Point at an arrow or a bar for its details; click to keep them, and to see that moment above. When the '
        'diagram has the focus, ↓ and ↑ step through the messages. <span id="drawn"></span></p></div>'
        '<noscript><p class="gap">A script draws the diagram, and scripts are disabled here. '
        "The rest of the page needs none.</p></noscript>"
    )


# --- other files ---


def _other_files(run: RunFolder) -> str:
    parts = [
        f"<details><summary>{escape(name)}: the last lines</summary><pre>{escape(text)}</pre></details>"
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
