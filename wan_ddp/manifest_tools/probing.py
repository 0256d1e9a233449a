"""References looked at as a run would read them, several at once, each where a decoder's crash is survivable."""

import json
import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass

from wan_ddp.child import Child, attach, limit_memory
from wan_ddp.errors import JobError
from wan_ddp.ffmpeg import BrokenVideoError, open_video, read_rotation, read_timeline
from wan_ddp.reader import DECODER_BYTES, ClipRequest
from wan_ddp.video import Frames, read_clip

# As long as a run gives a reference; a file that takes longer to decode whole is described by what a run needs of it.
_TIMEOUT_SECONDS = 120.0
_WHOLE_SECONDS = 100.0
# A crash may be the work of something else, such as the kernel short of memory; two in a row are the file's.
_MAX_DEATHS = 2
_MAX_ANSWER_BYTES = 2**20

# A picture has more levels between its darkest and its brightest pixel; video's black is 16.
_FLAT_LEVELS = 2
_BLACK_LEVEL = 16


@dataclass(frozen=True, slots=True)
class Request:
    """A reference, and each way in which jobs need it; none where they do not look at it."""

    path: str
    ways: tuple[ClipRequest, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a reference for the jobs that need it in one way."""

    problem: str | None = None
    picture: str | None = None
    """`black` or `constant`, for a clip without a picture."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A reference file as players show it. The numbers are None where they could not be found out."""

    num_frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    pixel_aspect: float = 1.0
    rotation: float = 0.0
    damage: str | None = None
    """What is wrong with the file as a whole; its first frames may be good."""
    readings: tuple[Reading, ...] = ()
    """One for each way of the request."""


def probe_all(requests: Sequence[Request], num_workers: int) -> Generator[tuple[int, Probe], None, None]:
    """Position and probe of each reference, as they are done. Closing it early ends what it has started."""
    probers = [_Prober() for _ in range(num_workers)]
    idle: queue.SimpleQueue[_Prober] = queue.SimpleQueue()
    for prober in probers:
        idle.put(prober)

    def probe(request: Request) -> Probe:
        prober = idle.get()
        try:
            return prober.probe(request)
        finally:
            idle.put(prober)

    pool = ThreadPoolExecutor(num_workers)
    try:
        positions = {pool.submit(probe, request): position for position, request in enumerate(requests)}
        for future in as_completed(positions):
            yield positions[future], future.result()
    finally:
        for prober in probers:
            prober.stop()
        pool.shutdown(cancel_futures=True)
        for prober in probers:
            prober.end()


class _Prober:
    """A child that probes one reference after another, and another child where that dies over one."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def probe(self, request: Request) -> Probe:
        problem = ""
        for _ in range(_MAX_DEATHS):
            try:
                return self._ask(request)
            except TimeoutError:
                self.end()
                problem = f"it could not be read within {_TIMEOUT_SECONDS:g} s"
                break
            except (EOFError, OSError):
                problem = f"it crashes its decoder ({self.end()})"
        return Probe(damage=problem, readings=tuple(Reading(problem) for _ in request.ways))

    def stop(self) -> None:
        """From another thread: have what is under way end at once, and nothing begin."""
        with self._starting:
            self._stopped = True
            if self._child:
                self._child.kill()

    def end(self) -> str:
        """End the child, and say how it did."""
        child, self._child = self._child, None
        return child.end() if child else "it was stopped"

    def _ask(self, request: Request) -> Probe:
        with self._starting:
            if self._stopped:
                raise EOFError
            self._child = self._child or Child(serve)
        connection = self._child.connection
        connection.send(request)
        if not connection.poll(_WHOLE_SECONDS + _TIMEOUT_SECONDS * (1 + len(request.ways))):
            raise TimeoutError
        answer = json.loads(connection.recv_bytes(_MAX_ANSWER_BYTES))
        return Probe(**answer | {"readings": tuple(Reading(**reading) for reading in answer["readings"])})


def serve(descriptor: int) -> None:
    """The child: answer until the parent closes the connection."""
    connection = attach(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            request: Request = connection.recv()
            limit_memory(max((way.memory_bytes for way in request.ways), default=DECODER_BYTES))
            connection.send_bytes(json.dumps(asdict(probe(request))).encode())


def probe(request: Request) -> Probe:
    """Look at a reference, in this process."""
    readings = tuple(_read(way) for way in request.ways)
    damage = None
    try:
        with open_video(request.path) as source:
            rotation = read_rotation(source, timeout=_TIMEOUT_SECONDS)
            try:
                shown = read_timeline(source, timeout=_WHOLE_SECONDS)
            except BrokenVideoError as error:
                damage = str(error)
                first = max((way.num_frames for way in request.ways), default=1)
                shown = read_timeline(source, max_frames=first, timeout=_TIMEOUT_SECONDS)
    except BrokenVideoError as error:
        return Probe(damage=str(error), readings=readings)
    except OSError as error:
        return Probe(damage=f"it cannot be read: {error.strerror}", readings=readings)
    return Probe(
        num_frames=None if damage else len(shown.starts),
        fps=shown.fps,
        width=shown.width,
        height=shown.height,
        seconds=None if damage else shown.end,
        pixel_aspect=shown.pixel_aspect,
        rotation=rotation,
        damage=damage,
        readings=readings,
    )


def _read(way: ClipRequest) -> Reading:
    """Read the clip by the very call that a run reads it with."""
    try:
        clip = read_clip(**asdict(way))
    except JobError as error:
        return Reading(str(error).removeprefix(f"{way.path}: "))
    except MemoryError:
        return Reading("it takes too much memory to decode; use another file")
    except Exception as error:  # noqa: BLE001 - whatever it is, it would fail the jobs
        return Reading(f"{type(error).__name__}: {error}")
    return Reading(picture=_looks_constant(clip.frames))


def _looks_constant(frames: Frames) -> str | None:
    """`black` or `constant` if every frame of (num_frames, height, width, 3) is of one colour, None for a picture."""
    highest = 0
    for frame in frames:
        low, high = frame.min(axis=(0, 1)).astype(int), frame.max(axis=(0, 1)).astype(int)
        if (high - low).max() > _FLAT_LEVELS:
            return None
        highest = max(highest, high.max())
    return "black" if highest <= _BLACK_LEVEL else "constant"
