"""Calls of asyncio clients that are given up, as users do by `asyncio.timeout` or by cancelling a task.

A call that is given up concerns no other call. So beside some calls another one leaves in the same frame, and is given up
before or after its answer can have come: the call that stays must get its own answer. What is given up here changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from cluster.errors import ConsensusError

#: A key that no client sets.
_NO_KEY: Final = "given-up"
#: How long a call waits before it is given up, in seconds.
_WAITS_S: Final = (0.0005, 0.002, 0.01)
#: The calls that have another one beside them.
GIVEN_UP_BESIDE: Final = ("put", "get", "delete")


@asynccontextmanager
async def one_given_up(client: Any, f: str, number: int) -> AsyncIterator[None]:
    """Begin a call that leaves with the first call of the block, and give it up.

    Args:
        client: an `AsyncLogClient`.
        f: the call in the block: one of `GIVEN_UP_BESIDE`. The other one is of the same kind, a question or a command.
        number: the number of the call. It says how long the other one waits.
    """
    other = client.kv.get if f == "get" else client.kv.delete
    task = asyncio.ensure_future(_give_up(other(_NO_KEY), _WAITS_S[number % len(_WAITS_S)]))
    await asyncio.sleep(0)  # it begins, and nothing has left yet
    try:
        yield
    finally:
        await task


async def _give_up(call: Any, after_s: float) -> None:
    with suppress(TimeoutError, ConsensusError):
        async with asyncio.timeout(after_s):
            await call
