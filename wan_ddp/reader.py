"""References read ahead of need in a child process, where a decoder that crashes, hangs or swells harms nobody.

The child answers in JSON and raw bytes: what has decoded a hostile file is not trusted with pickles.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import ProcessError
from multiprocessing.connection import Connection
from types import TracebackType

from wan_ddp.child import Child, attach, limit_memory
from wan_ddp.errors import BadInputError, JobError, StorageError
from wan_ddp.job import Sampling, ShortReference
from wan_ddp.video import Clip, VideoInfo, read_clip

# The current reference and the next one: 97 MB each at 832x480 and 81 frames.
_MAX_KEPT = 2
# A crash may be the work of something else, such as the kernel short of memory; two in a row are the file's.
_MAX_DEATHS = 2
# Address space for the decoders beside the frames themselves; reading 832x480 takes 0.6 GB and 8K under 4.
DECODER_BYTES = 8 * 2**30
_MAX_HEADER_BYTES = 2**20
# What reading an answer leads to that is none: the decoder has been taken over, or its memory overwritten.
_NO_ANSWER = (ValueError, TypeError, LookupError, RecursionError, ProcessError)
_ERRORS: dict[str, type[JobError]] = {"bad_input": BadInputError, "io": StorageError, "error": JobError}


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """What is asked of `read_clip`, by the same names."""

    path: str
    num_frames: int
    width: int
    height: int
    fps: float
    sampling: Sampling
    short_reference: ShortReference

    @property
    def num_bytes(self) -> int:
        return self.num_frames * self.height * self.width * 3

    @property
    def memory_bytes(self) -> int:
        """The address space that the decoders, and the ffmpeg that they run, need for it at the most."""
        return DECODER_BYTES + 2 * self.num_bytes


Read = Callable[..., Clip]


class ReferenceReader:
    """Reads clips in one child process, in the order asked for, and keeps the last two.

    To be used from one thread that outlives the reader: the child ends with it. `read_function` is a function at the
    top of a module that takes the arguments of `read_clip`.
    """

    def __init__(self, read_function: Read = read_clip, *, timeout_seconds: float = 120.0) -> None:
        self._read_function = read_function
        self._timeout_seconds = timeout_seconds
        self._child: _Child | None = None
        self._asked: dict[ClipRequest, int] = {}  # in the order asked, with the number of children that died over each
        self._kept: OrderedDict[ClipRequest, Clip | JobError] = OrderedDict()

    def __enter__(self) -> "ReferenceReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.pid if self._child else None

    def prefetch(self, request: ClipRequest) -> None:
        """Have the clip read while the caller does something else."""
        if request not in self._kept and request not in self._asked:
            self._asked[request] = 0
            self._send(request)

    def read(self, request: ClipRequest) -> Clip:
        """The clip, as soon as it is there. Its frames are shared by all who ask for it: not to be written to.

        Raises BadInputError for a file that cannot be used, or that crashes or stalls its decoder; StorageError where
        the disk is the trouble, and JobError for anything else: asked again, the file is read again.
        """
        self.prefetch(request)
        while request not in self._kept:
            self._receive()
        self._kept.move_to_end(request)
        outcome = self._kept[request]
        if isinstance(outcome, Clip):
            return outcome
        if not isinstance(outcome, BadInputError):
            del self._kept[request]
        raise type(outcome)(str(outcome))

    def close(self) -> None:
        """End the child, whatever it is doing, and forget what was asked for."""
        self._asked.clear()
        if self._child:
            self._child.end()
            self._child = None

    def _send(self, request: ClipRequest) -> None:
        self._child = self._child or _Child(self._read_function)
        self._child.send(request)

    def _receive(self) -> None:
        """Wait for the answer to the oldest request, and keep it; a child that dies over it is asked once more."""
        request = next(iter(self._asked))
        outcome = self._outcome(request)
        if outcome:
            del self._asked[request]
            self._kept[request] = outcome
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        if self._child is None:
            for unanswered in self._asked:
                self._send(unanswered)

    def _outcome(self, request: ClipRequest) -> Clip | JobError | None:
        """The child's answer; None, and no child, if that died for the first time over this request."""
        assert self._child, "a request that waits has a child at work on it"
        try:
            return self._child.receive(request, self._timeout_seconds)
        except TimeoutError:
            self._child.end()
            problem = f"it could not be read within {self._timeout_seconds:g} s"
        except (EOFError, OSError, *_NO_ANSWER):
            problem = f"it crashes its decoder ({self._child.end()})"
            self._asked[request] += 1
            if self._asked[request] < _MAX_DEATHS:
                self._child = None
                return None
        self._child = None
        return BadInputError(f"{request.path}: {problem}; use another file")


class _Child:
    """The process that reads, seen from its parent."""

    def __init__(self, read_function: Read) -> None:
        self._process = Child(serve)
        self._connection = self._process.connection
        self.pid = self._process.pid
        self._connection.send(read_function)

    def send(self, request: ClipRequest) -> None:
        with suppress(OSError):  # its death shows where the answer is waited for
            self._connection.send(request)

    def receive(self, request: ClipRequest, timeout: float) -> Clip | JobError:
        """The answer to the oldest request.

        Raises TimeoutError, EOFError or OSError if the child has died, and one of `_NO_ANSWER` for what is none.
        """
        import numpy as np

        if not self._connection.poll(timeout):
            raise TimeoutError
        header = json.loads(self._connection.recv_bytes(_MAX_HEADER_BYTES))
        if "error" in header:
            return _ERRORS[header["kind"]](header["error"])
        frames = np.empty((request.num_frames, request.height, request.width, 3), np.uint8)
        if self._connection.recv_bytes_into(frames.data.cast("B")) != frames.nbytes:
            raise ValueError("fewer frames than were asked for")
        return Clip(frames, VideoInfo(**header["source"]))

    def end(self) -> str:
        """Kill it if it has not ended, and say how it did."""
        return self._process.end()


def serve(descriptor: int) -> None:
    """The child: answer requests until the parent closes the connection."""
    connection = attach(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        read_function: Read = connection.recv()
        while True:
            _answer(connection, read_function, connection.recv())


def _answer(connection: Connection, read_function: Read, request: ClipRequest) -> None:
    limit_memory(request.memory_bytes)
    try:
        clip = read_function(**asdict(request))
    except JobError as error:
        header = {"error": str(error), "kind": error.kind}
    except MemoryError:
        header = {"error": f"{request.path}: it takes too much memory to decode; use another file", "kind": "bad_input"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it travels to the parent
        header = {"error": f"{request.path}: {type(error).__name__}: {error}", "kind": "error"}
    else:
        connection.send_bytes(json.dumps({"source": asdict(clip.source)}).encode())
        connection.send_bytes(clip.frames.data.cast("B"))
        return
    connection.send_bytes(json.dumps(header).encode())
