"""Draws the reference set into a folder: what is there and whole is kept, the rest appears file by file, each whole."""

import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wan_ddp.errors import MachineError
from wan_ddp.references import catalogue, mp4
from wan_ddp.references.clip import Clip, Format
from wan_ddp.references.draw import frames

HIDDEN_PREFIX = ".making-"
LEFTOVER_SECONDS = 3600  # a clip takes seconds, so a folder untouched for an hour belongs to no one
LINE_EVERY = 10  # clips between two progress lines where there is no terminal for a bar

_stop: Event | None = None  # set in the workers: the parent wants them to end


@dataclass(frozen=True, slots=True)
class Task:
    """One clip to draw. It names the clip because paths and moves, being functions, cannot go to another process."""

    clip: str
    size: Format
    output: Path
    hidden: Path  # a folder in `output` for files under way
    force: bool


def make(clips: Sequence[Clip], output: Path, size: Format, num_processes: int, *, force: bool = False) -> int:
    """Draw the clips that are not there yet, all of them with `force`; return how many were drawn.

    Raises MachineError when the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        _remove_old_leftovers(output)
        # removed however this ends, with whatever was under way
        with tempfile.TemporaryDirectory(prefix=HIDDEN_PREFIX, dir=output, ignore_cleanup_errors=True) as hidden:
            tasks = [Task(clip.name, size, output, Path(hidden), force) for clip in clips]
            done = map(make_one, tasks) if num_processes == 1 else _in_processes(tasks, num_processes)
            return sum(_with_progress(done, len(tasks)))
    except OSError as error:
        raise MachineError(f"cannot write references to {output}: {error.strerror or error}") from error


def _remove_old_leftovers(output: Path) -> None:
    """Remove what a killed run left. A living one, here or on another host, touches its folder with every clip."""
    for hidden in output.glob(f"{HIDDEN_PREFIX}*"):
        if time.time() - hidden.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(hidden, ignore_errors=True)


def make_one(task: Task) -> bool:
    """Draw one clip unless it is there and whole; whether it was drawn."""
    clip = catalogue.find(task.clip)
    path = task.output / clip.path(task.size)
    if not task.force and mp4.is_whole(path, task.size):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = task.hidden / f"{path.name}.part"
    try:
        mp4.write(unfinished, _until_stopped(frames(clip, task.size)), task.size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise MachineError(f"cannot write {path}: {error} ({free / 1e6:.1f} MB are free there)") from error
    if not mp4.is_whole(unfinished, task.size):
        raise MachineError(f"cannot write {path}: what ffmpeg wrote is not whole")
    unfinished.replace(path)
    return True


def _until_stopped(pictures: Iterable[Any]) -> Iterator[Any]:
    for picture in pictures:
        if _stop is not None and _stop.is_set():
            raise CancelledError
        yield picture


def _in_processes(tasks: Sequence[Task], num_processes: int) -> Iterator[bool]:
    """Draw in several processes. Whatever interrupts this one, the others end within a frame."""
    context = multiprocessing.get_context("spawn")  # fork is not safe where a library has started threads
    stop = context.Event()
    with ProcessPoolExecutor(num_processes, context, initializer=_begin_worker, initargs=(stop,)) as pool:
        try:
            with _workers_spared():
                futures = [pool.submit(make_one, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _workers_spared() -> Iterator[None]:
    """Start processes that a Ctrl-C, which reaches the whole group, does not touch: this one decides.

    They inherit the blocked signal, and so are spared from their very first instruction on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin_worker(stop: Event) -> None:
    global _stop
    _stop = stop


def _with_progress(done: Iterable[bool], total: int) -> Iterator[bool]:
    """Pass results on, showing a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(done, total=total, desc="references", unit="clip")
        return
    for count, drawn in enumerate(done, start=1):
        if count % LINE_EVERY == 0 or count == total:
            sys.stderr.write(f"references: {count} of {total} clips\n")
        yield drawn
