"""References read with decord, videos written and probed with imageio's ffmpeg."""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wan_ddp.errors import BadInputError, DiskFullError, StorageError
from wan_ddp.ffmpeg import DECODE_THREADS, BrokenVideoError, Source, Timeline, encode, open_video, read_timeline
from wan_ddp.files import NO_ROOM_ERRNOS
from wan_ddp.job import Sampling, ShortReference
from wan_ddp.sampling import frames_at_times, frames_in_order

if TYPE_CHECKING:
    import numpy as np

    Frames = np.ndarray[Any, np.dtype[np.uint8]]
else:
    # numpy takes 0.1 s to import, which plans and error messages do without.
    Frames = Any

# Trouble of the disk or its server, which may pass; every other OSError is the fault of the path itself.
_STORAGE_ERRNOS = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EREMOTEIO,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EHOSTDOWN,
    errno.EMFILE,
    errno.ENFILE,
}
_READ_TIMEOUT_SECONDS = 100.0
# How far to look for the frame that ends the last one needed: Matroska does not say how long a frame is shown.
_LOOKAHEAD_SECONDS = 2.0
# 1001 frames of 4096x4096, the largest that a job may be, decode in three minutes on two cores.
_PROBE_TIMEOUT_SECONDS = 600.0
# Anamorphic clips have 1.09 and more; encoders write 1.0008 and the like to make up for sizes rounded to whole pixels.
_SQUARE_PIXEL_TOLERANCE = 0.01
_REMEDY = "use another file, or encode it anew: ffmpeg -i OLD -an -c:v libx264 -crf 10 NEW.mp4"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video file: its frames, their mean rate and their size as displayed.

    `probe` counts the frames that decode; of a reference, which is not decoded to its end, it is what the file claims.
    """

    num_frames: int
    fps: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A reference as a job needs it: frames of shape (num_frames, height, width, 3), uint8 RGB; and what it was."""

    frames: Frames
    source: VideoInfo


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a written video holds, every frame decoded. Raises OSError, or StorageError if it is not a whole video."""
    try:
        with open_video(path) as source:
            timeline = read_timeline(source, timeout=_PROBE_TIMEOUT_SECONDS)
    except BrokenVideoError as error:
        raise StorageError(f"{os.fspath(path)}: {error}") from error
    return VideoInfo(len(timeline.starts), timeline.fps, timeline.width, timeline.height)


def write_mp4(path: str | os.PathLike[str], frames: Frames, fps: float) -> None:
    """Write (num_frames, height, width, 3) uint8 RGB frames of even size as H.264; the name may end in anything.

    Raises StorageError with ffmpeg's reason if the file could not be written, DiskFullError if there is no room for it.
    """
    import numpy as np

    num_frames, height, width, channels = frames.shape
    if frames.dtype != np.uint8 or channels != 3 or num_frames < 1 or height % 2 or width % 2:
        raise ValueError(f"frames of shape {frames.shape} and type {frames.dtype} cannot be written as yuv420p")
    pixels = np.ascontiguousarray(frames).data.cast("B")
    try:
        encode(path, pixels, width=width, height=height, fps=fps)
    except OSError as error:
        kind = DiskFullError if error.errno in NO_ROOM_ERRNOS else StorageError
        raise kind(f"{os.fspath(path)}: it could not be written: {error.strerror}") from error


def read_clip(
    path: str,
    *,
    num_frames: int,
    width: int,
    height: int,
    fps: float,
    sampling: Sampling,
    short_reference: ShortReference,
) -> Clip:
    """The reference at `path` as `num_frames` upright frames of `width` x `height`, centre-cropped to cover.

    `sampling` `frames` takes its first frames one for one, `time` those on display at every 1/fps seconds. Raises
    BadInputError for a file that is missing, damaged, no video or too short, StorageError where the disk is at fault.
    """
    with _as_job_error(path), open_video(path) as source:
        try:
            if sampling == "frames":
                timeline = read_timeline(source, max_frames=num_frames, timeout=_READ_TIMEOUT_SECONDS)
                indices = frames_in_order(len(timeline.starts), num_frames, short_reference)
            else:
                timeline = read_timeline(
                    source, max_seconds=num_frames / fps + _LOOKAHEAD_SECONDS, timeout=_READ_TIMEOUT_SECONDS
                )
                indices = frames_at_times(timeline.starts, timeline.end, num_frames, fps, short_reference)
            if indices is None:
                raise BadInputError(f"{path}: {_too_short(timeline, num_frames, fps, sampling)}")
            return _decode(source, timeline, indices, width, height)
        except BrokenVideoError as error:
            source.check_readable()
            raise BrokenVideoError(f"{error}; {_REMEDY}") from error


def cover_box(
    source_width: int, source_height: int, pixel_aspect: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """The centred part of a frame that has the aspect of `width` x `height`: left, top, right, bottom in its pixels."""
    wanted_aspect = width / height / pixel_aspect
    box_width = min(source_width, source_height * wanted_aspect)
    box_height = min(source_height, source_width / wanted_aspect)
    left, top = (source_width - box_width) / 2, (source_height - box_height) / 2
    return left, top, source_width - left, source_height - top


def _decode(source: Source, timeline: Timeline, indices: Sequence[int], width: int, height: int) -> Clip:
    """The frames at `indices`, read one after another: seeking is where decord hangs and goes astray."""
    import decord
    import numpy as np

    decord.logging.set_level(decord.logging.QUIET)
    positions: dict[int, list[int]] = {}
    for position, index in enumerate(indices):
        positions.setdefault(index, []).append(position)
    frames = np.empty((len(indices), height, width, 3), np.uint8)
    index = 0
    try:
        reader = decord.VideoReader(source.path, num_threads=DECODE_THREADS)
        for index in range(max(indices) + 1):
            frame = reader.next().asnumpy()
            if frame.shape[:2] != (timeline.height, timeline.width):
                raise BrokenVideoError(f"decord reads frames of another size than {timeline.width}x{timeline.height}")
            if index in positions:
                frames[positions[index]] = _fit(_without_padding(frame), timeline.pixel_aspect, width, height)
    except (decord.DECORDError, RuntimeError, AssertionError, StopIteration) as error:
        raise BrokenVideoError(f"decord cannot read its frame {index}") from error
    # The container knows its mean rate better than its first frames do, whose times may be rounded.
    claimed = reader.get_avg_fps()
    fps = claimed if 0 < claimed < math.inf else timeline.fps
    return Clip(frames, VideoInfo(len(reader), fps, timeline.width, timeline.height))


def _without_padding(frame: Frames) -> Frames:
    """(height, width, 3) of a frame that decord says has more channels, where rows are padded for the processor.

    https://github.com/dmlc/decord/issues/336: it happens at widths such as 48, 96 and 144.
    """
    height, width, channels = frame.shape
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def _fit(frame: Frames, pixel_aspect: float, width: int, height: int) -> Frames:
    """(source height, source width, 3) to (height, width, 3): centre-cropped to cover, unchanged if it fits already."""
    import numpy as np
    from PIL import Image

    if abs(pixel_aspect - 1) < _SQUARE_PIXEL_TOLERANCE:
        pixel_aspect = 1.0
    source_height, source_width, _ = frame.shape
    if (source_width, source_height, pixel_aspect) == (width, height, 1.0):
        return frame
    box = cover_box(source_width, source_height, pixel_aspect, width, height)
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS, box=box))


def _too_short(timeline: Timeline, num_frames: int, fps: float, sampling: Sampling) -> str:
    if sampling == "frames":
        problem = f"it has {len(timeline.starts)} of the {num_frames} frames that the job needs"
    else:
        problem = f"it lasts {timeline.end:.2f} s of the {num_frames / fps:.2f} s that the job needs at {fps:g} fps"
    return f"{problem}; use a longer clip, or --short-reference hold|loop|ping-pong|stretch"


@contextmanager
def _as_job_error(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenVideoError as error:
        raise BadInputError(f"{path}: {error}") from error
    except OSError as error:
        kind = StorageError if error.errno in _STORAGE_ERRNOS else BadInputError
        raise kind(f"{path}: it cannot be read: {error.strerror}") from error
