"""SIGTERM, SIGHUP and SIGINT as an exception in the main thread, held back while something is to be finished."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from wan_ddp.errors import Stopped

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def blocked() -> Iterator[Callable[[], None]]:
    """Have the kernel hold back the signals to stop until the block is done, and give what ends that in a child.

    For what starts a process: Python calls hooks around a fork, and what a handler raises in one of them is lost. The
    child inherits the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield unblock
    finally:
        unblock()


class Signals:
    """Raises Stopped where the main thread stands when SIGTERM or SIGINT comes; a second SIGINT ends the process.

    SIGHUP, of a terminal that closes, counts as SIGTERM.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._shielded = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            signal.signal(signal.SIGHUP, self._on_signal)

    @property
    def received(self) -> int | None:
        """The signal that has come, if one has."""
        return self._received

    def check(self) -> None:
        """Raise Stopped if a signal has come: for loops, should a library have swallowed the first raise."""
        if self._received is not None:
            raise Stopped(self._received)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Hold signals back until the block is done."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        self.check()

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """Inside a shield, let signals act at once for the block."""
        self._shielded = False
        try:
            self.check()
            yield
        finally:
            self._shielded = True

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        is_first = self._received is None
        if not is_first and number == signal.SIGINT:
            os._exit(128 + number)
        self._received = signal.SIGTERM if number == signal.SIGHUP else number
        # Schedulers and parents tell one process several times over: what it does to end is not interrupted.
        if is_first and not self._shielded:
            raise Stopped(self._received)
