"""A snapshot as a person reads it, in as many lines as there are: ranks are taken together where they do not fit."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wan_ddp.progress import describe_seconds
from wan_ddp.status.snapshot import Count, RankStatus, Snapshot

Together = Literal["rank", "GPU", "host", "run", "all"]


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown: one row for each `together`, and so many lines of a list, None for all of them."""

    together: Together
    num_listed: int | None
    num_categories: int | None


EVERYTHING = Detail("rank", None, None)
_ON_A_SCREEN = (
    Detail("rank", 8, 12),
    Detail("rank", 3, 8),
    Detail("rank", 0, 4),
    Detail("GPU", 3, 8),
    Detail("GPU", 0, 4),
    Detail("host", 3, 6),
    Detail("host", 0, 4),
    Detail("run", 0, 4),
    Detail("all", 0, 2),
)
_MIN_TROUBLES = 2  # a rank that is gone is named on the smallest screen
_NARROW = 100
_NAME_CELLS = 24
_BESIDE_A_BAR = _NAME_CELLS + 30
_MAX_BAR_CELLS = 50
_MIN_VIDEO_CELLS = 14
# What goes first where a row is too long for its video.
_LEAST_WANTED = ("lost", "try", "per h", "retries")
_SHORT = {"waiting for the disk": "no room"}


def fitted(snapshot: Snapshot, console: Console, height: int) -> RenderableType:
    """The most detailed view that fits the console's width and `height` lines, or else the least detailed one."""
    view: RenderableType = ""
    for detail in _ON_A_SCREEN:
        if len(_grouped(snapshot.ranks, detail.together)) > height:
            continue
        view = render(snapshot, detail, console.width)
        if len(console.render_lines(view)) <= height:
            break
    return view


def scrolled(snapshot: Snapshot, console: Console) -> RenderableType:
    """A view for a terminal that scrolls: everything, but no more rows for ranks than it has lines."""
    for detail in _ON_A_SCREEN:
        if len(_grouped(snapshot.ranks, detail.together)) <= console.height:
            return render(snapshot, Detail(detail.together, None, None), console.width)
    return render(snapshot, _ON_A_SCREEN[-1], console.width)


def render(snapshot: Snapshot, detail: Detail, width: int) -> RenderableType:
    parts: list[RenderableType] = [_head(snapshot), _bars(snapshot, detail, width), _pace(snapshot)]
    if snapshot.ranks and snapshot.state != "ended":
        parts += ["", _ranks(snapshot, detail, width)]
    parts += [*_troubles(snapshot, detail), *_lists(snapshot, detail), *_advice(snapshot)]
    return Group(*parts)


def one_line(snapshot: Snapshot) -> str:
    """How far it is, for terminals that are none."""
    total = snapshot.total
    line = f"videos: {total.verified}/{total.expected}, {total.failed} failed, {_describe_pace(snapshot)}"
    return "; ".join([line, *_describe_gone(snapshot)])


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _head(snapshot: Snapshot) -> RenderableType:
    total = snapshot.total
    word, style = {
        "running": ("running", "bold"),
        "silent": ("silent", "bold red"),
        "ended": ("not complete", "bold red"),
    }[snapshot.state]
    if snapshot.complete:
        word, style = ("complete" if snapshot.state == "ended" else "complete, and about to end"), "bold green"
    head = f"{word}: {total.verified} of {total.expected} videos verified"
    counts = [(total.failed, "failed"), (total.left, "to be made")]
    more = [f"{number} {what}" for number, what in counts if number]
    runs = snapshot.runs
    run = f"run {runs[0].run_id}" if len(runs) == 1 else f"{len(runs)} runs"
    models = ", ".join(dict.fromkeys(run.model for run in runs))
    noise = " (random weights: noise)" if any(run.random_weights for run in runs) else ""
    return Group(
        _line(", ".join([head, *more]), style),
        _line(f"{run} on {models}{noise}, {snapshot.output}", "dim"),
        "",
    )


def _bars(snapshot: Snapshot, detail: Detail, width: int) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=_NAME_CELLS)
    table.add_column(width=max(10, min(width - _BESIDE_A_BAR, _MAX_BAR_CELLS)))
    for _ in range(2):
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, style="red")
    # What goes on is of more interest than what is through.
    names = sorted(snapshot.categories, key=lambda name: snapshot.categories[name].left == 0)
    shown = [name for name in snapshot.categories if name in names[: detail.num_categories]]
    for name in shown:
        table.add_row(name, *_bar(snapshot.categories[name]))
    if len(shown) < len(names):
        table.add_row(f"... {len(names) - len(shown)} more")
    table.add_row(Text("all", style="bold"), *_bar(snapshot.total))
    return table


def _bar(count: Count) -> Sequence[RenderableType]:
    bar = ProgressBar(total=max(count.expected, 1), completed=count.verified, finished_style="green")
    failed = f"{count.failed} failed" if count.failed else ""
    return bar, f"{count.verified}/{count.expected}", f"{100 * count.verified // max(count.expected, 1)}%", failed


def _pace(snapshot: Snapshot) -> RenderableType:
    if snapshot.state == "ended" and snapshot.pace is None:
        return ""
    return _line(_describe_pace(snapshot))


def _describe_pace(snapshot: Snapshot) -> str:
    pace = snapshot.pace
    if pace is None:
        return "no video yet"
    measured = f"{_number(pace.seconds_per_video)} s a video, the median of {pace.num_measured}"
    parts = [f"{measured} in {pace.basis}" if pace.basis == "this run" else f"{measured} {pace.basis}"]
    if snapshot.state != "ended":
        if snapshot.videos_per_hour:
            parts.insert(0, f"{_number(snapshot.videos_per_hour)} videos/h")
        if snapshot.seconds_left is not None:
            parts.insert(0, f"{describe_seconds(snapshot.seconds_left)} left")
    return ", ".join(parts)


def _ranks(snapshot: Snapshot, detail: Detail, width: int) -> RenderableType:
    """A row for each rank or group; the last column, what a rank makes or a group does, takes the room that is left."""
    groups = _grouped(snapshot.ranks, detail.together)
    several_hosts = len({rank.host for rank in snapshot.ranks}) > 1
    narrow = width < _NARROW
    columns = {
        "": [_label(group, detail.together, several_hosts, narrow) for group in groups],
        "does": [_does(group[0]) if detail.together == "rank" else "" for group in groups],
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
    if detail.together == "rank":
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


def _grouped(ranks: Sequence[RankStatus], together: Together) -> list[list[RankStatus]]:
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


def _label(group: Sequence[RankStatus], together: Together, several_hosts: bool, narrow: bool) -> str:
    first = group[0]
    names = {
        "rank": first.name.replace("process", "proc") if narrow else first.name,
        "GPU": f"gpu{first.gpu}: {_ranks_of(group)}",
        "host": f"{first.host}: {_ranks_of(group)}",
        "run": f"{first.run_id}: {_ranks_of(group)}",
        "all": _ranks_of(group),
    }
    return f"{first.host}: {names[together]}" if together in ("rank", "GPU") and several_hosts else names[together]


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
    return _number(median(known)) if known else ""


def _sum(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known)) if known else ""


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


def _troubles(snapshot: Snapshot, detail: Detail) -> Iterator[RenderableType]:
    early = [f"{_who(rank)} ended early: {rank.error}" for rank in snapshot.ranks if rank.error]
    limit = None if detail.num_listed is None else max(detail.num_listed, _MIN_TROUBLES)
    yield from _listed("", [*_describe_gone(snapshot), *early], limit, "red")


def _describe_gone(snapshot: Snapshot) -> list[str]:
    return [
        f"{_who(rank)} is silent for {describe_seconds(rank.silent_seconds)}"
        if rank.state == "silent"
        else f"{_who(rank)} is dead: its process ended without a word"
        for rank in snapshot.gone
    ]


def _who(rank: RankStatus) -> str:
    return f"rank {rank.rank} ({rank.name} on {rank.host})"


def _lists(snapshot: Snapshot, detail: Detail) -> Iterator[RenderableType]:
    failed = [
        f"{video.id}: {video.kind}, {video.attempts} attempt{'s' * (video.attempts != 1)}: {video.error}"
        for video in snapshot.failed
    ]
    lists = [
        ("failed", failed, "red"),
        ("corrupt", [f"{video.id}: {video.why}" for video in snapshot.corrupt], "red"),
        ("changed", [f"{video.id}: {video.why}" for video in snapshot.changed], "yellow"),
        ("to be tried again", [f"{video.id}: {', '.join(video.ends)}" for video in snapshot.retried], "yellow"),
        ("suspicious", [f"{video.id}: {', '.join(video.flags)}" for video in snapshot.suspicious], "yellow"),
    ]
    if detail.num_listed == 0:
        counts = ", ".join(f"{len(lines)} {title}" for title, lines, _ in lists if lines)
        if counts:
            yield _line(f"{counts}: listed without --watch", "yellow")
        return
    for title, lines, style in lists:
        yield from _listed(title, lines, detail.num_listed, style)


def _listed(title: str, lines: Sequence[str], limit: int | None, style: str) -> Iterator[RenderableType]:
    if not lines:
        return
    yield ""
    if title:
        yield _line(f"{len(lines)} {title}:", f"bold {style}")
    shown = lines[:limit]
    for line in shown:
        text = ("  " if title else "") + _in_one_line(line)
        yield Text(text, style=style) if limit is None else _line(text, style)
    if len(shown) < len(lines):
        yield _line(f"  ... and {len(lines) - len(shown)} more", style)


def _in_one_line(text: str) -> str:
    """Errors may hold whatever a program said, colours and cursor movements too."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _advice(snapshot: Snapshot) -> Iterator[RenderableType]:
    """How to go on after the end."""
    if snapshot.state != "ended" or snapshot.complete:
        return
    yield ""
    if snapshot.total.failed:
        yield _line("what failed stays given up; --retry-failed tries it again")
    if snapshot.total.left:
        yield _line("run the same command again to make the rest")


def _number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 123, 1234."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
