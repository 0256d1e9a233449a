"""What a pilot says of the whole run: seconds, GPU-hours, the time when it will end, and the disk that it will take."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean

from wan_ddp.doctor.checks import gb
from wan_ddp.estimate import Samples, estimate
from wan_ddp.job import Job
from wan_ddp.pilot import CPU, Pilot


@dataclass(frozen=True, slots=True)
class Category:
    """Of its videos that are to do, on average; a step as it was measured."""

    name: str
    num_to_do: int
    step_seconds: float
    video_seconds: float
    video_bytes: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """For all that is left to do, by so many ranks that begin at once."""

    categories: tuple[Category, ...]
    num_ranks: int
    num_gpus: int
    """0 on the CPU."""
    seconds: float
    ends: str
    """In local time, with its offset."""
    gpu_hours: float
    num_bytes: float
    gpu_gib: float | None


def outcome_of(pilot: Pilot, shards: Sequence[Sequence[Job]], now: datetime) -> Outcome:
    """`shards` hold what every rank has to do; `now` is when the run begins, in its own time zone."""
    samples = pilot.samples()
    num_gpus = 0 if pilot.setup.device == CPU else -(-len(shards) // pilot.setup.ranks)
    expected = estimate(shards, max(num_gpus, 1), [], samples)
    jobs = [job for shard in shards for job in shard]
    names = dict.fromkeys(job.category for job in jobs)
    return Outcome(
        tuple(_category(name, [job for job in jobs if job.category == name], samples) for name in names),
        len(shards),
        num_gpus,
        expected.seconds,
        f"{now + timedelta(seconds=expected.seconds):%Y-%m-%d %H:%M %z}",
        num_gpus * expected.seconds / 3600,
        expected.num_bytes,
        pilot.gpu_gib,
    )


def _category(name: str, jobs: Sequence[Job], samples: Samples) -> Category:
    steps = mean(samples.denoise_seconds(job) / job.num_inference_steps for job in jobs)
    videos = mean(samples.video_seconds(job) for job in jobs)
    return Category(name, len(jobs), steps, videos, mean(map(samples.num_bytes, jobs)))


def outcome_text(outcome: Outcome, duration: str) -> str:
    """As a person reads it; `duration` is the seconds in words."""
    width = max(len(category.name) for category in outcome.categories)
    lines = [f"{'':{width}}  to do  s a step  s a video  MB a video"]
    lines += [
        f"{each.name:{width}}  {each.num_to_do:>5}  {each.step_seconds:>8.2f}  {each.video_seconds:>9.1f}  "
        f"{each.video_bytes / 1e6:>10.2f}"
        for each in outcome.categories
    ]
    on = f"{outcome.num_gpus} GPU{'s' * (outcome.num_gpus > 1)}" if outcome.num_gpus else "the CPU"
    ranks = f"{outcome.num_ranks} rank{'s' * (outcome.num_ranks > 1)}"
    lines += ["", f"time       {duration} with {ranks} on {on}: begun now, it ends {outcome.ends}"]
    if outcome.num_gpus:
        lines.append(f"GPU-hours  {outcome.gpu_hours:.1f}")
    lines.append(f"disk       {gb(outcome.num_bytes)} GB")
    if outcome.gpu_gib is not None:
        lines.append(f"memory     {outcome.gpu_gib:.1f} GiB on the fullest GPU")
    return "\n".join(lines)
