"""What a rank's worker does: read the reference, generate, hand over, task by task; a failure costs that one task."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, Protocol

from wan_ddp.errors import DiskFullError, FailureKind, JobError, Stopped, SupersededError
from wan_ddp.frames_file import FramesFile
from wan_ddp.job import Control, Job, Sampling, ShortReference, fingerprint
from wan_ddp.outputs import Outputs
from wan_ddp.reader import ClipRequest, ReferenceReader
from wan_ddp.signals import Signals
from wan_ddp.steps import KeptSteps
from wan_ddp.survey import Task
from wan_ddp.video import Clip, Frames

if TYPE_CHECKING:
    from wan_ddp.sanity import Inspector, Sanity  # numpy and OpenCV, which the supervisor does without

log = logging.getLogger(__name__)

_TURN_POLL_SECONDS = 0.02
_SIGN_OF_LIFE_SECONDS = 1.0


class Generated(Protocol):
    """What a generator makes of a job."""

    @property
    def frames(self) -> Frames:
        """(num_frames, height, width, 3) uint8 RGB."""

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part: encode, denoise, decode."""

    @property
    def measured(self) -> dict[str, Any]:
        """What else the record should say: forwards, peak memory, the reference's share of the first latent."""


OnStep = Callable[[int, int, Callable[[], bytes]], None]
"""Told (step, num_steps, save) after `step` of the steps; `save()` gives the state there, until the call returns."""


class Generator(Protocol):
    """Makes one job's frames; `clip` is its reference, of the job's size and length, None for mechanism none."""

    def generate(
        self, job: Job, clip: Frames | None, *, control: Control, state: bytes | None, on_step: OnStep
    ) -> Generated:
        """Goes on from `state`, which `on_step` gave before, or starts over if it does not fit.

        Calls `on_step` before the first step that it makes, with the number of those that `state` saved it, and after
        each. Whatever that raises ends the video.
        """


Part = Literal["read", "encode", "turn", "denoise", "decode", "save"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worker has its model and waits for a task. `gpu_name` is CPU where that computes."""

    gpu_name: str = ""


@dataclass(frozen=True, slots=True)
class Doing:
    """The task in hand is alive: this part of it is under way, and so many of its steps are done."""

    part: Part
    step: int = 0
    num_steps: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """The task's video has all that a GPU does for it, and the worker waits for another. In a pipe, `frames` follow."""

    frames: FramesFile
    record: Mapping[str, Any]
    """What its record says, but for the written file, when that was finished, and what `save` took of its `seconds`."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """The task's claim no longer stands: nothing is published."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed, and the worker waits for another; after `kind` gpu, or before it has Loaded, it ends."""

    kind: FailureKind
    error: str
    disk_full: bool = False


Message = Loaded | Doing | Made | Superseded | Failed
Say = Callable[[Message], None]


class Turn(Protocol):
    """The right to denoise on a GPU that others want to denoise on as well."""

    def try_take(self) -> bool: ...

    def beat(self) -> None:
        """Say that it is used."""

    def idle_seconds(self) -> float:
        """How long nobody has said so."""

    def release(self) -> None: ...


class Claim(Protocol):
    """The right to make a task's video, until another process has taken it over."""

    @property
    def key(self) -> str: ...

    def stands(self) -> bool:
        """Raises OSError."""


@dataclass(frozen=True, slots=True)
class Order:
    """A task to do, and what will be asked for next, so that its reference can be read meanwhile."""

    task: Task
    upcoming: Task | None
    claim: Claim


@dataclass
class Worker:
    """Makes one video after another with the parts that it is handed.

    A signal ends it at once while it reads a reference, after the step in hand while it generates, and with the handing
    over of a video that has all its steps: what has been computed is on the disk then, or in the supervisor's hands.
    """

    run_id: str
    rank: int
    outputs: Outputs
    reader: ReferenceReader
    generator: Generator
    inspector: "Inspector"
    signals: Signals
    sampling: Sampling
    short_reference: ShortReference
    control: Control
    checkpoint_every: int
    about: Mapping[str, Any]
    """What every record of this process says: model, GPU, versions."""
    step_timeout: float = 900.0
    """Seconds after which a step is taken to hang."""
    turn: Turn | None = None
    """None where nobody else denoises on the device."""
    _mentioned: set[str] = field(default_factory=set)

    def work(self, orders: Iterable[Order], say: Say) -> None:
        """Make each ordered video and say what became of it. Ends with the orders, or with a GPU that failed.

        Raises Stopped after a signal; a task that was not finished then is not spoken of.
        """
        for order in orders:
            log.info("%s: started", order.task.job.id)
            with self.signals.shield():
                result = self._attempt(order, say)
                say(result)
            if isinstance(result, Failed) and result.kind == "gpu":
                return

    def _attempt(self, order: Order, say: Say) -> Made | Superseded | Failed:
        try:
            return self._make(order, say)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged there
            return failure_of(order.task.job, self.outputs, error)

    def _make(self, order: Order, say: Say) -> Made:
        """One video, from its reference to its frames."""
        job = order.task.job
        started = datetime.now(timezone.utc)
        clock = time.monotonic()
        num_steps = job.num_inference_steps
        say(Doing("read", 0, num_steps))
        with self.signals.exposed():
            self.outputs.prepare(job)
            clip = self.reader.read(self._request(job)) if job.mechanism != "none" else None
        read_seconds = time.monotonic() - clock
        self._prefetch(order)
        if clip is not None:
            self._mention_fps(job, clip)
        say(Doing("encode", 0, num_steps))
        kept = KeptSteps(self.outputs.steps(job), fingerprint(order.task.inputs), self.checkpoint_every)
        try:
            made = self.generator.generate(
                job,
                clip.frames if clip else None,
                control=self.control,
                state=kept.state,
                on_step=self._on_step(order, kept, say),
            )
        finally:
            self._release_turn()
        if "reference_share" in made.measured:
            log.info("%s: the reference is %.1f%% of the first latent", job.id, 100 * made.measured["reference_share"])
        say(Doing("save", num_steps, num_steps))
        clock = time.monotonic()
        sanity = self._inspect(job, made.frames, clip)
        seconds = {"read": read_seconds, **made.seconds, "inspect": time.monotonic() - clock}
        record = self._record(order.task, clip, made, sanity) | {
            "resumed_from": list(kept.resumed_from),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "run_id": self.run_id,
            "rank": self.rank,
            "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        }
        log.info("%s: made, denoised in %.1f s", job.id, made.seconds["denoise"])
        return Made(FramesFile.of(made.frames), record)

    def _on_step(self, order: Order, kept: KeptSteps, say: Say) -> OnStep:
        """Says how far the video is, and saves its state when that is due or a signal has come, which then ends it."""
        job_id = order.task.job.id
        has_begun = False

        def on_step(step: int, num_steps: int, save: Callable[[], bytes]) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                kept.begin(step)
                if step < num_steps:
                    self._take_turn(step, num_steps, say)
                if step:
                    log.info("%s: goes on after step %d of %d", job_id, step, num_steps)
            elif self.turn is not None:
                self.turn.beat()
            say(Doing("denoise" if step < num_steps else "decode", step, num_steps))
            stopped_by = self.signals.received
            if kept.is_due(step, num_steps) or (stopped_by is not None and kept.is_new(step)):
                _check_claim(order)
                kept.keep(step, num_steps, save)
            # All that is left after the last step is short: the video is handed over.
            if stopped_by is not None and step < num_steps:
                log.info("%s: stopped after step %d of %d", job_id, step, num_steps)
                raise Stopped(stopped_by)
            if step == num_steps:  # decoding and inspecting go on beside another rank's denoising
                self._release_turn()

        return on_step

    def _take_turn(self, step: int, num_steps: int, say: Say) -> None:
        """Wait until no other rank denoises on the GPU; a signal ends the wait."""
        if self.turn is None:
            return
        said = 0.0
        while not self.turn.try_take() and self.signals.received is None:
            if self.turn.idle_seconds() > self.step_timeout:  # its holder is stopped, say, which is not dead
                log.warning("whose turn it is has made no step for %g s: going on beside it", self.step_timeout)
                break
            if time.monotonic() - said > _SIGN_OF_LIFE_SECONDS:
                say(Doing("turn", step, num_steps))
                said = time.monotonic()
            time.sleep(_TURN_POLL_SECONDS)
        self.turn.beat()

    def _release_turn(self) -> None:
        if self.turn is not None:
            self.turn.release()

    def _inspect(self, job: Job, frames: Frames, clip: Clip | None) -> "Sanity | None":
        """What is suspicious of the video; None if that cannot be told, which is no reason to lose it."""
        try:
            sanity = self.inspector.inspect(frames, clip.frames if clip else None, self._request(job))
        except Exception:
            log.exception("%s: the video could not be inspected", job.id)
            return None
        log.info("%s: %s", job.id, sanity)
        return sanity

    def _record(self, task: Task, clip: Clip | None, made: Generated, sanity: "Sanity | None") -> dict[str, Any]:
        """What the record says of the video itself; how it came to be is the rest of it."""
        job = task.job
        return {
            "id": job.id,
            "fingerprint": fingerprint(task.inputs),
            "inputs": task.inputs,
            "reference": {"path": job.reference} | (asdict(clip.source) if clip else {}),
            **({"sanity": asdict(sanity)} if sanity else {}),
            **self.about,
            **made.measured,
        }

    def _request(self, job: Job) -> ClipRequest:
        return ClipRequest(
            path=job.reference,
            num_frames=job.num_frames,
            width=job.width,
            height=job.height,
            fps=job.fps,
            sampling=self.sampling,
            short_reference=self.short_reference,
        )

    def _prefetch(self, order: Order) -> None:
        if order.upcoming and order.upcoming.job.mechanism != "none":
            self.reader.prefetch(self._request(order.upcoming.job))

    def _mention_fps(self, job: Job, clip: Clip) -> None:
        if self.sampling == "frames" and abs(clip.source.fps - job.fps) > 0.01 and job.reference not in self._mentioned:
            self._mentioned.add(job.reference)
            log.warning(
                "%s has %g frames a second and its videos %g: motion will be %.2fx as fast; --sampling time resamples",
                job.reference,
                clip.source.fps,
                job.fps,
                job.fps / clip.source.fps,
            )


def failure_of(job: Job, outputs: Outputs, error: Exception) -> Superseded | Failed:
    """What an error that ended a video comes to; it is logged, and a state that may have led to it is removed."""
    if isinstance(error, SupersededError):
        log.warning("%s; nothing was published", error)
        return Superseded()
    if isinstance(error, JobError):
        log.error("%s: failed (%s): %s", job.id, error.kind, error)
        failed = Failed(error.kind, str(error), isinstance(error, DiskFullError))
    else:
        log.error("%s: failed with an error that nobody expected", job.id, exc_info=error)
        failed = Failed("error", f"{type(error).__name__}: {error}")
    if failed.kind == "error":  # what led to it may lie in the state: another attempt, if there is one, starts over
        outputs.discard_steps(job)
    return failed


def _check_claim(order: Order) -> None:
    """Raises SupersededError if the work on a task has become needless, before more of it is done."""
    try:
        stands = order.claim.stands()
    except OSError as error:  # before the video is published the supervisor asks again
        log.warning("%s: whether its claim stands cannot be seen: %s", order.task.job.id, error.strerror)
        return
    if not stands:
        raise SupersededError(f"{order.task.job.id}: another process has taken it over")
