"""What `explore` and `simulate` search, and for what: the algorithm by its name, and the kinds of violations."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.virtual.fault_model import FaultModel
    from node.contract import Algorithm


class FoundAlgorithm(NamedTuple):
    """An algorithm, and how its nodes and disks differ from real ones."""

    algorithm: "type[Algorithm]"
    fault_model: "FaultModel"


def find_algorithm(name: str, fault_model: tuple[str, ...]) -> FoundAlgorithm:
    """Find an algorithm by its own name or a mutant's.

    Args:
        name: the name.
        fault_model: the fields of the fault model that are on, with hyphens.

    Raises:
        BadInput: there is no such algorithm, or the mutant breaks a process.
    """
    from harness.mutants.catalogue import MUTANTS  # noqa: PLC0415
    from harness.virtual.fault_model import FaultModel  # noqa: PLC0415
    from node.algorithms import BUILT_IN, UnknownAlgorithm, load_algorithm  # noqa: PLC0415
    from node.contract import BadInput  # noqa: PLC0415
    from node.wording import nearest  # noqa: PLC0415

    mutant = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    if mutant is None and ":" not in name and name not in BUILT_IN:
        hint = nearest(
            name,
            [*BUILT_IN, *(mutant.name for mutant in MUTANTS)],
            f"there are {', '.join(BUILT_IN)}, and the mutants of `consensus mutants --list`",
        )
        raise UnknownAlgorithm(
            f"no algorithm or mutant is called {name!r}: {hint} (one of your own is module:Class or path.py:Class)"
        )
    if mutant is not None and mutant.broken_node == "a-wiped-disk-votes":
        fault_model = (*fault_model, "empty-disks-vote")
    elif mutant is not None and mutant.broken_node is not None:
        raise BadInput(f"{name} breaks a process, not an algorithm, so it cannot be tested without processes")
    model = FaultModel(**{each.replace("-", "_"): True for each in fault_model})
    return FoundAlgorithm(load_algorithm(mutant.algorithm if mutant else name), model)


def kinds_that_count(look_for: tuple[str, ...], ignore: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds of violations that count.

    Raises:
        BadInput: there is no such kind, or none is left.
    """
    from harness.virtual.judge import EVERYTHING  # noqa: PLC0415
    from node.contract import BadInput  # noqa: PLC0415

    wanted, unwanted = ([kind.replace("-", " ") for kind in kinds] for kinds in (look_for, ignore))
    if unknown := {*wanted, *unwanted} - set(EVERYTHING):
        raise BadInput(f"there is no kind of violation {', '.join(sorted(unknown))}: there are {', '.join(EVERYTHING)}")
    if "contract" in unwanted:
        raise BadInput("breaks of the contract cannot be ignored: a run with one shows nothing about any other kind")
    left = tuple(kind for kind in wanted or EVERYTHING if kind not in unwanted)
    if not left:
        raise BadInput("--ignore names every kind that --look-for does")
    return left
