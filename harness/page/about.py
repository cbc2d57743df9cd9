"""What a page is told of its cluster once: algorithm, nodes, messages, and the catalogue of faults."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from harness.faults.catalogue import CatalogueEntry, catalogue
from harness.page.events import cut
from harness.records.jsonable import to_jsonable
from node.algorithms import load_algorithm
from node.authors import status_of
from node.contract import Algorithm
from node.offline import replica_on_disk


def about_cluster(algorithm: str, nodes: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the facts of a cluster that never change, as plain data for JSON. `more` has further fields."""
    known = load_algorithm(algorithm)
    return {
        "algorithm": algorithm,
        "nodes": list(nodes),
        "keeps_log": known.keeps_log,
        "types": [message.type_name() for message in known.messages],
        "first_roles": _first_roles(known, tuple(nodes)),
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


def plain_catalogue() -> list[dict[str, Any]]:
    """Return each fault of the catalogue: its name, family, summary, and its parameters with their defaults."""
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "summary": cut(" ".join(entry.fault.summary.split())),
            "parameters": _parameters(entry),
        }
        for entry in catalogue()
    ]


def _parameters(entry: CatalogueEntry) -> list[Mapping[str, Any]]:
    return [
        {
            "name": name,
            "default": None if parameter.default in (None, inspect.Parameter.empty) else to_jsonable(parameter.default),
            "required": parameter.default is inspect.Parameter.empty,
        }
        for name, parameter in entry.parameters.items()
    ]
