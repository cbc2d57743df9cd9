"""The description of a system of commands: a TOML file, its keys, and the placeholders in it.

```toml
name = "shop"
command = ["{python}", "{here}/shop.py", "--port", "{client_port}", "--peers", "{peers}", "--folder", "{folder}"]
ports = ["client"]
peers = "{id}=127.0.0.1:{client_via}"       # one entry for each other node
install = "nothing: it needs Python alone"

[ready]
port = "client"                             # or log = "text or pattern", or http = "http://127.0.0.1:{client_port}/health"

[client]
class = "shop_client.py:ShopClient"
```

`docs/reference/systems.md` has a table of all keys and placeholders. Unknown ones are refused, with their line.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from harness.systems.system import WITHIN_S_MAX, BadSystem
from node.contract import NodeId
from node.wording import nearest

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_PORT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WITHIN_S: Final = 20.0
_SHIPPED: Final = Path(__file__).parent / "shipped"

#: What each key must be, for people.
_TOP: Final[Mapping[str, str]] = {
    "name": "a text",
    "about": "a text",
    "command": "a list of texts",
    "ports": "a list of texts",
    "addresses": "a text",
    "peers": "a text",
    "peers_join": "a text",
    "peers_with_itself": "true or false",
    "install": "a text",
    "needs": "a list of texts",
    "needs_modules": "a list of texts",
    "keep": "a list of texts",
    "workloads": "a list of texts",
    "answers_within_s": "a number",
    "environment": "a table of texts",
    "files": "a table of texts",
    "ready": "a table",
    "serving": "a table",
    "client": "a table",
}
_READY: Final[Mapping[str, str]] = {"port": "a text", "log": "a text", "http": "a text", "within_s": "a number"}
_CLIENT: Final[Mapping[str, str]] = {"class": "a text"}


class ReadyWhen(NamedTuple):
    """When a node is ready: one of the first three is given."""

    port: str = ""
    """The name of a port that accepts connections."""
    log: str = ""
    """A regular expression that a line of its output matches, since its start."""
    http: str = ""
    """A URL that answers with status 200."""
    within_s: float = _WITHIN_S
    """How long that may take, in seconds."""

    def __str__(self) -> str:
        if self.port:
            return f"its port {self.port} accepts a connection"
        return f"a line of its output matches {self.log!r}" if self.log else f"{self.http} answers with status 200"


@dataclass(frozen=True)
class Description:
    """A description that was read and checked."""

    file: Path
    name: str
    command: tuple[str, ...]
    ports: tuple[str, ...]
    client: str
    ready: ReadyWhen
    serving: ReadyWhen | None
    shared: bool = False
    peers: str = ""
    peers_join: str = ","
    peers_with_itself: bool = False
    install: str = ""
    needs: tuple[str, ...] = ()
    needs_modules: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    workloads: tuple[str, ...] = ("kv",)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    answers_within_s: float | None = None
    """Within how many seconds it answers while a majority of its nodes is up and connected; None if it does not say."""


def fill(text: str, values: Mapping[str, object]) -> str:
    """Return a text with the values in the place of its placeholders. Other braces stay as they are."""
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def values_of(
    description: Description, node: NodeId, number: int, folder: Path, ports: Mapping[str, int], via: Mapping[str, int]
) -> dict[str, object]:
    """Return the values of the placeholders of one node, but for `peers` and `run`.

    Args:
        description: the system.
        node: the node.
        number: its number, from 1.
        folder: where it keeps what is to outlive its process.
        ports: by name, where it has to listen.
        via: by name, where others reach it.
    """
    return {
        "id": node,
        "number": number,
        "folder": folder,
        "here": description.file.parent,
        "python": sys.executable,
        **{f"{name}_port": port for name, port in ports.items()},
        **{f"{name}_via": port for name, port in via.items()},
    }


def find(name: str) -> Path:
    """Return the file of a description: a path, or the name of one that is shipped. Raises BadSystem."""
    path = Path(name)
    if path.is_file():
        return path.resolve()
    shipped = _SHIPPED / f"{name}.toml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(each.stem for each in _SHIPPED.glob("*.toml")))
    raise BadSystem(f"there is no file {name}, and no shipped system of this name: there are {names}")


def read(path: Path) -> Description:
    """Read a description. Raises BadSystem, with the line."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSystem(f"{path}: {error}") from None
    return _Reader(path, text).read(data)


class _Reader:
    """Checks the data of one file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()

    def _bad(self, near: str, why: str, after: str = "") -> BadSystem:
        """Return an error that names the first line with the text `near`, if there is one, from the line with `after` on."""
        lines = list(enumerate(self._lines, 1))
        first = next((number for number, line in lines if after and after in line), 1)
        fitting = [number for number, line in lines if near and near in line and number >= first]
        begins = re.compile(
            rf"\s*\[?{re.escape(near)}\b"
        )  # a key stands at the beginning of its line, and may be in others, too
        line = next((number for number in fitting if begins.match(self._lines[number - 1])), next(iter(fitting), None))
        place = f"{self._path}, line {line}" if line else str(self._path)
        shown = f": {self._lines[line - 1].strip()}" if line else ""
        return BadSystem(f"{place}{shown}\n  {why}")

    def read(self, data: dict[str, Any]) -> Description:
        self._check_keys(data, _TOP, "")
        for name in ("name", "command", "ports", "ready", "client"):
            if name not in data:
                raise self._bad("", f"{name} is missing; it is {_TOP[name]}")
        if not _NAME.fullmatch(data["name"]):
            raise self._bad("name", "the name has letters, digits, dots and dashes")
        ports = tuple(data["ports"])
        for port in ports:
            if not _PORT_NAME.fullmatch(port):
                raise self._bad("ports", f"a port is called {port!r}: use small letters, digits and underscores")
        for name in ("command", "ports"):
            if not data[name]:
                raise self._bad(name, f"{name} has no entry")
        if twice := [port for place, port in enumerate(ports) if port in ports[:place]]:
            raise self._bad("ports", f"the port {twice[0]!r} stands there twice")
        self._check_keys(data["client"], _CLIENT, "client")
        if "class" not in data["client"]:
            raise self._bad("[client]", "class is missing: write file.py:Class, or module:Class")
        addresses = data.get("addresses", "pair")
        if addresses not in ("pair", "shared"):
            raise self._bad("addresses", f"addresses is {addresses!r}: it is pair or shared")
        within_s = data.get("answers_within_s")
        if within_s is not None and not 0 < within_s <= WITHIN_S_MAX:
            raise self._bad("answers_within_s", f"answers_within_s is more than 0 and at most {WITHIN_S_MAX:g} seconds")
        shared = addresses == "shared"
        self._check_files(data.get("files", {}))
        self._check_placeholders(data, ports, shared)
        return Description(
            file=self._path,
            name=data["name"],
            command=tuple(data["command"]),
            ports=ports,
            client=data["client"]["class"],
            ready=self._ready(data["ready"], "ready", ports),
            serving=self._ready(data["serving"], "serving", ports) if "serving" in data else None,
            shared=shared,
            peers=data.get("peers", ""),
            peers_join=data.get("peers_join", ","),
            peers_with_itself=data.get("peers_with_itself", False),
            install=data.get("install", ""),
            needs=tuple(data.get("needs", ())),
            needs_modules=tuple(data.get("needs_modules", ())),
            keep=tuple(data["keep"]) if "keep" in data else None,
            workloads=tuple(data.get("workloads", ("kv",))),
            environment=data.get("environment", {}),
            files=data.get("files", {}),
            answers_within_s=within_s,
        )

    def _check_keys(self, data: dict[str, Any], known: Mapping[str, str], table: str) -> None:
        for name, value in data.items():
            if name not in known:
                where = f" in [{table}]" if table else ""
                raise self._bad(name, f"{name} is no key{where}: {nearest(name, known)}")
            if not _fits(known[name], value):
                raise self._bad(name, f"{name} is {value!r}, where {known[name]} is wanted")

    def _ready(self, data: dict[str, Any], table: str, ports: tuple[str, ...]) -> ReadyWhen:
        self._check_keys(data, _READY, table)
        found = ReadyWhen(**{**data, "within_s": float(data.get("within_s", _WITHIN_S))})
        if sum(bool(each) for each in (found.port, found.log, found.http)) != 1:
            raise self._bad(f"[{table}]", f"{table} has exactly one of port, log and http")
        if found.port and found.port not in ports:
            raise self._bad("port", f"no port is called {found.port!r}: {nearest(found.port, ports)}", f"[{table}]")
        if not 0 < found.within_s <= WITHIN_S_MAX:
            raise self._bad("within_s", f"within_s is more than 0 and at most {WITHIN_S_MAX:g} seconds")
        try:
            re.compile(found.log)
        except re.error as error:
            raise self._bad(found.log, f"log is no regular expression: {error}") from None
        return found

    def _check_files(self, names: Iterable[str]) -> None:
        for name in names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise self._bad(name, f"the file {name!r} is not in the node's folder: files are named below it")

    def _check_placeholders(self, data: dict[str, Any], ports: tuple[str, ...], shared: bool) -> None:
        of_node = ["id", "number", "folder", "here", "python", "run", *(f"{port}_port" for port in ports)]
        via = [f"{port}_via" for port in ports]
        texts = [
            *data["command"],
            *data.get("environment", {}).values(),
            *data.get("files", {}).values(),
            *(str(data.get(table, {}).get("http", "")) for table in ("ready", "serving")),
        ]
        for text in texts:
            self._check_text(text, [*of_node, "peers", *(via if shared else [])])
        self._check_text(data.get("peers", ""), ["id", "number", *via])
        if any("{peers}" in text for text in texts) and "peers" not in data:
            raise self._bad(
                "{peers}", 'peers is missing: it is one entry of the list, such as "{id}=127.0.0.1:{peer_via}"'
            )

    def _check_text(self, text: str, known: list[str]) -> None:
        for found in _PLACEHOLDER.finditer(text):
            if found[1] not in known:
                why = f"there is no placeholder {found[0]} here: {nearest(found[1], known)}"
                raise self._bad(found[0], why, after=text.partition("\n")[0])


def _fits(wanted: str, value: Any) -> bool:
    match wanted:
        case "a text":
            return isinstance(value, str)
        case "a list of texts":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        case "true or false":
            return isinstance(value, bool)
        case "a number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "a table of texts":
            return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    return isinstance(value, dict)
