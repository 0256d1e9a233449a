"""What references mean for the jobs that use them, from what was found of their files."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wan_ddp.job import Job, Sampling, ShortReference
from wan_ddp.manifest_tools.probing import Probe, Request
from wan_ddp.reader import ClipRequest
from wan_ddp.video import cover_box

# A clip of 16:9 loses 2.5% of its width for Wan's usual 832x480: no news.
_CROPPED = 0.03
_OTHER_FPS = 0.01  # 29.97 is 30


@dataclass(frozen=True, slots=True)
class Use:
    """A reference and the jobs that name it: how many, and how many need it in which way."""

    path: str
    num_jobs: int
    ways: dict[ClipRequest, int]

    @property
    def request(self) -> Request:
        return Request(self.path, tuple(self.ways))


@dataclass(frozen=True, slots=True)
class Finding:
    """A reference judged. `probe` is None for a file that is not there."""

    use: Use
    probe: Probe | None
    num_failing: int
    fails: tuple[str, ...]
    """Why so many of its jobs would fail."""
    notes: tuple[str, ...]
    """What would be done to it on the way."""


def uses(jobs: Iterable[Job], sampling: Sampling, short_reference: ShortReference) -> list[Use]:
    """The references in the order of the jobs. `none` looks at no reference, which has to be there all the same."""
    num_jobs: Counter[str] = Counter()
    ways: dict[str, Counter[ClipRequest]] = defaultdict(Counter)
    for job in jobs:
        num_jobs[job.reference] += 1
        if job.mechanism != "none":
            way = ClipRequest(
                path=job.reference,
                num_frames=job.num_frames,
                width=job.width,
                height=job.height,
                fps=job.fps,
                sampling=sampling,
                short_reference=short_reference,
            )
            ways[job.reference][way] += 1
    return [Use(path, number, dict(ways[path])) for path, number in num_jobs.items()]


def missing(use: Use, why: str) -> Finding:
    return Finding(use, None, use.num_jobs, (why,), ())


def judge(use: Use, probe: Probe) -> Finding:
    """Which jobs would fail and why, and what a reference is not shown as."""
    failing = {
        way: reading.problem
        for way, reading in zip(use.ways, probe.readings, strict=True)
        if reading.problem is not None
    }
    notes = [note for describe in _NOTES for way in use.ways if (note := describe(way, probe))]
    if probe.rotation:
        notes.append(f"turned by {probe.rotation:g} degrees, as players turn it")
    notes += [f"every frame is {reading.picture}" for reading in probe.readings if reading.picture]
    if probe.damage and not failing:
        where = "behind the frames that its jobs need" if use.ways else "though its jobs do not look at it"
        notes.append(f"{where}: {probe.damage}")
    num_failing = sum(use.ways[way] for way in failing)
    return Finding(use, probe, num_failing, tuple(dict.fromkeys(failing.values())), tuple(dict.fromkeys(notes)))


def _another_speed(way: ClipRequest, probe: Probe) -> str | None:
    if way.sampling == "time" or probe.fps is None or abs(probe.fps / way.fps - 1) < _OTHER_FPS:
        return None
    return (
        f"{probe.fps:.4g} fps for {way.fps:g}: frame for frame, it moves at {way.fps / probe.fps:.2g} of its speed; "
        "--sampling time keeps it"
    )


def _another_aspect(way: ClipRequest, probe: Probe) -> str | None:
    if probe.width is None or probe.height is None:
        return None
    left, top, right, bottom = cover_box(probe.width, probe.height, probe.pixel_aspect, way.width, way.height)
    cropped = 1 - (right - left) * (bottom - top) / (probe.width * probe.height)
    return f"another aspect than {way.width}x{way.height}: {cropped:.0%} is cropped" if cropped > _CROPPED else None


_NOTES: tuple[Callable[[ClipRequest, Probe], str | None], ...] = (_another_speed, _another_aspect)
