"""Makes a client's methods from the functions that define its operations, for blocking and for asyncio clients.

```python
class Kv(BlockingOperations):
    put = blocking(kv_put)       # client.kv.put("owner", "alice")


class AsyncKv(AsyncOperations):
    put = awaited(kv_put)        # await client.kv.put("owner", "alice")
```

A type checker sees the function's own arguments, without its `Operation`; `help` and `inspect.signature` show them, and the
function's docstring.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args

from cluster.clients.operation import Operation, Steps, Stream

P = ParamSpec("P")
T = TypeVar("T")


class BlockingClient(Protocol):
    """Carries operations out, and waits for their results. `LogClient` does."""

    @property
    def id(self) -> str:
        """The client's name, which no other client has."""

    def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps, and return the result."""

    def each(self, stream: Stream[T]) -> Iterator[T]:
        """Carry out a stream, and yield its items."""


class AsyncClient(Protocol):
    """A client of the log for the tasks of an event loop, such as `AsyncLogClient`."""

    async def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps, and return the result."""

    def each(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Carry out a stream, and yield its items."""


class BlockingOperations:
    """The base of a group of methods that belong to one blocking client, such as `Kv`."""

    def __init__(self, client: BlockingClient) -> None:
        self._client = client


class AsyncOperations:
    """The base of a group of methods that belong to one asyncio client, such as `AsyncKv`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client


def blocking(define: Callable[P, Operation[T] | Steps[T]]) -> Callable[Concatenate[Any, P], T]:
    """Make a method that carries out what `define` returns, and returns the result."""

    def method(group: BlockingOperations, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return group._client.do(define(*args, **kwargs))

    return _described(method, define, _result_type(define))


def awaited(define: Callable[P, Operation[T] | Steps[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Make a coroutine method that carries out what `define` returns, and returns the result."""

    async def method(group: AsyncOperations, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await group._client.do(define(*args, **kwargs))

    return _described(method, define, _result_type(define))


def iterated(define: Callable[P, Stream[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """Make a method that returns an iterator over the items of a stream."""

    def method(group: BlockingOperations, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return group._client.each(define(*args, **kwargs))

    return _described(method, define)


def async_iterated(define: Callable[P, Stream[T]]) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """Make a method that returns an asynchronous iterator over the items of a stream."""

    def method(group: AsyncOperations, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return group._client.each(define(*args, **kwargs))

    return _described(method, define)


F = TypeVar("F", bound=Callable[..., Any])


def _described(method: F, define: Callable[..., Any], result: Any = inspect.Signature.empty) -> F:
    """Give a method the name, the docstring and the signature of the function that it is derived from.

    `inspect` would take the function's first argument for the `self` of the method, so the signature is set. `result` is the type
    that it shows for what the method returns.
    """
    update_wrapper(method, define)
    signature = inspect.signature(define)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    described = signature.replace(parameters=[itself, *signature.parameters.values()], return_annotation=result)
    method.__signature__ = described  # type: ignore[attr-defined]
    return method


def _result_type(define: Callable[..., Any]) -> Any:
    """Return the T of a function that returns an `Operation[T]` or `Steps[T]`."""
    return get_args(inspect.signature(define).return_annotation)[-1]
