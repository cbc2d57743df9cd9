"""The acts that a reader can do at a challenge, as short lines such as `kill n1` or `cut n1 n2 | n3`.

Rule: a line that is wrong does nothing, and the error says what would be right.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.tour.stage import NO_ANSWER_S, Stage
from node.algorithms import load_algorithm
from node.contract import BadInput, NodeId
from node.wording import nearest


@dataclass(frozen=True, slots=True)
class Act:
    """One kind of act: how it is written, what it does, and the function that does it with the words after its name."""

    form: str
    about: str
    do: Callable[[Stage, list[str]], list[str]]
    on_log: bool | None = None
    """Whether it is for clusters with a log; None for all."""


def act(stage: Stage, text: str) -> list[str]:
    """Do what a line says, and return what was measured.

    Raises:
        BadInput: the line is no act, or names a node that does not exist. Nothing was done.
        ConsensusError: the act cannot be done now, such as the kill of a node that is down.
    """
    name, *words = text.split()
    known = acts_for(stage)
    if name not in known:
        raise BadInput(f"there is no act {name!r}: {nearest(name, list(known), 'help lists them')}")
    return known[name].do(stage, words)


def acts_for(stage: Stage) -> dict[str, Act]:
    """Return the acts that the cluster on the stage takes, by name."""
    return {name: one for name, one in ACTS.items() if one.on_log in (None, stage.keeps_log)}


def _nodes(stage: Stage, words: list[str]) -> list[NodeId]:
    nodes = [node for word in words for node in word.split(",") if node]
    for node in nodes:
        if node not in stage.run.nodes:
            raise BadInput(f"there is no node {node!r}: there are {', '.join(stage.run.nodes)}")
    if not nodes:
        raise BadInput(f"name a node: {', '.join(stage.run.nodes)}")
    return nodes


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _propose(stage: Stage, words: list[str]) -> list[str]:
    match words:
        case [value, "at", node] | [value, node]:
            return [stage.propose(_value(value), _nodes(stage, [node])[0], timeout_s=2 * NO_ANSWER_S)[1]]
    raise BadInput("write, for example: propose blue at n1")


def _query(stage: Stage, words: list[str]) -> list[str]:
    named = [word for word in words if word != "at"]
    if not named:
        return stage.query_all(timeout_s=NO_ANSWER_S)[1]
    return [stage.query(node, timeout_s=NO_ANSWER_S)[1] for node in _nodes(stage, named)]


def _cut(stage: Stage, words: list[str]) -> list[str]:
    groups = [group.split() for group in " ".join(words).replace("/", "|").split("|")]
    sides = [_nodes(stage, group) for group in groups]
    if len(sides) < 2:
        raise BadInput("write the sides with a bar between them, for example: cut n1 n2 | n3")
    named = [node for side in sides for node in side]
    if len(set(named)) < len(named):
        raise BadInput("a node can be on one side only")
    return stage.cut(*sides)


def _hold(stage: Stage, words: list[str]) -> list[str]:
    known = [message.type_name() for message in load_algorithm(stage.run.algorithm).messages]
    for word in words:
        if word not in known:
            raise BadInput(f"there is no message {word!r}: {nearest(word, known, 'there are ' + ', '.join(known))}")
    return stage.hold(*words)


def _put(stage: Stage, words: list[str]) -> list[str]:
    match words:
        case [key, value]:
            return [stage.put(key, _value(value), 2 * NO_ANSWER_S)[1]]
    raise BadInput("write, for example: put owner alice")


def _get(stage: Stage, words: list[str]) -> list[str]:
    match words:
        case [key]:
            return [stage.get(key, 2 * NO_ANSWER_S)[1]]
    raise BadInput("write, for example: get owner")


ACTS: Final[Mapping[str, Act]] = {
    "propose": Act("propose blue at n1", "propose a value at a node", _propose, on_log=False),
    "query": Act("query [at n1]", "ask a node, or every node, for the decided value", _query, on_log=False),
    "put": Act("put owner alice", "put a value under a key", _put, on_log=True),
    "get": Act("get owner", "get the value of a key", _get, on_log=True),
    "kill": Act("kill n1", "SIGKILL a node", lambda stage, words: stage.kill(*_nodes(stage, words))),
    "restart": Act(
        "restart n1", "start a dead node on its disk", lambda stage, words: stage.restart(*_nodes(stage, words))
    ),
    "suspend": Act("suspend n1", "SIGSTOP a node", lambda stage, words: stage.suspend(*_nodes(stage, words))),
    "resume": Act("resume n1", "SIGCONT a node", lambda stage, words: stage.resume(*_nodes(stage, words))),
    "cut": Act("cut n1 n2 | n3", "cut groups of nodes from each other", _cut),
    "hold": Act("hold [Accept]", "keep messages between nodes in the proxy", _hold),
    "heal": Act(
        "heal", "end every cut, and deliver what is held", lambda stage, _: stage.heal() or ["nothing was broken"]
    ),
    "look": Act("look", "every process, and what each node knows", lambda stage, _: stage.states()),
}
