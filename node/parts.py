"""The classes that a node process is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from node.instances import TimerKey
from node.storage.disk import Disk
from node.timers import Timers
from node.transport import Transport
from node.turn import NodeCore
from node.wire import Codec


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes of a node's parts. A broken, stepped or traced node replaces one of them by a subclass."""

    disk: type[Disk] = Disk
    transport: Callable[[int], Transport] = Transport
    codec: type[Codec] = Codec
    timers: Callable[[Callable[[], float], Random], Timers[TimerKey]] = Timers
    core: type[NodeCore] = NodeCore


#: The parts of a node without replacements.
SHIPPED_PARTS: Final = Parts()
