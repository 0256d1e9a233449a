"""A snapshot in Prometheus' text format, for node_exporter's textfile collector and the like.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wan_ddp.status.snapshot import Count, Snapshot

_PREFIX = "wan_ddp_"


class Metric(NamedTuple):
    """A gauge: everything here may go down again, when a run starts anew or a video is lost."""

    name: str
    help: str
    samples: list[tuple[Mapping[str, object], float | None]]
    """Labels and values; None is left out."""


def exposition(snapshot: Snapshot, unix_time: float) -> str:
    lines = []
    for metric in [*_of_all(snapshot, unix_time), *_of_ranks(snapshot)]:
        samples = [(labels, value) for labels, value in metric.samples if value is not None]
        if samples:
            name = _PREFIX + metric.name
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {float(value)!r}" for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)


def _of_all(snapshot: Snapshot, unix_time: float) -> Iterator[Metric]:
    output = {"output": snapshot.output}
    pace = snapshot.pace
    yield Metric("status_time_seconds", "When this was written, in Unix time.", [(output, unix_time)])
    yield Metric("complete", "1 if every video is there and verified.", [(output, snapshot.complete)])
    yield Metric(
        "run_state",
        "1 for the state that the run is in: running, silent (no rank shows a sign of life) or ended.",
        [(output | {"state": state}, snapshot.state == state) for state in ("running", "silent", "ended")],
    )
    yield Metric(
        "videos",
        "Videos by category and state; left are neither there nor given up.",
        [
            (output | {"category": category, "state": state}, number)
            for category, count in snapshot.categories.items()
            for state, number in _states(count).items()
        ],
    )
    yield Metric("videos_corrupt", "Videos that are not what their records say.", [(output, len(snapshot.corrupt))])
    yield Metric("videos_suspicious", "Verified videos that look wrong.", [(output, len(snapshot.suspicious))])
    yield Metric("time_left_seconds", "Estimated time to the last video.", [(output, snapshot.seconds_left)])
    yield Metric(
        "video_duration_seconds", "The median time for a video.", [(output, pace.seconds_per_video if pace else None)]
    )
    yield Metric(
        "videos_per_hour", "Videos an hour, all ranks that live together.", [(output, snapshot.videos_per_hour)]
    )


def _of_ranks(snapshot: Snapshot) -> Iterator[Metric]:
    ranks = [
        (
            {
                "output": snapshot.output,
                "run_id": rank.run_id,
                "rank": rank.rank,
                "gpu": rank.gpu,
                "process": rank.process,
                "host": rank.host,
            },
            rank,
        )
        for rank in snapshot.ranks
    ]
    yield Metric(
        "rank_up",
        "1 if the rank lives or has finished, 0 if it is silent or dead.",
        [(labels, rank.state in ("alive", "over")) for labels, rank in ranks],
    )
    yield Metric(
        "rank_silent_seconds", "For how long a silent rank has been so.", [(a, b.silent_seconds) for a, b in ranks]
    )
    yield Metric("rank_step", "Steps done of the video in hand.", [(labels, rank.step) for labels, rank in ranks])
    yield Metric("rank_steps", "Steps of the video in hand.", [(labels, rank.num_steps) for labels, rank in ranks])
    yield Metric("rank_step_duration_seconds", "Time for a step.", [(a, b.seconds_per_step) for a, b in ranks])
    yield Metric("rank_videos_made", "Videos made in this run.", [(labels, rank.done) for labels, rank in ranks])
    yield Metric("rank_videos_failed", "Videos given up in this run.", [(a, b.failed) for a, b in ranks])
    yield Metric("rank_retries", "Attempts after a failed one, in this run.", [(a, b.retries) for a, b in ranks])
    yield Metric("rank_workers_lost", "Workers that died or hung in this run.", [(a, b.lost) for a, b in ranks])
    yield Metric(
        "rank_gpu_utilization_ratio",
        "How busy the rank's GPU is, told by one rank of each.",
        [(a, None if b.gpu_utilization is None else b.gpu_utilization / 100) for a, b in ranks],
    )
    yield Metric(
        "rank_gpu_memory_bytes",
        "Memory in use on the rank's GPU, by all its processes.",
        [(a, None if b.gpu_memory_gib is None else b.gpu_memory_gib * 2**30) for a, b in ranks],
    )


def _states(count: Count) -> dict[str, int]:
    return {"verified": count.verified, "failed": count.failed, "left": count.left}


def _labels(labels: Mapping[str, object]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    # Surrogates stand for bytes of a path that are not UTF-8.
    text = value.encode(errors="surrogateescape").decode(errors="replace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
