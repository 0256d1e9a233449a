"""One log file a rank, which holds whatever the process says, a crash included."""

import faulthandler
import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wan_ddp.errors import MachineError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def open_log(path: Path) -> TextIO:
    """Send logging, prints, warnings and native output of this process to `path`; returns the terminal it had.

    Appends: a restarted rank goes on in the same file. Raises MachineError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_NONBLOCK: with a pipe of that name in its place, opening it would wait for a reader.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o666)
        os.set_blocking(descriptor, True)
    except OSError as error:
        raise MachineError(
            f"{path}: the log cannot be written: {error.strerror}; give --output another folder"
        ) from error
    buffer = io.BufferedWriter(_Terminal(os.dup(2), "w"))
    terminal = io.TextIOWrapper(buffer, encoding="utf-8", errors="replace", line_buffering=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    start_logging()
    return terminal


class _Terminal(io.FileIO):
    """What is said to a terminal that was closed is lost; that must not change how the process ends."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def start_logging() -> None:
    """Log to standard error, wherever that leads by now."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr, force=True)
    logging.captureWarnings(True)
    faulthandler.enable()


def tail(path: Path, start: int, *, max_bytes: int = 4096) -> str:
    """The end of what a log has said since it had `start` bytes, in whole lines; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            first = max(start, size - max_bytes)
            file.seek(first)
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text if first == start else text.partition("\n")[2]
