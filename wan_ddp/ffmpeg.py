"""The ffmpeg program that comes with imageio-ffmpeg: what a video file really holds, and encoding one.

It runs as a process of its own, reads one file through an open descriptor, and is told the one demuxer to use, so a
playlist or a URL inside a file leads nowhere. `docs/decord.md` says why decord alone is not enough.
"""

import errno
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from wan_ddp.errors import WanDdpError
from wan_ddp.files import NO_ROOM_ERRNOS

# Limits against files made to exhaust the machine, far above what a reference of seconds needs.
MAX_FILE_BYTES = 4 * 2**30
MAX_FRAME_PIXELS = 8192 * 4352  # 8K UHD and DCI
MAX_FRAMES_SCANNED = 100_000  # over half an hour at 50 fps
# More bring little at 832x480, and several ranks share a machine.
DECODE_THREADS = 2
# x264's output depends on the number of its threads: a fixed one gives the same bytes everywhere.
ENCODE_THREADS = 4
_HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# DiffSynth's save_video defaults to CRF 5. On a panned texture of 832x480x81, 10 takes half the bytes (4.0 for 8.9 MB)
# and two thirds of the time, and stays at 47.6 dB of lossless 4:2:0, which by itself is at 36 dB of the RGB.
CRF = 10

# Files that hold all their own content, by their first bytes: (offset, bytes, demuxer). What names other files or hosts
# (HLS, DASH, concat, SDP and other playlists) is text and starts otherwise.
_SIGNATURES = (
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, b"GIF8", "gif"),
)
_MEANINGS = {
    "moov atom not found": "it is cut off or was never finished (it has no index)",
    "matches no streams": "it has no video in it",
    "max pixel count": f"its frames have more than {MAX_FRAME_PIXELS:,} pixels",
}


class BrokenVideoError(WanDdpError):
    """A file is not a whole video. The text continues a sentence that begins with the file's name."""


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file, open, that starts as a video of the named demuxer does."""

    descriptor: int
    demuxer: str

    @property
    def path(self) -> str:
        """A name for this very file, whatever its own name is made of or points to by now."""
        return f"/proc/self/fd/{self.descriptor}"

    def check_readable(self) -> None:
        """Read it all. Raises OSError if the disk, and not the content, is the trouble."""
        offset = 0
        while block := os.pread(self.descriptor, 2**20, offset):
            offset += len(block)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames that ffmpeg displays: when each appears, in seconds after the first, and when the last one goes."""

    starts: tuple[float, ...]
    end: float
    fps: float
    width: int
    height: int
    pixel_aspect: float
    """Width of a pixel over its height."""


@contextmanager
def open_video(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Raises OSError, or BrokenVideoError for what is no video file by its kind, size or first bytes."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise BrokenVideoError(f"it is {kind}, not a video file")
    if status.st_size == 0:
        raise BrokenVideoError("it is empty")
    if status.st_size > MAX_FILE_BYTES:
        raise BrokenVideoError(f"it has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    # O_NONBLOCK: should a pipe have taken its place since, opening it must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield Source(descriptor, _demuxer(os.pread(descriptor, 16, 0)))
    finally:
        os.close(descriptor)


def read_timeline(
    source: Source, *, max_frames: int | None = None, max_seconds: float | None = None, timeout: float
) -> Timeline:
    """Decode the file up to a number of frames or seconds, and read the rest of it without decoding.

    Raises BrokenVideoError for whatever ffmpeg finds wrong: a decoder that is left to itself conceals a damaged frame.
    """
    trims = [f"trim=end_frame={MAX_FRAMES_SCANNED}"]
    trims += [f"trim=end_frame={max_frames}"] if max_frames is not None else []
    trims += [f"trim=duration={max_seconds:.6f}"] if max_seconds is not None else []
    strict = [
        "-xerror",
        "-err_detect",
        "explode",
        "-max_pixels",
        str(MAX_FRAME_PIXELS),
        "-threads",
        str(DECODE_THREADS),
    ]
    only_this = ["-protocol_whitelist", "file", "-f", source.demuxer, "-i", f"file:{source.path}"]
    # One line for each frame, with its own timestamp; -map 0:V leaves out cover pictures.
    frames = ["-map", "0:V:0", "-vf", ",".join(trims), "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    rest = ["-map", "0:V:0", "-c", "copy", "-f", "null", "-"]
    command = [*strict, *only_this, *frames, "-f", "framecrc", "pipe:1", *rest]
    try:
        result = _run(command, descriptors=[source.descriptor], timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BrokenVideoError(f"it could not be decoded within {timeout:g} s") from None
    # A Matroska file that is cut off is only mentioned, with exit status 0.
    if result.returncode or result.stderr:
        raise BrokenVideoError(_damage(result))
    return _parse(result.stdout.decode())


def read_rotation(source: Source, *, timeout: float) -> float:
    """By how many degrees, 0 to 360, players turn the frames that are in the file; `Timeline` has them turned.

    Raises BrokenVideoError for a file that ffmpeg cannot open.
    """
    only_this = ["-protocol_whitelist", "file", "-f", source.demuxer, "-i", f"file:{source.path}"]
    command = ["-v", "info", *only_this, "-map", "0:V:0", "-c", "copy", "-t", "0", "-f", "null", "-"]
    try:
        result = _run(command, descriptors=[source.descriptor], timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BrokenVideoError(f"it could not be opened within {timeout:g} s") from None
    if result.returncode:
        raise BrokenVideoError(_damage(result))
    # ffmpeg has written it as `displaymatrix: rotation of` and as `Display Matrix: rotation of`.
    found = re.search(rb"^ *display ?matrix: rotation of (-?[\d.]+)", result.stderr, re.MULTILINE | re.IGNORECASE)
    return float(found[1]) % 360 if found else 0.0


def read_frames(source: Source, indices: Sequence[int], *, width: int, height: int, timeout: float) -> bytes:
    """The frames at the ascending `indices`, each resized to `width` x `height`, as rgb24 one after another.

    Fewer of them where the file has fewer. Raises BrokenVideoError. For pictures of a video, not for its pixels.
    """
    chosen = "+".join(rf"eq(n\,{index})" for index in indices)
    only_this = ["-protocol_whitelist", "file", "-f", source.demuxer, "-i", f"file:{source.path}"]
    limits = ["-max_pixels", str(MAX_FRAME_PIXELS), "-threads", "1"]
    picked = ["-map", "0:V:0", "-vf", f"trim=end_frame={max(indices) + 1},select={chosen},scale={width}:{height}"]
    raw = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    try:
        result = _run([*limits, *only_this, *picked, *raw], descriptors=[source.descriptor], timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BrokenVideoError(f"it could not be decoded within {timeout:g} s") from None
    if result.returncode:
        raise BrokenVideoError(_damage(result))
    return result.stdout


def encode(
    path: str | os.PathLike[str], pixels: memoryview, *, width: int, height: int, fps: float, crf: int = CRF
) -> None:
    """Write rgb24 frames as an MP4 of H.264, whatever `path` ends in. The same frames give the same bytes.

    Raises OSError with ffmpeg's words, if that could not be done; with its `errno` where there was no room.
    """
    rate = _rate(fps)
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(rate)]
    # BT.601, which readers that ignore the tag assume as well.
    color = ["-pix_fmt", "yuv420p", "-colorspace", "smpte170m", "-color_range", "tv"]
    codec = ["-c:v", "libx264", "-crf", str(crf), "-threads", str(ENCODE_THREADS), *color]
    mp4 = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", "-f", "mp4"]
    if rate < 1:
        # Its usual clock for MP4, of 10,000 ticks a second and more, overflows after two days.
        mp4 += ["-video_track_timescale", str(rate.numerator)]
    # Without -r, ffmpeg rounds a rate to one that it knows: 121.74 frames a second to 120.
    result = _run(["-y", *raw, "-i", "pipe:0", "-r", str(rate), *codec, *mp4, f"file:{os.fspath(path)}"], pixels=pixels)
    if result.returncode:
        raise OSError(_errno_of(result), _complaint(result))


def _errno_of(result: subprocess.CompletedProcess[bytes]) -> int:
    """Why the disk did not take the file, by any of the lines that ffmpeg wrote about it; EIO for the rest."""
    said = result.stderr.decode(errors="replace")
    return next((number for number in NO_ROOM_ERRNOS if os.strerror(number) in said), errno.EIO)


def _rate(fps: float) -> Fraction:
    """As a fraction of small numbers: 1001 as in NTSC's 30000/1001."""
    return Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def _run(
    arguments: Sequence[str],
    *,
    pixels: memoryview | None = None,
    descriptors: Sequence[int] = (),
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """ffmpeg with these arguments; killed if it takes too long, or if an exception ends the wait for it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-v", "error", *arguments]
    # A scheduler's SIGTERM, sent to every process there is, would cut its work short; its parent decides when it ends.
    # A blocked signal stays blocked whatever ffmpeg does about it, an ignored one does not.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        try:
            stdout, stderr = process.communicate(pixels or b"", timeout=timeout)  # type: ignore[arg-type]
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _demuxer(head: bytes) -> str:
    for offset, signature, demuxer in _SIGNATURES:
        if head[offset:].startswith(signature):
            return demuxer
    raise BrokenVideoError("it is not a video file; MP4, MOV, Matroska, WebM, AVI and GIF are read")


def _complaint(result: subprocess.CompletedProcess[bytes]) -> str:
    """ffmpeg's first line, without the `[h264 @ 0x55ce24d11d40]` before it."""
    lines = result.stderr.decode(errors="replace").splitlines()
    if not lines:
        return f"exit status {result.returncode}"
    return re.sub(r"\[[^]]* @ 0x[0-9a-f]+\] ?", "", lines[0]).rstrip(".")


def _damage(result: subprocess.CompletedProcess[bytes]) -> str:
    complaint = _complaint(result)
    known = [meaning for words, meaning in _MEANINGS.items() if words in complaint]
    return known[0] if known else f"it is damaged or cut off (ffmpeg: {complaint})"


def _parse(framecrc: str) -> Timeline:
    """The muxer's `#name stream: value` lines and its rows of stream, dts, pts, duration, size and checksum."""
    header = dict(re.findall(r"^#(\w+) 0: (\S+)$", framecrc, re.MULTILINE))
    rows = [line.split(",") for line in framecrc.splitlines() if line.startswith("0,")]
    if not rows:
        raise BrokenVideoError("no frame in it can be decoded")
    if len(rows) >= MAX_FRAMES_SCANNED:
        raise BrokenVideoError(f"more than {MAX_FRAMES_SCANNED:,} of its frames would have to be decoded")
    tick = Fraction(header["tb"])
    ticks = [int(row[2]) - int(rows[0][2]) for row in rows]
    end = (ticks[-1] + max(int(rows[-1][3]), 1)) * tick
    width, height = map(int, header["dimensions"].split("x"))
    return Timeline(
        starts=tuple(float(each * tick) for each in ticks),
        end=float(end),
        fps=float((len(ticks) - 1) / (ticks[-1] * tick) if ticks[-1] else len(ticks) / end),
        width=width,
        height=height,
        pixel_aspect=float(Fraction(header.get("sar", "1/1").replace("0/1", "1/1"))),
    )
