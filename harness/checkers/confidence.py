"""What a number of runs has shown: the share of such runs that may fail, with 95 % confidence.

The runs of a campaign are independent draws from a seed. With k failures in n runs, the share that fails is at most the upper
end of the one-sided interval of Clopper and Pearson (*The use of confidence or fiducial limits*, Biometrika 1934). Without a
failure that is about 3 / n, the rule of three.
"""

from math import exp, lgamma, log, log1p
from typing import Final

from node.wording import count

CONFIDENCE: Final = 0.95
#: The bug by which the power of a campaign is judged shows once in so many runs.
_RARE: Final = 5
#: A campaign that misses such a bug more often than this has low power.
_MISSED_MOST: Final = 0.05


def failing_share_at_most(failures: int, runs: int, confidence: float = CONFIDENCE) -> float:
    """Return the largest share of failing runs, from 0 to 1, that agrees with `failures` of `runs`, with 95 % confidence."""
    if failures >= runs:
        return 1.0
    low, high = failures / runs, 1.0
    for _ in range(60):  # halves the interval each time
        middle = (low + high) / 2
        if _at_most(failures, runs, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, runs: int, share: float) -> float:
    """Return the probability of at most `failures` of `runs`, if `share` of all such runs fail."""
    if not 0 < share < 1:
        return 1.0 if share <= 0 else 0.0
    total = 0.0
    for number in range(failures + 1):
        ways = lgamma(runs + 1) - lgamma(number + 1) - lgamma(runs - number + 1)
        total += exp(ways + number * log(share) + (runs - number) * log1p(-share))
    return total


def shown_by(failures: int, runs: int) -> list[str]:
    """Return what the runs have shown, in a sentence or two for people; nothing if there were no runs."""
    if not runs:
        return []
    percent = 100 * failing_share_at_most(failures, runs)
    share = f"{percent:.2g} %" if percent < 99.5 else "100 %"  # two digits of 100 would be 1e+02
    sentences = [
        f"{failures:,} of {count(runs, 'run')} failed: at most {share} of such runs fail, with 95 % confidence"
    ]
    missed = (1 - 1 / _RARE) ** runs
    if not failures and missed > _MISSED_MOST:
        sentences.append(
            f"{count(runs, 'run')} would miss a bug that shows once in {_RARE} runs 1 time in {1 / missed:.2g}: make more"
        )
    return sentences
