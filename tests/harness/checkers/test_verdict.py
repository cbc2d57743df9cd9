import pytest

from harness.checkers.verdict import MORE_MAX, Verdict, VerdictStatus, checker, invalid, merge, unknown, valid


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, unknown("nothing was checked")),
        ({"a": valid("1"), "b": valid("2")}, Verdict(VerdictStatus.VALID, "a: 1", ("b: 2",))),
        ({"a": valid("1"), "b": unknown("2")}, unknown("b: 2")),
        ({"a": unknown("1"), "b": invalid("2"), "c": valid("3")}, invalid("b: 2")),
        ({"a": invalid("1"), "b": invalid("2")}, invalid("a: 1", "b: 2")),
    ],
)
def test_invalid_beats_unknown_and_unknown_beats_valid(verdicts: dict[str, Verdict], expected: Verdict) -> None:
    assert expected == merge(verdicts)


def test_each_status_has_an_exit_code() -> None:
    assert [verdict.exit_code for verdict in (valid(""), invalid(""), unknown(""))] == [0, 1, 2]


def test_a_checker_that_raises_is_unknown() -> None:
    @checker
    def broken(reason: str) -> Verdict:
        raise KeyError(reason)

    assert unknown("the checker broken failed: KeyError 'line two'", no_test=True) == broken("line two")


def test_an_interrupt_passes_through_a_checker() -> None:
    @checker
    def interrupted() -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_verdict_has_a_json_form_and_a_bounded_number_of_lines() -> None:
    assert invalid("a", "b").to_json() == {"status": "invalid", "evidence": "a", "more": ["b"]}
    assert len(invalid("a", *["b"] * 99).more) == MORE_MAX
