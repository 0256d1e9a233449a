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

from wan_ddp.errors import DiskFullError, JobError, MachineError, StorageError, SupersededError, WanDdpError
from wan_ddp.files import (
    NO_ROOM_ERRNOS,
    parse_temporary,
    read_or_none,
    sha256,
    sync,
    temporary,
    touched,
    write_atomically,
)
from wan_ddp.job import Job
from wan_ddp.process import is_dead
from wan_ddp.steps import discard_steps, fingerprint_of
from wan_ddp.verdict import Failure, Finding, Record, VideoFile, judge, parse_record
from wan_ddp.video import probe, write_mp4

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_STEPS_SUFFIX = ".steps"
# What is no file of ours: a folder, a file where a folder belongs, a symbolic link that leads to itself.
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
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

    def steps(self, job: Job) -> Path:
        """Where the state of the video lies while it is under way, see `wan_ddp.steps`."""
        video = self.video(job)
        return video.with_name(f".{video.stem}{_STEPS_SUFFIX}")

    @property
    def claims(self) -> Path:
        """The folder of `wan_ddp.claims`: who works on what, and how it ended."""
        return self.root / ".claims"

    def has_room(self, num_bytes: int) -> bool:
        """Whether so many bytes can be written now: a quota or a server may say no where the disk does not."""
        probe = temporary(self.root / "room")
        try:
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.posix_fallocate(descriptor, 0, num_bytes)
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as error:
            log.debug("no room for %d bytes: %s", num_bytes, error)
            return False
        return True

    @property
    def index(self) -> Path:
        """What was learned of the records that were read, see `wan_ddp.record_index`."""
        return self.root / ".records.index"

    @property
    def encoded(self) -> Path:
        """What was encoded for videos, see `wan_ddp.wan.kept`."""
        return self.root / ".encoded"

    def check_usable(self) -> None:
        """Raises MachineError if the folder cannot be made or written, or its logs lie elsewhere."""
        logs = self.root / "logs"
        if logs.is_symlink():
            raise MachineError(f"{logs}: a symbolic link, which is not followed; move it away, or link --output itself")
        try:
            logs.mkdir(parents=True, exist_ok=True)
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
            video_bytes = _size(self.video(job))
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            return Finding("corrupt", f"{error.filename}: {error.strerror}")
        finding = judge(inputs, record, video_bytes, failure)
        if finding.state != "verified" and self._leads_out(job):
            return Finding("corrupt", self._why_not_followed(job))
        if full and finding.record:
            why = _fault(self.video(job), finding.record.video)
            return Finding("corrupt", why) if why else finding
        return finding

    def read_record(self, job: Job) -> Record | None:
        """What the job's record says; None where there is none that can be read."""
        with suppress(OSError):
            return parse_record(self.record(job).read_bytes())
        return None

    def prepare(self, job: Job) -> None:
        """Make the job's folder. Raises JobError for whatever would stop the video from being published there."""
        with _storage_errors(self.video(job)):
            if self._leads_out(job):
                raise JobError(self._why_not_followed(job))
            self.video(job).parent.mkdir(parents=True, exist_ok=True)
            for path in (self.video(job), self.record(job)):
                if path.is_dir():
                    raise IsADirectoryError(
                        errno.EISDIR, "a folder lies where the file belongs; move it away", str(path)
                    )

    def publish(
        self,
        job: Job,
        frames: "np.ndarray",
        describe: Callable[[VideoFile], Mapping[str, Any]],
        stands: Callable[[], bool] = lambda: True,
    ) -> VideoFile:
        """Write and check the video, put it under its final name, then its record; remove what led to it.

        `frames` is uint8 of shape (num_frames, height, width, 3); `describe` gives the record of the written file;
        `stands` is asked, when all is written, whether it may be put in place. Raises StorageError, or SupersededError
        if it may not, and leaves whatever was there before as it was.
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
                if not stands():
                    raise SupersededError(f"{job.id}: another process has taken it over")
                _keep_unrecorded(video, record, written)
                partial.replace(video)
                waiting.replace(record)
                sync(video.parent)
                self.failure(job).unlink(missing_ok=True)
        finally:
            for left_over in (partial, waiting):
                with suppress(OSError):  # a disk that went read-only says so above; a sweep removes what stays
                    left_over.unlink()
        with suppress(OSError):
            self.steps(job).unlink()
        return written

    def record_failure(self, job: Job, failure: Failure) -> None:
        """Write down why a job has no video. On a disk too full for that the log alone says it."""
        try:
            if self._leads_out(job):
                raise OSError(errno.ELOOP, self._why_not_followed(job))
            self.failure(job).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.failure(job), json.dumps(asdict(failure), ensure_ascii=False).encode())
        except OSError as error:
            log.error("%s: the failure could not be written down: %s", job.id, error.strerror)

    def discard_steps(self, job: Job) -> None:
        """Remove the state of a video under way, as far as the disk allows."""
        if not self._leads_out(job):
            discard_steps(self.steps(job))

    def _leads_out(self, job: Job) -> bool:
        """Whether a symbolic link in the place of the job's folder leads out of the output folder."""
        folder = self.video(job).parent
        if not any(path.is_symlink() for path in (folder, *folder.parents) if self.root in path.parents):
            return False
        # Path.resolve fails over a link that leads to itself.
        return not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.root))

    def _why_not_followed(self, job: Job) -> str:
        return f"{self.video(job).parent}: a symbolic link leads out of the output folder, and is not followed"

    def sweep(self) -> None:
        """Complete or remove what dead processes left under hidden names; living ones keep theirs."""
        for folder, folders, names in os.walk(self.root):
            if self.claims.name in folders:
                folders.remove(self.claims.name)
            for name in filter(_is_hidden, names):
                parsed = parse_temporary(name)
                if parsed and _is_abandoned(Path(folder, name), parsed[1]):
                    _settle(Path(folder, name), Path(folder, parsed[0]))
                elif name.endswith(_STEPS_SUFFIX):
                    _remove_done_steps(Path(folder, name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _checked(path: Path, job: Job) -> VideoFile:
    """The description of a written video. Raises JobError if it is not what the job asked for."""
    info = probe(path)
    got = (info.num_frames, info.width, info.height)
    wanted = (job.num_frames, job.width, job.height)
    if got != wanted or abs(info.fps - job.fps) > _FPS_TOLERANCE * job.fps:
        raise JobError(
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
        return touched(path.parent).st_mtime - path.stat().st_mtime > _OTHER_HOST_SECONDS
    except OSError:
        return False


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


def _remove_done_steps(steps: Path) -> None:
    """Remove the state of a video that is there: its maker died between the two, or was superseded."""
    record = steps.with_name(f"{steps.name[1 : -len(_STEPS_SUFFIX)]}.json")
    try:
        # Without its video, the record is no reason to remove what is made in its place.
        if _fits(record, record.with_suffix(".mp4")):
            recorded = json.loads(record.read_bytes())
            if recorded.get("fingerprint") == fingerprint_of(steps):
                steps.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: left behind, and cannot be removed: %s", steps, error.strerror)


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
        kind = DiskFullError if error.errno in NO_ROOM_ERRNOS else StorageError
        raise kind(f"{where}: {error.strerror}; nothing was published for it") from error
