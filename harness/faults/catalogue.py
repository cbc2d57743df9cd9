"""The catalogue: every fault by its name, as plans, the command line and Python use it.

```python
with run.inject("suspend", nodes=["n2"]):        # Python: ends with the block, or with heal()
    ...
```
```json
{"fault": "suspend", "nodes": ["n2"], "at_s": 1.5, "for_s": 0.8}
```

How to add one
--------------
A fault is an object with a `name`, a `summary`, and `inject(experiment, rng, **arguments)`, which returns once it is in
force, with a handle whose `heal()` ends it. Rules for it:

1. It opens its receipt (`experiment.faults.begin`) before it does anything, sets `bit` from what an observer other than
   itself saw, and ends the receipt when all is whole again.
2. Arguments that are left out it draws from `rng`, so a step of a plan does the same every time.
3. If it signals processes, it claims them (`experiment.faults.claim`) until it is healed.

`register` it when its module is imported, and name the module in `MODULES`. `fault` does both for a function. Arguments
are told from `inject`'s signature; those whose names stand in `_CHECKS` are checked when a plan is read.

What must stand under the nodes for a fault to be possible, `harness.runs.suite` sees to by its family: "disk" gets a disk that
can fail, "clock" a clock that can be steered.

To be drawn for generated plans it needs a `draw`, which is told what may be broken at that moment (`FaultBudget`) and returns
arguments, and which nodes are then not to be counted on. Without one, a `node` is chosen for it.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from harness.records.links import CLIENT
from node.contract import BadInput, NodeId

if TYPE_CHECKING:
    from harness.faults.injector import ActiveFault

#: Where faults are registered from.
MODULES: Final = (
    "harness.faults.process_faults",
    "harness.faults.partitions",
    "harness.faults.link_faults",
    "harness.faults.disk_faults",
    "harness.faults.limit_faults",
)


class BadFault(BadInput):
    """There is no such fault, or not with such arguments. The message says what there is."""


class Fault(Protocol):
    """What can be injected."""

    @property
    def name(self) -> str:
        """What plans call it."""

    @property
    def summary(self) -> str:
        """What it does, in one line."""

    @property
    def inject(self) -> Callable[..., "ActiveFault"]:
        """Called with the experiment, a generator and named arguments: have it in force."""


@dataclass(frozen=True, slots=True)
class FaultBudget:
    """What a generated plan may break at one moment: the nodes, those whose process no fault has, how many more nodes may
    be made unavailable, and the algorithm's messages.
    """

    nodes: tuple[NodeId, ...]
    free: tuple[NodeId, ...]
    spare: int
    messages: tuple[str, ...] = ()


class DrawnArguments(NamedTuple):
    """Arguments, which nodes they take away, and whose processes."""

    arguments: dict[str, Any]
    takes: frozenset[NodeId] = frozenset()
    claims: frozenset[NodeId] = frozenset()


ArgumentDrawer: TypeAlias = Callable[[Random, FaultBudget], DrawnArguments | None]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A fault, its family, and how plans draw it: None if it does not fit in."""

    fault: Fault
    family: str
    draw: ArgumentDrawer
    weight: float

    @property
    def name(self) -> str:
        """What plans call it."""
        return self.fault.name

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Its arguments, by name."""
        parameters = list(inspect.signature(self.fault.inject).parameters.values())[2:]
        return {parameter.name: parameter for parameter in parameters}


_listed: dict[str, CatalogueEntry] = {}


def register(fault: Fault, family: str, *, draw: ArgumentDrawer | None = None, weight: float = 1.0) -> None:
    """Add a fault. `weight` is how often generated plans draw it, beside the others of its family; 0 is never."""
    if fault.name in _listed and _listed[fault.name].fault is not fault:
        raise BadFault(f"two faults are called {fault.name!r}: give one of them another name")
    _listed[fault.name] = CatalogueEntry(fault, family, draw or _any_node(fault), weight)


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    summary: str
    inject: Callable[..., "ActiveFault"]


Inject = Callable[..., "ActiveFault"]


def fault(
    name: str, family: str, *, draw: ArgumentDrawer | None = None, weight: float = 1.0
) -> Callable[[Inject], Inject]:
    """Register a function as a fault; the first line of its docstring is the summary."""

    def add(function: Inject) -> Inject:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        register(_Function(name, summary, function), family, draw=draw, weight=weight)
        return function

    return add


def _any_node(fault: Fault) -> ArgumentDrawer:
    def draw(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
        if not scene.free or scene.spare < 1:
            return None
        node = rng.choice(scene.free)
        wanted = inspect.signature(fault.inject).parameters
        arguments: dict[str, Any] = (
            {"node": node} if "node" in wanted else {"nodes": [node]} if "nodes" in wanted else {}
        )
        return DrawnArguments(arguments, frozenset({node}), frozenset({node}))

    return draw


@cache
def _loaded() -> dict[str, CatalogueEntry]:
    for module in MODULES:
        importlib.import_module(module)
    return _listed


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Every fault, family by family, in the same order whoever was imported first."""
    return tuple(sorted(_loaded().values(), key=lambda entry: (entry.family, entry.name)))


def listed(name: str) -> CatalogueEntry:
    """The fault called `name`. Raises BadFault."""
    found = _loaded().get(name)
    if found is None:
        raise BadFault(f"no fault is called {name!r}; there are {', '.join(sorted(_loaded()))}")
    return found


def of_families(*families: str) -> frozenset[str]:
    """The names of all faults of these families."""
    return frozenset(entry.name for entry in catalogue() if entry.family in families)


def choose(names: Iterable[str]) -> tuple[CatalogueEntry, ...]:
    """The faults of these names, each that of a fault or of a family. Raises BadFault."""
    chosen: dict[str, CatalogueEntry] = {}
    for name in names:
        family = [entry for entry in catalogue() if entry.family == name]
        for entry in family or [listed(name)]:
            chosen[entry.name] = entry
    if not chosen:
        raise BadFault("no fault is named: name some, or families, or leave it out for all")
    return tuple(chosen.values())


# --- arguments --------------------------------------------------------------------------------------------------------


def check(name: str, arguments: Mapping[str, Any], nodes: tuple[NodeId, ...]) -> None:
    """Raise BadFault if the fault `name` cannot be injected into `nodes` with these arguments, and say why."""
    parameters = listed(name).parameters
    for argument, value in arguments.items():
        if argument not in parameters:
            takes = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
            raise BadFault(f"{name} has no argument {argument!r}; {takes}")
        wanted, fits = _CHECKS.get(argument) or _BY_TYPE.get(str(parameters[argument].annotation), _ANYTHING)
        if not fits(value, nodes):
            raise BadFault(f"{name}: {argument} is {value!r}, and {wanted.format(nodes=', '.join(nodes))} is wanted")
    missing = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.name not in arguments
    ]
    if missing:
        raise BadFault(f"{name} needs {' and '.join(missing)}")


Check: TypeAlias = tuple[str, Callable[[Any, tuple[NodeId, ...]], bool]]


def _is_node(value: Any, nodes: tuple[NodeId, ...]) -> bool:
    return value == "leader" or value in nodes


def _are_nodes(value: Any, nodes: tuple[NodeId, ...]) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_is_node(item, nodes) for item in value)


def _are_groups(value: Any, nodes: tuple[NodeId, ...]) -> bool:
    if not (isinstance(value, list) and value and all(isinstance(group, list) and group for group in value)):
        return False
    named = [node for group in value for node in group]
    return all(node in nodes for node in named) and len(set(named)) == len(named)


def _are_links(value: Any, nodes: tuple[NodeId, ...]) -> bool:
    if isinstance(value, str):
        return value in ("nodes", "clients", "all")
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(
            isinstance(link, list) and len(link) == 2 and link[0] != link[1] and set(link) <= {*nodes, CLIENT}
            for link in value
        )
    )


def _number(least: float, most: float) -> Callable[[Any, tuple[NodeId, ...]], bool]:
    return lambda value, _: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


_ANYTHING: Final[Check] = ("anything", lambda _value, _nodes: True)
_CHECKS: Final[dict[str, Check]] = {
    "node": ("one of {nodes}, or leader", _is_node),
    "nodes": ("a list of some of {nodes}", _are_nodes),
    "senders": ("a list of some of {nodes}", _are_nodes),
    "receivers": ("a list of some of {nodes}", _are_nodes),
    "groups": ("a list of lists of some of {nodes}, each named once,", _are_groups),
    "links": ("nodes, clients, all, or a list of pairs of {nodes} and client", _are_links),
    "probability": ("a number from 0 to 1", _number(0, 1)),
}
_BY_TYPE: Final[dict[str, Check]] = {
    "<class 'float'>": ("a number from 0 to 3600", _number(0, 3600)),
    "<class 'int'>": (
        "a whole number from 0 to a billion",
        lambda value, nodes: isinstance(value, int) and _number(0, 1_000_000_000)(value, nodes),
    ),
    "<class 'str'>": ("a text", lambda value, _nodes: isinstance(value, str)),
}
