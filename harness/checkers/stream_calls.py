"""The calls on logs of messages, as Kafka has them, in the forms in which histories write them.

The calls
---------
| f | value of the invoke | value of the ok |
|---|---|---|
| send | `[key, value]` | the offset, or `[key, [offset, value]]` |
| poll | null, or the offsets from which to read: `{key: offset}` | `{key: [[offset, value], ...]}` |
| commit_offsets | `{key: offset}` | |
| list_committed_offsets | the keys | `{key: offset}` |
| txn | `[["send", key, value], ["poll"], ...]` | the same with results: `["send", key, [offset, value]]`, `["poll", {...}]` |
| assign, subscribe, crash | | the process starts to read at other places |

`send` and `poll` may also have the form of a `txn`, as Jepsen writes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.checkers.client_calls import CallContext, ClientCall, wrong_answer
from harness.checkers.sequential_model import text_of

RESETS: Final = ("assign", "subscribe", "crash")
COMMIT: Final = "commit_offsets"
COMMITTED: Final = "list_committed_offsets"


class Sent(NamedTuple):
    """A message that a client sent, and its offset if that is known."""

    call: ClientCall
    key: str
    text: str | None
    offset: int | None


class Polled(NamedTuple):
    """What one poll returned of one key, from which offset it asked, and whether an earlier poll decided where it began."""

    call: ClientCall
    key: str
    asked: int | None
    messages: list[tuple[int, str | None]]


class StreamCalls:
    """What was sent and polled, and the sentences about answers that no log gives."""

    def __init__(self, calls: Sequence[ClientCall], context: CallContext) -> None:
        self.context = context
        self.sent: list[Sent] = []
        self.polled: list[Polled] = []
        self.flaws: list[str] = []
        for call in calls:
            if call.f in ("send", "poll", "txn"):
                self._add(call)

    def _add(self, call: ClientCall) -> None:
        asked = _steps(call.f, call.value)
        if not call.is_ok:
            self.sent += [Sent(call, *sent, None) for step in asked if (sent := _send_of(step)) is not None]
            return
        answers = _steps_of_answer(call)
        for number, step in enumerate(asked):
            sent = _send_of(step)
            if sent is None:
                self._poll(call, step, answers[number] if number < len(answers) else None)
                continue
            offset = _offset_of(answers[number] if number < len(answers) else None)
            if offset is None and call.f == "send":
                self.flaws.append(wrong_answer(call, self.context, "an offset"))
            self.sent.append(Sent(call, *sent, offset))

    def _poll(self, call: ClientCall, asked: Any, answer: Any) -> None:
        wanted = asked if isinstance(asked, Mapping) else {}
        if not isinstance(answer, Mapping):
            self.flaws.append(wrong_answer(call, self.context, "a map from keys to lists of [offset, value]"))
            return
        found: dict[str, list[tuple[int, str | None]]] = {key_text(key): [] for key in wanted}
        for key, messages in answer.items():
            try:
                found[key_text(key)] = [(_whole(offset), text_of(value)) for offset, value in messages]
            except (TypeError, ValueError):
                self.flaws.append(wrong_answer(call, self.context, "a map from keys to lists of [offset, value]"))
        offsets = {key_text(key): offset for key, offset in wanted.items() if type(offset) is int}
        self.polled += [Polled(call, key, offsets.get(key), messages) for key, messages in found.items()]


def asked_form(f: str, value: Any) -> str:
    """Return what the value of an invoke must be; empty if it is that."""
    if f == "send" and not _are_steps(value) and _send_of(value) is None:
        return "[key, value]"
    return (
        'a list of steps, ["send", key, value] and ["poll"]' if f == "txn" and value and not _are_steps(value) else ""
    )


def _steps(f: str, value: Any) -> list[Any]:
    """Return the steps of a call: `[key, value]` for a send, and what a poll asks for."""
    if _are_steps(value):
        return [list(step[1:3]) if _bare(step[0]) == "send" else (step[1] if len(step) > 1 else None) for step in value]
    return [value] if f in ("send", "poll") else []


def _steps_of_answer(call: ClientCall) -> list[Any]:
    if _are_steps(call.answer):
        return [step[-1] if len(step) > 1 else None for step in call.answer]
    return [call.answer]


def _are_steps(value: Any) -> bool:
    """Return whether a value has the form of a transaction's: a list of lists that begin with "send" or "poll"."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(step, list | tuple) and step and _bare(step[0]) in ("send", "poll") for step in value)
    )


def _send_of(step: Any) -> tuple[str, str | None] | None:
    if isinstance(step, list | tuple) and len(step) == 2:
        return key_text(step[0]), text_of(step[1])
    return None


def _offset_of(answer: Any) -> int | None:
    """Return the offset in the answer of a send: `7`, `[7, value]` or `[key, [7, value]]`."""
    while isinstance(answer, list | tuple) and len(answer) == 2:
        answer = answer[1] if isinstance(answer[1], list | tuple) and type(answer[0]) is not int else answer[0]
    if isinstance(answer, Mapping):
        answer = answer.get("offset")
    return answer if type(answer) is int else None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"an offset is a whole number, not {value!r}")
    return value


def _bare(name: Any) -> Any:
    return name.removeprefix(":") if isinstance(name, str) else name


def key_text(key: Any) -> str:
    """Return a key as text: as a member of a JSON object, a number is a text."""
    return key if isinstance(key, str) else str(text_of(key))
