"""A script that runs on a replicated log in virtual time, and the beginning that all of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from harness.virtual.log_script import LogWorld
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.tuning import SHIPPED, Tuning


@dataclass(frozen=True, slots=True)
class VirtualScript:
    """A script that runs without processes. `play` raises an AssertionError if the log breaks a promise."""

    name: str
    play: Callable[[type[LogAlgorithm]], None]

    @property
    def about(self) -> str:
        """What happens, in one line."""
        return (self.play.__doc__ or "").strip().partition("\n")[0]


def virtual_script(function: Callable[[type[LogAlgorithm]], None]) -> VirtualScript:
    """Make a script of a function. The script's name is the function's, with hyphens."""
    return VirtualScript(function.__name__.replace("_", "-"), function)


class Started(NamedTuple):
    """A virtual cluster that has a leader, and in which client `c` has written once."""

    world: LogWorld
    leader: NodeId
    others: tuple[NodeId, ...]
    """The members that do not lead."""


def start(algorithm: type[LogAlgorithm], nodes: int = 3, seed: int = 1, tuning: Tuning = SHIPPED) -> Started:
    """Start a cluster, wait until it has a leader, and write one value."""
    world = LogWorld(nodes, seed, algorithm, tuning)
    leader = world.wait_leader()
    world.do("c", "put", "k", b"first")
    world.pass_s(0.3)
    return Started(world, leader, tuple(node for node in world.members if node != leader))
