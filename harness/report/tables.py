"""The tables of the page: receipts of faults, calls of the clients and settings, as HTML. Every string of a run is escaped."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from harness.records.jsonable import shown
from harness.report.charts import duration
from harness.report.colours import answer_colours, value_colour
from harness.report.drawn_run import DrawnCall, DrawnFault, RunFolder
from harness.report.wording import answer_text, call_text, what_is_broken
from node.tuning import SETTINGS

#: How many rows a table has at most.
ROWS_MAX: Final = 500


def receipts_table(run: RunFolder) -> str:
    """Return the table of receipts, at most `ROWS_MAX` rows."""
    if not run.faults:
        return '<p class="note">The run had no faults.</p>'
    rows = "".join(_receipt(fault, run) for fault in run.faults[:ROWS_MAX])
    return (
        '<div class="wide"><table><thead><tr><th>fault</th><th>nodes or links</th>'
        '<th class="number">from</th><th class="number">to</th>'
        f"<th>bit?</th><th>what an observer other than the injector saw</th></tr></thead><tbody>{rows}</tbody></table></div>"
        f"{_limit_note(len(run.faults))}"
    )


def _receipt(fault: DrawnFault, run: RunFolder) -> str:
    bit = '<span class="yes">it bit</span>' if fault.bit else '<span class="no">no effect seen</span>'
    ended = "end of run" if fault.ended is None else f"{fault.ended / 1e9:.3f} s"
    return (
        f'<tr><td><button class="link" data-jump="{fault.began // 1000}">{escape(fault.name)}</button></td>'
        f'<td>{escape(what_is_broken(fault, run.nodes))}</td><td class="number">{fault.began / 1e9:.3f} s</td>'
        f'<td class="number">{ended}</td><td>{bit}</td><td>{_evidence(fault.evidence)}</td></tr>'
    )


def _evidence(evidence: Mapping[str, Any]) -> str:
    """Return the evidence of a receipt in one line. Counts by link are summed, and the links can be unfolded."""
    parts, folded = [], ""
    for name, item in evidence.items():
        if name == "by link" and isinstance(item, dict):
            sums: dict[str, int] = {}
            for counts in item.values():
                for what, count in counts.items() if isinstance(counts, dict) else ():
                    sums[str(what)] = sums.get(str(what), 0) + (count if isinstance(count, int) else 0)
            parts.append(", ".join(f"{count:,} {what}" for what, count in sums.items()))
            lines = "\n".join(f"{link}: {_counts(counts)}" for link, counts in item.items())
            folded = f"<details><summary>by link</summary><pre>{escape(lines)}</pre></details>"
        else:
            parts.append(f"{name} {shown(item, 80)}")
    return f"{escape('; '.join(parts))}{folded}"


def _counts(counts: Any) -> str:
    """Return the counts of one link in one line."""
    return ", ".join(f"{what} {count}" for what, count in counts.items()) if isinstance(counts, dict) else shown(counts)


def operations_table(run: RunFolder) -> str:
    """Return the table of calls, at most `ROWS_MAX` rows, among which are all witnesses."""
    colours = answer_colours(run)
    ranked = sorted(run.operations, key=lambda call: call.index not in run.witnesses)[:ROWS_MAX]
    rows = "".join(_operation(call, run.witnesses, colours) for call in sorted(ranked, key=lambda call: call.index))
    return (
        '<div class="wide tall"><table><thead><tr><th class="number">at</th><th>process</th>'
        "<th>variable</th><th>call</th><th>asked node</th>"
        '<th>answer</th><th>answered by</th><th class="number">took</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{_limit_note(len(run.operations))}"
    )


def _operation(call: DrawnCall, witnesses: Mapping[int, list[str]], colours: Mapping[str, int]) -> str:
    colour = (value_colour(call.answer, colours) if call.outcome == "ok" else None) or ""
    kind = f"{call.outcome}{' witness' if call.index in witnesses else ''}"
    took = "" if call.ended is None else duration(call.ended - call.began)
    error = f' <span class="hint">{escape(str(call.error))}</span>' if call.error else ""
    return (
        f'<tr class="{escape(kind)}"><td class="number"><button class="link" data-jump="{call.began // 1000}" '
        f'data-operation="{call.index}">{call.began / 1e9:.3f} s</button></td><td>{escape(call.process)}</td>'
        f"<td>{escape(call.key)}</td><td>{escape(call_text(call))}</td><td>{escape(call.asked_node or 'any')}</td>"
        f'<td><span class="value {colour}">{escape(answer_text(call))}</span>{error}</td><td>{escape(str(call.node or ""))}</td>'
        f'<td class="number">{escape(took)}</td></tr>'
    )


def settings_table(run: RunFolder) -> str:
    """Return the table of the settings that were not as shipped."""
    settings = run.results.get("settings")
    if not isinstance(settings, dict) or not settings:
        return '<p class="note">All settings were as shipped.</p>'
    promise = run.results.get("shrunk_for")
    needed = "" if promise is None else f" The smallest plan found that violates {promise} needs them."
    rows = "".join(_setting(str(name), value) for name, value in settings.items())
    return (
        f'<p class="note">All others were as shipped.{escape(needed)}</p><div class="wide"><table><thead><tr><th>setting</th>'
        '<th class="number">value</th><th class="number">as shipped</th><th>unit</th><th>what it is</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _setting(name: str, value: object) -> str:
    known = SETTINGS.get(name)  # a run of another version may have others
    shipped, unit, meaning = ("", "", "") if known is None else (f"{known.default:,}", known.unit, known.meaning)
    drawn = f"{value:,}" if isinstance(value, int) else shown(value)
    return (
        f'<tr><td>{escape(name)}</td><td class="number">{escape(drawn)}</td><td class="number">{shipped}</td>'
        f"<td>{escape(unit)}</td><td>{escape(meaning)}</td></tr>"
    )


def _limit_note(total: int) -> str:
    return f'<p class="note">The table shows {ROWS_MAX:,} of {total:,} rows.</p>' if total > ROWS_MAX else ""
