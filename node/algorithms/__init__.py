"""The algorithms, one a file, and how one is found by its name."""

import importlib
import os
import sys
from typing import Final

from node.contract import Algorithm, BadInput

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
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise UnknownAlgorithm(
            f"{name}: the module {module_name!r} cannot be imported ({error}). Is it in this directory?"
        ) from error
    except Exception as error:  # whatever an author's module does wrong as it is imported
        raise UnknownAlgorithm(
            f"{name}: the module {module_name!r} fails when it is imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise UnknownAlgorithm(f"{name}: the module {module_name!r} has no {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UnknownAlgorithm(f"{name}: {class_name} is not a subclass of node.contract.Algorithm")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UnknownAlgorithm(f"{name}: {class_name} lacks {', '.join(missing)}")
    return found
