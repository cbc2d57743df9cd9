"""The algorithms, one per file, and the function that finds an algorithm by its name."""

import importlib
import os
import sys
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Final

from node.authors import is_authors, place_of
from node.contract import Algorithm, BadInput, Message
from node.wire import Codec
from node.wording import nearest

BUILT_IN: Final = {
    "leader": "node.algorithms.leader:Leader",
    "failover": "node.algorithms.failover:Failover",
    "majority": "node.algorithms.majority:Majority",
    "paxos": "node.algorithms.paxos:Paxos",
    "multipaxos": "node.algorithms.multipaxos:MultiPaxos",
    "raft": "node.algorithms.raft:Raft",
}
#: Those of them that keep a log. The first is the one that tools take if none is named.
LOGS: Final = ("multipaxos", "raft")
DEFAULT_LOG: Final = LOGS[0]
#: The names of the logs, in a sentence.
A_LOG: Final = " or ".join(LOGS)
#: The folders that are searched for modules because a file in them was named.
_FOLDERS: Final[set[str]] = set()


class UnknownAlgorithm(BadInput):
    """No algorithm has this name, or its class cannot be used. The message gives the reason."""


def load_algorithm(name: str) -> type[Algorithm]:
    """Return the algorithm class for a name in the spec.

    Args:
        name: a built-in algorithm, `module:Class`, or `path.py:Class`. The module is also searched for in the current directory.

    Raises:
        UnknownAlgorithm: there is no such algorithm, or the class is no complete `Algorithm`.
    """
    module_name, _, class_name = BUILT_IN.get(name, name).partition(":")
    if not class_name:
        raise UnknownAlgorithm(
            f"no algorithm is called {name!r}: {nearest(name, BUILT_IN)} (one of your own is module:Class or path.py:Class)"
        )
    if os.getcwd() not in sys.path:  # last, so that a folder `node` there hides none of this project's
        sys.path.append(os.getcwd())
    try:
        module = _module_in(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except UnknownAlgorithm as error:
        raise UnknownAlgorithm(f"{name}: {error}") from None
    except (Exception, SystemExit) as error:  # an author's module may raise anything while it is imported
        raise UnknownAlgorithm(f"{name}: {_why_not(module_name, error)}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise UnknownAlgorithm(f"{name}: the module {module_name!r} has no {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UnknownAlgorithm(f"{name}: {class_name} is not a subclass of node.contract.Algorithm")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UnknownAlgorithm(f"{name}: {class_name} lacks {', '.join(missing)}")
    _check_messages(name, found)
    return found


def _module_in(path: Path) -> ModuleType:
    """Import a file, as the module of its name, so that a process of its own can import the module again."""
    if not path.is_file():
        raise UnknownAlgorithm(f"there is no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
        _FOLDERS.add(folder)
    module = importlib.import_module(path.stem)
    if module.__file__ is None or Path(module.__file__).resolve() != path.resolve():
        raise UnknownAlgorithm(f"another module is called {path.stem!r}, too: rename {path}")
    return module


def file_named_for(module_name: str) -> str | None:
    """Return the file by whose path alone a module is found, from the current folder; None if its name is enough."""
    file: str | None = getattr(sys.modules.get(module_name), "__file__", None)
    if file is None or os.path.dirname(os.path.realpath(file)) not in _FOLDERS:
        return None
    return os.path.relpath(os.path.realpath(file))


def _why_not(module_name: str, error: BaseException) -> str:
    """Return why a module cannot be imported, with the file and the line at which its import failed."""
    found = place_of(error.__traceback__)
    place = f" ({found.file}, line {found.line})" if found is not None and is_authors(found.file) else ""
    if place or not isinstance(error, ImportError | ValueError | TypeError):
        return f"the module {module_name!r} fails when it is imported: {type(error).__name__}: {error}{place}"
    return f"the module {module_name!r} cannot be imported ({error}). Is it in this directory?"


def _is_frozen_dataclass(message: type[Message]) -> bool:
    """Return whether a message class is a frozen dataclass. One without any field needs no decorator of its own."""
    own = vars(message)
    if "__dataclass_fields__" in own:
        return bool(own["__dataclass_params__"].frozen)
    fields = own.get("__annotations__") or any(
        not name.startswith("__") and not callable(each) for name, each in own.items()
    )
    return "__init__" not in own and not fields


def _check_messages(name: str, algorithm: type[Algorithm]) -> None:
    """Raise UnknownAlgorithm if a message of the algorithm cannot be encoded."""
    messages: object = algorithm.messages
    if not isinstance(messages, tuple | list):
        raise UnknownAlgorithm(
            f"{name}: `messages` must be a tuple of subclasses of node.contract.Message, but is {messages!r}"
        )
    for each in messages:
        if not (isinstance(each, type) and issubclass(each, Message)):
            raise UnknownAlgorithm(f"{name}: {each!r} in `messages` is no subclass of node.contract.Message")
        if not _is_frozen_dataclass(each):
            raise UnknownAlgorithm(
                f"{name}: the message {each.__name__} is no frozen dataclass, so its fields are not known: write "
                f"@dataclass(frozen=True, slots=True) above it, and a type after each field's name"
            )
    try:
        signature(algorithm).bind(None)
    except TypeError as error:
        raise UnknownAlgorithm(
            f"{name}: `__init__` must take the node, as in def __init__(self, node): super().__init__(node)"
        ) from error
    try:
        Codec("", messages)
    except TypeError as error:
        raise UnknownAlgorithm(f"{name}: {error}") from error
