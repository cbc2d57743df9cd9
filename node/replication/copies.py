"""Copies of the state that clients save. The leader packs a copy at once, and its client fetches it in parts.

Questions to CLUSTER, each with its answer:
```
["save"]                 [slot, size, checksum]: packs a copy of the state after `slot`; its size in bytes, and its CRC-32
["saved", slot, start]   the bytes of that copy from `start` on, at most `copy_part_bytes` of them
["drop", slot]           None; the copy is not needed any more
```
Refused: "no_copy", this replica has no such copy: it was dropped, or another replica leads now; "busy", other copies are
being fetched.

Copies are no part of the replicated state: a replica drops them when it stops leading, and each one that no client has asked
about for `copy_idle_beats`. A question is answered when a quorum has confirmed that the replica leads, in a round that began
after the question came. So a copy holds everything that any client was answered before its client asked for it.
"""

import zlib
from collections.abc import Callable

from node.machine import Command, Plain, Refusal
from node.tuning import SHIPPED, Tuning


class _Copy:
    __slots__ = ("idle_beats", "packed")

    def __init__(self, packed: bytes) -> None:
        self.packed, self.idle_beats = packed, 0


class StateCopies:
    """The copies of one replica's state, by slot."""

    def __init__(self, pack: Callable[[], bytes], tuning: Tuning = SHIPPED) -> None:
        """Make an empty set of copies. `pack` returns the whole present state, packed."""
        self._pack, self._tuning = pack, tuning
        self._copies: dict[int, _Copy] = {}

    def __len__(self) -> int:
        return len(self._copies)

    def answer(self, slot: int, question: Command) -> Plain:
        """Answer a question about copies. `slot` is the last applied slot.

        Raises:
            Refusal: there is no such copy, or there are too many.
        """
        match question:
            case ["save"]:
                if slot not in self._copies and len(self._copies) >= self._tuning.copies_max:
                    raise Refusal(
                        "busy", f"{self._tuning.copies_max} other clients save the state now: try again in a moment"
                    )
                if slot not in self._copies:
                    self._copies[slot] = _Copy(self._pack())
                packed = self._copies[slot].packed
                return [slot, len(packed), zlib.crc32(packed)]
            case ["saved", int(wanted), int(start)] if start >= 0:
                copy = self._copies.get(wanted)
                if copy is None:
                    raise Refusal(
                        "no_copy", f"there is no copy of slot {wanted}: the leader has changed, or it took too long"
                    )
                copy.idle_beats = 0
                return copy.packed[start : start + self._tuning.copy_part_bytes]
            case ["drop", int(wanted)]:
                self._copies.pop(wanted, None)
                return None
        raise Refusal("bad_command", f"there is no question about copies like {question!r:.100}")

    def beat(self) -> None:
        """Take in one beat of the leader: drop the copies that no client fetches any more."""
        for slot, copy in list(self._copies.items()):
            copy.idle_beats += 1
            if copy.idle_beats > self._tuning.copy_idle_beats:
                del self._copies[slot]

    def clear(self) -> None:
        """Drop every copy: this replica does not lead any more."""
        self._copies.clear()
