"""The algorithms, one a file, and how one is found by its name."""

import importlib
import os
import sys
from typing import Final

from node.contract import Algorithm, BadInput, Message
from node.wire import Codec

BUILT_IN: Final = {
    "leader": "node.algorithms.leader:Leader",
    "failover": "node.algorithms.failover:Failover",
    "majority": "node.algorithms.majority:Majority",
    "paxos": "node.algorithms.paxos:Paxos",
    "multipaxos": "node.algorithms.multipaxos:MultiPaxos",
}


class UnknownAlgorithm(BadInput):
    """No algorithm goes by this name. The message says which do."""


def load_algorithm(name: str) -> type[Algorithm]:
    """The algorithm called `name`: one of ours, or `module:Class`, imported from where the cluster was started.

    Raises:
        UnknownAlgorithm: there is none, or it is not an `Algorithm`.
    """
    module_name, _, class_name = BUILT_IN.get(name, name).partition(":")
    if not class_name:
        raise UnknownAlgorithm(
            f"no algorithm is called {name!r}: there are {', '.join(BUILT_IN)}, or give module:Class"
        )
    if os.getcwd() not in sys.path:  # last, so that a folder called `node` or `cluster` there hides none of ours
        sys.path.append(os.getcwd())
    if module_name.endswith(".py"):
        raise UnknownAlgorithm(
            f"{name}: that is a file; its module goes without .py, as {module_name[:-3]}:{class_name}"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever an author's module does wrong as it is imported
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


def _why_not(module_name: str, error: BaseException) -> str:
    """Why a module cannot be imported, and where in somebody's file that is."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file not in (__file__, importlib.__file__):
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    if place or not isinstance(error, ImportError | ValueError | TypeError):
        return f"the module {module_name!r} fails when it is imported: {type(error).__name__}: {error}{place}"
    return f"the module {module_name!r} cannot be imported ({error}). Is it in this directory?"


def _check_messages(name: str, algorithm: type[Algorithm]) -> None:
    """Raises UnknownAlgorithm if its messages are not such as a wire can carry."""
    messages: object = algorithm.messages
    if not isinstance(messages, tuple | list) or not all(
        isinstance(each, type) and issubclass(each, Message) for each in messages
    ):
        raise UnknownAlgorithm(
            f"{name}: `messages` is a tuple of subclasses of node.contract.Message, and not {messages!r}"
        )
    try:
        Codec("", messages)
    except TypeError as error:
        raise UnknownAlgorithm(f"{name}: {error}") from error
