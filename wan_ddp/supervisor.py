"""Keeps a rank's worker alive: the worker holds the GPU and may die, this process holds the claims and does not.

A worker that crashes, is killed or hangs is charged to the one task in its hands, and another worker goes on. What it
has made is in its hands no longer: that is published from here, while it makes the next video.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from wan_ddp.attempts import End, decide, num_charged
from wan_ddp.backlog import POLL_SECONDS, Backlog, Taken
from wan_ddp.claims import Claim
from wan_ddp.errors import FailureKind, WanDdpError
from wan_ddp.gpu_share import GpuShare
from wan_ddp.heartbeat import Heartbeat
from wan_ddp.job import Job, fingerprint
from wan_ddp.logs import tail
from wan_ddp.outputs import Outputs
from wan_ddp.publisher import Published, Publisher
from wan_ddp.signals import Signals
from wan_ddp.survey import Task
from wan_ddp.verdict import Failure
from wan_ddp.worker import Doing, Failed, Loaded, Made, Message, Order, Superseded
from wan_ddp.worker_handle import WorkerHandle, WorkerLostError, WorkerStoppedError

log = logging.getLogger(__name__)

# What leaves nothing to trust in the process, or no process at all.
_WORKER_IS_LOST: frozenset[FailureKind] = frozenset({"worker_died", "hang", "gpu"})
# One job may kill every worker that it meets; so many different ones in a row are not all to blame.
_MAX_JOBS_LOST_IN_A_ROW = 3
_MAX_STARTS = 3
# Somebody who ends a worker once means the machine; who does it again and again, such as a daemon that guards the
# memory, means the job.
_MAX_STOPS = 3
_LOAD_TIMEOUT = 3600.0  # seconds: 40 GB of weights from a slow network disk
# A worker encodes the prompts of all that it may come to do, once: 0.03 s each on an H100, and 1 MB of memory.
_MAX_PROMPTS = 1000
# One being published and one waiting for that, and each keeps its frames in memory until it is there.
_MAX_IN_FLIGHT = 2
_PUBLISH_TIMEOUT = 3600.0  # seconds: the largest video that a job may ask for is encoded and decoded in minutes
# Noise, the worst that H.264 can meet, takes 0.8 bytes a pixel at our quality.
_BYTES_PER_PIXEL = 1.0
_MIN_ROOM_BYTES = 128 * 1024
# A rank that waits for others spends at most a tenth of the time looking at what they do, or looks once a minute.
_POLL_SPACING, _MAX_POLL_SECONDS = 9.0, 60.0
_IDLE: Mapping[str, Any] = {"job": None, "part": "", "attempt": 0, "taken_over": False}


def _texts(job: Job) -> tuple[str, str, bool]:
    """What the job needs encoded: guidance alone uses the negative prompt."""
    return job.prompt, job.negative_prompt, job.cfg_scale == 1.0


class StartWorker(Protocol):
    """Starts a worker that will be asked for some of `jobs`; with `offload` its weights stay in the CPU's memory."""

    def __call__(self, connection: Connection, *, jobs: Sequence[Job], offload: bool) -> BaseProcess: ...


class Weights(Protocol):
    """The weights that a GPU's workers have in common: there from `hold` to `let_go`."""

    def hold(self) -> None:
        """Raises MachineError."""

    def let_go(self) -> None: ...


class RankEndedError(WanDdpError):
    """This rank cannot go on; the others can, and take its tasks over."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, and how often. Seconds, but for `max_attempts`."""

    max_attempts: int = 3
    step_timeout: float = 900.0
    grace: float = 25.0
    io_patience: float = 3600.0
    silence: float = 120.0
    io_pause: float = 20.0
    """Between two attempts at a task that failed with the disk, or with what it reads from."""


@dataclass
class Supervisor:
    """Has the tasks of a backlog done by a worker, and starts another worker when one is lost."""

    start_worker: StartWorker
    backlog: Backlog
    outputs: Outputs
    heart: Heartbeat
    run_id: str
    signals: Signals
    patience: Patience
    gpu: GpuShare | None
    weights: Weights | None = None
    """None where each worker has its own."""
    prepare_worker: Callable[[], None] | None = None
    """Has a successor ready for the worker, which is at work now; None where that would cost more than it saves."""
    log_file: Path | None = None
    _worker: WorkerHandle | None = field(default=None, init=False)
    _prompts: frozenset[str] = field(default=frozenset(), init=False)
    _offloads: bool = field(default=False, init=False)
    _in_hands: Taken | None = field(default=None, init=False)
    """What the worker is at. Its claim is held, and so are those of the videos that the publisher has."""
    _publisher: Publisher = field(init=False)
    _lost_in_a_row: set[str] = field(default_factory=set, init=False)
    _ordered: float = field(default=0.0, init=False)
    """When the last order was given, by the monotonic clock."""
    _num_stops: Counter[str] = field(default_factory=Counter, init=False)
    _unkillable: int | None = field(default=None, init=False)
    """The process id of a worker that not even SIGKILL ends."""
    _unwritten: list[tuple[Claim, End]] = field(default_factory=list, init=False)
    """How claims ended, while the disk does not take it: until then they are held, by this very rank."""

    def __post_init__(self) -> None:
        self._publisher = Publisher(self.outputs, io_pause=self.patience.io_pause)

    def work(self) -> None:
        """Have every task of the backlog done or given up, by this rank or another.

        Raises RankEndedError when this rank cannot go on, and Stopped; what is in hand is released, uncharged, and what
        is made is published if the grace suffices.
        """
        try:
            while self._take():
                self._attempt()
            self.heart.update(phase="finished", **_IDLE)
            self._dismiss_worker()
        finally:
            self._stop()

    def _take(self) -> bool:
        """Get the next task into this rank's hands, waiting for one if need be; False when there will be none."""
        failing_since: float | None = None
        while True:
            self._see_to_published()
            if first := next(self._ahead(), None):
                self._wait_for_disk(first.job)
            asked = time.monotonic()
            try:
                with self.signals.shield():  # a claim that nobody holds would be charged
                    self._write_ends()
                    self._in_hands = self.backlog.take()
                if self._in_hands:
                    return True
                if self._publisher.in_flight:  # one that fails is a task again
                    self._await_published()
                    continue
                if self.backlog.is_empty():
                    return False
                is_stuck = self.backlog.is_stuck(self.patience.silence)
                look_seconds = time.monotonic() - asked
            except OSError as error:
                failing_since = failing_since or time.monotonic()
                self._wait_for_claims(error, failing_since)
                continue
            failing_since = None
            # Other ranks are at the rest. Theirs is the GPU for now, and their tasks ours should they die.
            self._dismiss_worker()
            self.heart.update(phase="waiting", **_IDLE)
            if is_stuck:
                raise RankEndedError(
                    "all that is left is in the hands of ranks that show no sign of life for "
                    f"{self.patience.silence:g} s (--barrier-timeout), but are not dead: stopped, or their disk hangs"
                )
            # Of a million claims a look takes seconds, and a thousand ranks may be waiting.
            time.sleep(min(max(POLL_SECONDS, _POLL_SPACING * look_seconds), _MAX_POLL_SECONDS))

    def _attempt(self) -> None:
        """One attempt at the task in hand, and what follows from it."""
        assert self._in_hands is not None, "taken before"
        taken = self._in_hands
        task, claim = taken.task, taken.claim
        log_start = self._log_size()
        result = self._load_and_order(taken)
        is_disk = isinstance(result, Failed) and self._is_disks_fault(task.job, result)
        if isinstance(result, Failed) and result.kind == "io" and not is_disk:
            # The task stays in hand: other ranks would try it at once, and this one the next with the same end.
            self.heart.update(phase="waiting for the disk", **_IDLE)
            time.sleep(self.patience.io_pause)
        with self.signals.shield():
            self._in_hands = None
            if isinstance(result, Made):
                self._hand_over(taken, result, log_start)
            elif isinstance(result, Failed):
                self._failed(taken, result, log_start, is_disk=is_disk)
            else:
                log.warning("%s: its worker was stopped, or another process has taken it over", task.job.id)
                self._end_claim(claim, "released")
        while len(self._publisher.in_flight) >= _MAX_IN_FLIGHT:
            self._await_published()
        if len(self._lost_in_a_row) >= _MAX_JOBS_LOST_IN_A_ROW:
            raise RankEndedError(
                f"the GPU is given up: workers were lost on {len(self._lost_in_a_row)} different jobs in a row "
                f"({', '.join(sorted(self._lost_in_a_row))}); other ranks take its jobs. nvidia-smi -q and dmesg may "
                "say what is wrong with it"
            )
        self._refuse_unkillable()

    def _load_and_order(self, taken: Taken) -> Made | Superseded | Failed | None:
        """As `_order`, with the worker that the task needs. Raises RankEndedError if none starts."""
        alone = taken.claim.decision == "try_alone"
        try:
            self._load(taken.task.job, alone=alone)
        except WorkerLostError as lost:
            if alone and lost.kind != "gpu":  # plain workers do start: this task alone asks for more than there is
                return Failed("out_of_memory", f"no worker starts alone on the GPU ({lost.kind}): {lost}")
            raise RankEndedError(f"no worker starts ({lost.kind}): {lost}") from lost
        return self._order(taken)

    def _order(self, taken: Taken) -> Made | Superseded | Failed | None:
        """Have the worker attempt a task. A worker that does not survive it is gone afterwards.

        None if somebody stopped the worker alone, which is no fault of the task.
        """
        assert self._worker is not None, "loaded before"
        job = taken.task.job
        self.heart.update(
            phase="working",
            part="",
            job=job.id,
            attempt=num_charged(taken.claim.history) + 1,
            taken_over=taken.taken_over,
            step=0,
            num_steps=job.num_inference_steps,
        )
        upcoming = next((task for task in self._ahead() if task is not taken.task), None)
        self._ordered = time.monotonic()
        self._worker.order(Order(taken.task, upcoming, taken.claim))
        try:
            while isinstance(message := self._receive(self.patience.step_timeout), Doing):
                self.heart.update(part=message.part, step=message.step, num_steps=message.num_steps)
                if self.prepare_worker is not None and message.part == "denoise" and message.step:
                    self.prepare_worker()
        except WorkerStoppedError as stopped:
            self._drop_worker()
            self._num_stops[job.id] += 1
            if self._num_stops[job.id] < _MAX_STOPS:
                return None
            return Failed(stopped.kind, f"{stopped}, {self._num_stops[job.id]} times at this job, and nothing else")
        except WorkerLostError as lost:
            self._drop_worker()
            return Failed(lost.kind, str(lost))
        assert isinstance(message, Made | Superseded | Failed), "an order ends in one of these"
        if isinstance(message, Failed) and message.kind in _WORKER_IS_LOST:
            self._drop_worker()
        return message

    def _receive(self, timeout: float) -> Message:
        """The worker's next message; what is published meanwhile is seen to."""
        assert self._worker is not None, "it is waited for"
        return self._worker.receive(timeout, self._see_to_published)

    def _ahead(self) -> Iterator[Task]:
        """What may be asked for, less the videos that are made."""
        made = {id(each.taken.task) for each in self._publisher.in_flight}
        return (task for task in self.backlog.ahead() if id(task) not in made)

    def _hand_over(self, taken: Taken, made: Made, log_start: int) -> None:
        """Have a video published that its worker is done with."""
        self._publisher.hand_over(taken, made, log_start)
        self._lost_in_a_row.clear()
        if not taken.claim.history:  # else it may have gone on in the middle, which says nothing of speed
            state = self.heart.state
            seconds = state.made_seconds + time.monotonic() - self._ordered
            self.heart.update(made_cost=state.made_cost + taken.task.job.cost, made_seconds=round(seconds, 3))

    def _await_published(self) -> None:
        """Wait until one of the videos that are made is published, or is not. Raises RankEndedError if that hangs."""
        jobs = [publication.taken.task.job for publication in self._publisher.in_flight]
        if self.heart.state.job not in [job.id for job in jobs]:  # what was tried since has failed
            job = jobs[0]
            steps = {"step": job.num_inference_steps, "num_steps": job.num_inference_steps}
            self.heart.update(**{**_IDLE, "phase": "working", "job": job.id, "part": "save", **steps})
        if not self._publisher.wait(_PUBLISH_TIMEOUT):
            raise RankEndedError(
                f"{jobs[0].id} could not be written within {_PUBLISH_TIMEOUT:g} s: the disk of {self.outputs.root} "
                "hangs. Other ranks take this one's jobs"
            )
        self._see_to_published()

    def _see_to_published(self) -> None:
        with self.signals.shield():
            self._settle_published()

    def _settle_published(self) -> None:
        """See to what became of the videos that were handed over."""
        while publication := self._publisher.pop_finished():
            taken, outcome = publication.taken, publication.outcome.result()
            if isinstance(outcome, Published):
                self._published(taken)
            elif isinstance(outcome, Failed):
                is_disk = self._is_disks_fault(taken.task.job, outcome)
                self._failed(taken, outcome, publication.log_start, is_disk=is_disk)
            else:
                self._end_claim(taken.claim, "released")

    def _published(self, taken: Taken) -> None:
        self.backlog.finish(taken.task)
        self._end_claim(taken.claim, "done")
        self.heart.update(num_done=self.heart.state.num_done + 1, published=taken.task.job.id)

    def _failed(self, taken: Taken, result: Failed, log_start: int, *, is_disk: bool) -> None:
        """Charge the failure to the task, unless the disk is at fault, and give it up or leave it for later."""
        task, claim = taken.task, taken.claim
        if result.kind in _WORKER_IS_LOST:
            self._lost_in_a_row.add(task.job.id)
            self.heart.update(num_lost=self.heart.state.num_lost + 1)
        end: End = "released" if is_disk else result.kind
        self._end_claim(claim, end)
        ends = (*claim.history, end)
        log.error("%s: failed (%s), attempt %d: %s", task.job.id, result.kind, num_charged(ends), result.error)
        if decide(ends, self.patience.max_attempts) == "give_up":
            failure = Failure(
                fingerprint(task.inputs),
                result.error,
                result.kind,
                num_charged(ends),
                self.run_id,
                claim.generation,
                tail(self.log_file, log_start) if self.log_file and result.kind != "bad_input" else "",
            )
            self.outputs.record_failure(task.job, failure)
            self.backlog.finish(task)
            self.heart.update(num_failed=self.heart.state.num_failed + 1)
        else:
            self.backlog.postpone(task, self.patience.io_pause if is_disk else 0.0)

    def _end_claim(self, claim: Claim, how: End) -> None:
        self._unwritten.append((claim, how))
        try:
            self._write_ends()
        except OSError as error:  # tried again before the next task is taken
            log.error("the end of a claim could not be written down: %s", error)

    def _write_ends(self) -> None:
        while self._unwritten:
            claim, how = self._unwritten[0]
            claim.end(how)
            del self._unwritten[0]

    def _load(self, job: Job, *, alone: bool) -> None:
        """Make sure of a worker that has its model and knows the job's prompt.

        Raises WorkerLostError after some workers that died before they had it.
        """
        wanted_by_others = self.gpu is not None and not alone and self.gpu.is_wanted_whole()
        if self._offloads != alone or job.prompt not in self._prompts or wanted_by_others:
            self._dismiss_worker()
        for start in range(1, _MAX_STARTS + 1):
            if self._worker is not None and self._worker.is_alive():
                return
            self._drop_worker()
            self._refuse_unkillable()
            self.heart.update(phase="loading", **_IDLE)
            self._start(job, alone)
            assert self._worker is not None, "started just now"
            try:
                message = self._receive(_LOAD_TIMEOUT)
                if isinstance(message, Failed):
                    raise WorkerLostError(message.kind, message.error)
                assert isinstance(message, Loaded), "a worker starts with one of these"
                self.heart.update(gpu_name=message.gpu_name)
            except WorkerLostError as lost:
                log.error("start %d of the worker failed (%s): %s", start, lost.kind, lost)
                self._drop_worker()
                self.heart.update(num_lost=self.heart.state.num_lost + 1)
                if start == _MAX_STARTS:
                    raise

    def _start(self, job: Job, alone: bool) -> None:
        if self.weights is not None and alone:
            self.weights.let_go()
        if self.gpu is not None:
            self.gpu.take_whole() if alone else self.gpu.join()
        if self.weights is not None and not alone:
            self.weights.hold()
        prompts = {job.prompt}
        jobs = {_texts(job): job}  # one for all that ask for the same texts
        for task in self._ahead():
            if task.job.prompt in prompts or len(prompts) < _MAX_PROMPTS:
                prompts.add(task.job.prompt)
                jobs.setdefault(_texts(task.job), task.job)
        self._offloads = alone
        self._prompts = frozenset(prompts)
        chosen = list(jobs.values())
        self._worker = WorkerHandle(lambda connection: self.start_worker(connection, jobs=chosen, offload=alone))

    def _dismiss_worker(self) -> None:
        """Let the worker end in peace, and the GPU to others."""
        if self._worker is not None:
            self._worker.dismiss(self.patience.grace)
        self._drop_worker()
        if self.weights is not None:
            self.weights.let_go()

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and not worker.kill():
            self._unkillable = worker.pid
        if self.gpu is not None:
            self.gpu.leave()

    def _refuse_unkillable(self) -> None:
        """Raises RankEndedError: the worker's memory on the GPU is not free, and so the next one's is not there."""
        if self._unkillable is not None:
            raise RankEndedError(
                f"worker {self._unkillable} does not end, not even by SIGKILL: it hangs in the kernel, where a GPU's "
                "driver or a file server does not answer; dmesg may say more. Other ranks take this one's jobs"
            )

    def _stop(self) -> None:
        """End the worker, have published what it still made, and let go, uncharged, of what it did not or is not there.

        The claims are held until then: else another rank would make the worker's last step, or the video, as well.
        """
        with self.signals.shield():
            end = time.monotonic() + self.patience.grace
            taken, self._in_hands = self._in_hands, None
            # A second Ctrl-C cuts off what follows.
            for each in [taken, *(publication.taken for publication in self._publisher.in_flight)]:
                if each is not None:
                    self._announce_stop(each.claim)
            messages = self._worker.stop(self.patience.grace) if self._worker is not None else []
            self._drop_worker()
            if self.weights is not None:
                self.weights.let_go()
            if taken is not None:
                made = next((message for message in messages if isinstance(message, Made)), None)
                if made is not None:
                    self._hand_over(taken, made, self._log_size())
                else:
                    self._end_claim(taken.claim, "released")
            self._publisher.close()
            while self._publisher.in_flight and self._publisher.wait(max(0.0, end - time.monotonic())):
                self._settle_published()
            for publication in self._publisher.abandon():
                log.warning(
                    "%s: made, and not published in time: the next run does that", publication.taken.task.job.id
                )
                self._end_claim(publication.taken.claim, "released")

    def _announce_stop(self, claim: Claim) -> None:
        try:
            claim.stopping()
        except OSError as error:
            log.error("that a claim is about to be released could not be written down: %s", error)

    def _log_size(self) -> int:
        try:
            return self.log_file.stat().st_size if self.log_file else 0
        except OSError:  # somebody removed it
            return 0

    def _is_disks_fault(self, job: Job, failed: Failed) -> bool:
        return failed.kind == "io" and (failed.disk_full or not self._has_room(job))

    def _wait_for_claims(self, error: OSError, since: float) -> None:
        """Pause after an error of the disk that the claims lie on. Raises RankEndedError when patience ends."""
        log.error("the claims cannot be read or written: %s", error)
        if time.monotonic() - since > self.patience.io_patience:
            raise RankEndedError(
                f"{self.outputs.claims} could not be used for {self.patience.io_patience:g} s (--io-patience): {error}"
            ) from error
        self.heart.update(phase="waiting for the disk", **_IDLE)
        time.sleep(POLL_SECONDS)

    def _has_room(self, job: Job) -> bool:
        pixels = job.num_frames * job.width * job.height
        return self.outputs.has_room(max(int(pixels * _BYTES_PER_PIXEL), _MIN_ROOM_BYTES))

    def _wait_for_disk(self, job: Job) -> None:
        """Pause for as long as the output folder takes no video of the job's size.

        Raises RankEndedError when patience ends: the tasks stay as they are, for the next run.
        """
        if self._has_room(job):
            return
        end = time.monotonic() + self.patience.io_patience
        log.error("%s takes no more: waiting for room, at most %g s", self.outputs.root, self.patience.io_patience)
        self.heart.update(phase="waiting for the disk", **_IDLE)
        while not self._has_room(job):
            self._see_to_published()
            if time.monotonic() > end:
                raise RankEndedError(
                    f"{self.outputs.root} took no video for {self.patience.io_patience:g} s (--io-patience): make room "
                    "and run the same command again"
                )
            time.sleep(POLL_SECONDS)
