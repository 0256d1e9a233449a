"""Whether ranks and runs live: seen at once on this machine, elsewhere by whether a rank's state goes on changing."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal

from wan_ddp.heartbeat import BEAT_SECONDS, OVER
from wan_ddp.owners import HOST_LOST_SECONDS
from wan_ddp.process import is_dead
from wan_ddp.results import Run, SeenRank

Life = Literal["alive", "over", "silent", "dead"]
RunLife = Literal["running", "silent", "ended"]

SILENT_SECONDS = 30.0
DOUBT_SECONDS = 1.5 * BEAT_SECONDS
"""After so long, whoever was silent by the clocks alone can be looked at again: a living rank's beat has changed."""
# Machines that keep their clocks are within a second of each other; this is for those that do not.
_SKEW_SECONDS = 90.0
_START_SECONDS = 300.0  # from a run's own file to its first rank's state are moments, and clocks differ
_CONCLUDE_SECONDS = 600.0  # from rank 0's last state to the verdict: every video is looked at, with --verify full read


class SignsOfLife:
    """How long each rank has been silent: by what was seen to change, or until then by the clocks."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], tuple[str, int, float, bool]] = {}

    def silence(self, ranks: Sequence[SeenRank]) -> list[float]:
        """Seconds for each rank; all ranks of a folder together, as the newest file tells the file server's time."""
        newest = max((rank.touched for rank in ranks), default=0.0)
        # Where all fell silent together, nothing new tells the time.
        now = max(newest, time.time() - _SKEW_SECONDS)
        return [self._silence(rank, max(0.0, now - rank.touched)) for rank in ranks]

    def _silence(self, rank: SeenRank, by_clock: float) -> float:
        state = rank.state
        key, now = (state.run_id, state.rank), time.monotonic()
        token, beat, since, changed = self._seen.get(key, (state.token, state.beat, now, False))
        if (token, beat) != (state.token, state.beat):
            since, changed = now, True
        self._seen[key] = (state.token, state.beat, since, changed)
        return now - since if changed else max(by_clock, now - since)


def life_of(rank: SeenRank, silence: float) -> Life:
    """A rank that said that it is done with its work is `over`, whatever becomes of its process."""
    if rank.state.phase in OVER:
        return "over"
    if _is_dead(rank):
        return "dead"
    return "silent" if silence > SILENT_SECONDS else "alive"


def run_life(run: Run, lives: Sequence[Life], silences: Sequence[float]) -> RunLife:
    """Whether a run goes on, with its ranks' lives in their order. One that is silent for long has ended."""
    if not run.ranks:
        begun = datetime.fromisoformat(run.file.started.replace("Z", "+00:00")).timestamp()
        return "running" if abs(time.time() - begun) < _START_SECONDS else "ended"
    if "alive" in lives or _is_concluding(run, silences):
        return "running"
    silent = [silence for life, silence in zip(lives, silences, strict=True) if life == "silent"]
    return "silent" if silent and min(silent) < HOST_LOST_SECONDS else "ended"


def _is_concluding(run: Run, silences: Sequence[float]) -> bool:
    """Whether rank 0 has still to give the verdict: it waits for the others, and looks at every video."""
    first = run.ranks[0]
    if first.state.rank != 0 or first.state.phase not in ("finished", "failed") or run.reported >= first.touched:
        return False
    dead = _is_dead(first)
    return not dead if dead is not None else silences[0] < _CONCLUDE_SECONDS


def _is_dead(rank: SeenRank) -> bool | None:
    """Whether its process has ended; None where that cannot be seen from here."""
    with suppress(ValueError):  # a token that another version wrote
        return is_dead(rank.state.token)
    return None
