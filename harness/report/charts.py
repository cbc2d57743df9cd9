"""The drawings that do not scroll: operations by process, latency, and throughput, as SVG with time running right.

Rules
-----
1. Every string is escaped where it enters the text.
2. A drawing holds a bounded number of shapes: beyond `DOTS_MAX` operations the latency is drawn as quantiles of 120 spans,
   and beyond `ROWS_MAX` processes the rest is counted, not drawn.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from harness.report.diagram import answer_colours, answered, asked, value_colour
from harness.report.reading import DrawnCall, RunFolder

WIDTH: Final = 1400
LEFT: Final = 92
RIGHT: Final = 16
DOTS_MAX: Final = 1500
BARS_MAX: Final = 3000
ROWS_MAX: Final = 32
ROW: Final = 26
SPANS: Final = 120

Scale = Callable[[float], float]


def _time_scale(run: RunFolder) -> Scale:
    first, last = run.span
    length = max(last - first, 1)
    return lambda time: LEFT + (time - first) / length * (WIDTH - LEFT - RIGHT)


def _ticks(run: RunFolder, x: Scale, top: float, bottom: float) -> str:
    """The time axis: about ten round times, with lines."""
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
    """1, 2 or 5 times a power of ten, at least `about`."""
    if about <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(about))
    return next(float(f"{factor * power:.6g}") for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)


def _fault_bands(run: RunFolder, x: Scale, top: float, bottom: float) -> str:
    """When something was broken, by kind; what overlaps is one band."""
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
    """A row a process, a bar an operation, coloured by what it was told."""
    processes = list(dict.fromkeys(one.process for one in run.operations))
    # A process with a witness must be seen.
    processes.sort(key=lambda name: not any(one.process == name and one.index in witnesses for one in run.operations))
    rows = {name: place for place, name in enumerate(_naturally(processes[:ROWS_MAX]))}
    bottom = 8 + ROW * len(rows)
    x, colours = _time_scale(run), answer_colours(run)
    of_rows = [one for one in run.operations if one.process in rows]
    step = max(1, -(-len(of_rows) // BARS_MAX))
    drawn = [one for number, one in enumerate(of_rows) if number % step == 0 or one.index in witnesses]
    parts = [_fault_bands(run, x, 0, bottom), _ticks(run, x, 0, bottom)]
    for name, place in rows.items():
        parts.append(f'<text class="row" x="{LEFT - 10}" y="{8 + ROW * place + 15}">{escape(name)}</text>')
    parts += [_bar(run, one, rows[one.process], x, witnesses, colours) for one in drawn]
    notes = []
    if len(processes) > len(rows):
        notes.append(f"{len(rows)} of {len(processes):,} processes are drawn.")
    if step > 1:
        notes.append(f"{len(drawn):,} of {len(of_rows):,} operations are drawn.")
    note = f'<p class="note">{" ".join(notes)}</p>' if notes else ""
    return _svg(bottom + 24, "operations by process", "".join(parts)) + note


def _bar(
    run: RunFolder,
    one: DrawnCall,
    row: int,
    x: Scale,
    witnesses: Mapping[int, list[str]],
    colours: Mapping[str, int],
) -> str:
    left = x(one.began)
    width = max(x(run.span[1] if one.ended is None else one.ended) - left, 4)
    top = 8 + ROW * row
    text = f"{asked(one)} → {answered(one)}"
    kind = f"{one.outcome}{' witness' if one.index in witnesses else ''}"
    colour = value_colour(one.answer, colours) if one.outcome == "ok" else None
    label = ""
    if width > 6.4 * len(text) + 10:
        label = f'<text class="on-bar" x="{left + 6:.1f}" y="{top + 15}">{escape(text)}</text>'
    return (
        f'<g class="bar {kind} {colour or ""}"><rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 6}" '
        f'rx="3"><title>{escape(one.process)}: {escape(text)}</title></rect>{label}</g>'
    )


def _naturally(names: Sequence[str]) -> list[str]:
    """c2 before c10."""
    return sorted(names, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def latency(run: RunFolder) -> str:
    """How long answers took, on a logarithmic scale; what had none stands as a cross at the time of giving up."""
    height, top, bottom = 210, 12, 182
    x = _time_scale(run)
    waits = [one.ended - one.began for one in run.operations if one.ended is not None]
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
        parts += [_dot(one, x, y) for one in run.operations]
    else:
        parts.append(_quantiles(run, x, y))
        note = (
            f'<p class="note">{len(run.operations):,} operations: the lines are the median and the 99th percentile.</p>'
        )
    return _svg(height, "latency over time", "".join(parts)) + note


def _dot(one: DrawnCall, x: Scale, y: Scale) -> str:
    if one.ended is None:
        return ""
    told = f"{one.process}: {asked(one)} → {answered(one)}, {duration(one.ended - one.began)}"
    text = f"<title>{escape(told)}</title>"
    at, height = x(one.ended), y(one.ended - one.began)
    if one.outcome == "ok":
        return f'<circle class="dot ok" cx="{at:.1f}" cy="{height:.1f}" r="4.5">{text}</circle>'
    cross = f"M{at - 4:.1f} {height - 4:.1f}l8 8m0 -8l-8 8"
    return f'<path class="dot {one.outcome}" d="{cross}">{text}</path>'


def _quantiles(run: RunFolder, x: Scale, y: Scale) -> str:
    first, last = run.span
    spans: list[list[int]] = [[] for _ in range(SPANS)]
    for one in run.operations:
        if one.ended is not None:
            spans[min((one.ended - first) * SPANS // max(last - first, 1), SPANS - 1)].append(one.ended - one.began)
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
    """Answered operations a second, and messages a second."""
    height, top, bottom = 170, 12, 142
    x = _time_scale(run)
    first, last = run.span
    length_s = max((last - first) / 1e9 / SPANS, 1e-9)
    parts = [_fault_bands(run, x, top, bottom), _ticks(run, x, top, bottom)]
    series = {
        "messages": [message.time for message in run.messages],
        "operations": [one.ended for one in run.operations if one.ended is not None and one.outcome == "ok"],
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
        legend.append(f'<span class="key {name}">{name}, at most {most / length_s:,.0f} a second</span>')
    return _svg(height, "throughput over time", "".join(parts)) + f'<p class="note">{" ".join(legend)}</p>'


def duration(nanoseconds: float) -> str:
    """A time for people."""
    for limit, unit, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / unit:.3g} {name}"
    return f"{nanoseconds / 1e9:.3g} s"
