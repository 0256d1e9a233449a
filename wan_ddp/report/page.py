"""The report as one HTML page: what the contents and the pictures say, put into the template. Values in, text out."""

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from wan_ddp.job import SETTING_FIELDS
from wan_ddp.report.charts import Chart
from wan_ddp.report.contents import VIDEO_STATES, Contents, Row, Video
from wan_ddp.report.pictures import RowPictures
from wan_ddp.results import Run
from wan_ddp.totals import describe

_COLUMNS = (3, 4, 5, 6)
_PAGE = files("wan_ddp.report") / "page"


@dataclass(frozen=True, slots=True)
class Links:
    """How the page in `folder` names files: relative, so that both folders can be moved together."""

    folder: Path
    output: Path

    def to_video(self, video: Video) -> str:
        return self.to_file(
            PurePath(os.path.relpath(self.output.resolve(), self.folder.resolve()), f"{video.job.id}.mp4")
        )

    def to_file(self, path: PurePath | None) -> str:
        """A path below the page's folder as a URL; empty for None."""
        return quote(os.fsencode(path)) if path else ""


def render_page(contents: Contents, pictures: Sequence[RowPictures], charts: Sequence[Chart], links: Links) -> str:
    """The page. All text in it that comes from people, files or programs is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    script = _read("report.js")
    rows = [
        _shown_row(number, row, each, links)
        for number, (row, each) in enumerate(zip(contents.rows, pictures, strict=True))
    ]
    videos = [video for row in rows for video in row["videos"]]
    for number, video in enumerate(videos):
        video["number"] = number
    hopeful = ("done", "under way", "missing") if contents.is_running else ("done",)
    values = {
        "title": contents.output.resolve().name or str(contents.output),
        "seen": f"{contents.seen:%Y-%m-%d %H:%M} UTC",
        "verdict": _verdict(contents),
        "script": Markup(script),  # the package's own file
        "style": Markup(_read("report.css")),
        "policy": _policy(script),
        "rows": rows,
        "problems": [video for video in videos if video["state"] not in hopeful],
        "suspicious": [video for video in videos if video["flags"]],
        "charts": [{"chart": chart, "svg": Markup(chart.svg)} for chart in charts],
        "runs": [_shown_run(run) for run in reversed(contents.runs)],
        "choices": _choices(contents),
        "has_likeness": any(video["likeness"] is not None for video in videos),
        "data": _data(rows),
    }
    return environment.get_template("report.html").render(values)


def _read(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


def _policy(script: str) -> str:
    """No script runs but the page's own, whatever a prompt or an error says; and nothing is fetched from anywhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"script-src 'sha256-{digest}'; object-src 'none'; frame-src 'none'; connect-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )


def _shown_row(number: int, row: Row, pictures: RowPictures, links: Links) -> dict[str, Any]:
    clip = row.clip
    return {
        "number": number,
        "folder": row.folder,
        "category": row.category,
        "name": row.name,
        "clip": clip,
        "reference": {
            "path": clip.path,
            "src": links.to_file(pictures.preview),
            "poster": links.to_file(pictures.preview_poster),
            "problem": pictures.problem,
        },
        "columns": _num_columns(row),
        "sheet": links.to_file(pictures.sheet),
        "videos": [_shown_video(number, video, pictures, links) for video in row.videos],
    }


def _num_columns(row: Row) -> int:
    """A column a prompt and a line a seed, where that gives columns of a good width."""
    num_prompts = len({video.job.prompt_index for video in row.videos})
    return num_prompts if num_prompts in _COLUMNS else 5


def _shown_video(row: int, video: Video, pictures: RowPictures, links: Links) -> dict[str, Any]:
    job, made = video.job, video.made
    poster = pictures.posters.get(made.video.sha256) if made and video.can_play else None
    return {
        "row": row,
        "id": job.id,
        "category": job.category,
        "seed": job.seed,
        "prompt_index": job.prompt_index,
        "prompt": job.prompt,
        "state": video.state,
        "why": video.why,
        "kind": video.kind,
        "attempts": video.attempts,
        "log": video.log_tail,
        "flags": video.flags,
        "likeness": video.motion.likeness,
        "motion": video.motion,
        "src": links.to_video(video) if video.can_play else "",
        "poster": links.to_file(poster),
        "made": made,
        "settings": {name: getattr(job, name) for name in SETTING_FIELDS},
    }


def _data(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script needs: it reads prompts and errors from the page itself."""
    settings: list[dict[str, Any]] = []
    videos = []
    for video in (video for row in rows for video in row["videos"]):
        if video["settings"] not in settings:
            settings.append(video["settings"])
        made = video["made"]
        videos.append(
            {
                name: video[name]
                for name in ("row", "id", "category", "state", "flags", "likeness", "attempts", "src", "poster")
            }
            # A seed may have more digits than JavaScript's numbers.
            | {"seed": str(video["seed"]), "prompt": str(video["prompt_index"])}
            | {"settings": settings.index(video["settings"])}
            | {"camera": video["motion"].camera_likeness, "speed": video["motion"].speed_ratio}
            | (
                {
                    "seconds": made.seconds,
                    "rank": made.rank,
                    "device": made.device,
                    "model": made.model,
                    "started": made.started,
                    "finished": made.finished,
                    "resumed": made.resumed_from,
                    "share": made.reference_share,
                    "run": made.run_id,
                }
                if made
                else {}
            )
        )
    return {
        "rows": [
            {
                "folder": row["folder"],
                "name": row["name"],
                "frames": row["clip"].num_frames,
                "fps": row["clip"].fps,
                "src": row["reference"]["src"],
                "poster": row["reference"]["poster"],
            }
            for row in rows
        ],
        "videos": videos,
        "settings": settings,
    }


def _choices(contents: Contents) -> dict[str, list[tuple[str, int]]]:
    """What can be filtered by, with the number of videos of each."""
    videos = contents.videos
    return {
        "category": _counted(video.job.category for video in videos),
        "state": [(state, contents.count(state)) for state in VIDEO_STATES if contents.count(state)],
        "seed": [(str(seed), count) for seed, count in sorted(Counter(video.job.seed for video in videos).items())],
        "prompt": [
            (str(index), count) for index, count in sorted(Counter(video.job.prompt_index for video in videos).items())
        ],
        "flag": _counted(flag for video in videos for flag in video.flags),
    }


def _counted(values: Iterable[str]) -> list[tuple[str, int]]:
    """In the order in which they first appear."""
    return list(Counter(values).items())


def _verdict(contents: Contents) -> dict[str, str]:
    """One word, and one sentence."""
    expected, done = len(contents.videos), contents.count("done")
    if contents.is_running:
        return {"word": "running", "text": f"{done} of {expected} videos were there when this report was made"}
    others = [f"{contents.count(state)} {state}" for state in VIDEO_STATES if state != "done" and contents.count(state)]
    if not others:
        return {"word": "complete", "text": f"all {expected} videos are there"}
    return {"word": "not complete", "text": f"{done} of {expected} videos are there ({', '.join(others)})"}


def _shown_run(run: Run) -> dict[str, Any]:
    report = run.report or {}
    return {
        "id": run.run_id,
        "started": run.file.started,
        "finished": report.get("finished", ""),
        "world_size": run.file.world_size,
        "num_gpus": run.file.num_gpus,
        "model": run.file.model,
        "random_weights": run.file.random_weights,
        "manifest": run.file.manifest,
        "verified": report.get("verified"),
        "expected": report.get("expected"),
        "took": describe(report.get("totals")),
    }
