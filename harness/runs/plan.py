"""Fault plans as data: which algorithm and workload run, how long, and which fault is in force when. The reader and writer
of `plan.json`.

```json
{
  "schema": 1, "algorithm": "paxos", "nodes": 5, "seed": 7, "workload": "register", "time_s": 10,
  "steps": [
    {"at_s": 1.2, "fault": "kill", "nodes": ["n1", "n4"], "for_s": 0.8},
    {"when": "2nd Promise to n1", "fault": "suspend", "nodes": ["n1"], "for_s": 1.5},
    {"at_s": 4, "fault": "partition", "groups": [["n1", "n2"], ["n3", "n4", "n5"]], "for_s": 2}
  ]
}
```

Rules
-----
1. A step begins at `at_s` seconds, or `when` the proxy sees a message: the nth of its type from `at_s` on, on its way from
   or to the named nodes. The type "message" stands for every type. The proxy keeps that message until the fault is in force, so
   the fault strikes exactly at it.
2. All other keys of a step are arguments of its fault. What a fault draws by itself depends on the plan's seed and on the
   step alone, so a step draws the same when other steps are taken away.
3. A fault lasts `for_s` seconds. At the plan's end every fault heals.
4. With `beyond_tolerance`, more nodes and disks may be lost than an algorithm tolerates, and only safety is judged.
5. `settings` holds the settings of the cluster that are not as shipped, such as `{"window": 8}`: see `node/tuning.py`.
6. `system` stands in the place of `algorithm` if the nodes are not ours: see `harness/systems/system.py`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from cluster.spec import node_names
from harness.faults.catalogue import BadFault, check_arguments, check_message, find_fault, message_types
from harness.faults.roles import ROLES
from harness.faults.trigger import ANY_MESSAGE
from harness.records.jsonable import BadFile, read_document
from harness.records.links import CLIENT, Link
from harness.systems.registry import check_strikes, system_from
from harness.systems.system import BadSystem, System
from node.algorithms import UnknownAlgorithm
from node.contract import BadInput, NodeId
from node.tuning import BadSetting, tuning_of

SCHEMA: Final = 1
TIME_S_MAX: Final = 3600.0
STEPS_MAX: Final = 1000
FOR_S: Final = 1.0
#: The families of faults that find their nodes when they strike, or change which nodes there are.
FINDS_ITS_NODES: Final = ("role", "member")
_STEP_FIELDS: Final = ("at_s", "when", "fault", "for_s")
_WHEN: Final = re.compile(r"(\d+)(?:st|nd|rd|th) ([\w.-]+)(?: from ([\w-]+))?(?: to ([\w-]+))?")


class BadPlan(BadInput):
    """The data is not a plan. The message names the step and says why."""


@dataclass(frozen=True, slots=True)
class When:
    """The `nth` message of a type, from 1, on its way from `sender` to `receiver`; None stands for any node.

    "client" stands for all clients, and only counts where it is named.
    """

    nth: int
    message: str
    sender: NodeId | None = None
    receiver: NodeId | None = None

    def __str__(self) -> str:
        endings = {1: "st", 2: "nd", 3: "rd"}
        ending = "th" if 10 <= self.nth % 100 <= 20 else endings.get(self.nth % 10, "th")
        from_ = f" from {self.sender}" if self.sender else ""
        to = f" to {self.receiver}" if self.receiver else ""
        return f"{self.nth}{ending} {self.message}{from_}{to}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a text such as `2nd Promise to n1`. Raises BadPlan."""
        found = _WHEN.fullmatch(text)
        if found is None or int(found[1]) < 1:
            raise BadPlan(f"when is {text!r}: write it as '2nd Promise to n1', '1st Accept from n2' or '3rd Vote'")
        return cls(int(found[1]), found[2], found[3], found[4])

    def links(self, nodes: tuple[NodeId, ...]) -> tuple[Link, ...]:
        """Return the links on which the message may come."""
        ends = (*nodes, CLIENT) if CLIENT in (self.sender, self.receiver) else nodes
        return tuple(
            (one, other)
            for one in ends
            for other in ends
            if one != other and self.sender in (None, one) and self.receiver in (None, other)
        )


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One fault: when it begins, how long it lasts (both in seconds), and its arguments."""

    fault: str
    at_s: float = 0.0
    for_s: float = FOR_S
    when: When | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles by which the step finds its nodes, such as "leader"."""
        named = [item for value in self.arguments.values() for item in (value if isinstance(value, list) else [value])]
        return tuple(item for item in named if isinstance(item, str) and item in ROLES)

    def to_json(self) -> dict[str, Any]:
        """Return the step's object in the file."""
        when = {} if self.when is None else {"when": str(self.when)}
        return {"at_s": self.at_s, **when, "fault": self.fault, **self.arguments, "for_s": self.for_s}

    def __str__(self) -> str:
        """Return the step in one line for people."""
        arguments = ", ".join(f"{name} {_shown(value)}" for name, value in self.arguments.items())
        at = f"{self.at_s:g} s" if self.when is None else f"{self.when}, from {self.at_s:g} s on"
        return f"{self.fault}{f' ({arguments})' if arguments else ''} at {at} for {self.for_s:g} s"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        inner = [_shown(item) for item in value]
        return f"{{{','.join(inner)}}}" if all(isinstance(item, str) for item in value) else "/".join(inner)
    return str(value)


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. The module's opening describes the fields."""

    algorithm: str = "paxos"
    nodes: tuple[NodeId, ...] = ("n1", "n2", "n3", "n4", "n5")
    seed: int = 0
    workload: str = "register"
    time_s: float = 10.0
    steps: tuple[PlanStep, ...] = ()
    settings: Mapping[str, int] = field(default_factory=dict)
    """The settings of the cluster that are not as shipped: see `node/tuning.py`."""
    beyond_tolerance: bool = False
    """Whether only safety is judged: see `harness.runs.suite`."""
    system: System | None = None
    """What is under test if the nodes are not ours. `algorithm` is its name then."""

    @property
    def has_roles(self) -> bool:
        """Whether some step finds its nodes when it strikes, so that another step may find its own node struck already."""
        return any(step.roles or find_fault(step.fault).family in FINDS_ITS_NODES for step in self.steps)

    def rng(self, step: PlanStep) -> Random:
        """Return the generator that a step draws from."""
        return Random(f"{self.seed}/{json.dumps(step.to_json(), sort_keys=True)}")

    def with_steps(self, steps: tuple[PlanStep, ...]) -> "Plan":
        """Return the same plan with other steps."""
        return replace(self, steps=steps)

    def to_json(self) -> dict[str, Any]:
        """Return the file's object."""
        plain = self.nodes == node_names(len(self.nodes))
        return {
            "schema": SCHEMA,
            **({"algorithm": self.algorithm} if self.system is None else {"system": self.system.to_json()}),
            "nodes": len(self.nodes) if plain else list(self.nodes),
            "seed": self.seed,
            "workload": self.workload,
            "time_s": self.time_s,
            **({"beyond_tolerance": True} if self.beyond_tolerance else {}),
            **({"settings": dict(self.settings)} if self.settings else {}),
            "steps": [step.to_json() for step in self.steps],
        }

    def save(self, path: Path) -> None:
        """Write the file, one step a line."""
        data = self.to_json()
        steps = data.pop("steps")
        head = json.dumps(data, ensure_ascii=False)[1:-1]
        lines = ",\n".join(f"    {json.dumps(step, ensure_ascii=False)}" for step in steps)
        path.write_text(f'{{\n  {head},\n  "steps": [\n{lines}\n  ]\n}}\n' if steps else f'{{{head}, "steps": []}}\n')


def load(path: Path) -> Plan:
    """Read a plan's file. Raises BadPlan."""
    try:
        return from_json(read_document(path))
    except BadFile as error:
        raise BadPlan(str(error)) from error
    except BadPlan as error:
        raise BadPlan(f"{path}: {error}") from None


def from_json(data: Any) -> Plan:
    """Make a plan of a file's object. Raises BadPlan."""
    if not isinstance(data, dict):
        raise BadPlan(f"a plan is a map, and this is a {type(data).__name__}")
    given = {"schema": SCHEMA, **data}
    if given.pop("schema") != SCHEMA:
        raise BadPlan(f"its schema is {data['schema']!r}; this version knows schema {SCHEMA}")
    plan = Plan()
    known = ("algorithm", "nodes", "seed", "workload", "time_s", "steps", "settings", "beyond_tolerance", "system")
    for name in given:
        if name not in known:
            raise BadPlan(f"{name!r} is not a field of a plan; the fields are {', '.join(known)}")
    system = _system(given)
    algorithm, workload = (_text(name, given.get(name, getattr(plan, name))) for name in ("algorithm", "workload"))
    if system is not None:
        algorithm = system.name
    seed = given.get("seed", plan.seed)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadPlan(f"seed is {seed!r}, where a whole number is wanted")
    time_s = _seconds("time_s", given.get("time_s", plan.time_s))
    beyond = given.get("beyond_tolerance", False)
    if not isinstance(beyond, bool):
        raise BadPlan(f"beyond_tolerance is {beyond!r}, where true or false is wanted")
    nodes = _nodes(given.get("nodes", len(plan.nodes)))
    steps = given.get("steps")
    if not isinstance(steps, list) or len(steps) > STEPS_MAX:
        what = "is missing" if steps is None else "is not such a list"
        raise BadPlan(f"steps {what}: a plan has a list of up to {STEPS_MAX} steps, each of which is a fault")
    found = tuple(_step(number, step, nodes) for number, step in enumerate(steps, 1))
    _check_steps(found, algorithm, time_s, system)
    return Plan(algorithm, nodes, seed, workload, time_s, found, _settings(given.get("settings", {})), beyond, system)


def _system(given: Mapping[str, Any]) -> System | None:
    """Return the system of a plan for nodes that are not ours; None if they are."""
    if "system" not in given:
        return None
    for name in ("algorithm", "settings", "beyond_tolerance"):
        if name in given:
            raise BadPlan(f"{name} is of clusters of our own nodes, and this plan has a system: leave it out")
    try:
        return system_from(given["system"])
    except BadSystem as error:
        raise BadPlan(f"system: {error}") from error


def _settings(value: Any) -> dict[str, int]:
    try:
        return tuning_of(_checked_map(value)).changed()
    except BadSetting as error:
        raise BadPlan(str(error)) from error


def _checked_map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadPlan(f'settings is {value!r}, where a map such as {{"window": 8}} is wanted')
    return value


def _check_steps(steps: tuple[PlanStep, ...], algorithm: str, time_s: float, system: System | None) -> None:
    """Raise BadPlan for a step that can never begin."""
    try:
        sent = (ANY_MESSAGE, *message_types(algorithm)) if system is None else system.message_types
    except UnknownAlgorithm as error:
        raise BadPlan(str(error)) from error
    for number, step in enumerate(steps, 1):
        if system is not None:
            try:
                check_strikes(system, [step.fault])
            except BadFault as error:
                raise BadPlan(f"step {number}: {error}") from error
        awaited = step.when.message if step.when is not None else step.arguments.get("message")
        if isinstance(awaited, str):
            try:
                check_message(algorithm, awaited, sent)
            except BadFault as error:
                raise BadPlan(f"step {number}: {error}") from error
        if step.at_s > time_s:
            raise BadPlan(f"step {number} begins at {step.at_s:g} s, and the plan ends at {time_s:g} s")


def _step(number: int, data: Any, nodes: tuple[NodeId, ...]) -> PlanStep:
    try:
        if not isinstance(data, dict):
            raise BadPlan(f"a step is a map, and this is a {type(data).__name__}")
        if "fault" not in data:
            raise BadPlan("a step names a fault, and this one names none; `consensus faults` lists them")
        arguments = {name: value for name, value in data.items() if name not in _STEP_FIELDS}
        when = None if data.get("when") is None else When.parse(_text("when", data["when"]))
        if when is not None and not when.links(nodes):
            raise BadPlan(f"when is {str(when)!r}, and no message can come that way: the nodes are {', '.join(nodes)}")
        fault = _text("fault", data["fault"])
        check_arguments(fault, arguments, nodes)
        return PlanStep(
            fault,
            _seconds("at_s", data.get("at_s", 0.0)),
            _seconds("for_s", data.get("for_s", FOR_S)),
            when,
            arguments,
        )
    except (BadPlan, BadFault) as error:
        raise BadPlan(f"step {number}: {error}") from None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadPlan(f"{name} is {value!r}, where a text is wanted")
    return value


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= TIME_S_MAX:
        raise BadPlan(f"{name} is {value!r}, where seconds from 0 to {TIME_S_MAX:g} are wanted")
    return value


def _nodes(value: Any) -> tuple[NodeId, ...]:
    match value:
        case bool():
            pass
        case int() if 1 <= value <= 99:
            return node_names(value)
        case [*names] if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return tuple(names)
    raise BadPlan(f"nodes is {value!r}, where a number from 1 to 99 or a list of different names is wanted")
