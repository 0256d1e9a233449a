"""Writes frames as H.264, and tells whether a file is such a clip and whole."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from wan_ddp.references.clip import Format

# One thread and bit-exact flags: no version string or date in the file, and no choice left to the number of cores.
# `veryfast` halves the time of `fast` and, on these clips, makes no larger files.
ENCODING = (
    "-f", "mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p",
    "-crf", "18", "-preset", "veryfast", "-threads", "1",
    "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1",
)  # fmt: skip


def write(path: Path, frames: Iterable[NDArray[np.uint8]], size: Format) -> None:
    """Encode RGB frames as they come. Raises OSError with ffmpeg's own words when it fails (a full disk, say).

    imageio_ffmpeg.write_frames does not tell how ffmpeg ended, so ffmpeg is run here.
    """
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size.width}x{size.height}", "-r", str(size.fps), "-i", "-")
    words = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *raw, *ENCODING, str(path)]
    # in a session of its own, out of reach of a terminal's Ctrl-C: whoever feeds it decides when it ends
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    try:
        for frame in frames:
            process.stdin.write(np.ascontiguousarray(frame).data)
    except BrokenPipeError:
        pass  # ffmpeg has ended; it says why below
    except BaseException:
        process.kill()
        process.communicate()
        raise
    said = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode != 0:
        raise OSError(said.splitlines()[0] if said else f"ffmpeg ended with {process.returncode}")


def is_whole(path: Path, size: Format) -> bool:
    """Whether a file is an H.264 clip of that size, rate and number of frames.

    ffmpeg reads every packet without decoding it, so this takes a few hundredths of a second.
    """
    if not path.is_file():
        return False
    words = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin",
        "-i",
        str(path),
        "-map",
        "0:v:0",
        "-c",
        "copy",
        "-f",
        "null",
        "-",
    ]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    report = done.stderr.decode(errors="replace")
    stream = re.search(r"Stream #0:0.*: Video: h264 .*, (\d+)x(\d+)[ ,].*?([\d.]+) fps", report)
    counts = re.findall(r"frame= *(\d+)", report)
    if done.returncode != 0 or stream is None or not counts:
        return False
    found = (int(stream[1]), int(stream[2]), float(stream[3]), int(counts[-1]))
    return found == (size.width, size.height, size.fps, size.num_frames)
