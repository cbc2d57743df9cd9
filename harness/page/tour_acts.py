"""What a click on the page says at a challenge of the tour: the line that a reader would type in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from node.contract import BadInput

#: The acts of the page that a challenge takes, with what it needs of their arguments.
ACTS = {
    "kill": "nodes", "suspend": "nodes", "resume": "nodes", "restart": "nodes", "isolate": "node", "partition": "groups",
    "cut": "links", "heal": "", "propose": "value", "query": "", "put": "key", "get": "key", "inject": "fault",
}  # fmt: skip


def as_line(act: str, arguments: Mapping[str, Any], nodes: Sequence[str]) -> str:
    """Return an act of the page as a line of the tour, such as `cut n1 | n2 n3`.

    Raises:
        BadInput: a challenge has no such act.
    """
    match act, arguments:
        case (("kill" | "suspend" | "resume" | "restart"), {"nodes": str(named)}):
            line = f"{act} {named}"
        case "isolate", {"node": str(node)}:
            line = f"cut {node} | {' '.join(other for other in nodes if other != node)}"
        case "partition", {"groups": str(groups)}:
            line = f"cut {groups}"
        case "cut", {"links": [*links], "one_way": False}:
            line = f"cut {' | '.join(' '.join(side) for side in sides(links, nodes))}"
        case "heal", _:
            line = "heal"
        case "propose", {"value": str(value), "at": str(at)}:
            line = f"propose {_word(value)} at {at or nodes[0]}"
        case "query", {"at": str(at)}:
            line = f"query at {at}" if at else "query"
        case "put", {"key": str(key), "value": str(value)}:
            line = f"put {_word(key)} {_word(value)}"
        case "get", {"key": str(key)}:
            line = f"get {_word(key)}"
        case "inject", {"fault": "hold", "arguments": {"links": "nodes", "types": str(types)}}:
            line = f"hold {types}".strip()
        case _:
            raise BadInput("a challenge of the tour does not take this: `help` lists what it takes")
    return line


def _word(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise BadInput("at a challenge a key or a value is one word, such as blue")
    return text


def sides(links: Sequence[Any], nodes: Sequence[str]) -> list[list[str]]:
    """Return the groups into which nodes fall if these links are cut.

    Raises:
        BadInput: the links do not divide the nodes into groups, with every link between two groups cut.
    """
    cut = {frozenset(link) for link in links if isinstance(link, list) and all(isinstance(end, str) for end in link)}
    groups: list[list[str]] = []
    left = list(nodes)
    while left:
        group = [left.pop(0)]
        for member in group:
            joined = [node for node in left if frozenset((member, node)) not in cut]
            group += joined
            left = [node for node in left if node not in joined]
        groups.append(sorted(group, key=list(nodes).index))
    within = [link for link in cut if any(link <= set(group) for group in groups)]
    if len(groups) < 2 or within:
        raise BadInput("at a challenge, draw the line so that it cuts groups of nodes from each other")
    return groups
