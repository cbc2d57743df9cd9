"""The shell of a broken node: a node process with one of the parts of `broken_parts.py`.

`python -m harness.mutants.broken_node BREAK ...` starts a broken node. The rest of the command line is that of any node.
"""

import sys

from harness.mutants.broken_parts import BREAKS
from node.__main__ import main

if __name__ == "__main__":
    chosen = BREAKS[sys.argv.pop(1)]
    sys.exit(main(chosen.runtime, chosen.parts))
