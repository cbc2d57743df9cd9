"""The batches that Accepts have proposed, by the proxy's record of messages.

Once a batch is chosen in a slot, every Accept with a higher ballot proposes the same batch there (Lamport, *Paxos Made Simple*,
P2b). So in a slot that is known as chosen, the Accept with the highest ballot holds the chosen batch, if the record is whole.
`log_rules.py` finds an algorithm that breaks this.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.records.jsonable import from_jsonable
from node.wire import pack_unchecked


def proposed_batches(messages: Iterable[Mapping[str, Any]]) -> dict[int, bytes]:
    """Return the batch of the Accept with the highest ballot of each slot."""
    found: dict[int, tuple[tuple[int, str], Any]] = {}
    for line in messages:
        if line["type"] != "Accept" or "of" in line:
            continue
        match line["fields"]:
            case {"slot": int(slot), "ballot": [int(round_), str(owner)], "batch": batch}:
                if slot not in found or found[slot][0] < (round_, owner):
                    found[slot] = (round_, owner), batch
    return {slot: _packed(batch) for slot, (_, batch) in found.items()}


def _packed(readable: Any) -> bytes:
    """Return the batch that a record of messages shows. What does not decode as a value stands there in hex."""
    return bytes.fromhex(readable) if isinstance(readable, str) else pack_unchecked(from_jsonable(readable))
