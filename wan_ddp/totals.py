"""What a run took, summed up from the records of the videos that it made: values in, values out.

A run is judged by what it makes of the GPUs that it holds: how many hours of them, what share of those went into
denoising, how many forwards came out, and how evenly the ranks shared the work.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from wan_ddp.verdict import Finding, Record

# What a GPU computes; the rest of a video is made beside another rank's denoising.
_ON_THE_GPU = ("encode", "denoise", "decode")
# What is less, or more, is no figure of a run: clocks that were set back, numbers that nobody measured.
_MIN, _MAX = 1e-6, 1e15


def sum_up(
    records: Sequence[Record], findings: Sequence[Finding], *, num_ranks: int, num_gpus: int, wall_seconds: float
) -> dict[str, Any]:
    """The totals as `report.json` has them.

    Args:
        records: of the verified videos that this run made.
        findings: all videos'. Of those that earlier runs made, what they took is summed and no more.
        num_ranks: those that began; `num_gpus`: those that they held, 0 on the CPU.
        wall_seconds: from the run's start to its verdict.
    """
    verified = [finding for finding in findings if finding.state == "verified"]
    return {
        "this_run": _this_run(records, num_ranks, num_gpus, wall_seconds),
        "all_videos": {
            "videos": len(verified),
            "rank_hours": _hours(sum(_number(finding.seconds) for finding in verified)),
        },
    }


def describe(totals: object) -> str:
    """This run's totals in a line; empty where there are none, or it made no video."""
    run = totals.get("this_run") if isinstance(totals, dict) else None
    if not isinstance(run, dict) or not run.get("videos"):
        return ""
    hours = run.get("gpu_hours")
    parts = [
        f"{run['videos']} videos in {_number(run.get('wall_hours')):.2f} h",
        f"{hours:.2f} GPU-hours" if isinstance(hours, float) else "",
        _said(run, "denoising_share", "{:.1%} of that denoising"),
        _said(run, "seconds_per_forward", "{:.2f} s a forward"),
        _said(run, "forwards_per_second", "{:.2f} forwards/s in all"),
        _said(run, "rank_balance", "the busiest rank at {:.2f}x the mean"),
        _said(run, "peak_memory_gib", "{:.1f} GiB a rank at most"),
    ]
    return ", ".join(filter(None, parts))


def _said(run: Mapping[str, Any], name: str, text: str) -> str:
    return text.format(_number(run[name])) if run.get(name) is not None else ""


def _this_run(records: Sequence[Record], num_ranks: int, num_gpus: int, wall_seconds: float) -> dict[str, Any]:
    seconds: dict[str, float] = defaultdict(float)
    for record in records:
        for part, value in record.seconds.items():
            seconds[part] += _number(value)
    forwards = int(sum(_number(record.num_forwards) for record in records))
    denoise = seconds.get("denoise", 0.0)
    # On the CPU every rank denoises on its own share of the cores.
    held = wall_seconds * (num_gpus or num_ranks)
    on_the_gpu = sum(seconds.get(part, 0.0) for part in _ON_THE_GPU)
    return {
        "videos": len(records),
        "ranks": num_ranks,
        "gpus": num_gpus,
        "wall_hours": _hours(wall_seconds),
        "gpu_hours": _hours(held) if num_gpus else None,
        "gpu_hours_in_videos": _hours(on_the_gpu) if num_gpus else None,
        "forwards": forwards,
        "seconds_per_forward": _ratio(denoise, forwards),
        "forwards_per_second": _ratio(forwards, wall_seconds),
        "denoising_share": _ratio(denoise, held),
        "rank_balance": _balance(records, num_ranks),
        "peak_memory_gib": _peak_gib(records),
        "seconds": {part: round(value, 3) for part, value in seconds.items()} | {"load": _loading_seconds(records)},
    }


def _balance(records: Sequence[Record], num_ranks: int) -> float | None:
    """What the busiest rank worked, over the mean of all: 1 is even. Waiting for a turn is no work."""
    working: dict[Any, float] = defaultdict(float)
    for record in records:
        working[str(record.rank)] += sum(_number(value) for part, value in record.seconds.items() if part != "turn")
    mean = sum(working.values()) / max(num_ranks, len(working), 1)
    return _ratio(max(working.values(), default=0.0), mean)


def _peak_gib(records: Sequence[Record]) -> float | None:
    peak = max((_number(record.peak_memory_bytes) for record in records), default=0.0)
    return round(peak / 2**30, 2) if peak else None


def _loading_seconds(records: Sequence[Record]) -> float:
    """Of the workers that made a video: each writes into all of its records what it took until it was ready."""
    loads = {
        (str(record.rank), tuple(_number(value) for value in record.loading_seconds.values()))
        for record in records
        if isinstance(record.loading_seconds, dict)
    }
    return round(sum(sum(seconds) for _, seconds in loads), 3)


def _number(value: object) -> float:
    """What a record says, if that can be; one that says something odd takes nothing from the others."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX:
        return float(value)
    return 0.0


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 3)


def _ratio(value: float, of: float) -> float | None:
    return round(value / of, 3) if value and of > _MIN else None
