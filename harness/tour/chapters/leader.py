"""Chapter 2: a leader, and its death."""

from typing import Final

from cluster.clients.outcomes import NotKnown
from harness.records.jsonable import shown
from harness.tour.goals import stuck_with_one_crash
from harness.tour.stage import NO_ANSWER_S, Stage, value, verdict_lines
from harness.tour.story import Challenge, Measured, Screen, TourChapter


def _one_decides(stage: Stage) -> Measured:
    facts = stage.up("leader", 3, "leader")
    first, told_first = stage.propose("blue", "n2")
    second, told_second = stage.propose("red", "n3")
    same = value(first) == value(second) is not None
    return Measured(
        [*facts, told_first, told_second],
        "n2 and n3 did not decide anything. They passed the proposals on to n1, which took the first that came, "
        f"wrote it to its disk and answered{f' {shown(value(first))} to both' if same else ''}. One node cannot "
        "disagree with itself.",
        same,
    )


def _it_dies(stage: Stage) -> Measured:
    facts = stage.kill("n1")
    asked, told_query = stage.query("n2", timeout_s=NO_ANSWER_S)
    proposed, told_propose = stage.propose("round", "n3", "shape", NO_ANSWER_S)
    silent = isinstance(asked, NotKnown) and isinstance(proposed, NotKnown)
    meaning = (
        "Two of three nodes are up, and they reach each other. Yet they can tell nobody anything: not even the value "
        "that was decided, since only the dead node has it. A design in which one node knows is as mortal as that "
        "node."
        if silent
        else "This time an answer came without the leader, which the design does not explain."
    )
    return Measured([*facts, told_query, told_propose], meaning, silent)


def _it_comes_back(stage: Stage) -> Measured:
    facts = stage.restart("n1")
    answers, told = stage.query_all()
    values = {shown(value(one)) for one in answers.values()}
    verdicts = stage.end()
    return Measured(
        [*facts, *told, *verdict_lines(verdicts)],
        f"The leader had written before it answered, so the value is there again: {', '.join(sorted(values))}. "
        "Nothing wrong was ever said. The design only goes silent. Three promises are kept, and the fourth depends "
        "on one process.",
        len(values) == 1 and verdicts["fault tolerance"].status == "invalid",
    )


LEADER: Final = TourChapter(
    "leader",
    "A leader, and its death",
    (
        Screen(
            "Let one of them decide",
            "The shortest answer to a quarrel is a boss. One node, n1, is the leader. Each of the others hands every "
            "request on to it. The first proposal that reaches it wins.",
            "start three nodes with a leader, and propose blue at n2 and red at n3",
            _one_decides,
        ),
        Screen(
            "Then it dies",
            "One node of three is a minority, so the fourth promise asks the others to go on.",
            "kill n1; query at n2 and propose at n3, with one second of patience each",
            _it_dies,
        ),
        Screen(
            "And comes back",
            "What was decided must not be forgotten: neither by a crash nor by a restart.",
            "start n1 again on its disk, ask every node, and have it judged",
            _it_comes_back,
        ),
    ),
    Challenge(
        "Stop it from deciding, with one crash. `check` proposes at every node that is up, and nobody may answer.",
        "leader",
        3,
        stuck_with_one_crash,
        ("Which node knows what was decided? `propose` something, and `look`.", "`kill n1`, then `check`."),
        ("propose blue at n2", "look", "kill n1"),
        "A single point of failure is found quickly. The next chapter gives the leader a deputy.",
    ),
    "tutorial/2-a-leader.md",
)
