"""What a replicated state answers, command by command, compared with the file `answers.txt`.

The other tests say what must hold of machines and sessions. This one shows each answer to random commands, right and wrong
ones, at the limits and beyond them. `pytest --regenerate` writes the file again: read it as a diff.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from node.machine import NotYet
from node.machines import DEFAULT
from node.replication.configuration import Configuration
from node.replication.state import CLUSTER, SESSION, ReplicatedState
from node.tuning import Tuning
from node.wire import pack_unchecked, unpack_unchecked

FILE = Path(__file__).with_name("answers.txt")
STEPS = 500
#: Limits so small that random commands meet them.
TUNING = Tuning(
    sessions_max=5, session_window=4, session_idle_ms=60_000, claims_max=6, members_max=4, tasks_max=5, once_max=3,
    kv_history_entries=8, kv_history_bytes=1024, kv_answer_entries=3, kv_answer_bytes=1024, lease_ms_max=1_000,
    copies_max=2, copy_part_bytes=1024,
)  # fmt: skip
NAMES = ("a", "a/b", "a/c", "b", "", "n" * 200, "n" * 201)
LEASES = (99, 100, 500, 1_000, 1_001)
VALUES = (b"", b"blue", b"x" * 400)


class Asker:
    """Draws commands and questions, most of which fit the state."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.latest = 0
        """The highest number that the machine has given, of whose numbers the next is drawn."""

    def name(self) -> str:
        return self.rng.choice(NAMES if self.rng.random() < 0.1 else NAMES[:4])

    def number(self) -> int:
        return max(0, self.latest + 1 - self.rng.choice((0, 1, 1, 1, 2, 3, 7)))

    def lease(self) -> int:
        return self.rng.choice(LEASES if self.rng.random() < 0.2 else LEASES[1:4])

    def look_at(self, machine: str, state: ReplicatedState) -> None:
        """Draw the next numbers from what a machine has given."""
        if machine in (SESSION, CLUSTER):
            self.latest = state.sessions.snapshot()[0]
        elif machine != "once":
            given: Any = state.machines[machine].snapshot()
            self.latest = given[self.rng.randrange(2)] if machine in ("locks", "assignment") else given[0]

    def command(self, machine: str) -> list[Any]:
        name, value, lease, number = self.name(), self.rng.choice(VALUES), self.lease(), self.number()
        commands: dict[str, list[list[Any]]] = {
            "kv": [["put", name, value], ["put", name, value], ["delete", name], ["cas", name, number, value]],
            "once": [["propose", name, value]],
            "locks": [
                ["acquire", name, self.name(), lease],
                ["try", name, self.name(), lease],
                ["resume", name, number, self.name(), lease],
                ["renew", name, number],
                ["release", name, number],
                ["give_up", name, self.name()],
            ],
            "members": [["join", name, value, lease], ["heartbeat", name], ["leave", name]],
            "assignment": [
                ["join", name, value, lease],
                ["leave", name],
                ["add", name],
                ["add", name],
                ["remove", name],
            ],
            SESSION: [["open"], ["open"], ["open"], ["resume", number, name], ["close", number]],
            CLUSTER: [["add", name], ["promote", name], ["remove", name], ["form", ["n1"]]],
        }
        return self.rng.choice([*commands[machine], [name]] if self.rng.random() < 0.2 else commands[machine])

    def question(self, machine: str) -> list[Any]:
        name, number = self.name(), self.number()
        questions: dict[str, list[list[Any]]] = {
            "kv": [
                ["get", name],
                ["version"],
                ["range", name[:1], "", number],
                ["range", name[:1], "a", number],
                ["watch", name[:1], number, number],
            ],
            "once": [["query", name]],
            "locks": [["granted", name, number], ["holder", name]],
            "members": [["view"], ["watch", number, 2]],
            "assignment": [["mine", name, number], ["owners", number], ["view"]],
            CLUSTER: [["members"], ["save"], ["saved", self.latest, 9 * number], ["drop", self.latest]],
        }
        return self.rng.choice([*questions[machine], [name]] if self.rng.random() < 0.1 else questions[machine])


def answered(payload: bytes | NotYet) -> str:
    return repr(payload if isinstance(payload, NotYet) else unpack_unchecked(payload))


def shown(*texts: object) -> str:
    return " ".join(map(str, texts)).replace("n" * 150, "n..n").replace("x" * 400, "x..x")


def life(seed: int) -> Iterator[str]:
    """Yield each command and question with its answer, and what each slot has changed."""
    asker = Asker(seed)
    rng, state, time_ms = asker.rng, ReplicatedState(DEFAULT, Configuration(("n1", "n2")), TUNING), 0
    sequences: dict[int, int] = {}
    for slot in range(1, STEPS + 1):
        time_ms += rng.choice((0, 0, 50, 50, 200, 1_000)) if rng.random() < 0.99 else 30_000
        frames = []
        for _ in range(rng.choice((0, 1, 1, 2))):
            machine = rng.choice((*DEFAULT, *DEFAULT, SESSION, SESSION, CLUSTER))
            asker.look_at(machine, state)
            live = [number for number, *_ in state.sessions.snapshot()[1]]
            session = rng.choice(live if live and rng.random() < 0.9 else (0, 1))
            if machine in (SESSION, CLUSTER):
                session = 0
            sequence = sequences.get(session, 0) + rng.choice((0, 1, 1, 1, 2, 5))
            done = max(0, sequence - rng.choice((0, 0, 1, 3, 6)))
            sequences[session] = max(sequence, sequences.get(session, 0))
            commands = [asker.command(machine) for _ in range(rng.choice((1, 1, 2)))]
            frames.append((session, sequence, done, machine, pack_unchecked(commands)))
        payloads = state.apply(slot, pack_unchecked((time_ms, frames)) if frames else b"")
        for (session, sequence, done, machine, packed), payload in zip(frames, payloads, strict=True):
            asked = f"{session}.{sequence}/{done} {machine} {unpack_unchecked(packed)}"
            yield shown(f"{slot} at {time_ms}: {asked}:", answered(payload))
        changes = [(change.name, change.before, list(change.topics or ())) for change in state.changes()]
        yield shown(f"  changes {changes}, due at {state.due_ms()}, {state.versions()}")
        for _ in range(rng.choice((0, 1, 2))):
            machine = rng.choice((*DEFAULT, CLUSTER))
            asker.look_at(machine, state)
            if machine == CLUSTER:
                asker.latest = slot - rng.choice((0, 0, 1, 4))
            questions = [asker.question(machine) for _ in range(rng.choice((1, 1, 1, 2)))]
            seen = rng.choice((0, 0, 0, 3))
            answer = state.read(machine, pack_unchecked(questions), seen)
            yield shown(f"  {machine} {questions} {seen or ''}:", answered(answer))
        if rng.random() < 0.05:
            packed = state.snapshot()
            state = ReplicatedState(DEFAULT, Configuration(("n9",)), TUNING)
            state.restore(packed)
            assert state.packed() == packed
            yield shown(f"  restored: {state.marks}, {[machine.figures() for machine in state.machines.values()]}")
        if rng.random() < 0.005:
            floor = state.sessions.snapshot()[0] + 1_000
            state.begin_new_cluster(("n1", "n2"), floor)
            yield shown(f"  a new cluster above {floor}: {unpack_unchecked(state.packed())}")[:600]
    yield shown(state.chain, state.marks, unpack_unchecked(state.packed()))


def test_a_state_answers_as_it_has_answered(regenerate: bool) -> None:
    found = "".join(f"{line}\n" for line in life(1))
    if regenerate:
        FILE.write_text(found)
    assert found.splitlines() == FILE.read_text().splitlines()
