"""The output folder: what is there, and videos put into it so that a final name only ever holds a whole video.

A video is written under a hidden name, checked, synced and renamed; its record, the commit mark, is renamed last.
The record is written (hidden) before the video is renamed, so a process killed between the two renames loses nothing:
the next sweep finds the waiting record, sees that it fits the video, and completes the commit.
"""

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_ddp.errors import MachineError, StorageError, WanDdpError
from wan_ddp.files import parse_temporary, read_or_none, sha256, sync, temporary, write_atomically
from wan_ddp.job import Job
from wan_ddp.process import is_dead
from wan_ddp.verdict import Failure, Finding, VideoFile, judge
from wan_ddp.video import probe, write_mp4

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_FPS_TOLERANCE = 1e-3  # containers hold frame rates as fractions
_OTHER_HOST_SECONDS = 15 * 60  # a left-over of a host that cannot be asked is dead when untouched for so long


class Outputs:
    """The folder that the videos, records and failures lie in."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def video(self, job: Job) -> Path:
        return self.root / f"{job.id}.mp4"

    def record(self, job: Job) -> Path:
        return self.root / f"{job.id}.json"

    def failure(self, job: Job) -> Path:
        video = self.video(job)
        return video.with_name(f".{video.stem}.failed.json")

    def check_usable(self) -> None:
        """Raises MachineError if the folder cannot be made or written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # As large as a record: a disk too full for that is too full for any video.
            write_atomically(self.root / ".write-check", b"\0" * 65536)
            (self.root / ".write-check").unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(
                f"{self.root}: cannot be written: {error.strerror}; give --output a folder on a disk with room, "
                "which you may write"
            ) from error

    def inspect(self, job: Job, inputs: Mapping[str, Any], *, full: bool = False) -> Finding:
        """What is true of a job's video, from the disk alone; `full` decodes and hashes it as well."""
        try:
            record = read_or_none(self.record(job))
            failure = read_or_none(self.failure(job))
        except (IsADirectoryError, NotADirectoryError) as error:
            return Finding("corrupt", f"{error.filename}: {error.strerror}")
        finding = judge(inputs, record, _size(self.video(job)), failure)
        if full and finding.state == "verified" and finding.record:
            why = _fault(self.video(job), finding.record.video)
            return Finding("corrupt", why) if why else finding
        return finding

    def prepare(self, job: Job) -> None:
        """Make the job's folder. Raises StorageError for whatever would stop the video from being published there."""
        with _storage_errors(self.video(job)):
            self.video(job).parent.mkdir(parents=True, exist_ok=True)
            for path in (self.video(job), self.record(job)):
                if path.is_dir():
                    raise IsADirectoryError(
                        errno.EISDIR, "a folder lies where the file belongs; move it away", str(path)
                    )

    def publish(self, job: Job, frames: "np.ndarray", describe: Callable[[VideoFile], Mapping[str, Any]]) -> VideoFile:
        """Write and check the video, put it under its final name, then its record.

        `frames` is uint8 of shape (num_frames, height, width, 3); `describe` gives the record of the written file.
        Raises StorageError, and leaves whatever was there before as it was.
        """
        video, record = self.video(job), self.record(job)
        partial, waiting = temporary(video), temporary(record)
        try:
            with _storage_errors(video):
                write_mp4(partial, frames, job.fps)
                written = _checked(partial, job)
                sync(partial)
                text = json.dumps(describe(written), ensure_ascii=False, indent=1)
                with waiting.open("w", encoding="utf-8") as file:
                    file.write(text)
                sync(waiting)
                _keep_unrecorded(video, record, written)
                partial.replace(video)
                waiting.replace(record)
                sync(video.parent)
                self.failure(job).unlink(missing_ok=True)
        finally:
            for left_over in (partial, waiting):
                with suppress(OSError):  # a disk that went read-only says so above; a sweep removes what stays
                    left_over.unlink()
        return written

    def record_failure(self, job: Job, failure: Failure) -> None:
        """Write down why a job has no video. On a disk too full for that the log alone says it."""
        try:
            self.failure(job).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.failure(job), json.dumps(asdict(failure), ensure_ascii=False).encode())
        except OSError as error:
            log.error("%s: the failure could not be written down: %s", job.id, error.strerror)

    def sweep(self) -> None:
        """Complete or remove what dead processes left under hidden names; living ones keep theirs."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                parsed = parse_temporary(name)
                if parsed and _is_abandoned(Path(folder, name), parsed[1]):
                    _settle(Path(folder, name), Path(folder, parsed[0]))


def _checked(path: Path, job: Job) -> VideoFile:
    """The description of a written video. Raises StorageError if it is not what the job asked for."""
    info = probe(path)
    got = (info.num_frames, info.width, info.height)
    wanted = (job.num_frames, job.width, job.height)
    if got != wanted or abs(info.fps - job.fps) > _FPS_TOLERANCE * job.fps:
        raise StorageError(
            f"{job.id}: the written video has {got} frames, width and height at {info.fps} fps; "
            f"{wanted} at {job.fps} were asked for"
        )
    return VideoFile(
        num_bytes=path.stat().st_size,
        sha256=sha256(path),
        num_frames=info.num_frames,
        fps=info.fps,
        width=info.width,
        height=info.height,
    )


def _keep_unrecorded(video: Path, record: Path, written: VideoFile) -> None:
    """Put a video that no record speaks of (made by hand, say) aside before another one takes its name."""
    if record.exists() or not video.exists() or sha256(video) == written.sha256:
        return
    aside = video.with_name(f".{video.name}.{sha256(video)[:8]}.unrecorded")
    video.replace(aside)
    log.warning("%s had no record and other content: kept as %s", video, aside.name)


def _fault(path: Path, recorded: VideoFile) -> str | None:
    """What is wrong with a published video's content."""
    try:
        if sha256(path) != recorded.sha256:
            return "its content is not what its record says (SHA-256)"
        info = probe(path)
    except (OSError, WanDdpError) as error:
        return f"it does not decode: {error}"
    if info.num_frames != recorded.num_frames:
        return f"{info.num_frames} of its {recorded.num_frames} frames decode"
    return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_abandoned(path: Path, token: str) -> bool:
    dead = is_dead(token)
    if dead is not None:
        return dead
    try:
        # The folder's own clock, which is the file server's on a network: compared with a file touched now.
        return _now(path.parent) - path.stat().st_mtime > _OTHER_HOST_SECONDS
    except OSError:
        return False


def _now(folder: Path) -> float:
    mark = temporary(folder / "clock")
    try:
        mark.touch()
        return mark.stat().st_mtime
    finally:
        mark.unlink(missing_ok=True)


def _settle(left_over: Path, final: Path) -> None:
    """Complete the commit that a left-over record waits for, if its video is in place; else remove the left-over."""
    video = final.with_suffix(".mp4")
    try:
        if final.suffix == ".json" and _fits(left_over, video) and not _fits(final, video):
            left_over.replace(final)
            log.info("completed the record %s of a process that died", final)
        else:
            left_over.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: left behind by a dead process, and cannot be removed: %s", left_over, error.strerror)


def _fits(record: Path, video: Path) -> bool:
    if not (record.is_file() and video.is_file()):
        return False
    try:
        recorded = json.loads(record.read_bytes())["video"]
        return bool(recorded["num_bytes"] == video.stat().st_size and recorded["sha256"] == sha256(video))
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise StorageError(f"{where}: {error.strerror}; nothing was published for it") from error
