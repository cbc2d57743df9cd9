"""One function turns an outcome into a value or an exception."""

import pytest

from cluster import CommandRefused, NotDone, NotKnown, Ok, Refused, Unknown, value_of


def test_the_value_of_ok_is_returned() -> None:
    assert value_of(Ok(7)) == 7
    assert value_of(Ok(None, "n1")) is None


def test_a_refusal_keeps_its_kind_and_reason() -> None:
    with pytest.raises(CommandRefused, match=r"^held by alice$") as refused:
        value_of(NotDone("held", "held by alice"))
    assert refused.value.kind == "held"
    assert isinstance(refused.value, Refused)


@pytest.mark.parametrize(
    ("read", "message"), [(False, "^no reply: it may have been done, or may still be$"), (True, "^no reply$")]
)
def test_an_unknown_outcome_warns_of_a_later_effect_unless_it_was_a_read(read: bool, message: str) -> None:
    with pytest.raises(Unknown, match=message):
        value_of(NotKnown("no reply"), read=read)
