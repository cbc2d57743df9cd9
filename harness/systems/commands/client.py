"""What a client of a system of commands is: a class with one method, which performs an operation and says how it ended.

```python
from harness.systems.commands.client import Call, SystemClient, Outcome, ok, refused, unknown

class MyClient(SystemClient):
    def perform(self, call: Call) -> Outcome:
        address = self.address(call.node)           # such as "127.0.0.1:40123": behind it stands the proxy
        ...
        return ok(value)
```

Rules
-----
1. Each client of a run is an object of its own, in a thread of its own, and performs one call at a time.
2. `ok` is an answer. `refused` means that the operation was not done and never will be. Everything else is `unknown`: a
   connection that breaks, a timeout, an error that may come after the operation was done. **A timeout is always unknown.** A
   client that calls it a refusal lies to the judges, and is found out when the effect shows.
3. `perform` returns within `call.timeout_s` seconds. One that raises, hangs, or returns anything else makes the run invalid.
"""

import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.records.jsonable import to_jsonable
from harness.systems.system import BadSystem
from harness.workloads.planned_call import PlannedCall as Call
from node.contract import NodeId
from node.wording import nearest

__all__ = ["Call", "SystemClient", "Outcome", "ok", "refused", "unknown"]

#: For each node, where clients reach each of its ports, by the port's name.
Addresses = Mapping[NodeId, Mapping[str, str]]


def ok(value: Any = None) -> Outcome:
    """Return the outcome of an operation that was done. `value` is what it returned, None for nothing.

    Raises:
        TypeError: a history cannot record such a value.
    """
    to_jsonable(value)  # here, where the traceback leads to the author's line
    return Ok(value)


def refused(reason: object) -> Outcome:
    """Return the outcome of an operation that was not done, and never will be. `reason` is a text, or an exception.

    For a compare-and-set whose old value is another one, let the reason be "mismatch".
    """
    return NotDone("", str(reason))


def unknown(reason: object) -> Outcome:
    """Return the outcome of an operation that may have been done, or may still be. `reason` is a text, or an exception."""
    return NotKnown(str(reason))


class SystemClient(ABC):
    """One client of a system."""

    def __init__(self, addresses: Addresses) -> None:
        """Make a client. It connects to nothing yet, and may take no time.

        Args:
            addresses: for each node, the address of each of its ports, such as "127.0.0.1:40123".
        """
        self.addresses = addresses

    def address(self, node: NodeId | None, port: str = "") -> str:
        """Return where clients reach a port of a node: the port of this name, or the first that the TOML file names."""
        assert node is not None, "the harness names a node for every call"
        of_node = self.addresses[node]
        return of_node[port] if port else next(iter(of_node.values()))

    @abstractmethod
    def perform(self, call: Call) -> Outcome:
        """Perform an operation.

        Args:
            call: `call.f` is what to do, such as "put"; `call.key` the key; `call.value` what the operation carries; `call.node`
                the node to ask; `call.timeout_s` how long it may take, in seconds.
        """

    def close(self) -> None:  # noqa: B027 - may be nothing
        """Close what is open. The thread of the client calls it when it is done."""


#: The modules of users' files, by path: a file is loaded once, so that its classes are one.
_LOADED: Final[dict[Path, Any]] = {}


def load_client(name: str, folder: Path) -> type[SystemClient]:
    """Return the client class `module:Class`, or `file.py:Class` beside the TOML file. Raises BadSystem."""
    place, colon, class_name = name.rpartition(":")
    if not colon or not place or not class_name:
        raise BadSystem(f"the class of the client is {name!r}: write it as file.py:Class, or module:Class")
    try:
        module = _load_file(folder / place) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise BadSystem(f"the client {name} cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if found is None:
        has = [each for each, item in vars(module).items() if isinstance(item, type) and issubclass(item, SystemClient)]
        hint = nearest(class_name, [each for each in has if each != SystemClient.__name__], "it has no client class")
        raise BadSystem(f"the client {name} cannot be loaded: {place} has no {class_name}: {hint}")
    if not (isinstance(found, type) and issubclass(found, SystemClient)):
        raise BadSystem(f"{name} is no subclass of harness.systems.commands.client.SystemClient")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise BadSystem(f"{name} lacks {', '.join(missing)}: see harness.systems.commands.client.SystemClient")
    return found


def _load_file(path: Path) -> Any:
    path = path.resolve()
    if path not in _LOADED:
        name = f"client_of_{path.stem}_{len(_LOADED)}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        _LOADED[path] = module
    return _LOADED[path]
