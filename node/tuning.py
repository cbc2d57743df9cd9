"""The settings of a cluster: every size, count and time that shapes what its nodes and its clients can do.

Theory of operation
-------------------
Each field of `Tuning` is one setting. Its range says what it may be, and its default is what is shipped. A spec may set any of
them (`node/settings.py`). A test run draws some of them small, so that what is rare with the shipped sizes, such as a snapshot in
many parts, happens in seconds; the technique is FoundationDB's "buggify" (Zhou et al., *FoundationDB: A Distributed Unbundled
Transactional Key Value Store*, SIGMOD 2021, section 4.1). `docs/reference/settings.md` lists all of them.

Rules
-----
1. Safety holds for every value in a range. The values in `drawn` also leave a cluster live once all faults have ended.
2. A setting that is `replicated` is part of what the log means: it stays the same on all nodes, for ever. A node's disk names
   those that are not as shipped, and is refused by a spec that says otherwise.
3. Times are whole milliseconds, or beats of a leader (`node.machine.BEAT_MS`), or ticks of a replica (`tick_ms`). A timer that
   expires after a random time draws it from the setting up to twice the setting, unless the setting says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from node.wording import BadInput, nearest

KIB: Final = 1024
MIB: Final = 1024 * 1024
_MANY: Final = 1_000_000_000
_WITH: Final = " with "


class Setting(NamedTuple):
    """What a setting may be."""

    name: str
    default: int
    least: int
    most: int
    unit: str
    drawn: tuple[int, ...]
    """The values that runs draw, beside the default; empty: runs leave it as shipped."""
    replicated: bool
    meaning: str


class BadSetting(BadInput):
    """No setting has such a name, or the value is out of its range. The message says which and gives the range."""


def _setting(
    default: int,
    least: int,
    most: int,
    unit: str,
    meaning: str,
    *,
    drawn: tuple[int, ...] = (),
    replicated: bool = False,
) -> int:
    """Return the field of a setting. `Setting` describes the arguments."""
    assert all(least <= value <= most for value in (default, *drawn)), meaning
    rest = (default, least, most, unit, drawn, replicated, meaning)
    described: int = field(default=default, metadata={"setting": rest})
    return described


@dataclass(frozen=True, slots=True)
class Tuning:
    """The settings of one cluster. Without arguments they are as shipped."""

    # --- snapshots and the log --------------------------------------------------------------------------------------
    snapshot_slots: int = _setting(
        20_000, 1, _MANY, "slots", "A replica makes a snapshot after more slots than this.", drawn=(1, 3, 8)
    )
    snapshot_bytes: int = _setting(
        16 * MIB, 1, _MANY, "bytes", "A replica makes a snapshot after batches of more bytes than this.", drawn=(300,)
    )
    snapshot_part_bytes: int = _setting(
        128 * KIB, 16, MIB, "bytes", "The size of one part of a snapshot, on disk and on the wire.", drawn=(100, 1000)
    )
    snapshot_pause_ms: int = _setting(
        1, 0, 10_000, "ms", "The pause between two parts of a snapshot that is written.", drawn=(0, 20)
    )
    kept_slots: int = _setting(
        256,
        0,
        _MANY,
        "slots",
        "Slots of the log that outlive a snapshot, for replicas that missed little.",
        drawn=(0, 2),
    )
    kept_bytes: int = _setting(4 * MIB, 0, _MANY, "bytes", "Bytes of batches that outlive a snapshot.", drawn=(0, 300))
    window: int = _setting(
        256, 1, 100_000, "slots",
        "How many slots above the commit index a replica accepts, and how many slots a candidate may be behind.",
        drawn=(3, 8),
    )  # fmt: skip
    commit_saved_slots: int = _setting(
        16,
        1,
        1_000_000,
        "slots",
        "The commit index is saved with every slot that is a multiple of this.",
        drawn=(1, 64),
    )
    applied_together: int = _setting(
        16, 1, 10_000, "slots", "How many small chosen slots a follower applies together.", drawn=(1, 3, 64)
    )
    small_batch_bytes: int = _setting(
        1024, 0, MIB, "bytes", "A follower applies a batch of more bytes than this at once.", drawn=(0,)
    )
    promise_part_bytes: int = _setting(
        MIB, 1, MIB, "bytes", "The bytes of batches in one part of a promise.", drawn=(1, 100)
    )
    # --- catching up ------------------------------------------------------------------------------------------------
    fetch_bytes: int = _setting(
        MIB, 1, MIB, "bytes", "The bytes of batches in one answer to a replica that fetches the log.", drawn=(1, 200)
    )
    fetch_parts: int = _setting(
        8, 1, 64, "parts", "How many parts of a snapshot a replica asks for at the same time.", drawn=(1, 2)
    )
    fetch_again_ms: int = _setting(
        100,
        10,
        10_000,
        "ms",
        "A replica that fetches asks again after this time, and the round trips seen.",
        drawn=(30,),
    )
    fetch_timeouts: int = _setting(
        5, 0, 16, "times", "After so many questions in a row without an answer a replica gives a fetch up.", drawn=(1,)
    )
    # --- elections --------------------------------------------------------------------------------------------------
    tick_ms: int = _setting(
        75, 10, 10_000, "ms", "A tick of a replica, on average: it lasts from two thirds to four thirds of this.",
        drawn=(40, 100),
    )  # fmt: skip
    canvass_ticks: int = _setting(
        6, 1, 1000, "ticks", "Ticks without a message of a leader after which a voter canvasses.", drawn=(4, 8)
    )
    support_ticks: int = _setting(
        3, 0, 1000, "ticks", "Such ticks after which a voter supports the canvass of another one.", drawn=(1, 6)
    )
    hurry_ms: int = _setting(
        15, 0, 10_000, "ms", "A voter whose leader's connection has closed canvasses within this time.", drawn=(0, 100)
    )
    canvass_ms: int = _setting(
        1000, 10, 60_000, "ms", "A canvass begins anew after this time, and the round trips seen.", drawn=(200,)
    )
    prepare_ms: int = _setting(
        500, 10, 60_000, "ms", "Phase 1 is given up after this time, and the round trips seen.", drawn=(100,)
    )
    growth_max: int = _setting(
        8, 1, 1000, "times", "How many times longer these two waits get, as elections fail.", drawn=(2,)
    )
    wait_ms_max: int = _setting(
        6_000, 0, 60_000, "ms", "The most that the round trips seen add to a wait.", drawn=(300,)
    )
    # --- the leader -------------------------------------------------------------------------------------------------
    pipeline: int = _setting(2, 1, 64, "slots", "How many slots a leader has in flight at most.", drawn=(1, 8))
    batch_bytes: int = _setting(
        MIB, 1, MIB, "bytes", "A leader adds no frame to a batch that has as many bytes.", drawn=(1, 200)
    )
    leader_frames: int = _setting(
        16_384, 1, 1_000_000, "frames", "How many frames of commands wait at a leader; it refuses others."
    )
    leader_bytes: int = _setting(
        64 * MIB, MIB, _MANY, "bytes", "How many bytes of such frames wait at a leader; it refuses others."
    )
    read_rounds: int = _setting(
        4, 1, 1000, "rounds", "How many rounds that confirm questions a leader has open.", drawn=(1, 2)
    )
    send_again_beats: int = _setting(
        3,
        0,
        1000,
        "beats",
        "A leader sends an Accept again after so many beats, and the round trips seen.",
        drawn=(0, 5),
    )
    quorum_beats: int = _setting(
        8, 2, 1000, "beats", "A leader that has heard of no quorum for so many beats stops leading.", drawn=(5, 12)
    )
    hand_over_beats: int = _setting(
        6, 0, 1000, "beats", "A leader waits so many beats for a successor before it serves again.", drawn=(1, 12)
    )
    caught_up_slots: int = _setting(
        32, 0, 100_000, "slots", "A learner that is behind by no more than this becomes a voter.", drawn=(2,)
    )
    forward_again_ms: int = _setting(
        200, 10, 10_000, "ms", "A call that a replica has forwarded is forwarded again after this to 1.5 times this.",
        drawn=(50,),
    )  # fmt: skip
    watches_max: int = _setting(
        32_768, 0, 1_000_000, "watches", "How many watches wait at a leader; it refuses others."
    )
    watch_beats: int = _setting(
        600, 1, 100_000, "beats", "A watch for which its client has not asked for so many beats ends.", drawn=(10,)
    )
    watch_checks_per_s: int = _setting(
        500, 1, 1_000_000, "checks",
        "How many clients a second ask a leader for their watches; it lets more clients ask less often.",
    )  # fmt: skip
    # --- slow disks -------------------------------------------------------------------------------------------------
    slow_report_ms: int = _setting(
        10, 0, 50, "ms", "A node reports a commit that takes as long to its algorithm.", drawn=(0,)
    )
    slow_commit_ms: int = _setting(50, 1, 60_000, "ms", "A commit that takes as long may be slow.")
    slow_times: int = _setting(
        4, 1, 1000, "times", "A slow commit takes so many times as long as others take to answer."
    )
    slow_commits: int = _setting(
        5, 1, 1000, "commits", "So many slow commits in a row make a leader hand over.", drawn=(2,)
    )
    slow_lead_beats: int = _setting(
        20, 0, 1000, "beats", "A leader leads so long before it hands over for its disk.", drawn=(5,)
    )
    slow_pause_ticks: int = _setting(
        400, 1, 100_000, "ticks", "After that it does not for so many ticks, twice as many each time.", drawn=(20,)
    )
    slow_pause_ticks_max: int = _setting(6400, 1, 1_000_000, "ticks", "The longest such pause.", drawn=(80,))
    # --- sessions and copies ----------------------------------------------------------------------------------------
    session_window: int = _setting(
        64, 2, 1024, "frames", "How many frames of a session there are from the oldest unanswered one on.",
        drawn=(2, 4), replicated=True,
    )  # fmt: skip
    session_idle_ms: int = _setting(
        15 * 60 * 1000, 1_000, 24 * 3600 * 1000, "ms", "A session ends after so much of the log's time without a use.",
        drawn=(8_000,), replicated=True,
    )  # fmt: skip
    sessions_max: int = _setting(
        100_000, 1, 10_000_000, "sessions", "How many sessions there are; others are refused.", replicated=True
    )
    copy_part_bytes: int = _setting(
        512 * KIB,
        1,
        MIB,
        "bytes",
        "The bytes of a copy of the state in one answer, for `consensus save`.",
        drawn=(200,),
    )
    copy_idle_beats: int = _setting(
        600,
        20,
        100_000,
        "beats",
        "A leader drops a copy for which no client has asked for so many beats.",
        drawn=(100,),
    )
    copies_max: int = _setting(2, 1, 100, "copies", "How many copies of its state a leader keeps.", drawn=(1,))
    # --- machines ---------------------------------------------------------------------------------------------------
    lease_ms_max: int = _setting(
        10 * 60 * 1000, 1_000, 24 * 3600 * 1000, "ms",
        "The longest lease. It is shorter than `session_idle_ms`: a session's end must not cut a lease short.",
        replicated=True,
    )  # fmt: skip
    kv_history_entries: int = _setting(
        4_096,
        0,
        1_000_000,
        "changes",
        "How many changes of keys are kept for watches.",
        drawn=(0, 2, 16),
        replicated=True,
    )
    kv_history_bytes: int = _setting(
        4 * MIB, 0, _MANY, "bytes", "How many bytes of values are kept for watches.", drawn=(20,), replicated=True
    )
    kv_answer_entries: int = _setting(
        1_000, 1, 1_000, "entries", "How many entries the answer to a range or a watch has.", drawn=(1, 3)
    )
    kv_answer_bytes: int = _setting(
        MIB, 0, MIB, "bytes", "An answer that has more bytes than this gets no further entry.", drawn=(10,)
    )
    members_history: int = _setting(
        4_096,
        0,
        1_000_000,
        "changes",
        "How many changes of members are kept for watches.",
        drawn=(0, 2),
        replicated=True,
    )
    members_answer: int = _setting(
        1_000, 1, 1_000, "changes", "How many changes of members the answer to a watch has.", drawn=(1, 3)
    )
    claims_max: int = _setting(
        100_000, 1, 10_000_000, "claims", "How many claims to locks there are; others are refused.", replicated=True
    )
    members_max: int = _setting(
        1_000, 1, 100_000, "members", "How many members there are; others are refused.", replicated=True
    )
    tasks_max: int = _setting(
        10_000, 1, 1_000_000, "tasks", "How many tasks there are; others are refused.", replicated=True
    )
    once_max: int = _setting(
        100_000, 1, 10_000_000, "variables", "How many variables a log has; others are refused.", replicated=True
    )
    # --- the node process -------------------------------------------------------------------------------------------
    intake_max: int = _setting(512, 1, 10_000, "messages", "How many messages one turn takes in.", drawn=(1, 2, 8))
    variables_max: int = _setting(
        100_000, 1, 10_000_000, "variables", "How many variables a node has without a log; others are refused."
    )
    requests_max: int = _setting(
        10_000, 1, 1_000_000, "requests", "How many proposals and queries wait at a node; others are refused."
    )
    frames_max: int = _setting(
        50_000, 1, 1_000_000, "frames", "How many frames of clients wait at a node with a log; others are refused."
    )
    queue_max: int = _setting(
        10_000,
        100,
        1_000_000,
        "messages",
        "How many messages wait in the queue of a node's connection; others are lost.",
    )
    checkpoint_pages: int = _setting(
        1000, 1, 1000, "pages", "A commit that leaves as many pages in SQLite's WAL copies them into the main file.",
        drawn=(1, 20),
    )  # fmt: skip
    retire_ms_max: int = _setting(
        2_000, 0, 60_000, "ms", "How long a node that is stopped tries to hand over.", drawn=(0, 200)
    )
    # --- clients ----------------------------------------------------------------------------------------------------
    client_calls_max: int = _setting(
        100_000, 1, 10_000_000, "calls", "How many calls of a client wait to be sent; others are refused by the client."
    )
    client_frame_commands: int = _setting(
        1_024, 1, 1_024, "commands", "How many commands or questions one frame holds.", drawn=(1, 2)
    )
    client_send_again_ms: int = _setting(
        500,
        1,
        60_000,
        "ms",
        "A frame that a leader has refused after a repetition is sent again after this.",
        drawn=(50,),
    )
    client_probe_ms: int = _setting(
        100,
        5,
        60_000,
        "ms",
        "How long a node that may not lead has to reply before the next one is asked.",
        drawn=(30,),
    )
    client_no_leader_ms: int = _setting(
        10, 1, 10_000, "ms", "The pause after a reply that knows no leader.", drawn=(2, 50)
    )
    client_expire_ms: int = _setting(
        50, 1, 10_000, "ms", "How often a client looks for calls whose time is up.", drawn=(5,)
    )
    client_avoid_ms: int = _setting(
        500, 0, 60_000, "ms", "How long a client leaves out a node that it has lost.", drawn=(0, 100)
    )
    client_disbelieve_ms: int = _setting(
        100, 0, 60_000, "ms", "How long a client does not take a node that it has lost for the leader.", drawn=(0,)
    )
    client_patience_ms: int = _setting(
        500, 50, 60_000, "ms", "The least time that a leader has to reply.", drawn=(100,)
    )
    client_patience_ms_max: int = _setting(5_000, 50, 600_000, "ms", "The most time that a leader has to reply.")
    client_patience_times: int = _setting(
        2, 1, 100, "times", "A leader has so many times the shortest of the latest replies to reply.", drawn=(4,)
    )
    client_patience_replies: int = _setting(8, 1, 1000, "replies", "How many replies are the latest.", drawn=(1,))
    client_first_check_ms: int = _setting(
        250, 1, 60_000, "ms", "A client asks so long after it has opened a watch whether it waits.", drawn=(30,)
    )
    client_check_ms: int = _setting(
        1_000, 10, 60_000, "ms", "How often a client asks whether its watches still wait.", drawn=(100,)
    )
    client_next_node_ms: int = _setting(
        500, 10, 60_000, "ms", "A proposal or query goes to the next node after this time.", drawn=(100,)
    )
    client_same_node_ms: int = _setting(
        1_000, 10, 60_000, "ms", "A proposal or query at one node is sent to it again after this time.", drawn=(200,)
    )

    # --- rivals in Paxos, for one variable each ---------------------------------------------------------------------
    duel_pause_ms: int = _setting(
        200, 1, 60_000, "ms",
        "A proposer that a rival has beaten pauses for this, or down to half of it.", drawn=(2, 10, 40),
    )  # fmt: skip
    duel_growth: int = _setting(
        4,
        2,
        16,
        "times",
        "Each further ballot in a row that is beaten makes the pause so many times longer.",
        drawn=(2,),
    )
    duel_pause_ms_max: int = _setting(10_000, 10, 600_000, "ms", "The longest such pause.", drawn=(640, 2_560))

    def __post_init__(self) -> None:
        """Raise BadSetting if a value is out of its range, or if two do not go together."""
        for setting in SETTINGS.values() if SETTINGS else ():
            value = getattr(self, setting.name)
            if type(value) is not int or not setting.least <= value <= setting.most:
                raise BadSetting(
                    f"the setting {setting.name} is {value!r}, but must be a whole number from {setting.least:,} to "
                    f"{setting.most:,} ({setting.unit})"
                )
        if self.lease_ms_max >= self.session_idle_ms:
            raise BadSetting(
                f"the setting lease_ms_max is {self.lease_ms_max:,} ms, but must be below session_idle_ms, which is "
                f"{self.session_idle_ms:,} ms: the end of a session must not cut a lease short"
            )

    def changed(self) -> dict[str, int]:
        """Return the settings that are not as shipped, by name."""
        return {name: value for name, setting in SETTINGS.items() if (value := getattr(self, name)) != setting.default}

    def replicated_text(self) -> str:
        """Return the replicated settings that are not as shipped, as a node's disk names them: " with NAME=VALUE, ..."."""
        replicated = {name: value for name, value in self.changed().items() if SETTINGS[name].replicated}
        return _WITH + as_text(replicated) if replicated else ""


#: Every setting by its name, in the order of `Tuning`. It is filled below: `Tuning` checks itself against it.
SETTINGS: Final[dict[str, Setting]] = {}
#: The settings of a cluster whose spec sets none.
SHIPPED: Final = Tuning()
SETTINGS.update((each.name, Setting(each.name, *each.metadata["setting"])) for each in fields(Tuning))


def tuning_of(table: Mapping[str, object]) -> Tuning:
    """Return the settings that a table names; the others are as shipped.

    Raises:
        BadSetting: no setting has such a name, or a value is out of its range.
    """
    for name in table:
        if name not in SETTINGS:
            raise BadSetting(f"there is no setting {name!r}: {nearest(name, SETTINGS)}")
    values: Mapping[str, Any] = table  # `Tuning` checks their types itself
    return Tuning(**values)


def replicated_on_disk(made_for: str) -> Tuning:
    """Return the replicated settings that a disk names (`node.settings.Settings.made_for`); the others are as shipped."""
    named = made_for.partition(_WITH)[2]
    return tuning_of(
        {name: int(value) for name, _, value in (each.partition("=") for each in named.split(", ") if each)}
    )


def as_text(settings: Mapping[str, int]) -> str:
    """Return settings as people write them: "NAME=VALUE, ..."."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())
