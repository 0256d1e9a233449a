"""A snapshot as a person reads it, in as many lines as there are: ranks are taken together where they do not fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wan_ddp.progress import describe_seconds
from wan_ddp.status.rank_table import Together, grouped, number, rank_table
from wan_ddp.status.snapshot import Count, RankStatus, Snapshot
from wan_ddp.totals import describe


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
_NAME_CELLS = 24
_BESIDE_A_BAR = _NAME_CELLS + 30
_MAX_BAR_CELLS = 50


def fitted(snapshot: Snapshot, console: Console, height: int) -> RenderableType:
    """The most detailed view that fits the console's width and `height` lines."""
    for detail in _ON_A_SCREEN:
        if len(grouped(snapshot.ranks, detail.together)) < height:
            view = render(snapshot, detail, console.width)
            if len(console.render_lines(view)) <= height:
                return view
    return _summary(snapshot, console.width)


def scrolled(snapshot: Snapshot, console: Console) -> RenderableType:
    """A view for a terminal that scrolls: everything, but no more rows for ranks than it has lines."""
    for detail in _ON_A_SCREEN:
        if len(grouped(snapshot.ranks, detail.together)) <= console.height:
            return render(snapshot, Detail(detail.together, None, None), console.width)
    return render(snapshot, _ON_A_SCREEN[-1], console.width)


def render(snapshot: Snapshot, detail: Detail, width: int) -> RenderableType:
    parts: list[RenderableType] = [*_head(snapshot), _bars(snapshot, detail, width), _pace(snapshot)]
    parts += [_line(took) for run in snapshot.runs if (took := describe(run.totals))]
    if snapshot.ranks and snapshot.state != "ended":
        parts += ["", rank_table(snapshot, detail.together, width)]
    parts += [*_troubles(snapshot, detail), *_lists(snapshot, detail), *_advice(snapshot)]
    return Group(*parts)


def _summary(snapshot: Snapshot, width: int) -> RenderableType:
    """For a pane of a few lines, the most important one first."""
    [head, *_], table = _head(snapshot), _bar_table(snapshot.total.expected, width)
    table.add_row(Text("all", style="bold"), *_bar(snapshot.total))
    return Group(head, _pace(snapshot), *(_line(line, "red") for line in _describe_gone(snapshot)), table)


def one_line(snapshot: Snapshot) -> str:
    """How far it is, for terminals that are none."""
    total = snapshot.total
    line = f"videos: {total.verified}/{total.expected}, {total.failed} failed, {_describe_pace(snapshot)}"
    return "; ".join([line, *_describe_gone(snapshot)])


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _head(snapshot: Snapshot) -> list[RenderableType]:
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
    more = [f"{how_many} {what}" for how_many, what in counts if how_many]
    runs = snapshot.runs
    run = f"run {runs[0].run_id}"
    if len(runs) > 1:
        run = "runs " + ", ".join(f"#{place} {run.run_id}" for place, run in enumerate(runs, 1))
    models = ", ".join(dict.fromkeys(run.model for run in runs))
    noise = " (random weights: noise)" if any(run.random_weights for run in runs) else ""
    about = f"{run} on {models}{noise}, {snapshot.output}"
    return [_line(", ".join([head, *more]), style), _line(about, "dim"), ""]


def _bar_table(num_expected: int, width: int) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=_NAME_CELLS)
    table.add_column(width=max(4, min(width - _BESIDE_A_BAR, _MAX_BAR_CELLS)))
    for longest in (f"{num_expected}/{num_expected}", "100%"):
        table.add_column(no_wrap=True, justify="right", min_width=len(longest))
    table.add_column(no_wrap=True, style="red")
    return table


def _bars(snapshot: Snapshot, detail: Detail, width: int) -> RenderableType:
    table = _bar_table(snapshot.total.expected, width)
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
    measured = f"{number(pace.seconds_per_video)} s a video, the median of {pace.num_measured}"
    parts = [f"{measured} in {pace.basis}" if pace.basis == "this run" else f"{measured} {pace.basis}"]
    if snapshot.state != "ended":
        if snapshot.videos_per_hour:
            parts.insert(0, f"{number(snapshot.videos_per_hour)} videos/h")
        if snapshot.seconds_left is not None:
            parts.insert(0, f"{describe_seconds(snapshot.seconds_left)} left")
    return ", ".join(parts)


def _troubles(snapshot: Snapshot, detail: Detail) -> Iterator[RenderableType]:
    early = [f"{_who(rank, snapshot)} ended early: {rank.error}" for rank in snapshot.ranks if rank.error]
    limit = None if detail.num_listed is None else max(detail.num_listed, _MIN_TROUBLES)
    yield from _listed("", [*_describe_gone(snapshot), *early, *_describe_absent(snapshot)], limit, "red")


def _describe_gone(snapshot: Snapshot) -> list[str]:
    return [
        f"{_who(rank, snapshot)} is silent for {describe_seconds(rank.silent_seconds)}"
        if rank.state == "silent"
        else f"{_who(rank, snapshot)} is dead: its process ended without a word"
        for rank in snapshot.gone
    ]


def _describe_absent(snapshot: Snapshot) -> Iterator[str]:
    """A rank that never came writes nothing: it is known by the numbers that are missing."""
    for run in snapshot.runs:
        begun = {rank.rank for rank in snapshot.ranks if rank.run_id == run.run_id}
        absent = [str(rank) for rank in range(run.world_size) if rank not in begun]
        if run.state != "ended" and absent:
            of_run = f" of run {run.run_id}" if len(snapshot.runs) > 1 else ""
            yield f"not begun yet{of_run}: rank{'s' * (len(absent) > 1)} {', '.join(absent)}"


def _who(rank: RankStatus, snapshot: Snapshot) -> str:
    run = f" of run {rank.run_id}" if len(snapshot.runs) > 1 else ""
    return f"rank {rank.rank}{run} ({rank.name} on {rank.host})"


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
