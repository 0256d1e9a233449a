"""What the ranks did over time, from their histories: spans, marks, and how busy each GPU was. Values to values."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from wan_ddp.heartbeat import RankState

Doing = Literal["load", "read", "encode", "turn", "denoise", "decode", "save", "wait", "disk"]
"""`turn`: its turn on the GPU is waited for; `wait`: other ranks have the rest; `disk`: there is no room."""
DOINGS: tuple[Doing, ...] = get_args(Doing)
Share = Literal["denoising", "by several", "encoding", "other work", "loading", "idle"]
"""What a GPU is at: denoising for one rank or several at once, the VAE, clips read and saved, weights, nothing."""
SHARES: tuple[Share, ...] = get_args(Share)

_PHASES: Mapping[str, Doing] = {"loading": "load", "waiting": "wait", "waiting for the disk": "disk"}
_ENDS = ("finished", "stopped", "failed")
_PAUSE_SECONDS = 900.0  # with nobody at work for so long, the time between two runs is left out of the charts


@dataclass(frozen=True, slots=True)
class Span:
    """A rank was at one thing, from `start` to `end` in seconds since the epoch."""

    rank: int
    gpu: str
    """Unique over hosts."""
    start: float
    end: float
    doing: Doing
    job: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a rank at one moment."""

    rank: int
    time: float
    kind: Literal["lost", "taken over", "given up", "ended early"]
    job: str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every rank's doing over all runs, in order of time."""

    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]

    @property
    def ranks(self) -> list[int]:
        return sorted({span.rank for span in self.spans})


@dataclass(frozen=True, slots=True)
class Clock:
    """Time on which somebody was at work: what lies between two runs is left out. `pieces` are (start, end)."""

    pieces: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self.pieces)

    def at(self, time: float) -> float:
        """Seconds of work before `time`."""
        index = bisect_right(self.pieces, (time, float("inf")))
        before = sum(end - start for start, end in self.pieces[:index])
        if index and time < self.pieces[index - 1][1]:
            before -= self.pieces[index - 1][1] - time
        return before


def read_timeline(histories: Iterable[Sequence[RankState]], last_beats: Mapping[tuple[str, int], float]) -> Timeline:
    """The spans and marks of histories, one history a rank's file.

    `last_beats`: when a rank of a run, (run id, rank), last showed that it lived. What a process was at when it died
    without a word lasted until then.
    """
    spans: list[Span] = []
    marks: list[Mark] = []
    for states in histories:
        for state, following in zip(states, [*states[1:], None], strict=True):
            if following and (following.run_id, following.token) == (state.run_id, state.token):
                end = following.time
                marks += _marks(state, following)
            else:
                end = max(state.time, last_beats.get((state.run_id, state.rank), state.time))
                end = min(end, following.time) if following else end
            if state.phase not in _ENDS and end > state.time:
                spans.append(Span(state.rank, f"{state.host}:{state.gpu}", state.time, end, _doing(state), state.job))
    spans.sort(key=lambda span: (span.start, span.rank))
    marks.sort(key=lambda mark: (mark.time, mark.rank))
    return Timeline(tuple(spans), tuple(marks))


def make_clock(intervals: Iterable[tuple[float, float]]) -> Clock:
    """The time that the intervals (start, end) cover, short pauses included."""
    pieces: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if pieces and start - pieces[-1][1] <= _PAUSE_SECONDS:
            pieces[-1] = pieces[-1][0], max(end, pieces[-1][1])
        else:
            pieces.append((start, max(start, end)))
    return Clock(tuple(pieces))


def gpu_shares(timeline: Timeline, clock: Clock) -> dict[str, dict[Share, float]]:
    """The share of the clock's time that each GPU was at what; each GPU's shares add up to 1."""
    on_gpu: dict[str, list[Span]] = defaultdict(list)
    for span in timeline.spans:
        on_gpu[span.gpu].append(span)
    return {gpu: _shares(spans, clock.seconds) for gpu, spans in sorted(on_gpu.items())}


def _shares(spans: Sequence[Span], total: float) -> dict[Share, float]:
    changes = [(span.start, 1, span.doing) for span in spans] + [(span.end, -1, span.doing) for span in spans]
    seconds: dict[Share, float] = dict.fromkeys(SHARES, 0.0)
    active: dict[Doing, int] = dict.fromkeys(DOINGS, 0)
    before = 0.0
    for time, change, doing in sorted(changes):
        seconds[_share(active)] += time - before
        active[doing] += change
        before = time
    seconds["idle"] = max(total - sum(value for name, value in seconds.items() if name != "idle"), 0.0)
    whole = sum(seconds.values()) or 1.0
    return {name: value / whole for name, value in seconds.items()}


def _share(active: Mapping[Doing, int]) -> Share:
    if active["denoise"]:
        return "denoising" if active["denoise"] == 1 else "by several"
    if active["encode"] or active["decode"]:
        return "encoding"
    if active["read"] or active["save"]:
        return "other work"
    return "loading" if active["load"] else "idle"


def _doing(state: RankState) -> Doing:
    if state.phase == "working":
        return next((doing for doing in DOINGS if doing == state.part), "read")
    return _PHASES.get(state.phase, "load")


def _marks(before: RankState, after: RankState) -> list[Mark]:
    marks = []
    if after.num_lost > before.num_lost:
        marks.append(Mark(after.rank, after.time, "lost", before.job))
    if after.num_failed > before.num_failed:
        marks.append(Mark(after.rank, after.time, "given up", before.job))
    if after.taken_over and after.job and (after.job, after.attempt) != (before.job, before.attempt):
        marks.append(Mark(after.rank, after.time, "taken over", after.job))
    if after.phase == "failed" and before.phase != "failed":
        marks.append(Mark(after.rank, after.time, "ended early", before.job))
    return marks
