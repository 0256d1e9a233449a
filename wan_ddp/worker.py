"""What a rank's worker does: read the reference, generate, publish, task after task; a failure costs that one task."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

from wan_ddp.errors import FailureKind, JobError
from wan_ddp.job import Control, Job, Sampling, ShortReference, fingerprint
from wan_ddp.outputs import Outputs
from wan_ddp.reader import ClipRequest, ReferenceReader
from wan_ddp.signals import Signals
from wan_ddp.survey import Task
from wan_ddp.verdict import VideoFile
from wan_ddp.video import Clip, Frames, looks_constant

log = logging.getLogger(__name__)


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


class Generator(Protocol):
    """Makes one job's frames; `clip` is its reference, of the job's size and length, None for mechanism none."""

    def generate(
        self, job: Job, clip: Frames | None, *, control: Control, on_step: Callable[[int, int], None]
    ) -> Generated: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worker has its model and waits for a task."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """The task in hand is alive: so many of its steps are done."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Published:
    """The task's video is there."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed, and the worker waits for another; after `kind` gpu it ends."""

    kind: FailureKind
    error: str


Message = Loaded | Stepped | Published | Failed
Say = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Order:
    """A task to do, and what will be asked for next, so that its reference can be read meanwhile."""

    task: Task
    upcoming: Task | None


@dataclass
class Worker:
    """Makes one video after another with the parts that it is handed."""

    run_id: str
    rank: int
    outputs: Outputs
    reader: ReferenceReader
    generator: Generator
    signals: Signals
    sampling: Sampling
    short_reference: ShortReference
    control: Control
    about: Mapping[str, Any]
    """What every record of this process says: model, GPU, versions."""
    _mentioned: set[str] = field(default_factory=set)

    def work(self, orders: Iterable[Order], say: Say) -> None:
        """Make each ordered video and say what became of it. Ends with the orders, or with a GPU that failed."""
        for order in orders:
            log.info("%s: started", order.task.job.id)
            result = self._attempt(order, say)
            say(result)
            if isinstance(result, Failed) and result.kind == "gpu":
                return

    def _attempt(self, order: Order, say: Say) -> Published | Failed:
        job = order.task.job
        try:
            self._make(order, say)
        except JobError as error:
            log.error("%s: failed (%s): %s", job.id, error.kind, error)
            return Failed(error.kind, str(error))
        except Exception as error:
            log.exception("%s: failed with an error that nobody expected", job.id)
            return Failed("error", f"{type(error).__name__}: {error}")
        return Published()

    def _make(self, order: Order, say: Say) -> None:
        """One video, from its reference to its record."""
        task, job = order.task, order.task.job
        started = datetime.now(timezone.utc)
        clock = time.monotonic()
        self.outputs.prepare(job)
        clip = self.reader.read(self._request(job)) if job.mechanism != "none" else None
        read_seconds = time.monotonic() - clock
        self._prefetch(order)
        if clip is not None:
            self._mention_fps(job, clip)

        def on_step(step: int, num_steps: int) -> None:
            self.signals.check()
            say(Stepped(step, num_steps))

        made = self.generator.generate(job, clip.frames if clip else None, control=self.control, on_step=on_step)
        if "reference_share" in made.measured:
            log.info("%s: the reference is %.1f%% of the first latent", job.id, 100 * made.measured["reference_share"])
        clock = time.monotonic()

        def describe(video: VideoFile) -> dict[str, Any]:
            seconds = {"read": read_seconds, **made.seconds, "save": time.monotonic() - clock}
            return {
                "id": job.id,
                "fingerprint": fingerprint(task.inputs),
                "inputs": task.inputs,
                "reference": {"path": job.reference} | (asdict(clip.source) if clip else {}),
                "video": asdict(video),
                "flags": [flag for flag in [looks_constant(made.frames)] if flag],
                **self.about,
                **made.measured,
                "seconds": {name: round(value, 3) for name, value in seconds.items()},
                "run_id": self.run_id,
                "rank": self.rank,
                "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
                "finished": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
            }

        with self.signals.shield():
            video = self.outputs.publish(job, made.frames, describe)
        log.info("%s: published, %d bytes, denoised in %.1f s", job.id, video.num_bytes, made.seconds["denoise"])

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
