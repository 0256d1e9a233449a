"""What the ranks' histories tell of their speed; each file is read on from where it was read before."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wan_ddp.heartbeat import RankState, parse_states
from wan_ddp.results import history_files


class Made(NamedTuple):
    """A video that a rank has made. `share` is the part of its steps that were left to do; saved ones cost nothing."""

    job: str
    seconds: float
    share: float


@dataclass(slots=True)
class _Begun:
    """A video from its order on, by the rank's clock; `ended` when the rank went on to something else."""

    time: float
    share: float = 1.0
    ended: float | None = None


class Counts(NamedTuple):
    done: int = 0
    failed: int = 0
    lost: int = 0


@dataclass(slots=True)
class Doings:
    """All that one rank did in one run, over restarts of its process."""

    made: list[Made] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    """Seconds a step, for each time that it denoised to the end."""
    denoises_since: tuple[float, int] | None = None
    """When it began the video in hand's steps, by its own clock, and with which; None while it does something else."""
    _counts: dict[str, Counts] = field(default_factory=dict)
    _retries: set[tuple[str, int]] = field(default_factory=set)
    _begun: dict[str, _Begun] = field(default_factory=dict)
    """The videos that it was ordered to make, until they are published or begun anew."""

    @property
    def num_retries(self) -> int:
        """Attempts at a video after one that was charged."""
        return len(self._retries)

    def add(self, state: RankState) -> None:
        """The next line of its history."""
        before = self._counts.get(state.token, Counts())
        for job, begun in self._begun.items():
            if job != state.job and begun.ended is None:
                begun.ended = state.time
        if state.num_done > before.done:
            published = state.published or state.job or ""  # versions before told of the video in hand alone
            if made := self._begun.pop(published, None):
                self.made.append(Made(published, (made.ended or state.time) - made.time, made.share))
        if state.phase == "working" and not state.part and state.job:  # ordered just now
            self._begun[state.job] = _Begun(state.time)
            if state.attempt > 1:
                self._retries.add((state.job, state.attempt))
        self._follow_steps(state)
        self._counts[state.token] = Counts(state.num_done, state.num_failed, state.num_lost)

    def counts(self, state: RankState) -> Counts:
        """What it has done by `state`, its last, which knows of this process alone."""
        others = [counts for token, counts in self._counts.items() if token != state.token]
        now = Counts(state.num_done, state.num_failed, state.num_lost)
        return Counts(*map(sum, zip(now, *others, strict=True)))

    def _follow_steps(self, state: RankState) -> None:
        if state.phase == "working" and state.part == "denoise":
            if self.denoises_since is None:
                self.denoises_since = (state.time, state.step)
                if begun := self._begun.get(state.job or ""):
                    begun.share = 1 - state.step / max(state.num_steps, 1)
            return
        if self.denoises_since is not None and state.part in ("decode", "save"):
            since, step = self.denoises_since
            if state.step > step:
                self.step_seconds.append((state.time - since) / (state.step - step))
        self.denoises_since = None


class Histories:
    """The histories below an output folder, as far as they have been read."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._read: dict[Path, int] = {}
        self._doings: dict[tuple[str, int], Doings] = {}

    def of(self, run_id: str, rank: int) -> Doings:
        return self._doings.setdefault((run_id, rank), Doings())

    def read_on(self, run_ids: Iterable[str]) -> None:
        """Read what was added, of these runs; what cannot be read is passed over."""
        marks = [json.dumps(run_id, ensure_ascii=False).encode() for run_id in run_ids]
        for path in history_files(self._output):
            with suppress(OSError):
                # Most lines of a long history are other runs': they are not worth parsing.
                lines = (line for line in self._new_lines(path) if any(mark in line for mark in marks))
                for state in parse_states(lines):
                    self.of(state.run_id, state.rank).add(state)

    def _new_lines(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            whole, end, _ = file.read().rpartition(b"\n")  # the last line may still be under way
        self._read[path] = self._read.get(path, 0) + len(whole) + len(end)
        return whole.splitlines()
