"""From what was seen to what is shown: values to values."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Literal

from wan_ddp.status.life import RunLife
from wan_ddp.status.look import LiveRank, LiveRun, Sight
from wan_ddp.status.snapshot import (
    Count,
    FailedVideo,
    OddVideo,
    RankStatus,
    RetriedVideo,
    RunStatus,
    Snapshot,
    SuspiciousVideo,
)
from wan_ddp.status.time_left import Measured, Pace, pace_of, seconds_left
from wan_ddp.survey import Task

State = Literal["verified", "failed", "left"]


def assemble(sight: Sight, now: datetime) -> Snapshot:
    """`now` is in UTC."""
    states = [_state(task, sight.runs) for task in sight.tasks]
    left = [task for task, state in zip(sight.tasks, states, strict=True) if state == "left"]
    ranks = [rank for each in sight.runs for rank in each.ranks]
    pace = _pace(sight, ranks)
    return Snapshot(
        output=str(sight.output),
        time=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        state=_together([each.life for each in sight.runs]),
        total=_count(states),
        categories=_by_category(sight.tasks, states),
        runs=tuple(map(_run, sight.runs)),
        ranks=tuple(map(_rank, ranks)),
        failed=tuple(
            FailedVideo(task.job.id, given_up.kind, given_up.error, given_up.attempts)
            for task, state in zip(sight.tasks, states, strict=True)
            if state == "failed" and (given_up := task.finding.failure)
        ),
        corrupt=_odd(sight.tasks, "corrupt"),
        changed=_odd(sight.tasks, "changed"),
        retried=tuple(RetriedVideo(task.job.id, sight.ends[task.job.id]) for task in left if task.job.id in sight.ends),
        suspicious=tuple(SuspiciousVideo(job_id, flags) for job_id, flags in sight.flags.items()),
        pace=pace,
        videos_per_hour=_videos_per_hour(pace, ranks),
        seconds_left=_seconds_left(pace, ranks, left),
    )


def _state(task: Task, runs: Sequence[LiveRun]) -> State:
    """Whether the video counts as there, as given up, or as still to be made, for the runs that were told of it."""
    finding = task.finding
    keep = any(each.run.file.on_change == "keep" for each in runs)
    if finding.state == "verified" or (finding.state == "changed" and keep):
        return "verified"
    if finding.failure is None:
        return "left"
    by = finding.failure.run_id
    tries_again = any(each.life != "ended" and each.run.file.retry_failed and each.run.run_id != by for each in runs)
    return "left" if tries_again else "failed"


def _count(states: Sequence[State]) -> Count:
    return Count(len(states), states.count("verified"), states.count("failed"))


def _by_category(tasks: Sequence[Task], states: Sequence[State]) -> dict[str, Count]:
    counts = Counter((task.job.category, state) for task, state in zip(tasks, states, strict=True))
    expected = Counter(task.job.category for task in tasks)
    return {
        category: Count(number, counts[category, "verified"], counts[category, "failed"])
        for category, number in expected.items()
    }


def _odd(tasks: Sequence[Task], state: Literal["corrupt", "changed"]) -> tuple[OddVideo, ...]:
    return tuple(OddVideo(task.job.id, task.finding.why) for task in tasks if task.finding.state == state)


def _together(lives: Sequence[RunLife]) -> RunLife:
    return next((life for life in ("running", "silent") if life in lives), "ended")


def _run(live: LiveRun) -> RunStatus:
    file, totals = live.run.file, (live.run.report or {}).get("totals")
    return RunStatus(
        file.run_id,
        live.life,
        file.started,
        file.manifest,
        file.model,
        file.random_weights,
        file.world_size,
        totals if isinstance(totals, dict) else None,
    )


def _rank(rank: LiveRank) -> RankStatus:
    state, doings = rank.seen.state, rank.doings
    counts = doings.counts(state)
    per_video = median(video.seconds for video in doings.made) if doings.made else None
    alive = rank.life == "alive"
    return RankStatus(
        run_id=state.run_id,
        rank=state.rank,
        gpu=state.gpu,
        process=state.process,
        host=state.host,
        state=rank.life,
        silent_seconds=round(rank.silence, 1) if rank.life == "silent" else 0.0,
        phase=state.phase,
        part=state.part,
        job=state.job,
        step=state.step,
        num_steps=state.num_steps,
        attempt=state.attempt,
        taken_over=state.taken_over,
        done=counts.done,
        failed=counts.failed,
        lost=counts.lost,
        retries=doings.num_retries,
        seconds_per_step=_seconds_per_step(rank),
        seconds_per_video=per_video,
        videos_per_hour=3600 / per_video if per_video else None,
        gpu_utilization=state.gpu_utilization if alive else None,
        gpu_memory_gib=state.gpu_memory_gib if alive else None,
        error=state.error,
    )


def _seconds_per_step(rank: LiveRank) -> float | None:
    """The median of the videos that were denoised to the end; before the first, of the one in hand as far as it is."""
    if rank.doings.step_seconds:
        return median(rank.doings.step_seconds)
    state = rank.seen.state
    since, first = rank.doings.denoises_since or (0.0, state.step)
    return (state.time - since) / (state.step - first) if state.step > first else None


def _pace(sight: Sight, ranks: Sequence[LiveRank]) -> Pace | None:
    costs = {task.job.id: task.job.cost for task in sight.tasks}
    this_run = [
        Measured(video.seconds, costs[video.job] * video.share)
        for rank in ranks
        for video in rank.doings.made
        if video.job in costs
    ]
    earlier = [Measured(task.finding.seconds, task.job.cost) for task in sight.tasks]
    return pace_of(this_run, earlier)


def _seconds_left(pace: Pace | None, ranks: Sequence[LiveRank], left: Sequence[Task]) -> float | None:
    """None where nobody goes on, or nothing was measured; 0 where nothing is left."""
    working = [rank.seen.state for rank in ranks if rank.life == "alive"]
    if not left:
        return 0.0
    if not working or pace is None:
        return None
    costs = {task.job.id: float(task.job.cost) for task in left}
    in_hand = [
        costs.pop(state.job, 0.0) * (1 - state.step / max(state.num_steps, 1)) if state.job else 0.0
        for state in working
    ]
    return seconds_left(pace, in_hand, list(costs.values()))


def _videos_per_hour(pace: Pace | None, ranks: Sequence[LiveRank]) -> float | None:
    """Of the ranks that live, each at its own pace, or that of all before its first video."""
    if pace is None:
        return None
    seconds = [
        median(video.seconds for video in rank.doings.made) if rank.doings.made else pace.seconds_per_video
        for rank in ranks
        if rank.life == "alive" and rank.seen.state.phase != "waiting"
    ]
    return sum(3600 / each for each in seconds if each > 0) or None
