"""Keeps a rank's worker alive: the worker holds the GPU and may die, this process holds the list of tasks and does not.

A worker that crashes, is killed or hangs is charged to the one task in its hands, and another worker goes on.
"""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from wan_ddp.errors import FailureKind, WanDdpError
from wan_ddp.heartbeat import Heartbeat
from wan_ddp.job import fingerprint
from wan_ddp.outputs import Outputs
from wan_ddp.survey import Task
from wan_ddp.verdict import Failure
from wan_ddp.worker import Failed, Loaded, Message, Order, Published, Stepped

log = logging.getLogger(__name__)

# What another attempt may mend: the process is new. Bad input stays bad, and a full disk stays full for now.
_TRY_AGAIN: frozenset[FailureKind] = frozenset({"worker_died", "hang", "gpu"})

_MAX_STARTS = 3
_LOAD_TIMEOUT = 3600.0  # seconds: 40 GB of weights from a slow network disk

StartWorker = Callable[[Connection], BaseProcess]


class WorkerLostError(WanDdpError):
    """The worker died or fell silent; `kind` says which."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WorkerProcess:
    """A running worker, in a process group of its own with everything that it starts."""

    def __init__(self, start: StartWorker) -> None:
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

    def receive(self, timeout: float) -> Message:
        """The worker's next message. Raises WorkerLostError if it dies, or says nothing for `timeout` seconds."""
        if not self._connection.poll(timeout):
            raise WorkerLostError("hang", f"no step for {timeout:g} s (--step-timeout)")
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError):  # closed, or broken off in the middle of a message
            self._process.join(timeout=10)
            raise WorkerLostError("worker_died", _describe_exit(self._process.exitcode)) from None
        return message

    def dismiss(self, grace: float) -> None:
        """Let it end, now that there is nothing more to do."""
        self._connection.close()
        self._process.join(grace)
        self.kill()

    def stop(self, grace: float) -> None:
        """Ask it to end, and make it end after `grace` seconds; nothing that it started is left."""
        self._process.terminate()
        self._process.join(grace)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()
        self._connection.close()


@dataclass
class Supervisor:
    """Has a rank's tasks done by its worker, and starts another worker when one is lost."""

    start_worker: StartWorker
    outputs: Outputs
    heart: Heartbeat
    run_id: str
    max_attempts: int
    step_timeout: float
    grace: float
    _worker: WorkerProcess | None = field(default=None, init=False)

    def work(self, tasks: Sequence[Task]) -> None:
        """Have every task done or given up. Raises WorkerLostError if workers cannot even be started."""
        try:
            for index, task in enumerate(tasks):
                upcoming = tasks[index + 1] if index + 1 < len(tasks) else None
                self._finish(Order(task, upcoming))
            self.heart.update(phase="finished", job=None)
            if self._worker is not None:
                self._worker.dismiss(self.grace)
                self._worker = None
        finally:
            if self._worker is not None:
                self._worker.stop(self.grace)

    def _finish(self, order: Order) -> None:
        """Attempt a task until it is published or given up."""
        for attempt in range(1, self.max_attempts + 1):
            self._load()
            result = self._attempt(order)
            if isinstance(result, Published):
                self.heart.update(num_done=self.heart.state.num_done + 1)
                return
            log.error("%s: attempt %d failed (%s): %s", order.task.job.id, attempt, result.kind, result.error)
            if result.kind not in _TRY_AGAIN or attempt == self.max_attempts:
                self._give_up(order.task, result, attempt)
                return

    def _attempt(self, order: Order) -> Published | Failed:
        """One attempt at a task. A worker that does not survive it is gone afterwards."""
        assert self._worker is not None, "loaded before"
        job = order.task.job
        self.heart.update(phase="working", job=job.id, step=0, num_steps=job.num_inference_steps)
        self._worker.order(order)
        try:
            while isinstance(message := self._worker.receive(self.step_timeout), Stepped):
                self.heart.update(step=message.step, num_steps=message.num_steps)
        except WorkerLostError as lost:
            self._drop_worker()
            return Failed(lost.kind, str(lost))
        if isinstance(message, Failed) and message.kind == "gpu":
            self._drop_worker()
        assert isinstance(message, Published | Failed), "an order ends in one of these"
        return message

    def _load(self) -> None:
        """Make sure of a worker that has its model. Raises WorkerLostError after some that died before they had it."""
        for start in range(1, _MAX_STARTS + 1):
            if self._worker is not None and self._worker.is_alive():
                return
            self._drop_worker()
            self.heart.update(phase="loading", job=None)
            self._worker = WorkerProcess(self.start_worker)
            try:
                message = self._worker.receive(_LOAD_TIMEOUT)
                if isinstance(message, Failed):
                    raise WorkerLostError(message.kind, message.error)
                assert isinstance(message, Loaded), "a worker starts with one of these"
            except WorkerLostError as lost:
                log.error("start %d of the worker failed (%s): %s", start, lost.kind, lost)
                self._drop_worker()
                if start == _MAX_STARTS:
                    raise

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _give_up(self, task: Task, result: Failed, attempts: int) -> None:
        failure = Failure(fingerprint(task.inputs), result.error, result.kind, attempts, self.run_id)
        self.outputs.record_failure(task.job, failure)
        self.heart.update(num_failed=self.heart.state.num_failed + 1)


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "the worker closed its pipe and lives on"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": the kernel's out-of-memory killer does that, see dmesg" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"
    return f"the worker ended with exit code {code}"
