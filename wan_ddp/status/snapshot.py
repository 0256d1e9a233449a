"""How a run stands at one moment: the values that are shown, as text, as JSON (docs/status.md) and as metrics."""

from dataclasses import asdict, dataclass
from typing import Any

from wan_ddp.attempts import End
from wan_ddp.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, FailureKind
from wan_ddp.status.life import Life, RunLife
from wan_ddp.status.time_left import Pace


@dataclass(frozen=True, slots=True)
class Count:
    """Of the videos of a category, or of all: `left` are neither there nor given up."""

    expected: int
    verified: int
    failed: int

    @property
    def left(self) -> int:
        return self.expected - self.verified - self.failed


@dataclass(frozen=True, slots=True)
class RunStatus:
    run_id: str
    state: RunLife
    started: str
    manifest: str
    model: str
    random_weights: bool
    world_size: int
    totals: dict[str, Any] | None = None
    """What it took, from its verdict, see `wan_ddp.totals`; None before."""


@dataclass(frozen=True, slots=True)
class RankStatus:
    """One rank. `done`, `failed`, `lost` and `retries` count over restarts of its process within the run."""

    run_id: str
    rank: int
    gpu: int
    process: int
    host: str
    state: Life
    silent_seconds: float
    phase: str
    part: str
    job: str | None
    step: int
    num_steps: int
    attempt: int
    taken_over: bool
    done: int
    failed: int
    lost: int
    retries: int
    seconds_per_step: float | None
    seconds_per_video: float | None
    videos_per_hour: float | None
    gpu_utilization: float | None
    gpu_memory_gib: float | None
    error: str

    @property
    def name(self) -> str:
        return f"gpu{self.gpu}_process{self.process}"


@dataclass(frozen=True, slots=True)
class FailedVideo:
    id: str
    kind: FailureKind
    error: str
    attempts: int


@dataclass(frozen=True, slots=True)
class OddVideo:
    """A video that is there but not as its record or the run's settings have it."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class RetriedVideo:
    """A video that is still to be made after attempts that failed; `ends` is how all of them ended, in order."""

    id: str
    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class SuspiciousVideo:
    """A verified video whose content looks wrong, by its record's `sanity.flags`."""

    id: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An output folder at one moment, for the runs that go on there, or the latest one."""

    output: str
    time: str
    state: RunLife
    total: Count
    categories: dict[str, Count]
    runs: tuple[RunStatus, ...]
    ranks: tuple[RankStatus, ...]
    failed: tuple[FailedVideo, ...]
    corrupt: tuple[OddVideo, ...]
    changed: tuple[OddVideo, ...]
    retried: tuple[RetriedVideo, ...]
    suspicious: tuple[SuspiciousVideo, ...]
    pace: Pace | None
    videos_per_hour: float | None
    seconds_left: float | None

    @property
    def complete(self) -> bool:
        return self.total.verified == self.total.expected

    @property
    def exit_code(self) -> int:
        return EXIT_COMPLETE if self.complete else EXIT_INCOMPLETE

    @property
    def gone(self) -> tuple[RankStatus, ...]:
        """The ranks that fell silent or died, while the run goes on without them."""
        return tuple(rank for rank in self.ranks if rank.state in ("silent", "dead"))

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints; its fields are told in docs/status.md."""
        fields = asdict(self)
        head = {name: fields.pop(name) for name in ("output", "time", "state")}
        total = _count_json(self.total)
        counts = {name: total[name] for name in ("expected", "verified", "left")}  # `failed` lists them, as a report
        del fields["total"]
        if self.pace:
            del fields["pace"]["seconds_per_cost"]
        fields["categories"] = {name: _count_json(count) for name, count in self.categories.items()}
        seen = head | {"complete": self.complete, "exit_code": self.exit_code} | counts | fields
        return {name: _rounded(value) for name, value in seen.items()}


def _count_json(count: Count) -> dict[str, int]:
    return asdict(count) | {"left": count.left}


def _rounded(value: Any) -> Any:
    """Numbers without digits that mean nothing."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value
