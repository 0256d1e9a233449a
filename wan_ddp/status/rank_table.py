"""What each rank does, a row for each, or for those of a GPU, a host or a run together."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, median
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import JustifyMethod, RenderableType
from rich.table import Table

from wan_ddp.status.snapshot import RankStatus, Snapshot

Together = Literal["rank", "GPU", "host", "run", "all"]

_NARROW = 100
_MIN_VIDEO_CELLS = 14
# What goes first where a row is too long for its video.
_LEAST_WANTED = ("lost", "try", "per h", "retries")
_SHORT = {"waiting for the disk": "no room"}


def rank_table(snapshot: Snapshot, together: Together, width: int) -> RenderableType:
    """A row for each rank or group; the last column, what a rank makes or a group does, takes the room that is left."""
    groups = grouped(snapshot.ranks, together)
    narrow = width < _NARROW
    columns = {
        "": [_label(group, together, snapshot, narrow) for group in groups],
        "does": [_does(group[0]) if together == "rank" else "" for group in groups],
        "step": [_step(group) for group in groups],
        "try": [_attempt(group) for group in groups],
        "s/step": [_median(rank.seconds_per_step for rank in group) for group in groups],
        "per h": [_sum(rank.videos_per_hour for rank in group if rank.state == "alive") for group in groups],
        "made": [str(sum(rank.done for rank in group)) for group in groups],
        "retries": [_count(rank.retries for rank in group) for group in groups],
        "failed": [_count(rank.failed for rank in group) for group in groups],
        "lost": [_count(rank.lost for rank in group) for group in groups],
        "GPU use": [_gpu(group, narrow) for group in groups],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    for name in _LEAST_WANTED:
        if _room(columns, width) < _MIN_VIDEO_CELLS:
            columns.pop(name, None)
    room = _room(columns, width)
    if together == "rank":
        last, cells = "video", [_video(group[0].job, room) for group in groups]
    else:
        last, cells = "does", [_do(group) for group in groups]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, column in columns.items():
        justify: JustifyMethod = "left" if name in ("", "does", "GPU use") else "right"
        table.add_column(name, no_wrap=True, min_width=_cells([name, *column]), justify=justify)
    table.add_column(last if any(cells) else "", no_wrap=True, overflow="ellipsis")
    for row, group in zip(zip(*columns.values(), cells, strict=True), groups, strict=True):
        table.add_row(*row, style="red" if any(rank.state in ("silent", "dead") for rank in group) else "")
    return table


def _room(columns: Mapping[str, Sequence[str]], width: int) -> int:
    """What a row has left beside its columns and the gaps between."""
    return width - sum(_cells([name, *cells]) + 1 for name, cells in columns.items())


def _cells(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts))


def grouped(ranks: Sequence[RankStatus], together: Together) -> list[list[RankStatus]]:
    keys: dict[Together, Callable[[RankStatus], object]] = {
        "rank": id,
        "GPU": lambda rank: (rank.run_id, rank.host, rank.gpu),
        "host": lambda rank: (rank.run_id, rank.host),
        "run": lambda rank: rank.run_id,
        "all": lambda rank: None,
    }
    groups: dict[object, list[RankStatus]] = {}
    for rank in ranks:
        groups.setdefault(keys[together](rank), []).append(rank)
    return list(groups.values())


def _label(group: Sequence[RankStatus], together: Together, snapshot: Snapshot, narrow: bool) -> str:
    """With the host and the run's number, as they stand above, where there are several."""
    first = group[0]
    run_ids = [run.run_id for run in snapshot.runs]
    host = f"{first.host}: " if len({rank.host for rank in snapshot.ranks}) > 1 else ""
    run = f" #{run_ids.index(first.run_id) + 1}" if len(run_ids) > 1 else ""
    return {
        "rank": f"{host}{first.name.replace('process', 'proc') if narrow else first.name}{run}",
        "GPU": f"{host}gpu{first.gpu}{run}: {_ranks_of(group)}",
        "host": f"{first.host}{run}: {_ranks_of(group)}",
        "run": f"{first.run_id}: {_ranks_of(group)}",
        "all": _ranks_of(group),
    }[together]


def _ranks_of(group: Sequence[RankStatus]) -> str:
    return f"{len(group)} rank{'s' * (len(group) != 1)}"


def _do(group: Sequence[RankStatus]) -> str:
    return ", ".join(f"{number} {what}" for what, number in Counter(map(_does, group)).most_common())


def _does(rank: RankStatus) -> str:
    if rank.state in ("silent", "dead"):
        return rank.state
    return (rank.part or "begins") if rank.phase == "working" else _SHORT.get(rank.phase, rank.phase)


def _step(group: Sequence[RankStatus]) -> str:
    [first, *others] = group
    return f"{first.step}/{first.num_steps}" if first.job and not others else ""


def _attempt(group: Sequence[RankStatus]) -> str:
    return str(group[0].attempt) if len(group) == 1 and group[0].job and group[0].attempt > 1 else ""


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return number(median(known)) if known else ""


def _sum(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return number(sum(known)) if known else ""


def _count(values: Iterable[int]) -> str:
    total = sum(values)
    return str(total) if total else ""


def _gpu(group: Sequence[RankStatus], narrow: bool) -> str:
    """Of one GPU its use and memory, of several the mean and the largest."""
    busy = [rank.gpu_utilization for rank in group if rank.gpu_utilization is not None]
    memory = [rank.gpu_memory_gib for rank in group if rank.gpu_memory_gib is not None]
    shown = [f"{mean(busy):.0f}%"] if busy else []
    if memory:
        shown.append(f"{max(memory):.0f}{'G' if narrow else ' GiB'}")
    return " ".join(shown)


def _video(job_id: str | None, room: int) -> str:
    """The id, or `pan s42 p0` for `camera_motion/ref_pan_832x480/seed_42_prompt_0` where there is no room for it."""
    if job_id is None or cell_len(job_id) <= room:
        return job_id or ""
    _, folder, video = job_id.split("/")
    name = folder.removeprefix("ref_").rpartition("_")[0] or folder
    numbers = video.replace("seed_", " s").replace("_prompt_", " p")
    if cell_len(name + numbers) > room:
        name = set_cell_size(name, max(room - cell_len(numbers) - 1, 0)).rstrip() + "…"
    return name + numbers


def number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 123, 1234."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
