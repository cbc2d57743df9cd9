"""The clients of a run that call the API as people do: blocking clients, each in a thread, and asyncio clients in one loop.

Rules
-----
1. A client has one call open at a time. It is recorded as in `log_calls.py`: the invocation before anything can leave, the
   completion after the call has returned or raised.
2. A client that is restarted is closed, and the next one resumes its session.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from cluster.clients.async_client import AsyncLogClient
from cluster.clients.log_client import LogClient
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from cluster.errors import CommandRefused, ConsensusError, Refused
from harness.records.history import API, GIVEN_UP
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.planned_call import PlannedCall
from harness.workloads.public_calls import AsyncCaller, BlockingCaller
from node.contract import NodeId
from node.tuning import SHIPPED, Tuning

#: Calls that take several operations, or wait: no judge asks whether they were answered in time.
_OF_MANY_STEPS = ("range", "watch", "views", "acquire", "release", "join", "leave", "end")

#: Every so many clients there is one, a blocking one, that another thread shares.
_SHARES: Final = 4


class ApiCall:
    """A call of a client. `outcome` is None until it has one."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


class ApiCalls:
    """The clients of one run, by number. Even numbers are blocking clients, odd ones are asyncio clients."""

    #: The clients; a mutant has others.
    blocking_class: type[LogClient] = LogClient
    async_class: type[AsyncLogClient] = AsyncLogClient

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        recorder: HistoryRecorder,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Prepare for clients, which are made at their first call. The arguments are those of `LogCalls`."""
        self._cluster, self._addresses, self._recorder, self._tuning = cluster, addresses, recorder, tuning
        self._blocking: dict[int, BlockingCaller] = {}
        self._async: dict[int, AsyncCaller] = {}
        self._threads: dict[int, ThreadPoolExecutor] = {}
        self._done: deque[Future[None]] = deque()
        self._turns: dict[int, asyncio.Lock] = {}
        self._processes: dict[int, int] = {}
        self._resume: dict[int, int | None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None

    def begin(self, client: int, call: PlannedCall) -> ApiCall:
        """Begin a call of a client. If it has another call open, this one begins after that."""
        begun = ApiCall()
        if client % 2:
            future = asyncio.run_coroutine_threadsafe(self._await(client, call, begun), self._running_loop())
        else:
            thread = self._threads.setdefault(client, ThreadPoolExecutor(1, f"api client {client}"))
            future = thread.submit(self._do, client, call, begun)
        future.add_done_callback(self._done.append)
        return begun

    def poll(self) -> None:
        """Raise what a call has raised that no client of the API may raise. Does not wait."""
        while self._done:
            self._done.popleft().result()

    def restart(self, client: int, *, new_session: bool = False) -> None:
        """Restart a client that has no call open. It resumes its session, or opens a new one."""
        if client in self._blocking:
            caller = self._blocking.pop(client)
            self._resume[client] = None if new_session else caller.client.session
            caller.client.close()
        elif client in self._async:
            awaited = self._async.pop(client)
            self._resume[client] = None if new_session else awaited.client.session
            self._running_loop().call_soon_threadsafe(awaited.client.close)

    def close(self) -> None:
        """End the calls that are open, and close all clients."""
        for caller in self._blocking.values():
            caller.client.close()  # a call that is open has its outcome now
        for thread in self._threads.values():
            thread.shutdown()
        for caller in self._blocking.values():
            caller.close()
        if self._loop is not None and self._loop_thread is not None:
            asyncio.run_coroutine_threadsafe(self._close_async(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join()
            self._loop.close()
        self._blocking.clear()
        self._async.clear()

    async def _close_async(self) -> None:
        for caller in self._async.values():
            caller.client.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one call -----------------------------------------------------------------------------------------------------

    def _do(self, client: int, call: PlannedCall, begun: ApiCall) -> None:
        if client not in self._blocking:
            resume = self._resume.pop(client, None)
            made = self.blocking_class(
                self._cluster, self._addresses, f"api{client}", resume=resume, tuning=self._tuning
            )
            self._blocking[client] = BlockingCaller(made, shares=client % _SHARES == 0)
        caller = self._blocking[client]
        call = caller.prepared(call)
        event = self._invoke(client, call)
        outcome: Outcome = NotKnown("the call has failed in the client")
        try:
            outcome = Ok(caller.do(call))
        except ConsensusError as error:
            outcome = _outcome_of(error)
        finally:
            self._end(client, event, outcome, begun)

    async def _await(self, client: int, call: PlannedCall, begun: ApiCall) -> None:
        async with self._turns.setdefault(client, asyncio.Lock()):
            await self._await_now(client, call, begun)

    async def _await_now(self, client: int, call: PlannedCall, begun: ApiCall) -> None:
        if client not in self._async:
            resume = self._resume.pop(client, None)
            made = self.async_class(self._cluster, self._addresses, f"api{client}", resume=resume, tuning=self._tuning)
            self._async[client] = AsyncCaller(made)
        caller = self._async[client]
        call = caller.prepared(call)
        event = self._invoke(client, call)
        outcome: Outcome = NotKnown("the run ended before an answer came")
        try:
            async with asyncio.timeout(call.gives_up_s or None):
                outcome = Ok(await caller.do(call))
        except TimeoutError:
            outcome = NotKnown(GIVEN_UP)
        except ConsensusError as error:
            outcome = _outcome_of(error)
        finally:
            self._end(client, event, outcome, begun)

    def _invoke(self, client: int, call: PlannedCall) -> Any:
        process = f"{API}{client}.{self._processes.setdefault(client, 0)}"
        timeout_s = None if call.f in _OF_MANY_STEPS else call.timeout_s
        return self._recorder.invoke(process, call.f, call.key, call.value, timeout_s=timeout_s)

    def _end(self, client: int, event: Any, outcome: Outcome, begun: ApiCall) -> None:
        match outcome:
            case Ok(value):
                self._recorder.ok(event, value)
            case NotDone(kind, reason):
                self._recorder.fail(event, f"{kind}: {reason}")
            case NotKnown(reason):
                self._recorder.info(event, reason)
                self._processes[client] += 1  # this process makes no more calls
        begun.outcome = outcome

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop_thread = threading.Thread(target=self._loop.run_forever, name="api clients", daemon=True)
            self._loop_thread.start()
        return self._loop


def _outcome_of(error: ConsensusError) -> Outcome:
    if isinstance(error, CommandRefused):
        return NotDone(error.kind, str(error))
    if isinstance(error, Refused):
        return NotDone("refused", str(error))
    return NotKnown(str(error))
