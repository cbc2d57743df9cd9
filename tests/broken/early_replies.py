"""A node whose runtime is broken on purpose: sends and replies leave before the commit."""

import sys

from node.__main__ import main
from node.runtime import Runtime


class EarlyReplies(Runtime):
    """Steps 4 and 5 of the turn in the wrong order."""

    def _finish_turn(self) -> None:
        self._release()
        self._disk.commit()


if __name__ == "__main__":
    sys.exit(main(EarlyReplies))
