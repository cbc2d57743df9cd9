"""What a picture is about, once: the algorithm, the nodes, and the types of messages."""

from collections.abc import Sequence
from typing import Any, Final

from harness.records.links import CLIENT
from harness.report.drawn_run import RunFolder
from harness.report.predicates import ABOUT
from node.algorithms import load_algorithm
from node.authors import status_of
from node.contract import Algorithm
from node.offline import replica_on_disk

#: The algorithm of a run whose results do not name it.
_UNKNOWN: Final = "a run"


def about_cluster(algorithm: str, nodes: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the facts of a cluster that never change, as plain data for JSON. `more` has further fields."""
    known = load_algorithm(algorithm)
    return {
        "algorithm": algorithm,
        "nodes": list(nodes),
        "keeps_log": known.keeps_log,
        "types": [message.type_name() for message in known.messages],
        "first_roles": _first_roles(known, tuple(nodes)),
        "promises": ABOUT,
        **more,
    }


def _first_roles(algorithm: type[Algorithm], nodes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the role of each node that has served no variable yet, as a replica with an empty disk reports it."""
    if algorithm.keeps_log:
        return {}
    try:
        statuses = {node: status_of(replica_on_disk(algorithm, node, nodes, {})) for node in nodes}
    except Exception:  # noqa: BLE001 - a user's algorithm may raise anything; then no role is known
        return {}
    return {node: {"role": status.role, "leads": status.leads} for node, status in statuses.items()}


def about_run(run: RunFolder, predicates: Sequence[str]) -> dict[str, Any]:
    """Return the same of a recorded run, whose algorithm may not be here."""
    name = str(run.results.get("algorithm", _UNKNOWN))
    about = {"predicates": list(predicates), "live": False}
    try:
        return about_cluster(name, run.nodes, **about)
    except Exception:  # noqa: BLE001 - it is not here, or a user's module raises anything
        of_nodes = (message.type for message in run.messages if CLIENT not in (message.sender, message.receiver))
        types = list(dict.fromkeys(of_nodes))
        return {
            "algorithm": name,
            "nodes": list(run.nodes),
            "keeps_log": False,
            "types": types,
            "promises": ABOUT,
            **about,
        }
