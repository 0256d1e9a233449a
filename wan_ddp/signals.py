"""SIGTERM and SIGINT as an exception in the main thread, held back while a video is being published."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wan_ddp.errors import Stopped


class Signals:
    """Raises Stopped where the main thread stands when SIGTERM or SIGINT comes; a second one ends the process."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._shielded = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

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

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self._received = number
        if not self._shielded:
            raise Stopped(number)
