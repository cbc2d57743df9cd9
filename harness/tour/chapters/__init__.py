"""The chapters of the tour, in their order."""

from typing import Final

from harness.tour.chapters.failover import FAILOVER
from harness.tour.chapters.leader import LEADER
from harness.tour.chapters.log import LOG
from harness.tour.chapters.no_decision import NO_DECISION
from harness.tour.chapters.paxos import PAXOS
from harness.tour.chapters.promises import PROMISES
from harness.tour.chapters.uses import USES
from harness.tour.chapters.vote import VOTE
from harness.tour.story import TourChapter

CHAPTERS: Final[tuple[TourChapter, ...]] = (PROMISES, LEADER, FAILOVER, VOTE, NO_DECISION, PAXOS, LOG, USES)
