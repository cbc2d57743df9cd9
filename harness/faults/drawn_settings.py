"""Draws the settings of a run from its seed: often as shipped, often small, so that what is rare is met in seconds.

The technique is FoundationDB's "buggify": see `node/tuning.py`, which states for each setting the values that are drawn.
"""

from random import Random
from typing import Final

from node.tuning import SETTINGS

#: How many of the settings a run draws, as probabilities for one setting. A run with none of them is as shipped.
_SHARES: Final = (0.0, 0.2, 0.5, 0.8)
#: The settings that matter to rivals in Paxos. With the shipped pauses few rivals beat each other twice.
_DUELS: Final = ("duel_pause_ms", "duel_growth", "duel_pause_ms_max")
#: How likely a run draws them, so that duels stay common.
_DUELS_SHARE: Final = 0.8
#: How likely such a run draws more than the first pause.
_RARE: Final = 0.3
#: The settings that matter to a cluster without a log.
_WITHOUT_A_LOG: Final = ("intake_max", "checkpoint_pages", "client_next_node_ms", "client_same_node_ms")
#: Each of these bounds what one round trip of a leader decides. Two of them leave less than a workload asks for: calls wait until
#: their time is up, and no fault is to blame.
_NARROW: Final = ("pipeline", "batch_bytes", "intake_max")
#: These are drawn after all others, so that the others of a seed are what they were before these were drawn at all.
_LAST: Final = ("kv_answer_entries", "kv_answer_bytes")


def draw_settings(rng: Random, *, keeps_log: bool) -> dict[str, int]:
    """Draw settings. Returns those that are not as shipped, by name.

    Args:
        rng: what all draws come from.
        keeps_log: whether the cluster keeps a log. Otherwise only the settings that matter to it are drawn.
    """
    share = rng.choice(_SHARES)
    drawn = {
        name: value
        for name in (*(each for each in SETTINGS if each not in (*_LAST, *_DUELS)), *(_LAST if keeps_log else ()))
        if (setting := SETTINGS[name]).drawn
        and rng.random() < share
        and (value := rng.choice(setting.drawn)) != setting.default
    }
    if not keeps_log:
        duels = draw_duels(rng) if share else {}
        return {name: value for name, value in drawn.items() if name in _WITHOUT_A_LOG} | duels
    if narrow := [name for name in _NARROW if name in drawn]:
        kept = rng.choice(narrow)
        drawn = {name: value for name, value in drawn.items() if name == kept or name not in _NARROW}
    if "session_idle_ms" in drawn:  # a session's end must not cut a lease short
        drawn["lease_ms_max"] = drawn["session_idle_ms"] * 2 // 3
    return drawn


def draw_duels(rng: Random) -> dict[str, int]:
    """Draw the settings of rivals in Paxos, most often small. Returns those that are not as shipped, by name."""
    if rng.random() > _DUELS_SHARE:
        return {}
    return {name: rng.choice(SETTINGS[name].drawn) for name in _DUELS if name == _DUELS[0] or rng.random() < _RARE}
