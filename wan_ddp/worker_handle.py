"""A running worker, as its supervisor sees it: ordered about through a pipe, waited for, stopped, killed."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from wan_ddp.errors import EXIT_WEIGHTS_LOST, FailureKind, WanDdpError
from wan_ddp.worker import Made, Message, Order

_KILL_SECONDS = 10.0  # between SIGKILL and a process's end lies what it is at in the kernel
_MEANWHILE_SECONDS = 0.5
# What a worker ends with that is told to, by no fault of its own.
_STOPPED = {
    128 + signal.SIGTERM: "a signal stopped the worker",
    128 + signal.SIGINT: "a signal stopped the worker",
    EXIT_WEIGHTS_LOST: "the process that holds the worker's weights died",
}


class WorkerLostError(WanDdpError):
    """The worker died or fell silent; `kind` says which."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WorkerStoppedError(WorkerLostError):
    """The worker was told to end, by a signal or because its weights were gone: that is no fault of its task."""


class WorkerHandle:
    """A worker in a process group of its own, with everything that it starts."""

    def __init__(self, start: Callable[[Connection], BaseProcess]) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = start(theirs)
        theirs.close()
        assert self._process.pid is not None, "a started process has a pid"
        self.pid = self._process.pid

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def order(self, order: Order) -> None:
        with suppress(BrokenPipeError):  # its death shows at the next message
            self._connection.send(order)

    def receive(self, timeout: float, meanwhile: Callable[[], None] = lambda: None) -> Message:
        """The worker's next message. Raises WorkerLostError if it dies, or says nothing for `timeout` seconds.

        Raises WorkerStoppedError if it ended because it was told to. `meanwhile` is called at once, and again and again
        while nothing comes.
        """
        self._await(timeout, meanwhile)
        try:
            message: Message = self._connection.recv()
            if isinstance(message, Made):
                self._await(timeout, meanwhile)
                message = replace(message, frames=message.frames.receive(self._connection))
        except (EOFError, OSError):  # closed, or broken off in the middle of a message
            self._process.join(timeout=10)
            code = self._process.exitcode
            if code in _STOPPED:
                raise WorkerStoppedError("worker_died", _STOPPED[code]) from None
            raise WorkerLostError("worker_died", _describe_exit(code)) from None
        return message

    def _await(self, timeout: float, meanwhile: Callable[[], None]) -> None:
        end = time.monotonic() + timeout
        meanwhile()
        while not self._connection.poll(min(_MEANWHILE_SECONDS, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                raise WorkerLostError("hang", f"no step for {timeout:g} s (--step-timeout)")
            meanwhile()

    def dismiss(self, grace: float) -> None:
        """Let it end, now that there is nothing more to do."""
        self._connection.close()
        self._process.join(grace)
        self.kill()

    def stop(self, grace: float) -> list[Message]:
        """Ask it to end, and make it end after `grace` seconds; returns what it still had to say."""
        self._process.terminate()
        end = time.monotonic() + grace
        messages = []
        with suppress(WorkerLostError):
            while True:
                messages.append(self.receive(max(0.0, end - time.monotonic())))
        self.kill()
        return messages

    def kill(self) -> bool:
        """End it, and everything that it started, now. False if it lives on, hanging in the kernel."""
        self._process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join(_KILL_SECONDS)
        self._connection.close()
        return not self._process.is_alive()


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "the worker closed its pipe and lives on"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": the kernel's out-of-memory killer does that, see dmesg" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"
    return f"the worker ended with exit code {code}"
