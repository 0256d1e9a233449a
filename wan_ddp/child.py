"""A Python process for what may crash, hang or swell: it imports what its parent would, and ends with it.

It is started with subprocess, not multiprocessing: no second import of the main program, no process beside it, no wait
for it at exit. What it answers should be bytes, not pickles: whoever reads hostile files in it does not trust it.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from wan_ddp.process import die_with_parent
from wan_ddp.signals import STOPPING, blocked


class Child:
    """Runs `serve`, a module's function that begins with `attach`. It ends with the thread that made it."""

    def __init__(self, serve: Callable[[int], None]) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        # It imports from where the parent does, and not from the working directory, which -c puts first. A numeric
        # library's threads would each reserve address space, which is limited.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        code = f"from {serve.__module__} import {serve.__name__}; {serve.__name__}({theirs.fileno()})"
        # Ctrl-C and a scheduler's SIGTERM reach every process: this one is spared from its first instruction on.
        with blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | quiet,
            )
        theirs.close()
        self.pid = self._process.pid

    def kill(self) -> None:
        """From any thread: whoever waits for its answer gets an EOFError."""
        self._process.kill()

    def end(self) -> str:
        """Kill it if it has not ended, and say how it did."""
        self.connection.close()
        self._process.kill()
        status = self._process.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def attach(descriptor: int) -> Connection:
    """In the child: its end of the connection. The parent decides when this process ends, and no signal to all does."""
    die_with_parent()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    return Connection(descriptor)


def limit_memory(num_bytes: int) -> None:
    """Let this process, and what it starts, have no more address space than this each."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard), hard)
    )
