"""The names of links, and the fates of messages, as they stand in records.

A link is a directed pair of endpoints: node names, or "client" for every client.
"""

from typing import Final, Literal, TypeAlias

Endpoint: TypeAlias = str
Link: TypeAlias = tuple[Endpoint, Endpoint]

#: The endpoint that stands for all clients.
CLIENT: Final = "client"
#: The type of a message that does not decode.
UNKNOWN_TYPE: Final = "?"

Fate: TypeAlias = Literal[
    "passed",
    "dropped",
    "held",
    "released",
    "discarded",
    "delayed",
    "duplicated",
    "reordered",
    "corrupted",
    "undeliverable",
]
#: The message has left for its receiver. Each delivery is exactly one line with such a fate.
DELIVERED: Final[frozenset[Fate]] = frozenset({"passed", "released", "duplicated", "corrupted"})
#: The message waits in the proxy; another fate follows.
KEPT: Final[frozenset[Fate]] = frozenset({"held", "delayed", "reordered"})
#: The message never reaches its receiver.
LOST: Final[frozenset[Fate]] = frozenset({"dropped", "discarded", "undeliverable"})
