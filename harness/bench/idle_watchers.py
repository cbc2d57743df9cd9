"""A process that holds idle watchers: `python -m harness.bench.idle_watchers '[CLUSTER, {NODE: ADDRESS}, PER_CLIENT]'`.

The watchers are `client.kv.watch(...)` of asyncio, each a task that waits for a key of its own, as a program would have them.
So many of them share a client, which has a connection and asks for all its watches at once.
Each line of the standard input says how many there are to be. The process answers each line with what has happened to
watchers so far, and ends with its input.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

from cluster.clients.async_client import AsyncLogClient
from cluster.errors import ConsensusError
from node.contract import NodeId

#: How many watchers share a client, unless something else is said.
PER_CLIENT: Final = 1_000


class Disturbed(NamedTuple):
    """What has happened to watchers that should be idle: how many changes they saw, and how many ended with an error."""

    woken: int
    ended: int


class _IdleWatchers:
    """The watchers, as tasks of one event loop."""

    def __init__(self, cluster: str, addresses: Mapping[NodeId, str], per_client: int) -> None:
        self._per_client = per_client
        self._cluster, self._addresses = cluster, addresses
        self._clients: list[AsyncLogClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._woken = self._ended = 0

    async def run(self) -> None:
        """Follow the standard input to its end."""
        while line := await asyncio.to_thread(sys.stdin.readline):
            await self._be(int(line))
            print(json.dumps(Disturbed(self._woken, self._ended)), flush=True)

    async def _be(self, wanted: int) -> None:
        """Have so many watchers, of changes from now on."""
        for task in self._tasks[wanted:]:
            task.cancel()
        del self._tasks[wanted:]
        while len(self._clients) * self._per_client < wanted:
            self._clients.append(AsyncLogClient(self._cluster, lambda: self._addresses))
        after = await self._clients[0].kv.version() if wanted else 0
        for number in range(len(self._tasks), wanted):
            client = self._clients[number // self._per_client]
            self._tasks.append(asyncio.create_task(self._watch(client, f"idle/{number}/", after)))

    async def _watch(self, client: AsyncLogClient, prefix: str, after: int) -> None:
        try:
            async for _ in client.kv.watch(prefix, after):
                self._woken += 1
        except ConsensusError:
            self._ended += 1


if __name__ == "__main__":
    _, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))  # a client takes several descriptors for each node
    asyncio.run(_IdleWatchers(*json.loads(sys.argv[1])).run())
