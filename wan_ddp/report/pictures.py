"""The files beside the page: previews of references, posters of videos, contact sheets. What is there is made once.

A poster is named by its video's digest, a preview by that of the reference and of how it was read, and a contact sheet
says in itself what it was made of: so a second report makes only what has changed.
"""

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wan_ddp.errors import JobError
from wan_ddp.ffmpeg import BrokenVideoError, encode, open_video, read_frames
from wan_ddp.files import sha256, sync, temporary, write_atomically
from wan_ddp.outputs import Outputs
from wan_ddp.reader import ReferenceReader
from wan_ddp.report.contents import Contents, Row, Video
from wan_ddp.report.sheet import NUM_FRAMES, Strip, draw_sheet, sheet_made_of, thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image

# H.264, named so that `find -name '*.mp4'`, which people count videos with, passes it by.
PREVIEW_SUFFIX = ".m4v"
_PREVIEW_CRF = 23
_POSTER_WIDTH = 384
_POSTER_QUALITY = 80
_POSTER_FRAME = NUM_FRAMES // 2
_TIMEOUT_SECONDS = 120.0
_MAX_SHEET_VIDEOS = 100
_VERSION = 1  # of how all this is drawn: what another one has drawn is drawn anew


@dataclass(frozen=True, slots=True)
class RowPictures:
    """What there is for one row, as paths below the report's folder."""

    preview: Path | None = None
    preview_poster: Path | None = None
    problem: str = ""
    """Why there is no preview."""
    posters: dict[str, Path] = field(default_factory=dict)
    """By the videos' digests; one that does not decode has none."""
    sheet: Path | None = None

    @property
    def files(self) -> Iterator[Path]:
        yield from filter(None, (self.preview, self.preview_poster, self.sheet))
        yield from self.posters.values()


def make_pictures(
    contents: Contents, folder: Path, *, num_threads: int, on_row: Callable[[], object]
) -> list[RowPictures]:
    """The pictures of every row, in order; `on_row` is called as each is done. Raises OSError where `folder` is full.

    The work is done by other processes (decoders, encoders), so threads suffice.
    """
    with ThreadPoolExecutor(num_threads) as decoders, ThreadPoolExecutor(num_threads) as rows:
        locks: dict[str, threading.Lock] = {}
        makers = [_RowMaker(contents, row, folder, decoders, locks) for row in contents.rows]
        futures = [rows.submit(maker.make) for maker in makers]
        try:
            for future in as_completed(futures):
                future.result()
                on_row()
        except BaseException:
            rows.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def sweep_pictures(folder: Path, pictures: Sequence[RowPictures]) -> None:
    """Remove the files that no row shows any more."""
    kept = {folder / file for each in pictures for file in each.files}
    for name in ("references", "posters", "contact-sheets"):
        for parent, _, files in os.walk(folder / name, topdown=False):
            for file in files:
                if Path(parent, file) not in kept:
                    with suppress(OSError):
                        Path(parent, file).unlink()
            with suppress(OSError):  # it is not empty
                Path(parent).rmdir()


@dataclass(frozen=True, slots=True)
class _RowMaker:
    contents: Contents
    row: Row
    folder: Path
    decoders: Executor
    locks: dict[str, threading.Lock]
    """One a file that several rows may show, and make at once."""

    def make(self) -> RowPictures:
        pictures = self._preview()
        videos = Outputs(self.contents.output)
        files = {_digest(video): videos.video(video.job) for video in self.row.videos if video.can_play}
        sheet = self._sheet()
        made_of = self._made_of(pictures)
        sheet_is_current = sheet_made_of(self.folder / sheet) == made_of
        in_sheet = set() if sheet_is_current else {_digest(video) for video in self._sheet_videos if video.can_play}
        wanted = [digest for digest in files if digest in in_sheet or not self._is_there(_poster(digest))]
        stills = self.decoders.map(lambda digest: self._picture(digest, files[digest], digest in in_sheet), wanted)
        found = dict(zip(wanted, stills, strict=True))
        if not sheet_is_current:
            self._draw(sheet, made_of, pictures, found)
        posters = {digest: _poster(digest) for digest in files if self._is_there(_poster(digest))}
        return replace(pictures, posters=posters, sheet=sheet)

    def _picture(self, digest: str, video: Path, is_in_sheet: bool) -> "list[Image] | None":
        """Make the video's poster, if there is none; its pictures for the contact sheet, if they are wanted."""
        if stills := self._frames(video):
            self._write_poster(_poster(digest), stills[_POSTER_FRAME])
        return thumbnails(stills) if stills and is_in_sheet else None

    def _lock(self, file: Path) -> threading.Lock:
        return self.locks.setdefault(str(file), threading.Lock())  # one step, as no key is compared in Python

    def _is_there(self, file: Path) -> bool:
        return (self.folder / file).exists()

    @property
    def _sheet_videos(self) -> Sequence[Video]:
        """A sheet of thousands would be larger than any program opens."""
        return self.row.videos[:_MAX_SHEET_VIDEOS]

    def _preview(self) -> RowPictures:
        """The reference as the jobs saw it, as a small video and a picture of it."""
        clip = self.row.clip
        try:
            identity = self.row.digest or _stamp(Path(clip.path))
        except OSError as error:
            return RowPictures(problem=f"the file cannot be read: {error.strerror}")
        asked = {name: value for name, value in asdict(clip).items() if name != "path"}
        key = hashlib.sha256(json.dumps([_VERSION, identity, asked]).encode()).hexdigest()[:32]
        preview, poster = Path("references", f"{key}{PREVIEW_SUFFIX}"), Path("references", f"{key}.jpg")
        with self._lock(preview):
            if not self._is_there(preview) and (problem := self._write_preview(preview)):
                return RowPictures(problem=problem)
        if not self._is_there(poster):
            if not (stills := self._frames(self.folder / preview)):
                return RowPictures(problem="its preview does not decode")
            self._write_poster(poster, stills[_POSTER_FRAME])
        return RowPictures(preview, poster)

    def _write_preview(self, preview: Path) -> str:
        """Why there is none, if there is none."""
        clip = self.row.clip
        try:
            if self.row.digest and sha256(Path(clip.path)) != self.row.digest:
                return "the file has changed since these videos were made"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        try:
            with ReferenceReader() as reader:
                frames = reader.read(clip).frames
        except JobError as error:
            return str(error).removeprefix(f"{clip.path}: ")
        _encode(self.folder / preview, frames.data.cast("B"), clip.width, clip.height, clip.fps)
        return ""

    def _frames(self, video: Path) -> "list[Image] | None":
        """Pictures of a video at even distances; None where it does not decode."""
        from PIL import Image

        clip = self.row.clip
        width = min(_POSTER_WIDTH, clip.width)
        height = max(round(width * clip.height / clip.width), 1)
        indices = [round(number * (clip.num_frames - 1) / (NUM_FRAMES - 1)) for number in range(NUM_FRAMES)]
        different = sorted(set(indices))
        try:
            with open_video(video) as source:
                raw = read_frames(source, different, width=width, height=height, timeout=_TIMEOUT_SECONDS)
        except (OSError, BrokenVideoError):
            return None
        size = width * height * 3
        if len(raw) != len(different) * size:
            return None
        stills = [
            Image.frombytes("RGB", (width, height), raw[number * size : (number + 1) * size])
            for number in range(len(different))
        ]
        return [stills[different.index(index)] for index in indices]

    def _write_poster(self, path: Path, picture: "Image") -> None:
        with self._lock(path):
            if not (self.folder / path).exists():
                _write_jpeg(self.folder / path, picture)

    def _sheet(self) -> Path:
        suffix = f"-{self.row.number}" if self.row.number > 1 else ""
        return Path("contact-sheets", f"{self.row.folder}{suffix}.png")

    def _made_of(self, pictures: RowPictures) -> str:
        """A digest of everything that the contact sheet shows."""
        videos = [[*_labels(video), _digest(video) if video.can_play else video.state] for video in self._sheet_videos]
        shown = [_VERSION, str(pictures.preview), pictures.problem, len(self.row.videos), videos]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()

    def _draw(self, sheet: Path, made_of: str, pictures: RowPictures, found: "dict[str, list[Image] | None]") -> None:
        stills = self._frames(self.folder / pictures.preview) if pictures.preview else None
        strips = [Strip(("reference", pictures.problem), thumbnails(stills) if stills else None)]
        strips += [
            Strip(_labels(video), found.get(_digest(video)) if video.can_play else None) for video in self._sheet_videos
        ]
        clip, num_more = self.row.clip, len(self.row.videos) - len(self._sheet_videos)
        title = f"{self.row.category} / {self.row.name}"
        about = f"{clip.num_frames} frames at {clip.fps:g} fps, {clip.width}x{clip.height}"
        about += f"; {num_more} more videos are on the page" if num_more else ""
        path = self.folder / sheet
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, draw_sheet(title, about, strips, (clip.width, clip.height), made_of))


def _labels(video: Video) -> tuple[str, str]:
    flags = f" ({', '.join(video.flags)})" if video.flags else ""
    told = video.job.prompt if video.can_play else video.state
    if video.state in ("failed", "corrupt"):
        told = f"{video.state}: {video.why}"
    return f"prompt {video.job.prompt_index}, seed {video.job.seed}{flags}", told


def _digest(video: Video) -> str:
    return video.made.video.sha256 if video.made else ""


def _poster(digest: str) -> Path:
    """Its name is not the record's own text, which may be anything."""
    return Path("posters", f"{hashlib.sha256(f'{_VERSION} {digest}'.encode(errors='replace')).hexdigest()[:32]}.jpg")


def _stamp(path: Path) -> str:
    """What stands for the content of a reference that no record has a digest of. Raises OSError."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _encode(path: Path, pixels: memoryview, width: int, height: int, fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary(path)
    try:
        encode(partial, pixels, width=width, height=height, fps=fps, crf=_PREVIEW_CRF)
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_jpeg(path: Path, picture: "Image") -> None:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_POSTER_QUALITY, optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
