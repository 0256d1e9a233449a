"""The plan as a person reads it, and as a script does."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import Any

from wan_ddp.errors import EXIT_COMPLETE
from wan_ddp.estimate import GIB_PER_RANK, Estimate, ModelSize, estimate
from wan_ddp.job import Job
from wan_ddp.pilot import FILE_NAME, Pilot, fitting_pilot
from wan_ddp.plan import num_references
from wan_ddp.preflight import look_only
from wan_ddp.progress import describe_seconds
from wan_ddp.settings import Settings
from wan_ddp.speeds import longest_seconds, read_speeds
from wan_ddp.survey import Task, missing_references, shards_of
from wan_ddp.uncollected import uncollected


@uncollected()
def show_plan(settings: Settings, jobs: Sequence[Job]) -> int:
    """Print the plan; a plan has no bad outcome."""
    seconds_a_video = read_speeds(settings.speeds, settings.world_size)
    tasks, identity = look_only(settings, jobs)
    shards = shards_of(tasks, settings.world_size, seconds_a_video)
    if settings.json:
        print(plan_json(shards, settings.ranks_per_gpu))
    else:
        print(plan_text(shards, settings, identity, seconds_a_video))
    return EXIT_COMPLETE


def plan_json(shards: Sequence[Sequence[Task]], ranks_per_gpu: int) -> str:
    """`{"jobs": N, "done": N, "ranks": [{"rank", "gpu", "process", "jobs": [ids]}]}`."""
    plan: dict[str, Any] = {
        "jobs": sum(map(len, shards)),
        "done": sum(task.finding.state == "verified" for shard in shards for task in shard),
        "ranks": [
            {
                "rank": rank,
                "gpu": rank // ranks_per_gpu,
                "process": rank % ranks_per_gpu,
                "jobs": [task.job.id for task in shard],
            }
            for rank, shard in enumerate(shards)
        ],
    }
    return json.dumps(plan, ensure_ascii=False)


def plan_text(
    shards: Sequence[Sequence[Task]],
    settings: Settings,
    identity: str | None,
    seconds_a_video: Sequence[float] | None = None,
) -> str:
    """A table of ranks, what is done, what is missing, and estimates; `identity` of the model, if it is known."""
    tasks = [task for shard in shards for task in shard]
    held = [Counter(map(_category, shard)) for shard in shards]
    states = [Counter(map(_state, shard)) for shard in shards]
    categories = list(dict.fromkeys(chain.from_iterable(held)))
    header = ["rank", "GPU", "process", "videos", "done", *categories, "references"]
    rows = []
    for rank, shard in enumerate(shards):
        place = rank, rank // settings.ranks_per_gpu, rank % settings.ranks_per_gpu
        counts = states[rank]["verified"], *(held[rank][category] for category in categories)
        rows.append(list(map(str, (*place, len(shard), *counts, num_references(map(_job, shard))))))
    totals = ["all", "", "", *map(str, [sum(int(row[column]) for row in rows) for column in range(3, len(header))])]
    if seconds_a_video:
        header.append("s a video")
        totals.append("")
        rows = [[*row, f"{seconds:.0f}"] for row, seconds in zip(rows, seconds_a_video, strict=True)]
    lines = [*_table([header, *rows, totals]), ""]
    lines += _state_lines(tasks, sum(states, Counter()), model_known=identity is not None)
    lines += _estimate_lines(shards, settings, identity, seconds_a_video)
    missing = missing_references(map(_job, tasks))
    if missing:
        lines += ["", f"{len(missing)} references do not exist:", *(f"  {reference}" for reference in missing)]
    return "\n".join(lines)


# Of a million tasks these are looked up in half the time of a loop.
_category, _state, _job = attrgetter("job.category"), attrgetter("finding.state"), attrgetter("job")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _state_lines(tasks: Sequence[Task], states: Counter[str], *, model_known: bool) -> list[str]:
    is_odd = states.keys() - {"verified", "missing"}
    odd = [task for task in tasks if task.finding.state in is_odd] if is_odd else []
    done = f"{states['verified']} of {len(tasks)} videos are done"
    rest = [f"{states[state]} {state}" for state in ("failed", "corrupt", "changed") if states[state]]
    lines = [", ".join([done, *rest])]
    if given_up := sum(task.finding.failure is not None for task in odd):
        lines.append(f"{given_up} were given up: --retry-failed tries them again")
    if states["verified"] and not model_known:
        lines.append("no model was found: everything but the model was compared with the records")
    lines += [f"  {task.job.id}: {task.finding.why}" for task in odd if task.finding.state in ("corrupt", "changed")]
    return lines


def _estimate_lines(
    shards: Sequence[Sequence[Task]],
    settings: Settings,
    identity: str | None,
    seconds_a_video: Sequence[float] | None,
) -> list[str]:
    to_do = _to_do(shards, settings)
    num_to_do = sum(map(len, to_do))
    if not num_to_do:
        return ["nothing is left to do"]
    pilot, why_not = fitting_pilot(settings, identity, len(shards))
    expected = _forecast(shards, to_do, settings, pilot)
    if seconds_a_video:
        costs = [sum(job.cost for job in shard) for shard in to_do]
        basis = f"the speeds in {settings.speeds}"
        expected = replace(expected, seconds=longest_seconds(costs, seconds_a_video), basis=basis)
    num_gpus = -(-len(shards) // settings.ranks_per_gpu)
    memory = f"{GIB_PER_RANK * settings.ranks_per_gpu:.0f} GiB on each GPU (Wan2.1-T2V-14B at 832x480)"
    if pilot and pilot.gpu_gib is not None:
        memory = f"{pilot.gpu_gib:.1f} GiB on the fullest GPU (the pilot)"
    return [
        f"estimates for the {num_to_do} videos to do, on {num_gpus} GPU{'s' * (num_gpus > 1)}:",
        f"  time    {describe_seconds(expected.seconds)} ({expected.basis})",
        f"  disk    {expected.num_bytes / 1e9:.1f} GB",
        f"  memory  {memory}",
        *([f"{FILE_NAME} does not count: {why_not}"] if why_not else []),
    ]


def forecast(
    shards: Sequence[Sequence[Task]], settings: Settings, pilot: Pilot | None, size: ModelSize | None = None
) -> Estimate:
    """What the rest of a run will take: by the videos that it has made, else by a pilot, else by an H100."""
    return _forecast(shards, _to_do(shards, settings), settings, pilot, size)


def _to_do(shards: Sequence[Sequence[Task]], settings: Settings) -> list[list[Job]]:
    return [[task.job for task in shard if task.is_to_do(settings, None)] for shard in shards]


def _forecast(
    shards: Sequence[Sequence[Task]],
    to_do: Sequence[Sequence[Job]],
    settings: Settings,
    pilot: Pilot | None,
    size: ModelSize | None = None,
) -> Estimate:
    tasks = (task for shard in shards for task in shard)
    done = [task for task in tasks if task.finding.state == "verified" and task.finding.seconds]
    made = [(task.job, task.finding.seconds) for task in done]
    num_gpus = -(-len(shards) // settings.ranks_per_gpu)
    return estimate(to_do, num_gpus, made, pilot.samples() if pilot else None, size)
