"""Who uses a GPU at once, all of its ranks side by side or one alone where memory ran out, and whose turn it is.

Some files a GPU, locked with flock: the kernel lets them go when a process dies, however that happens. Whoever wants to
be alone holds the gate until everybody else has left; the others see that between two videos, and leave.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from wan_ddp.errors import MachineError
from wan_ddp.gpu_use import visible_devices
from wan_ddp.process import boot_id

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05


class GpuShare:
    """One process' part in a GPU. It may hold a share, or the whole GPU, or nothing."""

    def __init__(self, folder: Path, gpu: str) -> None:
        self._gate = _LockFile(folder / f"{gpu}.gate")
        self._use = _LockFile(folder / f"{gpu}.use")

    def join(self) -> None:
        """Take a share, beside others; waits for whoever is alone on the GPU, or wants to be."""
        self._gate.lock(fcntl.LOCK_SH)
        try:
            self._use.lock(fcntl.LOCK_SH)
        finally:
            self._gate.unlock()

    def take_whole(self) -> None:
        """Wait until everybody else has left, and keep them out until `leave`."""
        self.leave()
        self._gate.lock(fcntl.LOCK_EX)
        self._use.lock(fcntl.LOCK_EX)

    def leave(self) -> None:
        self._use.unlock()
        self._gate.unlock()

    def is_wanted_whole(self) -> bool:
        """Whether another process waits to be alone: a holder of a share should leave soon."""
        if not self._gate.try_lock(fcntl.LOCK_SH):
            return True
        self._gate.unlock()
        return False


class Turn:
    """One process' turns at denoising on a GPU, which one rank does at a time.

    Two that do so at once take 10% longer than one after the other (benchmarks/RESULTS.md); while one denoises, another
    decodes, saves, reads and encodes.
    """

    def __init__(self, folder: Path, gpu: str) -> None:
        self._lock = _LockFile(folder / f"{gpu}.turn")

    def try_take(self) -> bool:
        """Take the turn, unless it is another process'."""
        return self._lock.try_lock(fcntl.LOCK_EX)

    def beat(self) -> None:
        """Say that the turn is used: to be called at every step."""
        self._lock.touch()

    def idle_seconds(self) -> float:
        """How long nobody has used the turn: its holder may be stopped, which is not dead."""
        return self._lock.seconds_since_touched()

    def release(self) -> None:
        """Let it go, if it is held."""
        self._lock.unlock()


def share_of(device: str, environ: Mapping[str, str]) -> GpuShare | None:
    """The share in `cuda:<index>`, which every process of this user on this machine finds; None for the CPU.

    Raises MachineError if the lock files cannot be made.
    """
    return _locks_of(device, environ, GpuShare)


def turn_of(device: str, environ: Mapping[str, str]) -> Turn | None:
    """The same for turns: on the CPU there are none, the cores are shared out."""
    return _locks_of(device, environ, Turn)


_Locks = TypeVar("_Locks", GpuShare, Turn)


def _locks_of(device: str, environ: Mapping[str, str], make: Callable[[Path, str], _Locks]) -> _Locks | None:
    if device == "cpu":
        return None
    with lock_folder() as folder:
        return make(folder, gpu_name(device, environ))


def gpu_name(device: str, environ: Mapping[str, str]) -> str:
    """What all processes of this machine call the device: it has other indices for those that see other GPUs."""
    if device == "cpu":
        return device
    index = int(device.partition(":")[2])
    names = [name for name in visible_devices(environ) or () if name]
    return (names[index] if index < len(names) else str(index)).replace("/", "_")


@contextmanager
def machine_lock(name: str, patience: float = 180.0) -> Iterator[None]:
    """Held by one of this user's processes on this machine at a time. Raises MachineError if it cannot be made.

    For what goes better one after another, and goes in any case: after `patience` seconds it is not waited for any
    longer. Its holder may be stopped, which is not dead.
    """
    with lock_folder() as folder:
        lock = _LockFile(folder / f"{name}.lock")
    end = time.monotonic() + patience
    while not lock.try_lock(fcntl.LOCK_EX):
        if time.monotonic() > end:
            log.warning("%s has been held by another process for %g s: going on beside it", lock.path, patience)
            break
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.unlock()


@contextmanager
def lock_folder() -> Iterator[Path]:
    """Where lock files are made. Raises MachineError, also for what goes wrong in the block."""
    # By machine too: on some clusters the folder for temporary files is one that all nodes share.
    folder = Path(tempfile.gettempdir(), f"wan_ddp-{os.getuid()}-{boot_id()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise MachineError(f"{folder} belongs to somebody else; remove it, or set TMPDIR to a folder of your own")
        yield folder
    except OSError as error:
        raise MachineError(
            f"{folder}: cannot be written: {error.strerror}; set TMPDIR to a folder that can be"
        ) from error


class _LockFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def lock(self, how: int) -> None:
        fcntl.flock(self._descriptor, how)

    def try_lock(self, how: int) -> bool:
        try:
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def touch(self) -> None:
        os.utime(self._descriptor)

    def seconds_since_touched(self) -> float:
        return time.time() - os.fstat(self._descriptor).st_mtime
