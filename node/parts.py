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
    """A broken, stepped or traced node replaces one of these by a subclass."""

    disk: type[Disk] = Disk
    transport: Callable[[], Transport] = Transport
    codec: type[Codec] = Codec
    timers: Callable[[Callable[[], float], Random], Timers[TimerKey]] = Timers
    core: type[NodeCore] = NodeCore


#: The parts of a node as it is shipped.
SHIPPED_PARTS: Final = Parts()
