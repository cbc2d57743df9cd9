"""Verdicts: what a checker returns, and how several verdicts become one.

Theory of operation
-------------------
A *checker* is a function that takes the evidence of one run (`evidence.RunEvidence`) and returns a `Verdict`: a status, one
sentence of evidence, and more sentences if it found more violations. The caller (a suite, a session of the command line, a
replay) collects the verdicts by the checkers' names, combines them with `merge`, and writes them to the run folder. A
command exits with the exit code of the merged verdict.

Rules
-----
1. There are three statuses. `valid`: the run tested the promise, and the algorithm kept it. `invalid`: the algorithm broke
   the promise, and the evidence names the node or the client and the time. `unknown`: the evidence shows neither, and says
   why.
2. An invalid verdict stands even if other evidence is missing, since the violation itself was observed. A valid verdict
   needs all of the evidence. Therefore `merge` puts invalid before unknown, and unknown before valid.
3. A checker that raises has shown nothing. Its verdict is unknown, with the exception's text, and never valid.
4. The exception is a checker that has seen a violation. Its verdict is fixed from then on: it is invalid, whatever fails while
   the violation is explained, or while the checker looks for more. Checkers collect violations in `Found`, and describe
   them with functions that are decorated with `wording` (`harness/records/jsonable.py`).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from types import TracebackType
from typing import Final, NamedTuple, ParamSpec

from harness.records.jsonable import describe_error


class VerdictStatus(StrEnum):
    """The three statuses of a verdict (rule 1)."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


_EXIT_CODES: Final = {VerdictStatus.VALID: 0, VerdictStatus.INVALID: 1, VerdictStatus.UNKNOWN: 2}
#: How many sentences a verdict keeps in `more`.
MORE_MAX: Final = 20


class Verdict(NamedTuple):
    """The result of one checker.

    Attributes:
        status: valid, invalid or unknown.
        evidence: one sentence for people: what was checked, which violation was found, or why the status is unknown.
        more: further violations, one sentence each, at most `MORE_MAX`.
        no_test: True if an unknown status means that the run was no test (a fault did not bite, a checker raised). False
            if the run was a test and only happened not to try this promise.
    """

    status: VerdictStatus
    evidence: str = ""
    more: tuple[str, ...] = ()
    no_test: bool = False

    @property
    def exit_code(self) -> int:
        """The exit code of a command that returns this verdict: 0 valid, 1 invalid, 2 unknown."""
        return _EXIT_CODES[self.status]

    def to_json(self) -> dict[str, object]:
        """Return the verdict as it stands in the run folder: keys `status`, `evidence` and `more`."""
        return {"status": str(self.status), "evidence": self.evidence, "more": list(self.more)}


def valid(evidence: str) -> Verdict:
    """Return the verdict that the promise was tested and kept; `evidence` says how often."""
    return Verdict(VerdictStatus.VALID, evidence)


def invalid(evidence: str, *more: str) -> Verdict:
    """Return the verdict that the promise was broken; each argument is the sentence of one violation."""
    return Verdict(VerdictStatus.INVALID, evidence, more[:MORE_MAX])


def unknown(evidence: str, *, no_test: bool = False) -> Verdict:
    """Return the verdict that the run has shown nothing; `evidence` says why, and `no_test` is as in `Verdict`."""
    return Verdict(VerdictStatus.UNKNOWN, evidence, no_test=no_test)


def merge(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Combine the verdicts of several checkers into one (rule 2).

    Args:
        verdicts: the verdicts by the names of their checkers.

    Returns:
        The worst status. Its evidence is that of the first verdict with this status, after the checker's name; the others
        with this status stand in `more`. Without any verdict, the status is unknown.
    """
    for status in (VerdictStatus.INVALID, VerdictStatus.UNKNOWN, VerdictStatus.VALID):
        lines = [f"{name}: {verdict.evidence}" for name, verdict in verdicts.items() if verdict.status == status]
        if lines:
            return Verdict(status, lines[0], tuple(lines[1 : MORE_MAX + 1]))
    return unknown("nothing was checked")


class Found(list[str]):
    """The violations that a checker has seen, one sentence each (rule 4).

    with Found() as found:
        found.append("n1 has decided twice")
        raise ZeroDivisionError
    assert found  # and its last sentence says that the search for more has failed

    An exception in the block passes through only if nothing was found before it.
    """

    def __enter__(self) -> "Found":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self or not isinstance(error, Exception):
            return False
        self.append(f"the checker failed after it had found this: {describe_error(error)}")
        return True


def violated(verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """Return the names of the verdicts that are invalid."""
    return tuple(name for name, verdict in verdicts.items() if verdict.status is VerdictStatus.INVALID)


P = ParamSpec("P")


def checker(function: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """Decorate a checker so that an exception of its own becomes an unknown verdict with `no_test` (rule 3).

    `KeyboardInterrupt` and `SystemExit` pass through.
    """

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a checker that failed, however it failed, must not pass a run
            return unknown(f"the checker {function.__name__} failed: {describe_error(error)}", no_test=True)

    return checked
