"""`consensus faults`: lists the catalogue of faults."""

import inspect
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.convention import print_json, print_wrapped, verb

if TYPE_CHECKING:
    from harness.faults.catalogue import CatalogueEntry


@verb()
@click.argument("name", required=False)
@click.pass_obj
def faults(_root: Path, name: str | None, as_json: bool) -> None:
    """List every fault, or show the fault or the family NAME with its arguments.

    The same names are used by `consensus test --faults`, by the steps of a plan, and by `run.inject` in Python.
    """
    from harness.faults.catalogue import catalogue, choose_faults  # noqa: PLC0415 - see harness.cli.verbs

    entries = catalogue() if name is None else choose_faults([name])
    if as_json:
        print_json(faults=[_plain(entry) for entry in entries])
    elif name is None:
        _print_all(entries)
    else:
        for entry in entries:
            _print_one(entry)


def _default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is inspect.Parameter.empty else parameter.default


def _plain(entry: "CatalogueEntry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "family": entry.family,
        "summary": entry.fault.summary,
        "arguments": {argument: _default(parameter) for argument, parameter in entry.parameters.items()},
    }


def _print_all(entries: "tuple[CatalogueEntry, ...]") -> None:
    wide = max(len(entry.name) for entry in entries)
    family = ""
    for entry in entries:
        if entry.family != family:
            family = entry.family
            print(f"{family}:")
        print_wrapped(f"  {entry.name:<{wide}}  {entry.fault.summary}", " " * (wide + 4))
    print("\n`consensus faults NAME` shows a fault's arguments.")


def _print_one(entry: "CatalogueEntry") -> None:
    example = {
        argument: _EXAMPLES.get(argument, _default(parameter)) for argument, parameter in entry.parameters.items()
    }
    given = {argument: value for argument, value in example.items() if value is not None}
    python = "".join(f", {argument}={value!r}" for argument, value in given.items())
    print_wrapped(f"{entry.name}: {entry.fault.summary}.")
    for argument, parameter in entry.parameters.items():
        missing = parameter.default is inspect.Parameter.empty
        default = "required" if missing else "drawn" if parameter.default is None else f"{parameter.default!r}"
        print(f"  {argument:<12} {default if missing else f'if left out: {default}'}")
    after = " " * len("  in Python      ")
    print_wrapped(f'  in Python      with run.inject("{entry.name}"{python}): ...', after)
    print_wrapped(f"  in a plan      {json.dumps({'at_s': 1.0, 'fault': entry.name, **given, 'for_s': 1.0})}", after)
    print(f"  from a shell   consensus test paxos --faults {entry.name}")
    shell = "".join(f" {shlex.quote(f'{argument}={_word(value)}')}" for argument, value in given.items())
    print(f"  by hand        consensus inject {entry.name}{shell}")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_EXAMPLES = {
    "node": "n1",
    "nodes": ["n1", "n2"],
    "senders": ["n1"],
    "receivers": ["n2", "n3"],
    "groups": [["n1", "n2"], ["n3", "n4", "n5"]],
    "message": "Promise",
}
