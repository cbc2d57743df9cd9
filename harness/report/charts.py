"""The charts of the page: calls by process, latency and throughput, as SVG in which time runs to the right.

Rules
-----
1. Every string is escaped where it enters the text.
2. A chart has a bounded number of shapes. Beyond `DOTS_MAX` calls, the latency is drawn as quantiles of 120 spans of time.
   Beyond `ROWS_MAX` processes, a note says how many are drawn.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from harness.report.colours import answer_colours, value_colour
from harness.report.drawn_run import DrawnCall, RunFolder
from harness.report.wording import answer_text, call_text

#: The width of a chart and of its margins, in units of the SVG.
WIDTH: Final = 1400
LEFT: Final = 92
RIGHT: Final = 16
#: How many calls the latency chart draws as dots at most.
DOTS_MAX: Final = 1500
#: How many calls the chart by process draws at most.
BARS_MAX: Final = 3000
#: How many processes the chart by process draws at most.
ROWS_MAX: Final = 32
#: The height of a process's row.
ROW: Final = 26
#: Into how many spans of time the charts divide a run.
SPANS: Final = 120

#: Takes a time or a duration in nanoseconds, and returns a coordinate.
Scale = Callable[[float], float]


def _time_scale(run: RunFolder) -> Scale:
    first, last = run.span
    length = max(last - first, 1)
    return lambda time: LEFT + (time - first) / length * (WIDTH - LEFT - RIGHT)


def _ticks(run: RunFolder, x: Scale, top: float, bottom: float) -> str:
    """Return the time axis: about ten round times, each with a line."""
    first, last = (time / 1e9 for time in run.span)
    step = nice_step((last - first) / 10)
    number = math.ceil(first / step)
    parts = []
    while number * step <= last:
        at = x(number * step * 1e9)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{number * step:g} s</text>'
        )
        number += 1
    return "".join(parts)


def nice_step(about: float) -> float:
    """Return a round number that is at least `about`: 1, 2 or 5 times a power of ten."""
    if about <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(about))
    return next(float(f"{factor * power:.6g}") for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)


def _fault_bands(run: RunFolder, x: Scale, top: float, bottom: float) -> str:
    """Return bands for the times of faults, by kind. Bands of one kind that overlap are one band."""
    last = run.span[1]
    times: dict[str, list[tuple[int, int]]] = {"links": [], "suspended": [], "down": []}
    for fault in sorted(run.faults, key=lambda fault: fault.began):
        kind = "links" if not fault.nodes else "suspended" if fault.name == "suspend" else "down"
        began, ended = fault.began, last if fault.ended is None else fault.ended
        if times[kind] and began <= times[kind][-1][1]:
            began, ended = times[kind][-1][0], max(times[kind].pop()[1], ended)
        times[kind].append((began, ended))
    return "".join(
        f'<rect class="band {kind}" x="{x(began):.1f}" y="{top}" width="{max(x(ended) - x(began), 2):.1f}" '
        f'height="{bottom - top}"/>'
        for kind, spans in times.items()
        for began, ended in spans
    )


def _svg(height: float, title: str, content: str, jumps: bool = True) -> str:
    jump = f' data-left="{LEFT}" data-right="{RIGHT}"' if jumps else ""
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"{jump}>{content}</svg>'


def by_process(run: RunFolder, witnesses: Mapping[int, list[str]]) -> str:
    """Return the chart with a row for each process, and a bar for each call in the colour of its answer."""
    processes = list(dict.fromkeys(call.process for call in run.operations))
    with_witness = {call.process for call in run.operations if call.index in witnesses}
    processes.sort(key=lambda name: name not in with_witness)  # so that these are among the rows that are drawn
    rows = {name: place for place, name in enumerate(_in_natural_order(processes[:ROWS_MAX]))}
    bottom = 8 + ROW * len(rows)
    x, colours = _time_scale(run), answer_colours(run)
    in_rows = [call for call in run.operations if call.process in rows]
    step = max(1, -(-len(in_rows) // BARS_MAX))
    drawn = [call for number, call in enumerate(in_rows) if number % step == 0 or call.index in witnesses]
    parts = [_fault_bands(run, x, 0, bottom), _ticks(run, x, 0, bottom)]
    for name, place in rows.items():
        parts.append(f'<text class="row" x="{LEFT - 10}" y="{8 + ROW * place + 15}">{escape(name)}</text>')
    parts += [_bar(run, call, rows[call.process], x, witnesses, colours) for call in drawn]
    notes = []
    if len(processes) > len(rows):
        notes.append(f"{len(rows)} of {len(processes):,} processes are drawn.")
    if step > 1:
        notes.append(f"{len(drawn):,} of {len(in_rows):,} operations are drawn.")
    note = f'<p class="note">{" ".join(notes)}</p>' if notes else ""
    return _svg(bottom + 24, "operations by process", "".join(parts)) + note


def _bar(
    run: RunFolder,
    call: DrawnCall,
    row: int,
    x: Scale,
    witnesses: Mapping[int, list[str]],
    colours: Mapping[str, int],
) -> str:
    left = x(call.began)
    width = max(x(run.span[1] if call.ended is None else call.ended) - left, 4)
    top = 8 + ROW * row
    text = f"{call_text(call)} → {answer_text(call)}"
    kind = f"{call.outcome}{' witness' if call.index in witnesses else ''}"
    colour = value_colour(call.answer, colours) if call.outcome == "ok" else None
    label = ""
    if width > 6.4 * len(text) + 10:
        label = f'<text class="on-bar" x="{left + 6:.1f}" y="{top + 15}">{escape(text)}</text>'
    return (
        f'<g class="bar {kind} {colour or ""}"><rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 6}" '
        f'rx="3"><title>{escape(call.process)}: {escape(text)}</title></rect>{label}</g>'
    )


def _in_natural_order(names: Sequence[str]) -> list[str]:
    """Return names in the order of their numbers, so that c2 comes before c10."""
    return sorted(names, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def latency(run: RunFolder) -> str:
    """Return the chart of latencies, on a logarithmic scale.

    A call without an answer is a cross at the time when the client gave up.
    """
    height, top, bottom = 210, 12, 182
    x = _time_scale(run)
    waits = [call.ended - call.began for call in run.operations if call.ended is not None]
    if not waits:
        return '<p class="note">No operation ended.</p>'
    low = math.floor(math.log10(max(min(waits), 10_000)))
    high = max(math.ceil(math.log10(max(*waits, 10_000, 1))), low + 1)

    def y(wait: float) -> float:
        return bottom - (math.log10(max(wait, 10.0**low)) - low) / (high - low) * (bottom - top)

    parts = [_fault_bands(run, x, top, bottom), _ticks(run, x, top, bottom)]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="row" x="{LEFT - 10}" y="{at + 5:.1f}">{escape(duration(10**power))}</text>')
    note = ""
    if len(run.operations) <= DOTS_MAX:
        parts += [_dot(call, x, y) for call in run.operations]
    else:
        parts.append(_quantiles(run, x, y))
        note = f'<p class="note">{len(run.operations):,} operations. The lines show the median and the 99th percentile.</p>'
    return _svg(height, "latency over time", "".join(parts)) + note


def _dot(call: DrawnCall, x: Scale, y: Scale) -> str:
    if call.ended is None:
        return ""
    title = f"{call.process}: {call_text(call)} → {answer_text(call)}, {duration(call.ended - call.began)}"
    text = f"<title>{escape(title)}</title>"
    at, height = x(call.ended), y(call.ended - call.began)
    if call.outcome == "ok":
        return f'<circle class="dot ok" cx="{at:.1f}" cy="{height:.1f}" r="4.5">{text}</circle>'
    cross = f"M{at - 4:.1f} {height - 4:.1f}l8 8m0 -8l-8 8"
    return f'<path class="dot {call.outcome}" d="{cross}">{text}</path>'


def _quantiles(run: RunFolder, x: Scale, y: Scale) -> str:
    first, last = run.span
    spans: list[list[int]] = [[] for _ in range(SPANS)]
    for call in run.operations:
        if call.ended is not None:
            span = min((call.ended - first) * SPANS // max(last - first, 1), SPANS - 1)
            spans[span].append(call.ended - call.began)
    parts = []
    for name, share in (("p99", 0.99), ("p50", 0.5)):
        points = [
            f"{x(first + (place + 0.5) * (last - first) / SPANS):.1f},{y(sorted(waits)[int(share * (len(waits) - 1))]):.1f}"
            for place, waits in enumerate(spans)
            if waits
        ]
        parts.append(f'<polyline class="line {name}" points="{" ".join(points)}"/>')
    return "".join(parts)


def throughput(run: RunFolder) -> str:
    """Return the chart of answered calls and of messages per second."""
    height, top, bottom = 170, 12, 142
    x = _time_scale(run)
    first, last = run.span
    length_s = max((last - first) / 1e9 / SPANS, 1e-9)
    parts = [_fault_bands(run, x, top, bottom), _ticks(run, x, top, bottom)]
    series = {
        "messages": [message.time for message in run.messages],
        "operations": [call.ended for call in run.operations if call.ended is not None and call.outcome == "ok"],
    }
    legend = []
    for name, times in series.items():
        counts = [0] * SPANS
        for time in times:
            counts[min((time - first) * SPANS // max(last - first, 1), SPANS - 1)] += 1
        most = max(*counts, 1)
        steps = [f"M{LEFT} {bottom}"]
        for place, count in enumerate(counts):
            level = bottom - count / most * (bottom - top)
            steps.append(f"V{level:.1f}H{x(first + (place + 1) * (last - first) / SPANS):.1f}")
        parts.append(f'<path class="area {name}" d="{"".join(steps)}V{bottom}Z"/>')
        legend.append(f'<span class="key {name}">{name}, at most {most / length_s:,.0f} per second</span>')
    return _svg(height, "throughput over time", "".join(parts)) + f'<p class="note">{" ".join(legend)}</p>'


def duration(nanoseconds: float) -> str:
    """Return a duration as text with a unit, such as "1.5 ms"."""
    for limit, unit, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / unit:.3g} {name}"
    return f"{nanoseconds / 1e9:.3g} s"
