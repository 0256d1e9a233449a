"""What the report shows: every video beside its reference, and what the ranks did, as plain values."""

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from wan_ddp.heartbeat import RankState, read_history
from wan_ddp.job import SETTING_FIELDS, Job, Sampling, ShortReference
from wan_ddp.outputs import Outputs
from wan_ddp.reader import ClipRequest
from wan_ddp.report.timeline import Clock, Timeline, make_clock, read_timeline
from wan_ddp.results import Run, history_files, look, read_record, read_runs
from wan_ddp.survey import Task
from wan_ddp.verdict import VideoFile

VideoState = Literal["done", "under way", "failed", "missing", "corrupt", "changed"]
VIDEO_STATES: tuple[VideoState, ...] = get_args(VideoState)
_SILENT_SECONDS = 60.0  # a rank writes its state every two
_FOLDER_NAME = re.compile(r"ref_(.+)_\d+x\d+")
_VIDEO_ID = re.compile(r"[^/]+/[^/]+/seed_(\d+)_prompt_(\d+)")


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much a video moves like its reference, from -1 to 1: as a whole, and as far as the camera does it."""

    likeness: float | None = None
    camera_likeness: float | None = None
    speed_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Sanity:
    """What was found when the video was looked at."""

    flags: tuple[str, ...] = ()
    motion: Likeness | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a record says of how its video came to be; whatever else stands in it is left out."""

    video: VideoFile
    inputs: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    sanity: Sanity = Sanity()
    run_id: str = ""
    rank: int | None = None
    started: str = ""
    finished: str = ""
    model: str = ""
    device: str = ""
    resumed_from: tuple[int, ...] = ()
    reference_share: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """When it was made, in seconds since the epoch."""
        with suppress(ValueError):
            return _seconds(self.started), _seconds(self.finished)
        return None


_MADE = TypeAdapter(Made)


@dataclass(frozen=True, slots=True)
class Video:
    """One video, made or not."""

    job: Job
    state: VideoState
    why: str = ""
    kind: str = ""
    """Of the failure."""
    log_tail: str = ""
    attempts: int = 0
    made: Made | None = None

    @property
    def can_play(self) -> bool:
        return self.state in ("done", "changed") and self.made is not None

    @property
    def flags(self) -> list[str]:
        return list(dict.fromkeys([*self.made.flags, *self.made.sanity.flags])) if self.made else []

    @property
    def motion(self) -> Likeness:
        return (self.made and self.made.sanity.motion) or Likeness()


@dataclass(frozen=True, slots=True)
class Row:
    """A reference and its videos, all of one length, rate and size: they play in step."""

    clip: ClipRequest
    """The reference as the jobs saw it."""
    digest: str | None
    """Of the reference's content, where it is known."""
    videos: tuple[Video, ...]
    number: int = 1
    """Counts the rows of one reference, where its videos differ in length, rate or size."""

    @property
    def category(self) -> str:
        return self.videos[0].job.category

    @property
    def folder(self) -> str:
        """Where its videos lie, below the output folder."""
        return self.videos[0].job.id.rpartition("/")[0]

    @property
    def name(self) -> str:
        """As people call the reference."""
        folder = PurePath(self.folder).name
        match = _FOLDER_NAME.fullmatch(folder)
        return match[1] if match else folder


@dataclass(frozen=True, slots=True)
class Contents:
    """An output folder at one moment."""

    output: Path
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    timeline: Timeline
    clock: Clock
    is_running: bool
    seen: datetime

    @property
    def videos(self) -> list[Video]:
        return [video for row in self.rows for video in row.videos]

    def count(self, state: VideoState) -> int:
        return sum(video.state == state for video in self.videos)


def read_contents(output: Path) -> Contents:
    """Look at the output folder; nothing is written. Raises UnusableError where there is nothing to look at."""
    runs = read_runs(output)
    latest = runs[-1] if runs else None
    histories = list(_histories(output))
    attempts = _attempts(histories)
    is_running = latest is not None and _is_running(latest)
    under_way = {seen.state.job: seen.state for seen in latest.ranks} if latest and is_running else {}
    tasks = _tasks(output, runs)
    rows: dict[tuple[str, ClipRequest], list[Video]] = defaultdict(list)
    for job_id, task in tasks.items():
        video = _video(output, task, under_way.get(job_id), attempts.get(job_id, 0))
        if is_running and video.state == "missing":
            video = replace(video, why="not made yet")
        rows[_key(task.job, task.inputs)].append(video)
    for video in _unknown(output, tasks.keys()):
        rows[_key(video.job, video.made.inputs if video.made else {})].append(video)
    made = [made for videos in rows.values() for video in videos if (made := video.made)]
    timeline = read_timeline(
        histories, {(seen.state.run_id, seen.state.rank): seen.state.time for run in runs for seen in run.ranks}
    )
    intervals = [(span.start, span.end) for span in timeline.spans]
    intervals += [interval for each in made if (interval := each.interval)]
    return Contents(
        output=output,
        rows=tuple(_rows(rows)),
        runs=tuple(runs),
        timeline=timeline,
        clock=make_clock(intervals),
        is_running=is_running,
        seen=datetime.now(timezone.utc),
    )


def _tasks(output: Path, runs: Sequence[Run]) -> dict[str, Task]:
    """What the latest run was told, and what earlier ones have made besides, in the order of the manifests.

    What an earlier run was told and never made is no concern any more.
    """
    tasks = {task.job.id: task for task in look(output, runs[-1:])}
    if len(runs) < 2:
        return tasks
    for task in look(output, runs):
        if task.finding.state not in ("missing", "failed"):
            tasks.setdefault(task.job.id, task)
    manifests = {run.file.manifest_copy: run for run in runs}
    in_order = [job.id for run in manifests.values() for job in run.file.jobs(output / "logs")]
    return {job_id: tasks[job_id] for job_id in dict.fromkeys(in_order) if job_id in tasks}


def _rows(rows: Mapping[tuple[str, ClipRequest], Sequence[Video]]) -> Iterator[Row]:
    numbers: dict[str, int] = defaultdict(int)
    for (folder, clip), videos in rows.items():
        numbers[folder] += 1
        ordered = sorted(videos, key=lambda video: (video.job.seed, video.job.prompt_index))
        of_these_settings = sorted(ordered, key=lambda video: video.state != "done")
        digests = (video.made.inputs.get("reference") for video in of_these_settings if video.made)
        digest = next((digest for digest in digests if isinstance(digest, str)), None)
        yield Row(clip, digest, tuple(ordered), numbers[folder])


def _key(job: Job, inputs: Mapping[str, Any]) -> tuple[str, ClipRequest]:
    """What videos of one row have in common. A baseline without its reference has no sampling: the usual one, then."""
    samplings: tuple[Sampling, ...] = get_args(Sampling)
    policies: tuple[ShortReference, ...] = get_args(ShortReference)
    request = ClipRequest(
        path=job.reference,
        num_frames=job.num_frames,
        width=job.width,
        height=job.height,
        fps=job.fps,
        sampling=next((each for each in samplings if each == inputs.get("sampling")), "frames"),
        short_reference=next((each for each in policies if each == inputs.get("short_reference")), "refuse"),
    )
    return job.id.rpartition("/")[0], request


def _video(output: Path, task: Task, under_way: RankState | None, attempts: int) -> Video:
    finding, failure = task.finding, task.finding.failure
    made = _made(read_record(output, task.job)) if finding.state in ("verified", "changed", "corrupt") else None
    if under_way and finding.state != "verified":
        why = f"{under_way.part or under_way.phase}, step {under_way.step} of {under_way.num_steps}"
        return Video(task.job, "under way", f"rank {under_way.rank}: {why}", attempts=under_way.attempt, made=made)
    if failure:
        return Video(task.job, "failed", failure.error, failure.kind, failure.log_tail, failure.attempts, made)
    state: VideoState = "done" if finding.state == "verified" else finding.state
    return Video(task.job, state, finding.why, attempts=max(attempts, int(made is not None)), made=made)


def _made(record: Mapping[str, Any]) -> Made | None:
    """What the record says; of one that says something else than expected, what a video cannot do without."""
    for told in (record, {name: record[name] for name in ("video", "inputs") if name in record}):
        with suppress(ValidationError):
            return _MADE.validate_python(told)
    return None


def _unknown(output: Path, known: Any) -> Iterator[Video]:
    """Videos that no run still known of was told to make, by their records alone."""
    for path in sorted(output.glob("*/*/seed_*_prompt_*.json")):
        video_id = path.relative_to(output).with_suffix("").as_posix()
        if video_id in known or not (match := _VIDEO_ID.fullmatch(video_id)):
            continue
        job = _job_of(video_id, int(match[2]), path)
        made = _made(read_record(output, job)) if job else None
        if job and made:
            whole = _size(Outputs(output).video(job)) == made.video.num_bytes
            why = "" if whole else "its video is gone, or has another size than its record says"
            yield Video(job, "done" if whole else "corrupt", why, attempts=1, made=made)


def _job_of(video_id: str, prompt_index: int, path: Path) -> Job | None:
    """The job that a record's inputs describe."""
    import json

    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(path.read_bytes())
        inputs = record["inputs"]
        settings = {name: inputs[name] for name in SETTING_FIELDS}
        job = Job(
            category=video_id.partition("/")[0],
            reference=str(record["reference"]["path"]),
            prompt=str(inputs["prompt"]),
            prompt_index=prompt_index,
            seed=int(inputs["seed"]),
            **settings,
        )
        return job if job.id == video_id else None
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _histories(output: Path) -> Iterator[list[RankState]]:
    for path in history_files(output):
        with suppress(OSError):
            yield read_history(path)


def _attempts(histories: Sequence[Sequence[RankState]]) -> dict[str, int]:
    """The highest attempt at each job that a history tells of."""
    attempts: dict[str, int] = defaultdict(int)
    for states in histories:
        for state in states:
            if state.job:
                attempts[state.job] = max(attempts[state.job], state.attempt)
    return attempts


def _is_running(run: Run) -> bool:
    return run.report is None and any(time.time() - seen.touched < _SILENT_SECONDS for seen in run.ranks)


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
