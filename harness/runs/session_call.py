"""A call by hand, recorded in the session's history by the supervisor: for the command line and the live page."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.errors import CommandRefused, NotUp, Refused
from cluster.supervisor_file import SupervisorClient
from harness.records.jsonable import to_jsonable
from node.wire import BadValue

#: How long the supervisor may take to answer, in seconds.
_ANSWER_S: Final = 10.0


def parse_value(text: str) -> Any:
    """Return the value that `text` stands for: JSON, or a bare word for a string."""
    try:
        return json.loads(text)
    except RecursionError:
        raise BadValue("the value is nested too deep") from None
    except ValueError:
        if text[:1] in ('"', "[", "{"):
            raise BadValue(f"{text!r} begins like JSON and is not: check its quotes and brackets") from None
        return text


class SessionCall:
    """A call that the supervisor records in the session's history, from before it is sent until its outcome is known."""

    def __init__(
        self, control: SupervisorClient, f: str, key: str, value: Any, timeout_s: float, node: str | None = None
    ) -> None:
        """Record that the call is about to be sent.

        Args:
            control: the supervisor.
            f: the operation's name in the history.
            key: the variable or the key.
            value: the operation's value in the history.
            timeout_s: the call's timeout.
            node: the node that is asked, if it is only one.
        """
        self._control = control
        arguments = {"f": f, "key": key, "value": to_jsonable(value), "node": node, "timeout_s": timeout_s}
        self._number = control.ask("call_began", _ANSWER_S, **arguments)

    def ok(self, value: Any, node: str | None = None) -> None:
        """Record that the call was answered."""
        self._end("ok", to_jsonable(value), None, node)

    def fail(self, error: str) -> None:
        """Record that the call was definitely not done."""
        self._end("fail", None, error, None)

    def info(self, error: str) -> None:
        """Record that the outcome is unknown."""
        self._end("info", None, error, None)

    def outcome(self, outcome: Any) -> None:
        """Record this outcome."""
        match outcome:
            case Ok(value, node):
                self.ok(value, node)
            case NotDone(_, reason):
                self.fail(reason)
            case NotKnown(reason):
                self.info(reason)

    def _end(self, type_: str, value: Any, error: str | None, node: str | None) -> None:
        with contextlib.suppress(NotUp):  # the session has ended meanwhile, and has recorded the call as open
            self._control.ask(
                "call_ended", _ANSWER_S, call=self._number, type=type_, value=value, error=error, node=node
            )


@contextmanager
def recorded(control: SupervisorClient, f: str, key: str, value: Any, timeout_s: float) -> Iterator[SessionCall]:
    """Record a call in the session's history. The block ends with `ok`, or with an error that is recorded as its outcome."""
    call = SessionCall(control, f, key, value, timeout_s)
    try:
        yield call
    except CommandRefused as error:
        call.fail(f"{error.kind}: {error}")
        raise
    except Refused as error:
        call.fail(str(error))
        raise
    except BaseException as error:
        call.info(f"{type(error).__name__}: {error}")
        raise
