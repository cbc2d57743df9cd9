"""A call that a client of a workload is to make."""

from dataclasses import dataclass

from node.contract import NodeId


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a client is to make.

    `f` is the operation, as in the history. `key` is the variable, key or lock. `value` is what the history records
    with the call. `node` is the node to ask, or None for any. `timeout_s` is how long the client waits, in seconds.
    `wait_s` is how long a call waits for a change, or in a queue, in
    seconds. `kept` says that a keeper of the client's renews the lease that the call begins. `client` is the client that makes
    a final call; None: any. `late` is the seed of what a keeper hears late (`late_keepers.py`); empty: nothing. A client
    of asyncio gives the call up after `gives_up_s` seconds; 0: it waits.
    """

    f: str
    key: str
    value: object = None
    node: NodeId | None = None
    timeout_s: float = 4.0
    wait_s: float = 0.0
    kept: bool = False
    client: int | None = None
    late: str = ""
    gives_up_s: float = 0.0
