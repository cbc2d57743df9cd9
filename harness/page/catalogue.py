"""The catalogue of faults as plain data, for the menu of the page."""

import inspect
from collections.abc import Mapping
from typing import Any

from harness.faults.catalogue import CatalogueEntry, catalogue
from harness.records.jsonable import to_jsonable
from harness.report.events import cut


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
