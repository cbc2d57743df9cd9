"""The final state: the decisions that each node's disk shows after the run."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from harness.records.disks import decided_on_disk
from harness.records.jsonable import canonical, shown
from harness.report.colours import answer_colours, value_colour
from harness.report.drawn_run import RunFolder
from node.algorithms import load_algorithm
from node.storage.disk import inspect

#: How many variables on which the disks differ stand on the first screen.
VARIABLES_MAX: Final = 2
#: How many further variables can be unfolded.
FOLDED_MAX: Final = 50


def final_state(run: RunFolder) -> str:
    """Return the final state as HTML, or "" if the disks cannot be read.

    Variables on which the disks differ have a row each, those of the evidence first. If the disks differ on none, one variable
    has a row. All others are folded.
    """
    by_node = decided_by_node(run)
    in_evidence = {call.key for call in run.operations if call.index in run.witnesses}
    variables = list(dict.fromkeys(key for decided in by_node.values() for key in decided))
    variables.sort(key=lambda key: (not _differ(by_node, key), key not in in_evidence))
    colours = answer_colours(run)
    first = [key for key in variables if _differ(by_node, key)][:VARIABLES_MAX] or variables[:1]
    rows = [_row(by_node, key, colours) for key in first]
    rest = variables[len(first) :]
    if rest:
        more = "".join(_row(by_node, key, colours) for key in rest[:FOLDED_MAX])
        differ = sum(_differ(by_node, key) for key in rest)
        number = f"{len(rest):,} more {'variable' if len(rest) == 1 else 'variables'}; the disks differ on {differ:,} of them"
        rows.append(f'<details class="more"><summary>{number}</summary>{more}</details>')
    return "".join(rows)


def _row(by_node: Mapping[str, Mapping[str, Any]], key: str, colours: Mapping[str, int]) -> str:
    cells = []
    for node, decided in by_node.items():
        colour = value_colour(decided[key], colours) or "" if key in decided else "none"
        text = shown(decided[key], 24) if key in decided else "undecided"
        cells.append(
            f'<span class="disk"><b>{escape(node)}</b> <span class="value {colour}">{escape(text)}</span></span>'
        )
    differ = '<span class="no">they differ</span>' if _differ(by_node, key) else ""
    title = f'<span class="of">disks after the run: <b>{escape(key)}</b></span>'
    return f'<div class="disks">{title}{"".join(cells)}{differ}</div>'


def decided_by_node(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the decided values by node and variable; nothing if the algorithm or the disks cannot be read here."""
    found: dict[str, dict[str, Any]] = {}
    if not run.is_ours:
        return found
    try:
        algorithm = load_algorithm(str(run.results["algorithm"]))
        for node in run.nodes:
            if (run.path / "nodes" / node).is_dir():
                found[node] = decided_on_disk(algorithm, run.nodes, inspect(run.path / "nodes" / node))
    except Exception as error:  # noqa: BLE001 - a user's algorithm may raise anything; the report continues without it
        if "algorithm" in run.results:
            run.gaps.append(f"The disks could not be read: {type(error).__name__} {error}")
        return {}
    return found if any(found.values()) else {}


def _differ(by_node: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    return len({canonical(decided[key]) for decided in by_node.values() if key in decided}) > 1
