"""`videos.csv`: one row a video, everything that is known of it, for spreadsheets and pandas."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from wan_ddp.job import SETTING_FIELDS
from wan_ddp.report.contents import Contents, Row, Video
from wan_ddp.report.timeline import DOINGS

# Excel takes a file without a byte order mark for the system's old code page, and shows Chinese names as noise; pandas
# and R skip the mark.
ENCODING = "utf-8-sig"
_SECONDS = tuple(doing for doing in DOINGS if doing not in ("load", "wait", "disk"))
COLUMNS = (
    *(
        "id",
        "category",
        "reference_name",
        "prompt_index",
        "seed",
        "state",
        "flags",
        "motion_likeness",
        "camera_likeness",
    ),
    *(
        "speed_ratio",
        "error_kind",
        "error",
        "attempts",
        "rank",
        "device",
        "model",
        "run_id",
        "started",
        "finished",
        "resumed_from",
    ),
    *("seconds", *(f"seconds_{part}" for part in _SECONDS)),
    *(name for name in SETTING_FIELDS if name != "negative_prompt"),
    *("sampling", "short_reference", "reference_share", "video", "num_bytes", "sha256", "reference", "prompt"),
    "negative_prompt",
)
# What a spreadsheet takes for a formula, when it opens somebody else's file: =HYPERLINK(...) in a prompt, say.
_FORMULA = re.compile(r"[=+\-@\t\r]")


def write_table(contents: Contents) -> bytes:
    """The CSV. Text that a spreadsheet would run as a formula has an apostrophe before it."""
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, COLUMNS)
    writer.writeheader()
    for row in contents.rows:
        for video in row.videos:
            writer.writerow({name: _cell(value) for name, value in _values(row, video).items()})
    return content.getvalue().encode(ENCODING, "replace")


def _values(row: Row, video: Video) -> dict[str, Any]:
    job, made = video.job, video.made
    values = {
        "id": job.id,
        "category": job.category,
        "reference_name": row.name,
        "prompt_index": job.prompt_index,
        "seed": job.seed,
        "state": video.state,
        "flags": " ".join(video.flags),
        "motion_likeness": video.motion.likeness,
        "camera_likeness": video.motion.camera_likeness,
        "speed_ratio": video.motion.speed_ratio,
        "error_kind": video.kind,
        "error": video.why,
        "attempts": video.attempts,
        "sampling": row.clip.sampling,
        "short_reference": row.clip.short_reference,
        "video": f"{job.id}.mp4" if video.can_play else "",
        "reference": job.reference,
        "prompt": job.prompt,
    }
    values |= {name: getattr(job, name) for name in SETTING_FIELDS}
    if made:
        values |= {name: getattr(made, name) for name in ("rank", "device", "model", "run_id", "started", "finished")}
        values |= {
            "resumed_from": " ".join(map(str, made.resumed_from)),
            "seconds": round(sum(made.seconds.values()), 3),
            "reference_share": made.reference_share,
            "num_bytes": made.video.num_bytes,
            "sha256": made.video.sha256,
        }
        values |= dict(_parts(made.seconds))
    return values


def _parts(seconds: Any) -> Iterator[tuple[str, float]]:
    for part in _SECONDS:
        if part in seconds:
            yield f"seconds_{part}", seconds[part]


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
