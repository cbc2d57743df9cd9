"""What a page is told of its cluster once: algorithm, nodes, messages, and the catalogue of faults."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from harness.faults.catalogue import CatalogueEntry, catalogue
from harness.page.events import cut
from harness.records.jsonable import to_jsonable
from node.algorithms import load_algorithm


def about_cluster(algorithm: str, nodes: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return what never changes of a cluster, as plain data for JSON. `more` has further fields."""
    known = load_algorithm(algorithm)
    return {
        "algorithm": algorithm,
        "nodes": list(nodes),
        "keeps_log": known.keeps_log,
        "types": [message.type_name() for message in known.messages],
        **more,
    }


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
