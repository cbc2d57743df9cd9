"""`consensus figure8`: figure 8 of Raft's paper, step by step."""

from pathlib import Path

import click

from harness.cli.convention import EXIT_VIOLATED, print_json, verb
from harness.cli.parameters import algorithm_parameter


@verb()
@algorithm_parameter(shown_default="the shipped Raft")
@click.pass_obj
def figure8(root: Path, /, *, algorithm: str | None, as_json: bool) -> int:
    """Act out figure 8 of Raft's paper, step by step, on five servers in virtual time.

    A leader of term 3 brings an entry of term 1 to a majority, and a server with an entry of term 2 replaces it. ALGORITHM is
    `raft` or a class that speaks its messages, such as the mutant `raft-earlier-terms-are-counted`, which takes the entry for
    committed and loses it.

    Example: consensus figure8 raft-earlier-terms-are-counted

    Exit code: 1 if a promise is broken, else 0.
    """
    from harness.cli.searched import find_algorithm  # noqa: PLC0415 - see harness.cli.verbs
    from harness.mutants.figure_8 import UNBROKEN, act_out  # noqa: PLC0415

    del root
    algorithm = algorithm or UNBROKEN
    told = act_out(find_algorithm(algorithm, ()).algorithm)
    violations = told.cluster.violations
    if as_json:
        print_json(
            algorithm=algorithm,
            violations=[{"kind": each.kind, "text": each.text} for each in violations],
            story=told.cluster.story,
        )
    else:
        print("\n".join([*told.lines, "", *(f"=> {violation}" for violation in violations)]))
        if not violations:
            print("=> no promise is broken")
    return EXIT_VIOLATED if violations else 0
