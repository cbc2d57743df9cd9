"""What the log of an algorithm can do, as far as faults and plans need to know it: they ask its class, never its name."""

from typing import Final, NamedTuple

from node.algorithms import load_algorithm
from node.log_contract import LogAlgorithm
from node.quorum import NO_BALLOT


class LogTraits(NamedTuple):
    """What a log can do."""

    keeps: bool
    """Whether the algorithm keeps a log at all."""
    elects: bool = False
    """Whether another node leads once the leader is lost."""
    changes_members: bool = False
    hand_over: str = ""
    """The type of the message by which a leader asks another node to lead; empty if there is none."""


NO_LOG: Final = LogTraits(keeps=False)


def log_traits(algorithm: str) -> LogTraits:
    """Return what the log of an algorithm can do. Raises UnknownAlgorithm."""
    cls = load_algorithm(algorithm)
    if not issubclass(cls, LogAlgorithm):
        return NO_LOG
    request = cls.request_to_lead(NO_BALLOT)
    hand_over = "" if request is None else request.type_name()
    return LogTraits(True, cls.elects_leaders, cls.takes_changes_of_members, hand_over)
