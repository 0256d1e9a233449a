"""What tests/chaos_rank.py writes down of the videos that it makes, and what must be true of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """`begin` at a step, `step`, and `made` when all are; `published`; and `damaged` by the test.

    `who` is a worker, of `published` its supervisor, as pid:start time.
    """

    time: float
    event: str
    who: str
    launch: str
    job: str
    step: int


@dataclass
class Innocence:
    """What excuses steps that were made again."""

    killed: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Launches on hosts that were silent for so long that they count as lost."""
    full: list[tuple[float, float]] = field(default_factory=list)
    """When the disk was full: no state could be saved then."""

    def met_full_disk(self, first: float, last: float) -> bool:
        return any(first <= end and begin <= last for begin, end in self.full)


class Journal:
    """The file, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0
        self.events: list[Event] = []
        self._last: dict[str, Event] = {}

    def read(self) -> list[Event]:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._position)
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    self._position += len(line)
                    time, event, who, launch, job, step = line.decode().rstrip("\n").split("\t")
                    self.events.append(Event(float(time), event, who, launch, job, int(step)))
                    self._last[who] = self.events[-1]
        return self.events

    def at_work(self) -> dict[str, Event]:
        """The workers that are at a video, and the last thing each did."""
        self.read()
        return {who: each for who, each in self._last.items() if each.event in ("begin", "step")}

    def is_published(self, job: str) -> bool:
        """Whether the job's video was published, and not damaged since."""
        said = [each.event for each in self.read() if each.job == job and each.event in ("published", "damaged")]
        return said[-1:] == ["published"]


@dataclass
class _Job:
    """One job's story so far."""

    furthest: int = 0
    current: Event | None = None
    """The last beginning."""
    last: Event | None = None
    """The last thing that the current worker did."""
    published: bool = False


def wrongs(events: Iterable[Event], innocence: Innocence, every: int) -> tuple[list[str], dict[str, int]]:
    """What should not have happened, and the steps made again for each killed worker that was at a video.

    Steps are made again only after a worker was killed, `every` of them at most, or after a full disk let nothing be
    saved; a video is begun by one worker at a time, and published once.
    """
    problems: list[str] = []
    repeated: dict[str, int] = {}
    jobs: dict[str, _Job] = {}
    for each in events:
        job = jobs.setdefault(each.job, _Job())
        if each.event == "damaged":
            jobs[each.job] = _Job(current=job.current, last=job.last)
        elif each.event == "begin":
            problems += _begin(job, each, innocence, every, repeated)
        elif each.event == "step":
            problems += _step(job, each, innocence)
        elif each.event == "published":
            if job.published:
                problems.append(f"{each.job}: published again by {each.who} of {each.launch}")
            job.published, job.furthest, job.current = True, 0, None
    return problems, repeated


def _begin(job: _Job, each: Event, innocence: Innocence, every: int, repeated: dict[str, int]) -> list[str]:
    problems = []
    again = max(0, job.furthest - each.step)
    if job.published:
        problems.append(f"{each.job}: begun again by {each.who}, and it was there")
    if job.current and job.last:
        excused = each.launch in innocence.lost or innocence.met_full_disk(job.current.time, each.time)
        if job.last.who in innocence.killed and not excused:
            repeated[job.last.who] = again
            if again > every:
                problems.append(f"{each.job}: {again} steps made again after the kill of {job.last.who}")
        elif again and not excused:
            problems.append(f"{each.job}: {again} steps made again though nobody killed {job.last.who}")
    job.current = job.last = each
    job.furthest = each.step  # what was lost is counted, and made again only now
    return problems


def _step(job: _Job, each: Event, innocence: Innocence) -> list[str]:
    problems = []
    if job.current is None or job.current.who != each.who:
        if each.launch not in innocence.lost:
            other = job.current.who if job.current else "nobody"
            problems.append(f"{each.job}: {each.who} makes step {each.step}, and it is in the hands of {other}")
    else:
        job.last = each
    job.furthest = max(job.furthest, each.step)
    return problems
