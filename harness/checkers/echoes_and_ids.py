"""Echoes, and ids that must be unique: the two simplest services.

An echo's answer is what was asked. No two answers of `generate` are the same. Calls without an answer show nothing.
"""

from collections.abc import Sequence

from harness.checkers.client_calls import CallContext, CallJudge, ClientCall
from harness.checkers.sequential_model import text_of
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from harness.records.jsonable import shown
from node.wording import count


def judge_echoes(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether each echo was answered with what it asked."""
    answered = [call for call in calls if call.is_ok]
    with Found() as found:
        for call in answered:
            if text_of(call.answer) != text_of(call.value):
                found.append(
                    f"{context.by(call)} asked for the echo of {shown(call.value)}, and received {shown(call.answer)}"
                )
    if found:
        return invalid(*found)
    return valid(f"{count(len(answered), 'echo', 'echoes')}, each as it was asked") if answered else _unanswered(calls)


def judge_ids(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether all generated ids differ."""
    answered = [call for call in calls if call.is_ok]
    given: dict[str | None, ClientCall] = {}
    with Found() as found:
        for call in answered:
            text = text_of(call.answer)
            first = given.setdefault(text, call)
            if text is None:
                found.append(f"{context.by(call)} received no id")
            elif first is not call:
                found.append(f"{context.by(first)} and {context.by(call)} received the same id, {shown(call.answer)}")
    if found:
        return invalid(*found)
    return valid(f"{count(len(answered), 'id')}, all different") if answered else _unanswered(calls)


def _unanswered(calls: Sequence[ClientCall]) -> Verdict:
    return unknown(f"none of {count(len(calls), 'call')} was answered")


ECHO = CallJudge(("echo",), judge_echoes)
UNIQUE_IDS = CallJudge(("generate",), judge_ids, {"unique": "generate", "generate-id": "generate"})
