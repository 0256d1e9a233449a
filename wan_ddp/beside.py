"""Half of a long look done by a copy of this process, on a second core, while this one does the other half."""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TypeVar, cast

from wan_ddp.entry import end_quietly
from wan_ddp.process import die_with_parent
from wan_ddp.signals import blocked

T = TypeVar("T")

# Forked: what is looked at is a million objects, which a fresh process would have to be sent.
_FORK = multiprocessing.get_context("fork")


@contextmanager
def beside(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin `work` in a copy of this process; what is given to the block waits for its result and tells it.

    The work must change nothing but its result, take no lock that another thread may hold and use no GPU. Whatever goes
    wrong with the copy, the work is then done here: so its result is the same, and so is what it raises.
    """
    receiving, sending = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_do, args=(work, sending))
    with receiving:
        with sending, blocked(), suppress(OSError):  # no more processes allowed, or no memory for one
            process.start()
        try:
            yield lambda: _result(receiving, work)
        finally:
            if process.pid:
                process.kill()
                process.join()


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _do(work: Callable[[], object], sending: Connection) -> None:
    end_quietly()
    die_with_parent(signal.SIGKILL)
    with suppress(Exception):  # it is raised where the work is done again
        sending.send(work())


def _result(receiving: Connection, work: Callable[[], T]) -> T:
    try:
        return cast(T, receiving.recv())
    except (EOFError, OSError, pickle.UnpicklingError):
        return work()
