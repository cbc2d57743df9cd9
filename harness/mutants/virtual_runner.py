"""`python -m harness.mutants.virtual_runner SCRIPT ALGORITHM`: plays one script in virtual time on a log algorithm.

The last line of the output is the result. Exit code: 0 if every promise was kept, 1 if one was broken.
"""

import sys

from harness.mutants.virtual_log_scripts import VIRTUAL_SCRIPTS
from node.algorithms import load_algorithm
from node.log_contract import LogAlgorithm


def main(script: str, name: str) -> int:
    """Play the script, print the result, and return the exit code.

    Args:
        script: a name in `VIRTUAL_SCRIPTS`.
        name: the name of a log algorithm.
    """
    algorithm = load_algorithm(name)
    assert issubclass(algorithm, LogAlgorithm), f"{name} keeps no log"
    try:
        VIRTUAL_SCRIPTS[script].play(algorithm)
    except AssertionError as error:
        print(error)
        return 1
    print(f"{script}: every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
