"""What a judge says.

Rules
-----
1. Three verdicts. `valid`: the promise was tried and kept. `invalid`: it was broken, and the evidence says by whom and
   when. `unknown`: the evidence shows neither, and the line says why.
2. An invalid verdict stands whatever else is missing: a violation that was seen was seen. `valid` needs that everything
   was there. So in a merger invalid beats unknown, and unknown beats valid.
3. A checker that raises has shown nothing: unknown, with the exception's text. Never valid.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Final, ParamSpec


class Status(StrEnum):
    """The three verdicts."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


_EXIT_CODES: Final = {Status.VALID: 0, Status.INVALID: 1, Status.UNKNOWN: 2}
MORE_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, one line of evidence for people, and further lines of the same kind if there were more.

    `no_test` says that an unknown verdict is the run's or the checker's own fault, and not only a promise left untried.
    """

    status: Status
    evidence: str = ""
    more: tuple[str, ...] = ()
    no_test: bool = False

    @property
    def exit_code(self) -> int:
        """What a command that was asked for this verdict exits with."""
        return _EXIT_CODES[self.status]

    def to_json(self) -> dict[str, object]:
        """For a run's folder."""
        return {"status": str(self.status), "evidence": self.evidence, "more": list(self.more)}


def valid(evidence: str) -> Verdict:
    """The promise was tried and kept; `evidence` says how often."""
    return Verdict(Status.VALID, evidence)


def invalid(evidence: str, *more: str) -> Verdict:
    """The promise was broken."""
    return Verdict(Status.INVALID, evidence, more[:MORE_MAX])


def unknown(evidence: str, *, no_test: bool = False) -> Verdict:
    """Nothing was shown; `evidence` says why."""
    return Verdict(Status.UNKNOWN, evidence, no_test=no_test)


def merge(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict over several, by name. Of none at all: unknown."""
    for status in (Status.INVALID, Status.UNKNOWN, Status.VALID):
        lines = [f"{name}: {verdict.evidence}" for name, verdict in verdicts.items() if verdict.status == status]
        if lines:
            return Verdict(status, lines[0], tuple(lines[1 : MORE_MAX + 1]))
    return unknown("nothing was checked")


def count(number: int, noun: str) -> str:
    """ "1 variable", "2 variables"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


P = ParamSpec("P")


def checker(function: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """A checker whose own failure is an unknown verdict."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has shown nothing, and must not pass
            text = " ".join(str(error).split())
            failed = f"the checker {function.__name__} failed: {type(error).__name__} {text}".rstrip()
            return unknown(failed, no_test=True)

    return checked
