"""The names of links, and what may become of a message on one, as they stand in records.

A link is a directed pair of endpoints: node names, or "client" for every client.
"""

from typing import Final, Literal, TypeAlias

Endpoint: TypeAlias = str
Link: TypeAlias = tuple[Endpoint, Endpoint]

#: The endpoint that stands for all clients.
CLIENT: Final = "client"
#: The type of what does not decode.
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
#: The message has left for its receiver. Every delivery is exactly one such fate.
DELIVERED: Final[frozenset[Fate]] = frozenset({"passed", "released", "duplicated", "corrupted"})
#: It waits in the proxy; another fate follows.
KEPT: Final[frozenset[Fate]] = frozenset({"held", "delayed", "reordered"})
#: It never reaches its receiver.
LOST: Final[frozenset[Fate]] = frozenset({"dropped", "discarded", "undeliverable"})
