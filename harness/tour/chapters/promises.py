"""Chapter 1: what consensus is, and the four promises."""

from typing import Final

from harness.checkers.verdict import VerdictStatus
from harness.records.jsonable import shown
from harness.tour.goals import other_answer
from harness.tour.stage import Stage, value, verdict_lines
from harness.tour.story import Challenge, Measured, Screen, TourChapter


def _up(stage: Stage) -> Measured:
    return Measured(
        stage.up("paxos", 3, "promises"),
        "Each of them is a program of its own, with a disk directory of its own. They share nothing; all that they "
        "know of each other comes in messages.",
    )


def _two_proposals(stage: Stage) -> Measured:
    first, told_first = stage.propose("blue", "n1")
    second, told_second = stage.propose("red", "n2")
    answers, told = stage.query_all()
    agree = {shown(value(one)) for one in (first, second, *answers.values())}
    is_one = len(agree) == 1
    meaning = (
        f"Both proposers were answered {agree.pop()}, and so is every node. The second proposal was no mistake, and "
        "it was not refused: it came to an agreement that stood already, and its proposer knows now which one."
        if is_one
        else f"The answers differ: {', '.join(sorted(agree))}. That must not happen, and the judges will say so."
    )
    return Measured([told_first, told_second, *told], meaning, is_one)


def _one_dies(stage: Stage) -> Measured:
    facts = stage.kill("n3")
    outcome, told = stage.propose("round", "n1", "shape")
    facts.append(told)
    verdicts = stage.end()
    kept = [name for name, verdict in verdicts.items() if verdict.status is VerdictStatus.VALID]
    return Measured(
        [*facts, *verdict_lines(verdicts)],
        "A judge has looked for each promise at what the clients saw, what the disks hold and what the kernel said "
        f"of n3. Kept: {', '.join(kept) or 'none'}. Every chapter ends with such a judgement; none of these results "
        "is written down anywhere in advance.",
        value(outcome) == "round" and len(kept) == len(verdicts),
    )


PROMISES: Final = TourChapter(
    "promises",
    "What consensus is, and what it promises",
    (
        Screen(
            "Several computers, one answer",
            "Some programs on different computers have to agree on something: who prints now, which copy is the "
            "valid one, which order came first. Any of the computers may die, and any message may be late or get "
            "lost.\n\n"
            "Consensus Lab puts it as a variable with a name, which gets a value once and keeps it for ever. There "
            "are two calls. `propose` says: let it be this value. `query` asks: which value is it?",
            "start three nodes, each a process on this machine",
            _up,
        ),
        Screen(
            "Two want different things",
            "Two clients ask for different values, at different nodes, and neither knows of the other. Somebody has "
            "to be disappointed. What matters is that both learn the same.",
            "propose blue at n1, then red at n2, then ask every node",
            _two_proposals,
        ),
        Screen(
            "Four promises",
            "Coherence: every computer ends up with the same value. Conflict resolution: several proposals are no "
            "error, and one of them is picked. No decoherence: a client that has seen a decision never sees another one "
            "later. Fault tolerance: it goes on while fewer than half of the computers are down.\n\n"
            "The first three say that nothing wrong happens. The fourth says that something happens at all. The rest "
            "of the tour is about how hard it is to have both.",
            "kill n3, propose once more, stop, and have the four promises judged",
            _one_dies,
        ),
    ),
    Challenge(
        "Three nodes are up. Get an answer that is not the value you proposed.",
        "paxos",
        3,
        other_answer,
        (
            "A variable gets its value once.",
            "Propose two different values, one after the other: `propose blue at n1`, and then?",
        ),
        ("propose blue at n1", "propose red at n2"),
        "A proposer asks for a value, and is told which one was decided. It has to look at the answer.",
    ),
    "tutorial/1-first-steps.md",
)
