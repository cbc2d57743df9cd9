"""One node: a process that runs a consensus algorithm on a real disk and real sockets.

Programs import the modules that `__all__` names. The other modules may change with any version.
"""

__all__ = ["contract", "log_contract", "machine", "quorum"]
