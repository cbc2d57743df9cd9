"""Tasks and their tokens, by the versions of the assignment: one token has one owner, and tokens rise with every owner."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from harness.checkers.asked import Asked
from harness.records.history import Event


class Ownership(NamedTuple):
    """What one answer shows: at a version of the assignment, a member had a task with a token."""

    version: int
    task: str
    token: int
    member: str
    asked: Asked


def contradicting_owners(placed: Sequence[Asked], time_of: Callable[[Event], str]) -> Iterator[str]:
    """Yield a sentence for each answer that shows a token with two owners, a token that did not rise, or an earlier share.

    Args:
        placed: the calls with their slots.
        time_of: puts the time of an event into words.
    """
    first: dict[int, Ownership] = {}
    latest: dict[str, Ownership] = {}
    for shown in sorted(_shown_by(placed), key=lambda each: each.version):
        other = first.setdefault(shown.token, shown)
        if (other.member, other.task) != (shown.member, shown.task):
            yield f"{_text(time_of, other)}, and {_text(time_of, shown)}: two owners with one token"
        before = latest.get(shown.task, shown)
        if (before.member, before.token) != (shown.member, shown.token) and (
            before.version == shown.version or before.token >= shown.token
        ):
            yield f"{_text(time_of, before)}, and then {_text(time_of, shown)}: the token did not rise"
        latest[shown.task] = shown
    yield from _stale_shares(placed, time_of)


def _stale_shares(placed: Sequence[Asked], time_of: Callable[[Event], str]) -> Iterator[str]:
    """Yield a sentence for each answer about one member's tasks that was older than an answer about all before it."""
    answered = [asked for asked in placed if asked.call.outcome == "ok"]
    of_all = [asked for asked in answered if asked.call.f == "owners"]
    for mine in answered:
        if mine.call.f != "mine":
            continue
        answer: Any = mine.call.answer
        for owners in of_all:
            seen: Any = owners.call.answer
            theirs = {task: owner[1] for task, owner in seen[1].items() if owner and owner[0] == mine.call.key}
            if owners.ended < mine.began and answer[0] <= seen[0] and theirs != answer[1]:
                yield (
                    f"mine of {mine.call.key}, begun at {time_of(mine.call.invoke)}, shows version {answer[0]} with "
                    f"{sorted(answer[1])}, but an answer before it shows version {seen[0]} with {sorted(theirs)}"
                )


def _shown_by(placed: Sequence[Asked]) -> Iterator[Ownership]:
    for asked in placed:
        if asked.call.outcome != "ok":
            continue
        answer: Any = asked.call.answer
        if asked.call.f == "mine":
            for task, token in answer[1].items():
                yield Ownership(answer[0], task, token, asked.call.key, asked)
        elif asked.call.f == "owners":
            for task, owner in answer[1].items():
                if owner is not None:
                    yield Ownership(answer[0], task, owner[1], owner[0], asked)


def _text(time_of: Callable[[Event], str], shown: Ownership) -> str:
    completion = shown.asked.call.completion
    assert completion is not None
    return f"{shown.member} had {shown.task} with token {shown.token} by {time_of(completion)}"
