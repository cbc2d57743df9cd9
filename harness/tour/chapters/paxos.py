"""Chapter 6: Paxos, step by step, and each step first without it."""

from pathlib import Path
from typing import Final

from harness.checkers.verdict import violated
from harness.mutants.catalogue import choose
from harness.mutants.trial import attempt
from harness.records.jsonable import shown
from harness.report.drawn_run import DrawnMessage
from harness.report.reading import read_run
from harness.tour.goals import stuck_with_one_crash, two_decisions
from harness.tour.stage import NO_ANSWER_S, Stage, value, verdict_lines
from harness.tour.story import Challenge, GoalRuling, Measured, Screen, TourChapter

#: How many messages of a run are told at most.
_TOLD_MAX: Final = 14
#: The verdicts on a broken variant that are told; the others say the same in other words.
_TOLD_VERDICTS: Final = ("coherence", "no decoherence", "invariants")


def _one_ballot(stage: Stage) -> Measured:
    facts = stage.up("paxos", 5, "paxos")
    outcome, told = stage.propose("blue", "n1")
    stage.query_all()
    lines = stage.recorded()
    facts += [_described(line["type"], line["from"], line["to"], line["fields"]) for line in lines[:_TOLD_MAX]]
    counts: dict[str, int] = {}
    for line in lines:
        counts[line["type"]] = counts.get(line["type"], 0) + 1
    facts.append("in all: " + ", ".join(f"{number} {name}" for name, number in counts.items()))
    return Measured(
        [*facts, told],
        "Prepare asks each node to promise a ballot: the number of a round with the name of the node that "
        "tries, such as 1·n1. So n3's ballot of the same round, 1·n3, is another one. The higher round is the higher "
        "ballot, and in one round the name decides. Promise answers with what the "
        "node has accepted before, here nothing. Accept asks to accept a value under this ballot. With Accepted from "
        "a majority the value is chosen. n1 also promised and accepted itself, which needs no message.",
        value(outcome) == "blue" and {"Prepare", "Promise", "Accept", "Accepted"} <= counts.keys(),
    )


def _described(kind: str, from_: str, to: str, fields: dict[str, object]) -> str:
    parts = []
    for name, field in fields.items():
        match field:
            case [int(round_), str(node)]:
                parts.append(f"{name} {round_}·{node}")
            case None:
                parts.append(f"{name} none")
            case _:
                parts.append(f"{name} {shown(field)}")
    return f"{kind} from {from_} to {to}: {', '.join(parts)}"


def _broken(stage: Stage, mutant_name: str, why: str) -> Measured:
    """Play a mutant's script on the mutant, and say what the clients were answered and what the judges found."""
    (mutant,) = choose((mutant_name,))
    tried = attempt(
        mutant.script, mutant.algorithm, stage.next_folder(mutant.name), original=mutant.original, watch=stage.watch
    )
    facts = [f"what happens: {mutant.script.about}", *_answers(tried.folder)]
    broken = violated(tried.verdicts)
    facts += verdict_lines({name: tried.verdicts[name] for name in broken if name in _TOLD_VERDICTS})
    lost = "coherence" in broken or "no decoherence" in broken
    return Measured(facts, why if lost else "This time the break did not show.", lost)


def _shipped(stage: Stage, mutant_name: str, why: str) -> Measured:
    """Play the same script on the shipped code."""
    (mutant,) = choose((mutant_name,))
    tried = attempt(mutant.script, mutant.original, stage.next_folder(f"{mutant.name}-mended"), watch=stage.watch)
    broken = violated(tried.verdicts)
    key = ("Rejected",) if mutant_name == "accept-ignores-promise" else ("Promise", "Accept")
    facts = [*_answers(tried.folder), *_messages(tried.folder, key)]
    facts.append(f"the judges: {', '.join(broken) + ' broken' if broken else 'nothing is broken'}")
    return Measured(facts, why if not broken else "This is a bug of the shipped code.", not broken)


def _answers(folder: Path) -> list[str]:
    """Return a line for each answer that a client got in a run, up to the questions that only the judges need."""
    run = read_run(folder)
    calls = [call for call in run.operations if call.key == "colour"]
    found = []
    for call in calls:
        asked = f"{call.f}{'' if call.value is None else f' {shown(call.value)}'} at {call.asked_node or 'any node'}"
        answer = "undecided" if call.answer is None else shown(call.answer)
        found.append(f"{asked}: {answer if call.outcome == 'ok' else 'no answer'}")
    return list(dict.fromkeys(found))[:8]


def _messages(folder: Path, types: tuple[str, ...]) -> list[str]:
    """Return the messages of these types that tell why the shipped code decides as it does, in their order."""
    run = read_run(folder)
    about = [message for message in run.messages if message.variable == "colour" and message.type in types]
    told = [message for message in about if message.type != "Promise" or message.fields.get("accepted") is not None]
    first: dict[str, DrawnMessage] = {}
    for message in told:
        first.setdefault(_described(message.type, message.sender, message.receiver, dict(message.fields)), message)
    return list(first)[-6:]


def _both_sides(stage: Stage) -> Measured:
    facts = stage.up("paxos", 5, "paxos-cut")
    facts += stage.cut(["n1", "n2"], ["n3", "n4", "n5"])
    blue, told_blue = stage.propose("blue", "n2", timeout_s=2 * NO_ANSWER_S)
    red, told_red = stage.propose("red", "n4")
    facts += [told_blue, told_red, *stage.heal()]
    answers, told = stage.query_all()
    facts += told
    facts += stage.kill("n3", "n4")
    outcome, told_after = stage.propose("green", "n5")
    verdicts = stage.end()
    broken = violated(verdicts)
    one = {shown(value(answer)) for answer in answers.values()} == {shown(value(red))} == {shown(value(outcome))}
    return Measured(
        [*facts, told_after, *verdict_lines(verdicts)],
        f"The side of two could not decide; the side of three did. After the heal everybody says {shown(value(red))}, "
        "and with two of five dead they still do. What broke the leader, the failover and the vote breaks nothing "
        "here, and it still goes on.",
        one and value(blue) is None and not broken,
    )


def _two_or_stuck(stage: Stage) -> GoalRuling:
    two = two_decisions(stage)
    if two.solved:
        return two
    held = stuck_with_one_crash(stage)
    return GoalRuling(held.solved, f"{two.why}; and {held.why}")


PAXOS: Final = TourChapter(
    "paxos",
    "Paxos, step by step",
    (
        Screen(
            "Vote again, but ask first",
            "A vote that is final can tie, and a vote that can be taken back may have been counted already. Paxos "
            "lets a node vote again, under a higher number, a ballot. A proposer that uses a higher ballot first "
            "asks a majority what may have been decided under lower ones.",
            "start five nodes, propose blue at n1, and read what they send each other",
            _one_ballot,
        ),
        Screen(
            "Without promises",
            "Why does the first round ask for a promise? Take it away and see: in this variant a node accepts "
            "whatever it is asked to, also under a ballot below one that it has promised. A message that is late is "
            "enough.",
            "run the variant accept-ignores-promise: an old Accept of n1 is kept, n2 gets red decided, and then the "
            "old one arrives",
            lambda stage: _broken(
                stage,
                "accept-ignores-promise",
                "Agreement is lost before your eyes: one client was told one value, and another client another one. "
                "The late Accept was counted although a higher ballot had already decided something else.",
            ),
        ),
        Screen(
            "With promises",
            "A promise of a ballot says: whatever is lower comes too late for me. The same acts, in the same order, "
            "on the shipped code.",
            "run the same acts on Paxos as it is",
            lambda stage: _shipped(
                stage,
                "accept-ignores-promise",
                "The late Accept was rejected. Its sender tried again under a higher ballot, was told what had been "
                "accepted, and decided the same as the others.",
            ),
        ),
        Screen(
            "Without asking what was accepted",
            "The second rule: a Promise reports what its node has accepted, and a proposer has to take that over. In "
            "this variant it keeps its own value.",
            "run the variant ignores-accepted: blue is decided by n1 and n2, n1 dies, and n3 proposes red",
            lambda stage: _broken(
                stage,
                "ignores-accepted",
                "n2 had accepted blue and said so in its promise. The proposer did not care, and decided red over a "
                "decision that a client had already been told.",
            ),
        ),
        Screen(
            "Taking over any accepted value",
            "So a proposer takes over an accepted value. Any one? Promises may report several, from different "
            "ballots. In this variant it takes the one from the lowest ballot.",
            "run the variant adopts-lowest: red is accepted by n1 alone, blue is decided by n2 and n3, and n3 proposes",
            lambda stage: _broken(
                stage,
                "adopts-lowest",
                "Red had been accepted by one node, and was never decided. Blue was, under a higher ballot. The "
                "proposer heard of both and took the wrong one. Only the highest ballot can carry what was decided, "
                "since its owner had asked before.",
            ),
        ),
        Screen(
            "The highest accepted value",
            "The same acts on the shipped code: the value of the highest ballot that any promise reports, and one's "
            "own value only if no promise reports any.",
            "run the same acts on Paxos as it is",
            lambda stage: _shipped(
                stage,
                "adopts-lowest",
                "What was decided stays decided. Every later proposer needs a majority of promises, which shares a "
                "node with the majority that accepted; that node reports the value, and no higher ballot can report "
                "another.",
            ),
        ),
        Screen(
            "The failures of the earlier chapters",
            "A cut, as in blue against red; then two dead nodes of five.",
            "cut five nodes in two, propose on both sides, heal, kill two, propose again, and have it judged",
            _both_sides,
        ),
    ),
    Challenge(
        "Three Paxos nodes. Make two nodes decide differently, or stop them from deciding with one crash. (You will "
        "not. `give up` ends it whenever you like.)",
        "paxos",
        3,
        _two_or_stuck,
        ("What worked in the earlier chapters? Try it.", "There is no third hint: nobody has found one."),
        ("cut n1 | n2 n3", "propose blue at n1", "propose red at n2", "heal", "kill n1"),
        "What you tried is in the run's record. `consensus explore paxos` tries every order of messages and timers "
        "of three nodes, up to a bound, and finds nothing either. Lamport has proved that there is nothing to find.",
        possible=False,
    ),
    "tutorial/6-paxos.md",
)
