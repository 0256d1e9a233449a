"""The run's charts as SVG to stand inside a page, drawn with matplotlib.

Colours are CSS variables of the page, so that charts follow its light and dark: matplotlib, which knows none, draws
each as a colour that nothing else has, and that is replaced in the SVG. Text stays text, in the page's font.
"""

import html
import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from wan_ddp.report.contents import Contents, Made
from wan_ddp.report.timeline import DOINGS, SHARES, Clock, Doing, Mark, Share, Span, gpu_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 11.0  # inches of 72 points; the page scales it
_MAX_EVENTS = 1000  # the latest, in words
_HOUR, _MINUTE = 3600.0, 60.0
_CHARACTER = 0.088  # inches, of the widest labels
_COLOURS = ("ink", "faint", "rule", "paper", *(f"doing-{name}" for name in DOINGS), "several", "idle", "lost", "over")
_SHARE_COLOURS: Mapping[Share, str] = {
    "denoising": "doing-denoise",
    "by several": "several",
    "encoding": "doing-encode",
    "other work": "doing-save",
    "loading": "doing-load",
    "idle": "idle",
}
_MARKS: Mapping[str, tuple[str, str]] = {  # matplotlib's marker, and its colour
    "lost": ("X", "lost"),
    "given up": ("s", "lost"),
    "ended early": ("P", "lost"),
    "taken over": ("^", "over"),
}
DOING_TEXTS: Mapping[Doing, str] = {
    "load": "loads the model",
    "read": "reads the reference",
    "encode": "encodes it",
    "turn": "waits for its turn on the GPU",
    "denoise": "denoises",
    "decode": "decodes",
    "save": "saves",
    "wait": "waits: the rest is in other hands",
    "disk": "waits for room on the disk",
}
MARK_TEXTS = {
    "lost": "its worker crashed, was killed or hung",
    "given up": "a video was given up",
    "ended early": "the rank ended early",
    "taken over": "took a video over from another rank",
}
SHARE_TEXTS: Mapping[Share, str] = {
    "denoising": "one rank denoises",
    "by several": "several ranks denoise at once",
    "encoding": "encodes or decodes, and nobody denoises",
    "other work": "references are read, videos saved",
    "loading": "the model is loaded",
    "idle": "idle",
}


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a chart's legend: a CSS variable, and what it stands for. `mark`: as a sign and not as an area."""

    colour: str
    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A mark in words."""

    when: str
    rank: int
    what: str
    job: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`svg` is safe to stand in a page as it is."""

    name: str
    title: str
    about: str
    svg: str
    keys: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()


def draw_charts(contents: Contents) -> list[Chart]:
    """The charts that there is something to say in, in the order to be read."""
    timed = [made for video in contents.videos if video.can_play and (made := video.made) and made.interval]
    charts = []
    if timed:
        charts.append(_videos_over_time(timed, len(contents.videos), contents.clock))
    if contents.timeline.spans:
        charts.append(_ranks(contents))
    if timed:
        charts.append(_seconds_a_video(timed, contents.clock))
        charts.append(_parts(timed))
    if contents.timeline.spans:
        charts.append(_gpu_share(contents))
    return charts


def _videos_over_time(made: Sequence[Made], num_jobs: int, clock: Clock) -> Chart:
    figure, axes = _figure(2.8)
    finished = sorted(_at(_end(each), clock) for each in made)
    axes.step([0, *finished], range(len(finished) + 1), where="post", color=_colour("doing-denoise"), linewidth=2)
    axes.fill_between(
        [0, *finished], range(len(finished) + 1), step="post", color=_colour("doing-denoise"), alpha=0.12, linewidth=0
    )
    axes.axhline(num_jobs, color=_colour("faint"), linewidth=1, linestyle=(0, (2, 3)))
    axes.set_ylim(0, num_jobs * 1.08)
    axes.set_ylabel("videos")
    _time_axis(axes, clock)
    per_hour = len(finished) / (clock.seconds / 3600) if clock.seconds else 0
    about = f"{len(finished)} of {num_jobs} videos in {_hours(clock.seconds)}: {per_hour:.1f} an hour."
    return Chart("videos", "Videos over time", about, _svg(figure, "videos"))


def _ranks(contents: Contents) -> Chart:
    timeline, clock = contents.timeline, contents.clock
    ranks = timeline.ranks
    places = {rank: place for place, rank in enumerate(ranks)}
    gpus = {span.rank: span.gpu for span in timeline.spans}
    names = _gpu_names(gpus.values())
    labels = [f"rank {rank} \u00b7 {names[gpus[rank]]}" for rank in ranks]
    figure, axes = _figure(0.75 + 0.32 * len(ranks), labels)
    spans: dict[Doing, list[Span]] = defaultdict(list)
    for span in timeline.spans:
        spans[span.doing].append(span)
    shown = [doing for doing in DOINGS if spans[doing]]
    for doing in shown:
        _bars(axes, spans[doing], places, clock, _colour(f"doing-{doing}"))
    for kind, (sign, colour) in _MARKS.items():
        marks = [mark for mark in timeline.marks if mark.kind == kind]
        if marks:
            _put_marks(axes, marks, places, clock, sign, _colour(colour))
    _time_axis(axes, clock)
    kinds = [kind for kind in _MARKS if any(mark.kind == kind for mark in timeline.marks)]
    keys = [Key(f"doing-{doing}", DOING_TEXTS[doing]) for doing in shown]
    signs = {"X": "\u2716", "s": "\u25a0", "P": "\u271a", "^": "\u25b2"}
    keys += [Key(_MARKS[kind][1], MARK_TEXTS[kind], signs[_MARKS[kind][0]]) for kind in kinds]
    num_lost = sum(mark.kind == "lost" for mark in timeline.marks)
    num_over = sum(mark.kind == "taken over" for mark in timeline.marks)
    about = f"{len(ranks)} ranks; {_counted(num_lost, 'worker')} lost, {_counted(num_over, 'video')} taken over."
    events = tuple(
        Event(_when(mark.time), mark.rank, MARK_TEXTS[mark.kind], mark.job or "")
        for mark in timeline.marks[-_MAX_EVENTS:]
    )
    return Chart("ranks", "What each rank did", about, _svg(figure, "ranks"), tuple(keys), events)


def _seconds_a_video(made: Sequence[Made], clock: Clock) -> Chart:
    figure, axes = _figure(2.8)
    ends = [_at(_end(each), clock) for each in made]
    seconds = [sum(each.seconds.values()) for each in made]
    _dots(axes, ends, seconds, _colour("doing-denoise"))
    ordered = sorted(seconds)
    median = ordered[len(ordered) // 2]
    axes.axhline(median, color=_colour("faint"), linewidth=1, linestyle=(0, (2, 3)))
    room = max(ordered[-1] - ordered[0], 0.1 * median, 1e-3) / 4
    axes.set_ylim(max(ordered[0] - room, 0), ordered[-1] + room)
    axes.set_ylabel("seconds")
    _time_axis(axes, clock)
    about = f"Median {_number(median)} s, from {_number(ordered[0])} to {_number(ordered[-1])} s; a dot a video."
    return Chart("seconds", "Seconds a video", about, _svg(figure, "seconds"))


def _parts(made: Sequence[Made]) -> Chart:
    """Mean seconds of each part, a bar a rank."""
    by_rank: dict[int, list[Made]] = defaultdict(list)
    for each in made:
        by_rank[-1 if each.rank is None else each.rank].append(each)
    ranks = sorted(by_rank)
    parts = [doing for doing in DOINGS if any(doing in each.seconds for each in made)]
    figure, axes = _figure(0.75 + 0.3 * len(ranks), ["rank ?" if rank < 0 else f"rank {rank}" for rank in ranks])
    left = [0.0] * len(ranks)
    for part in parts:
        widths = [sum(each.seconds.get(part, 0.0) for each in by_rank[rank]) / len(by_rank[rank]) for rank in ranks]
        axes.barh(range(len(ranks)), widths, 0.62, left=left, color=_colour(f"doing-{part}"), linewidth=0)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlabel("mean seconds of a video")
    slowest, fastest = max(left), min(left)
    about = f"From {_number(fastest)} s a video on the fastest rank to {_number(slowest)} s on the slowest."
    keys = tuple(Key(f"doing-{part}", DOING_TEXTS[part]) for part in parts)
    return Chart("parts", "Where the seconds go", about, _svg(figure, "parts"), keys)


def _gpu_share(contents: Contents) -> Chart:
    shares = gpu_shares(contents.timeline, contents.clock)
    names = _gpu_names(shares)
    figure, axes = _figure(0.75 + 0.3 * len(shares), [names[gpu] for gpu in shares])
    left = [0.0] * len(shares)
    shown = [share for share in SHARES if any(each[share] >= 0.001 for each in shares.values())]
    for share in shown:
        widths = [100 * each[share] for each in shares.values()]
        axes.barh(range(len(shares)), widths, 0.62, left=left, color=_colour(_SHARE_COLOURS[share]), linewidth=0)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the time that the run was at work")
    denoising = [100 * (each["denoising"] + each["by several"]) for each in shares.values()]
    about = f"Denoising {min(denoising):.0f} to {max(denoising):.0f}% of the time."
    keys = tuple(Key(_SHARE_COLOURS[share], SHARE_TEXTS[share]) for share in shown)
    return Chart("gpus", "What each GPU was busy with", about, _svg(figure, "gpus"), keys)


def _bars(axes: "Axes", spans: Sequence[Span], places: Mapping[int, int], clock: Clock, colour: str) -> None:
    """All spans as one path, those that no eye could tell apart as one: thousands of elements slow a page down."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    thinnest = _at_end(clock) / 1100
    bars: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for span in spans:
        start, end = _at(span.start, clock), _at(span.end, clock)
        end, own = max(end, start + thinnest), bars[span.rank]
        if own and start - own[-1][1] < thinnest:
            own[-1] = own[-1][0], max(end, own[-1][1])
        else:
            own.append((start, end))
    vertices: list[tuple[float, float]] = []
    for rank, own in bars.items():
        low, high = places[rank] - 0.34, places[rank] + 0.34
        for start, end in own:
            vertices += [(start, low), (end, low), (end, high), (start, high), (start, low)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(vertices) // 5)
    axes.add_patch(PathPatch(Path(vertices, codes), facecolor=colour, linewidth=0))


def _dots(axes: "Axes", xs: Sequence[float], ys: Sequence[float], colour: str) -> None:
    """All dots as one path of round ends, for the same reason."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    short = max(xs) / 10000
    vertices = [point for x, y in zip(xs, ys, strict=True) for point in ((x, y), (x + short, y))]
    path = Path(vertices, [Path.MOVETO, Path.LINETO] * len(xs))
    axes.add_patch(PathPatch(path, edgecolor=colour, facecolor="none", linewidth=4.5, alpha=0.6, capstyle="round"))


def _put_marks(
    axes: "Axes", marks: Sequence[Mark], places: Mapping[int, int], clock: Clock, sign: str, colour: str
) -> None:
    axes.plot(
        [_at(mark.time, clock) for mark in marks],
        [places.get(mark.rank, 0) for mark in marks],
        sign,
        color=colour,
        markersize=7,
        markeredgecolor=_colour("paper"),
        markeredgewidth=1,
        zorder=5,
        clip_on=False,
    )


def _time_axis(axes: "Axes", clock: Clock) -> None:
    """Hours or minutes of work, with a line where the time between two runs is left out."""
    axes.set_xlim(0, max(_at_end(clock), 1e-6))
    for _, end in clock.pieces[:-1]:
        axes.axvline(_at(end, clock), color=_colour("faint"), linewidth=1)
    unit, pauses = "hours" if _unit(clock) == _HOUR else "minutes", len(clock.pieces) - 1
    left_out = f" (what lies between two runs, at the upright line{'s'[: pauses - 1]}, is left out)" if pauses else ""
    axes.set_xlabel(f"{unit} of work{left_out}")


def _unit(clock: Clock) -> float:
    return _HOUR if clock.seconds > 2 * _HOUR else _MINUTE


def _at(time: float, clock: Clock) -> float:
    """A moment's place on the time axis."""
    return clock.at(time) / _unit(clock)


def _at_end(clock: Clock) -> float:
    return clock.seconds / _unit(clock)


def _gpu_names(gpus: Iterable[str]) -> dict[str, str]:
    """`<host>:<index>` as people call it: without the host where there is but one."""
    gpus = list(gpus)
    several_hosts = len({gpu.rpartition(":")[0] for gpu in gpus}) > 1
    return {gpu: gpu if several_hosts else f"GPU {gpu.rpartition(':')[2]}" for gpu in gpus}


def _figure(height: float, bars: Sequence[str] = ()) -> "tuple[Figure, Axes]":
    """A figure of so many inches, with a line for each of `bars`, from the top. Charts over time have equal margins."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    left = max(1.45, 0.2 + _CHARACTER * max(map(len, bars), default=0))
    with mpl.rc_context(_style()):
        figure = Figure((_WIDTH, height))
        axes = figure.add_subplot()
    figure.subplots_adjust(left=left / _WIDTH, right=1 - 0.15 / _WIDTH, bottom=0.58 / height, top=1 - 0.1 / height)
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    if bars:
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_yticks(range(len(bars)), bars, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return figure, axes


def _style() -> Any:
    return {
        "font.size": 11,
        "text.color": _colour("ink"),
        "axes.labelcolor": _colour("faint"),
        "axes.edgecolor": _colour("rule"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _colour("rule"),
        "grid.linewidth": 0.8,
        "xtick.color": _colour("rule"),
        "ytick.color": _colour("rule"),
        "xtick.labelcolor": _colour("ink"),
        "ytick.labelcolor": _colour("ink"),
        "ytick.major.size": 0,
    }


def _colour(name: str) -> str:
    """What stands for a CSS variable while matplotlib draws."""
    return f"#0102{_COLOURS.index(name):02x}"


def _svg(figure: "Figure", name: str) -> str:
    """The figure as an element that scales with the page."""
    import matplotlib as mpl

    content = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's browser has the glyphs that matplotlib's own font, in which it measures, lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(content, format="svg", metadata=nothing)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"#0102([0-9a-f]{2})", lambda match: f"var(--{_COLOURS[int(match[1], 16)]})", svg)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda match: re.sub(r"(\.\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r" *\n *", " ", svg)
    # Ids are of the page, not of the chart.
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(name), svg, count=1, flags=re.DOTALL)
    return re.sub(r"font-family: [^;\"]*; ?", "", svg)


def _opening(name: str) -> str:
    return (
        r'<svg class="chart" viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        rf'aria-labelledby="{html.escape(name)}-title {html.escape(name)}-about">'
    )


def _end(made: Made) -> float:
    assert made.interval, "asked of timed videos only"
    return made.interval[1]


def _when(time: float) -> str:
    return f"{datetime.fromtimestamp(time, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
