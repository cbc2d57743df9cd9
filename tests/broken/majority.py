"""The majority vote, broken on purpose."""

from node.algorithms.majority import Majority
from node.contract import Request


class AnswersHastily(Majority):
    """Answers a query from what it happens to know."""

    def query(self, request: Request) -> None:
        self.node.reply(request, self.decided())
