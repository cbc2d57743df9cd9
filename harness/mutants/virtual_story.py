"""`python -m harness.mutants.virtual_story STORY [BREAK]`: tells one story in virtual time, of the shipped code or a broken one.

The last line of the output says what came of it. Exit code: 0 unharmed, 1 a promise was broken.
"""

import sys

from harness.mutants.broken_node import BREAKS
from harness.mutants.log_stories import STORIES


def main(arguments: list[str]) -> int:
    """Tell it."""
    story, *breaks = arguments
    for name in breaks:
        BREAKS[name]()
    try:
        STORIES[story].tell()
    except AssertionError as error:
        print(error)
        return 1
    print(f"{story}: every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
