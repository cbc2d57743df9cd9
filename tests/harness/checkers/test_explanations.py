"""A verdict is fixed before anything explains it: a checker whose explanation fails still returns invalid."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pytest

from harness.checkers import certificate, durability, evidence, object_linearizability, properties, replicas
from harness.checkers.answers import answers
from harness.checkers.certificate import Contradiction
from harness.checkers.evidence import Checker, RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.jit_linearizability import TooHard, search
from harness.checkers.known_bad import known_bad
from harness.checkers.late_returns import late_returns
from harness.checkers.linearizable import linearizable
from harness.checkers.liveness import liveness
from harness.checkers.lock_leases import exclusion
from harness.checkers.membership import membership
from harness.checkers.minimise import explain
from harness.checkers.models import CasRegisterModel, ConsensusModel, KvModel, LockModel
from harness.checkers.other_models import MultiRegisterModel, SemaphoreModel, VersionedRegisterModel
from harness.checkers.sequential_model import NO_ANSWER, Model, ObjectCall
from harness.checkers.session_ends import session_ends
from harness.checkers.verdict import Found, Verdict, VerdictStatus, checker, invalid, valid
from harness.records import jsonable
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos
from node.contract import Algorithm


def fails(*_arguments: Any, **_more: Any) -> NoReturn:
    raise TooHard("nobody can explain this")


#: What explanations are made of: a module, and the name in it that is to fail.
EXPLANATIONS = {
    "a value in words": (jsonable, "repr"),
    "a call in words": (evidence, "answer_clause"),
    "a packed value in words": (replicas, "decode_value"),
    "a packed value on a disk in words": (durability, "decode_value"),
    "a refusal in words": (properties, "shown"),
    "the few calls of a contradiction": (object_linearizability, "explain"),
    "the times of a contradiction": (certificate, "_decimals"),
}


def checkers_of(model: Model) -> dict[str, Checker]:
    return {
        **properties.PROPERTIES,
        "linearizability": partial(linearizable, model=model),
        "exclusion": exclusion,
        "invariants": invariants,
        "durability": durability.durability,
        "agreement": replicas.agreement,
        "answers": answers,
        "membership": membership,
        "sessions": session_ends,
        "returns": late_returns,
        "effects": replicas.effects,
        "liveness": partial(liveness, healed_ns=0, within_s=5.0),
    }


@pytest.mark.parametrize("broken", EXPLANATIONS)
@pytest.mark.parametrize(
    ("algorithm", "model"),
    [(Paxos, ConsensusModel()), (MultiPaxos, KvModel()), (MultiPaxos, CasRegisterModel()), (MultiPaxos, LockModel())],
)
def test_a_violation_counts_though_its_explanation_fails(
    broken: str, algorithm: type[Algorithm], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = EXPLANATIONS[broken]
    monkeypatch.setattr(module, name, fails, raising=False)
    checkers = checkers_of(model)
    for judged, runs in known_bad(algorithm, model).items():
        if judged == "linearizability" and isinstance(model, LockModel):
            continue  # locks with leases are judged by exclusion
        for run in runs if isinstance(runs, tuple) else (runs,):
            verdict = checkers[judged](run)
            assert (judged, VerdictStatus.INVALID) == (judged, verdict.status), verdict


def bad_run(name: str) -> RunEvidence:
    found = known_bad()[name]
    assert isinstance(found, RunEvidence)
    return found


def test_the_sentence_says_that_the_explanation_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_linearizability, "explain", fails)
    verdict = linearizable(bad_run("linearizability"))
    assert verdict.evidence == (
        "x: these 2 calls have no order, and the explanation of this failed: TooHard nobody can explain this"
    )


def a_checker(*steps: Callable[[], str]) -> Verdict:
    @checker
    def judge(_run: RunEvidence) -> Verdict:
        with Found() as found:
            found.extend(step() for step in steps)
        return invalid(*found) if found else valid("nothing was found")

    return judge(bad_run("coherence"))


def test_a_checker_that_fails_later_keeps_what_it_has_found() -> None:
    verdict = a_checker(lambda: "n1 has decided twice", fails)
    assert (verdict.status, verdict.evidence) == (VerdictStatus.INVALID, "n1 has decided twice")
    assert verdict.more == ("the checker failed after it had found this: TooHard nobody can explain this",)


def test_a_checker_that_fails_before_it_has_found_anything_has_shown_nothing() -> None:
    verdict = a_checker(fails)
    assert (verdict.status, verdict.no_test) == (VerdictStatus.UNKNOWN, True)


def test_a_history_that_no_smaller_one_explains_keeps_all_its_calls_and_names_few() -> None:
    """Every trial of the minimiser is too hard, as on a long history with many clients and few values."""
    model = CasRegisterModel()
    calls = [ObjectCall("write", number % 2, None, 2 * number, 2 * number + 1, process=number) for number in range(40)]
    calls.append(ObjectCall("read", None, 0, 80, 81, process="last"))  # the last write was of 1
    violation = search(calls, model, quick=False)
    assert isinstance(violation, Contradiction)
    tried = []

    def too_hard(some: Any) -> NoReturn:
        tried.append(some)
        fails()

    explained = explain(calls, model, violation, too_hard)
    assert explained.history == calls
    assert [call.process for call in explained.contradiction.calls] == [39, "last"]
    assert explained.contradiction.template.endswith(
        "no order explains these calls, whichever further calls took effect"
    )
    assert len(tried) == 3  # each costs the whole budget of a search


def explained(model: Model, *rows: tuple[str, Any, Any]) -> object_linearizability.Certificate:
    """Explain a history of calls, one after the other, each with the values of its invoke and its ok."""
    calls = []
    for place, (f, asked, got) in enumerate(rows):
        argument = model.argument_from(f, asked, "c1")
        answer = None if got is NO_ANSWER else model.answer_from(f, argument, got)
        ended = None if got is NO_ANSWER else 2 * place + 1
        calls.append(ObjectCall(f, argument, answer, 2 * place, ended, process="c1"))
    violation = object_linearizability.find_contradiction(calls, model)
    assert violation is not None
    return object_linearizability.certify(calls, model, violation, lambda _place: None)


def test_a_stale_version_is_explained_with_every_write_below_it() -> None:
    writes = [("write", f"v{version}", version) for version in range(1, 41)]
    found = explained(
        VersionedRegisterModel(), *writes[:10], ("read", None, [10, "v10"]), *writes[10:], ("read", None, [7, "v7"])
    )
    assert [(call.f, call.answer) for call in found.history] == [
        *(("write", version) for version in range(1, 41)),
        ("read", (7, '"v7"')),
    ]
    assert found.sentence.startswith(
        "c1 wrote 'v40' as version 40 from line 81 to line 82, c1 read 'v7' as version 7 from line 83 to line 84: "
    )
    few = explained(VersionedRegisterModel(), *writes[:2], ("read", None, [1, "v1"]), writes[2])
    assert [call.f for call in few.history] == ["write", "write", "read"]
    assert few.sentence == (
        "c1 wrote 'v1' as version 1 from line 1 to line 2, c1 wrote 'v2' as version 2 from line 3 to line 4, "
        "c1 read 'v1' as version 1 from line 5 to line 6: no order explains these calls"
    )


def test_writes_without_a_version_stay_if_a_cas_without_one_may_stand_among_them() -> None:
    rows = [
        ("write", "a", 1),
        ("write", "b", 2),
        ("cas", ["b", "c"], ["b", "c"]),
        ("write", "d", 4),
        ("read", None, [3, "a"]),
    ]
    found = explained(VersionedRegisterModel(), *rows)
    assert [call.f for call in found.history] == ["write", "write", "cas", "write", "read"]


def test_transactions_and_permits_are_named_in_evidence() -> None:
    write = ("txn", [["w", "x", 1], ["w", "y", "b"]], [["w", "x", 1], ["w", "y", "b"]])
    read = (
        "txn",
        [["r", "x", None], ["r", "y", None], ["w", "x", 2]],
        [["r", "x", 1], ["r", "y", None], ["w", "x", 2]],
    )
    assert explained(MultiRegisterModel(), write, read).sentence == (
        "c1 wrote 1 to 'x' and 'b' to 'y' in one transaction from line 1 to line 2, "
        "c1 read 1 from 'x' and nothing from 'y' and wrote 2 to 'x' in one transaction from line 3 to line 4: "
        "no order explains these calls"
    )
    lost = ("txn", [["w", "x", 1], ["r", "y", None]], NO_ANSWER)
    sentence = explained(MultiRegisterModel(), lost, ("txn", [["r", "x", None]], [["r", "x", 3]])).sentence
    assert "c1 called txn to write 1 to 'x' and read 'y' and received no answer" in sentence
    assert "c1 read 3 from 'x' from line 3" in sentence
    semaphore = SemaphoreModel()
    semaphore.start_with("3")
    assert explained(semaphore, ("acquire", 3, None), ("acquire", None, None)).sentence == (
        "c1 acquired 3 permits from line 1 to line 2, c1 acquired 1 permit from line 3 to line 4: "
        "no order explains these calls, and there are 3 permits"
    )
    assert explained(VersionedRegisterModel(), ("cas", ["a", "b"], 1)).sentence == (
        "c1 swapped 'b' for 'a' as version 1 from line 1 to line 2: no order explains these calls"
    )
