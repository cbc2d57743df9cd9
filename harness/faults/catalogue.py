"""The catalogue: every fault by its name, as plans, the command line and Python use it.

```python
with run.inject("suspend", nodes=["n2"]):        # Python: the fault ends with the block, or with heal()
    ...
```
```json
{"fault": "suspend", "nodes": ["n2"], "at_s": 1.5, "for_s": 0.8}
```

How to add a fault
------------------
A fault is an object with a `name`, a `summary`, and `inject(experiment, rng, **arguments)`. `inject` returns when the
fault is in force. It returns a handle whose `heal()` ends the fault. Its rules:

1. It opens its receipt (`experiment.faults.begin`) before it does anything. It sets `bit` from what an observer other
   than the fault itself saw. It ends the receipt when everything that it broke is whole again.
2. Its `excuse` says what no judge may blame an algorithm for meanwhile, and the receipt says the same for its arguments.
3. It draws the arguments that are left out from `rng`, so that a step of a plan does the same in every run.
4. If it signals processes, it claims them (`experiment.faults.claim`) until it is healed.

Call `register` when the module of the fault is imported, and list the module in `MODULES`. For a function, the
decorator `fault` calls `register`. The arguments of a fault are the parameters of its `inject`; when a plan is read,
`check_arguments` checks their names, and their values by `_CHECKS` or by their type.

The faults of the families "disk" and "grey" need nodes with a disk that can fail. `harness.faults.prerequisites` says which
arguments of an experiment provide them.

Generated plans draw a fault with its `draw` function. It receives what the plan may break at that moment (a
`FaultBudget`) and returns arguments, and the nodes that the plan must not count on meanwhile. Without a `draw`
function, a node is chosen for it.
"""

import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from harness.faults.excuses import NO_EXCUSE, Excuse
from harness.faults.roles import ROLES
from harness.records.links import CLIENT
from node.algorithms import load_algorithm
from node.contract import BadInput, NodeId
from node.wording import nearest

if TYPE_CHECKING:
    from harness.faults.active import ActiveFault

#: The modules whose import registers faults.
MODULES: Final = (
    "harness.faults.process_faults",
    "harness.faults.partitions",
    "harness.faults.role_faults",
    "harness.faults.member_faults",
    "harness.faults.link_faults",
    "harness.faults.stream_faults",
    "harness.faults.disk_faults",
    "harness.faults.grey_faults",
    "harness.faults.limit_faults",
    "harness.faults.clock_faults",
)


class BadFault(BadInput):
    """There is no such fault, or it does not take these arguments. The message names what exists."""


class Fault(Protocol):
    """A kind of fault, which can be injected any number of times."""

    @property
    def name(self) -> str:
        """The name of the fault in plans."""

    @property
    def summary(self) -> str:
        """The effect of the fault, in one line."""

    @property
    def inject(self) -> Callable[..., "ActiveFault"]:
        """The function that puts the fault in force. It takes the experiment, a generator and named arguments."""


@dataclass(frozen=True, slots=True)
class FaultBudget:
    """What a generated plan may break at one moment.

    `nodes` are all nodes. `free` are the nodes whose process no fault has claimed. `spare` is how many more nodes may become
    unavailable. `messages` are the names of the algorithm's messages. `keeps_log` says whether it keeps a log, and
    `changes_members` whether that log can change its members. `hand_over` names the message by which its leader hands over; it is
    empty if there is none.
    """

    nodes: tuple[NodeId, ...]
    free: tuple[NodeId, ...]
    spare: int
    messages: tuple[str, ...] = ()
    keeps_log: bool = False
    changes_members: bool = False
    hand_over: str = ""


class DrawnArguments(NamedTuple):
    """The arguments of a fault in a generated plan.

    `takes` are the nodes that the fault makes unavailable, or the roles of those that it finds when it strikes. `claims` are the
    nodes whose processes it claims.
    """

    arguments: dict[str, Any]
    takes: frozenset[NodeId] = frozenset()
    claims: frozenset[NodeId] = frozenset()


#: Draws arguments within a budget, or returns None if the fault does not fit into it.
ArgumentDrawer: TypeAlias = Callable[[Random, FaultBudget], DrawnArguments | None]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A fault with its family, its excuse, its `draw` function for generated plans, how often they draw it, and for how long.

    `least_s` is the shortest time, in seconds, for which a generated plan puts it in force, if the plan is long enough.
    """

    fault: Fault
    family: str
    excuse: Excuse
    draw: ArgumentDrawer
    weight: float
    least_s: float = 0.0

    @property
    def name(self) -> str:
        """The name of the fault in plans."""
        return self.fault.name

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the fault, by name."""
        parameters = list(inspect.signature(self.fault.inject).parameters.values())[2:]
        return {parameter.name: parameter for parameter in parameters}


_registered: dict[str, CatalogueEntry] = {}


def register(
    fault: Fault,
    family: str,
    excuse: Excuse = NO_EXCUSE,
    *,
    draw: ArgumentDrawer | None = None,
    weight: float = 1.0,
    least_s: float = 0.0,
) -> None:
    """Add a fault to the catalogue.

    Args:
        fault: the fault. Its name must be new.
        family: its family, such as "process" or "cut".
        excuse: what its receipt excuses, as little as can be argued.
        draw: draws its arguments for generated plans. By default a node is drawn for an argument `node` or `nodes`.
        weight: how often generated plans draw it, relative to the other faults of its family. With 0 they draw it only
            if it, or its family, is named.
        least_s: the shortest time for which generated plans put it in force, in seconds.

    Raises:
        BadFault: another fault has the same name.
    """
    if fault.name in _registered and _registered[fault.name].fault is not fault:
        raise BadFault(f"two faults are called {fault.name!r}: give one of them another name")
    _registered[fault.name] = CatalogueEntry(fault, family, excuse, draw or _draw_any_node(fault), weight, least_s)


Inject = Callable[..., "ActiveFault"]


@dataclass(frozen=True, slots=True)
class _FunctionFault:
    """A fault whose `inject` is a function."""

    name: str
    summary: str
    inject: Inject


def fault(
    name: str,
    family: str,
    excuse: Excuse = NO_EXCUSE,
    *,
    draw: ArgumentDrawer | None = None,
    weight: float = 1.0,
    least_s: float = 0.0,
) -> Callable[[Inject], Inject]:
    """Return a decorator that registers a function as a fault. The first line of its docstring is the summary.

    The arguments are those of `register`.
    """

    def add(function: Inject) -> Inject:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        register(_FunctionFault(name, summary, function), family, excuse, draw=draw, weight=weight, least_s=least_s)
        return function

    return add


def _draw_any_node(fault: Fault) -> ArgumentDrawer:
    def draw(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if not budget.free or budget.spare < 1:
            return None
        node = rng.choice(budget.free)
        parameters = inspect.signature(fault.inject).parameters
        arguments: dict[str, Any] = (
            {"node": node} if "node" in parameters else {"nodes": [node]} if "nodes" in parameters else {}
        )
        return DrawnArguments(arguments, frozenset({node}), frozenset({node}))

    return draw


@cache
def _all_registered() -> dict[str, CatalogueEntry]:
    for module in MODULES:
        importlib.import_module(module)
    return _registered


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Return all faults, ordered by family and name."""
    return tuple(sorted(_all_registered().values(), key=lambda entry: (entry.family, entry.name)))


def find_fault(name: str) -> CatalogueEntry:
    """Return the entry of the fault `name`.

    Raises:
        BadFault: there is no such fault.
    """
    found = _all_registered().get(name)
    if found is None:
        names = (*sorted(_all_registered()), *sorted({entry.family for entry in catalogue()}))
        raise BadFault(f"no fault is called {name!r}: {nearest(name, names, '`consensus faults` lists them')}")
    return found


def names_of_families(*families: str) -> frozenset[str]:
    """Return the names of all faults of these families."""
    return frozenset(entry.name for entry in catalogue() if entry.family in families)


def choose_faults(names: Iterable[str]) -> tuple[CatalogueEntry, ...]:
    """Return the entries for `names`. Each name is that of a fault or of a family.

    Raises:
        BadFault: a name is unknown, or there are no names.
    """
    chosen: dict[str, CatalogueEntry] = {}
    for name in names:
        family = [entry for entry in catalogue() if entry.family == name]
        for entry in family or [find_fault(name)]:
            chosen[entry.name] = entry
    if not chosen:
        raise BadFault("no fault is named: name faults or families, or leave the names out for all faults")
    return tuple(chosen.values())


# --- arguments --------------------------------------------------------------------------------------------------------


def check_arguments(name: str, arguments: Mapping[str, Any], nodes: tuple[NodeId, ...]) -> None:
    """Check the arguments of the fault `name` for a cluster of `nodes`.

    Raises:
        BadFault: there is no such fault, or an argument is unknown, missing or has a value that is not allowed.
    """
    parameters = find_fault(name).parameters
    for argument, value in arguments.items():
        if argument not in parameters:
            takes = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
            raise BadFault(f"{name} has no argument {argument!r}; {takes}")
        check = _CHECKS.get(argument) or _CHECKS_BY_TYPE.get(str(parameters[argument].annotation), _ANY_VALUE)
        if not check.fits(value, nodes):
            expected = check.expected.format(nodes=", ".join(nodes))
            raise BadFault(f"{name}: {argument} is {value!r}, but must be {expected}")
    missing = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.name not in arguments
    ]
    if missing:
        raise BadFault(f"{name} needs {' and '.join(missing)}")


def message_types(algorithm: str) -> tuple[str, ...]:
    """Return the types of the messages that nodes of an algorithm send each other. Raises UnknownAlgorithm."""
    return tuple(message.type_name() for message in load_algorithm(algorithm).messages)


def check_message(algorithm: str, message: str, sent: Collection[str] | None) -> None:
    """Check that nodes of an algorithm, which send each other messages of the types `sent` (None: of any), send this one.

    Raises:
        BadFault: they do not, so a fault would wait for ever.
    """
    if sent is not None and message not in sent:
        raise BadFault(f"{algorithm} sends no {message!r}: {nearest(message, sorted(sent))}")


def split_lists(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with words such as "n1,n2" as lists, where an argument is a list of nodes."""
    return {
        name: value.split(",") if isinstance(value, str) and _CHECKS.get(name) is _LIST_OF_NODES else value
        for name, value in arguments.items()
    }


class ArgumentCheck(NamedTuple):
    """A check of an argument's value.

    `expected` describes the values that are allowed; `{nodes}` in it stands for the names of the nodes. `fits` takes a
    value and the nodes, and returns whether the value is allowed.
    """

    expected: str
    fits: Callable[[Any, tuple[NodeId, ...]], bool]


def _is_node(value: Any, nodes: tuple[NodeId, ...]) -> bool:
    return value in ROLES or value in nodes


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


def _is_number(least: float, most: float) -> Callable[[Any, tuple[NodeId, ...]], bool]:
    return lambda value, _: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


_ANY_VALUE: Final = ArgumentCheck("anything", lambda _value, _nodes: True)
_LIST_OF_NODES: Final = ArgumentCheck("a list of some of {nodes}", _are_nodes)
#: By the name of the argument.
_CHECKS: Final[dict[str, ArgumentCheck]] = {
    "node": ArgumentCheck(f"one of {{nodes}}, or a role: {', '.join(ROLES)}", _is_node),
    "nodes": _LIST_OF_NODES,
    "senders": _LIST_OF_NODES,
    "receivers": _LIST_OF_NODES,
    "groups": ArgumentCheck("a list of lists of some of {nodes}, each named once", _are_groups),
    "links": ArgumentCheck(
        'nodes, clients, all, or a list of pairs of {nodes} and client, such as [["n1", "n2"]]', _are_links
    ),
    "probability": ArgumentCheck("a number from 0 to 1", _is_number(0, 1)),
}
#: By the type of the argument, as text.
_CHECKS_BY_TYPE: Final[dict[str, ArgumentCheck]] = {
    "<class 'float'>": ArgumentCheck("a number from 0 to 3600", _is_number(0, 3600)),
    "<class 'int'>": ArgumentCheck(
        "a whole number from 0 to a billion",
        lambda value, nodes: isinstance(value, int) and _is_number(0, 1_000_000_000)(value, nodes),
    ),
    "<class 'str'>": ArgumentCheck("a text", lambda value, _nodes: isinstance(value, str)),
}
