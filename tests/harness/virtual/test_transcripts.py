"""Whole stories as plain text, compared with those in tests/transcripts/. `pytest --regenerate` writes them anew."""

from collections.abc import Callable

import pytest

from harness.virtual import flp
from node.algorithms.failover import Alive
from node.algorithms.majority import Vote
from node.algorithms.multipaxos import messages as log
from node.algorithms.paxos import Accept, Accepted, Decided, Prepare, Promise
from tests.storyteller import TRANSCRIPTS, Teller, wrapped

OTHERS = ("n2", "n3")
ALL = ("n1", "n2", "n3")
SIX = ("n1", "n2", "n3", "n4", "n5", "n6")


def leader_away() -> str:
    story = Teller("A leader, and the same without it", "leader", 3)
    story.say("Whoever is asked passes it on to n1, the configured leader, where the first proposal wins.")
    story.propose("n2", "blue")
    story.settle(ALL)
    story.propose("n3", "red")
    story.settle(ALL)
    story.say("The leader is gone. Two of three are up, and can answer nobody.")
    story.crash("n1")
    story.query("n2")
    story.lose_the_rest()
    story.look("role", "decided", "waiting")
    story.say("It comes back, and knows what it had accepted: that is on its disk.")
    story.recover("n1")
    story.fire("n2", "ask again")
    story.settle(ALL)
    return story.text()


def split_brain() -> str:
    story = Teller("Leader failover: split-brain", "failover", 3)
    story.say("Everybody tells everybody that it is alive. The lowest that is heard of leads: n1.")
    story.propose("n3", "blue")
    story.deliver(Alive, "n3", "n1")
    story.deliver(sender="n3", to="n1")
    story.lose_the_rest()
    story.say("The network is cut, with n1 on one side. Nobody is down. n1 goes on leading those who hear it.")
    story.propose("n1", "green")
    story.say("On the other side n1 has not been heard for a while. Silence is taken for death.")
    story.query("n2")
    story.fire("n2", "silent n1")
    story.fire("n3", "silent n1")
    story.look("leader", "taken for dead", "decided")
    story.say("So n2 leads there, has heard of no decision, and accepts the first proposal that comes.")
    story.propose("n3", "red")
    story.settle(OTHERS)
    story.look("leader", "taken for dead", "decided")
    return story.text()


def window_of_vulnerability() -> str:
    story = Teller("The window of vulnerability: three blue, three red, and the seventh", "majority", 7)
    story.say("Seven nodes vote. n1 proposes blue and n4 red, and each is heard by two more before the other is.")
    story.propose("n1", "blue")
    story.propose("n4", "red")
    story.deliver(Vote, "n1", ("n2", "n3"))
    story.deliver(Vote, "n4", ("n5", "n6"))
    story.say("The seventh hears blue first, votes, and is gone before anybody has heard its vote.")
    story.deliver(Vote, "n1", "n7")
    story.crash("n7")
    story.settle(SIX, in_short=True)
    story.lose_the_rest()
    story.say("Six of seven are up and know all that each other knows.")
    story.look("vote", "decided", "waiting")
    story.say(
        "Whoever asks is not answered. If the seventh had voted blue, blue is decided; if red, red; if it had not voted,",
        "nothing is. It had voted, and only its disk says what.",
    )
    story.query("n2")
    story.settle(SIX, in_short=True)
    story.lose_the_rest()
    story.look("vote", "decided", "waiting")
    story.say("It comes back, and tells its vote.")
    story.recover("n7")
    story.deliver(Vote, "n7", "n2")
    story.deliver(Vote, "n7", "n4")
    return story.text()


def three_proposals() -> str:
    story = Teller("Three proposals, and no majority for any", "majority", 3)
    story.say("Three clients propose at three nodes at the same moment. Nobody fails and nothing is lost.")
    for node, colour in (("n1", "blue"), ("n2", "red"), ("n3", "green")):
        story.propose(node, colour)
    story.settle(ALL)
    story.look("vote", "decided", "waiting")
    story.say(
        "No vote ever changes, so nobody who proposed is ever answered. A query is: the votes prove that nothing is."
    )
    story.query("n1")
    return story.text()


def proposer_killed() -> str:
    story = Teller("Paxos: the proposer is killed", "paxos", 3)
    story.say("n1 proposes blue. A quorum promises; then its Accept reaches n2 alone, and it is killed.")
    story.propose("n1", "blue")
    story.deliver(Prepare, "n1", OTHERS)
    story.deliver(Promise, "n2", "n1")
    story.deliver(Accept, "n1", "n2")
    story.crash("n1")
    story.lose_the_rest()
    story.look("role", "ballot", "accepted ballot", "accepted", "decided")
    story.say(
        "With its own disk that is two of three: blue is chosen, and nobody who is up knows. n3 proposes red under a higher",
        "ballot, is told of blue, and goes on with that.",
    )
    story.propose("n3", "red")
    story.settle(OTHERS)
    story.look("role", "ballot", "accepted ballot", "accepted", "decided")
    story.say("n1 comes back, and is told.")
    story.lose_the_rest()
    story.recover("n1")
    story.query("n1")
    story.settle(ALL)
    return story.text()


def late_accept() -> str:
    story = Teller("Paxos: a late Accept", "paxos", 3)
    story.say(
        "n1 has its promises, and its Accepts are slow. Meanwhile n3 prepares a higher ballot and has red chosen."
    )
    story.propose("n1", "blue")
    story.deliver(Prepare, "n1", "n2")
    story.deliver(Promise, "n2", "n1")
    story.propose("n3", "red")
    story.deliver(Prepare, "n3", "n2")
    story.deliver(Promise, "n2", "n3")
    story.deliver(Accept, "n3", "n2")
    story.deliver(Accepted, "n2", "n3")
    story.say("Now they come. Who has promised more rejects them, and who has learned answers with what is decided.")
    story.lose(Decided, "n3", "n2")
    story.deliver(Accept, "n1", "n2")
    story.deliver(Accept, "n1", "n3")
    story.settle(ALL)
    story.look("role", "ballot", "accepted", "decided")
    return story.text()


def stand_off() -> str:
    report = flp.stand_off(rounds=3)
    assert report.shown
    title = "FLP: rounds without a decision"
    return "\n".join([title, "=" * len(title), "", *wrapped(report.lines())]) + "\n"


def leader_change() -> str:
    story = Teller("A log changes its leader", "multipaxos", 3)
    story.say("n1 finds supporters, prepares once for every slot of the log, and leads.")
    story.fire("n1", "tick")
    story.settle(ALL)
    story.look("role", "leader", "ballot", "commit")
    story.say("From now on a command takes one round.")
    story.command("alice", "n1", "kv", ["put", "owner", b"alice"])
    story.settle(ALL)
    story.say(
        "The next one is accepted by n2 and by n1 itself, so it is chosen; and n1 is killed before it can say so."
    )
    story.command("bob", "n1", "kv", ["put", "owner", b"bob"])
    story.deliver(log.LogAccept, "n1", "n2")
    story.crash("n1")
    story.lose_the_rest()
    story.look("role", "leader", "ballot", "commit")
    story.say("n3 and n2 see their connections close. n3 has not accepted bob's command, and canvasses first.")
    story.connection_closes("n3", "n1")
    story.connection_closes("n2", "n1")
    story.fire("n3", "tick")
    story.settle(OTHERS)
    story.look("role", "leader", "ballot", "commit")
    story.say("n2 has told of it in its promise, and n3 goes on with it under its own ballot. Carol overwrites it.")
    story.command("carol", "n3", "kv", ["put", "owner", b"carol"])
    story.settle(OTHERS)
    story.say("n1 comes back, hears who leads, and catches up.")
    story.lose_the_rest()
    story.recover("n1")
    story.fire("n3", "beat")
    story.settle(ALL)
    story.look("role", "leader", "ballot", "commit")
    return story.text()


STORIES = [
    leader_away,
    split_brain,
    window_of_vulnerability,
    three_proposals,
    proposer_killed,
    late_accept,
    stand_off,
    leader_change,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_story_is_still_the_same(story: Callable[[], str], regenerate: bool) -> None:
    path = TRANSCRIPTS / f"{story.__name__}.txt"
    told = story()
    if regenerate:
        path.write_text(told)
    assert told == path.read_text(), "read the difference; if it is meant, pytest --regenerate keeps it"


def test_every_transcript_is_told() -> None:
    assert {path.stem for path in TRANSCRIPTS.iterdir()} == {story.__name__ for story in STORIES}


def test_what_each_story_comes_to() -> None:
    """A transcript that was regenerated carelessly still has to say this."""
    texts = {path.stem: path.read_text() for path in TRANSCRIPTS.iterdir()}
    told = {name: [line for line in text.splitlines() if line.startswith("   => ")] for name, text in texts.items()}
    assert told.pop("split_brain") == ["   => agreement: n1 has decided blue, and n2 red"]
    assert told.pop("stand_off") == []
    assert "decisions 0; 3 times both values were still reachable" in texts["stand_off"]
    assert all(lines == ["   => nothing contradicts itself"] for lines in told.values())
