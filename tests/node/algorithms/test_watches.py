"""The watches that wait at a leader: by topic, by time, and by client."""

from node.contract import Request
from node.machine import BEAT_MS
from node.replication.watches import Question, Waiter, Watches
from node.tuning import Tuning

UNASKED_BEATS = 30_000 // BEAT_MS


def watch(client: str, number: int, until_beat: int = 10_000, machine: str = "kv") -> Question:
    return Question(Waiter(Request(client, number)), machine, b"", until_beat)


def numbers(questions: list[Question]) -> list[int]:
    return [question.waiter.request.number for question in questions]


def test_a_change_takes_the_watches_whose_topic_begins_the_topic_of_the_change() -> None:
    watches = Watches()
    for number, topic in enumerate(["a/", "a/1", "a/10", "b/", ""]):
        watches.add(watch("c", number), topic, 0)
    watches.add(watch("c", 9, machine="members"), "a/", 0)
    assert sorted(numbers(watches.take_changed("kv", {"a/1": None, "a/2": None}))) == [0, 1, 4]
    assert sorted(question.waiter.request.number for question in watches) == [2, 3, 9]
    assert watches.take_changed("kv", {"a": None}) == []
    assert watches.take_changed("locks", {"a/1": None}) == []
    assert numbers(watches.take_changed("kv", None)) == [2, 3]
    assert len(watches) == 1


def test_a_change_looks_only_at_what_it_touches() -> None:
    """Ten thousand watches of other topics cost a change as many look-ups as they have lengths."""
    watches = Watches()
    for number in range(10_000):
        watches.add(watch("c", number), f"{number:05}/", 0)

    class Topic(str):
        slices = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            Topic.slices += 1
            return super().__getitem__(key)

    assert numbers(watches.take_changed("kv", {Topic("00007/x"): None})) == [7]
    assert Topic.slices == 1


def test_a_watch_ends_at_its_beat() -> None:
    watches = Watches()
    watches.add(watch("c", 1, until_beat=3), "a", 0)
    watches.add(watch("c", 2, until_beat=4), "a", 0)
    watches.add(watch("c", 3, until_beat=4), "b", 0)
    watches.take_changed("kv", {"b": None})
    assert [numbers(watches.take_due(beat)) for beat in range(1, 6)] == [[], [], [1], [2], []]
    assert len(watches) == 0


def test_a_watch_of_a_client_that_has_vanished_ends() -> None:
    watches = Watches()
    watches.add(watch("gone", 1), "a", 0)
    watches.add(watch("here", 1), "a", 0)
    ended = []
    for beat in range(1, 3 * UNASKED_BEATS):
        if beat % 20 == 0:
            assert watches.still_open("here", [1], beat) == []
        ended += [(question.waiter.request.client, beat) for question in watches.take_due(beat)]
    assert ended == [("gone", UNASKED_BEATS)]


def test_a_request_that_comes_again_replaces_the_former_one() -> None:
    watches = Watches()
    for beat in range(100):
        watches.add(watch("c", 1, until_beat=beat + 200), "a", beat)
    assert len(watches) == 1
    assert [beat for beat in range(1, 400) if watches.take_due(beat)] == [299]


def test_a_client_that_asks_for_its_watches_learns_which_are_unknown_and_drops_those_that_it_gave_up() -> None:
    watches = Watches()
    for number in (1, 2, 3, 9):
        watches.add(watch("c", number), "a", 0)
    watches.add(watch("other", 1), "a", 0)
    assert watches.still_open("c", [1, 3, 4], 0) == [4]
    assert numbers(watches.take_given_up(Request("c", 5), [1, 3, 4])) == [2]
    held = sorted(question.waiter.request for question in watches)
    assert held == [("c", 1), ("c", 3), ("c", 9), ("other", 1)]  # 9 came after the question


def test_very_many_clients_are_asked_to_come_less_often_but_often_enough() -> None:
    watches = Watches(Tuning(watch_checks_per_s=10, watch_beats=40))
    pauses_ms = []
    for client in range(30):
        watches.add(watch(f"c{client}", 1), "a", 0)
        watches.add(watch(f"c{client}", 2), "b", 0)
        pauses_ms.append(watches.pause_ms)
    assert pauses_ms[:3] == [100, 200, 300]
    assert max(pauses_ms) == pauses_ms[-1] == 40 * BEAT_MS // 2  # a watch for which nobody asks for 40 beats ends
