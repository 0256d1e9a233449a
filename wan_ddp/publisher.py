"""Encodes, checks and publishes videos in the background, one after another, while the worker makes the next one."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from wan_ddp.backlog import Taken
from wan_ddp.job import Job
from wan_ddp.outputs import Outputs
from wan_ddp.verdict import VideoFile
from wan_ddp.worker import Failed, Made, Superseded, failure_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """The task's video is there."""


Outcome = Published | Superseded | Failed


@dataclass(frozen=True, slots=True)
class Publication:
    """A video that its worker is done with: its claim is held until there is an outcome."""

    taken: Taken
    made: Made
    log_start: int
    """Where its attempt's part of the log begins."""
    outcome: "Future[Outcome]" = field(default_factory=Future)


class Publisher:
    """Publishes what it is handed in a thread that does nothing else: what comes of it is for its owner to see to.

    How many videos it holds, of 97 MB each at 832x480 and 81 frames, is for its owner to limit.
    """

    def __init__(self, outputs: Outputs, *, io_pause: float) -> None:
        """`io_pause`: seconds after a failure with the disk, before it is told and the next video meets the same."""
        self._outputs = outputs
        self._io_pause = io_pause
        self._in_flight: list[Publication] = []
        self._queue: SimpleQueue[Publication | None] = SimpleQueue()
        self._is_closed, self._is_abandoned = Event(), Event()
        # A daemon: a disk that never answers must not keep the process from ending.
        Thread(target=self._work, name="publisher", daemon=True).start()

    @property
    def in_flight(self) -> Sequence[Publication]:
        """What was handed over and has not been taken back by `pop_finished`, oldest first."""
        return tuple(self._in_flight)

    def hand_over(self, taken: Taken, made: Made, log_start: int) -> None:
        """Have a video published after those before it."""
        publication = Publication(taken, made, log_start)
        self._in_flight.append(publication)
        self._queue.put(publication)

    def wait(self, seconds: float) -> bool:
        """Wait until a video in flight has an outcome, if there is one in flight; False if that takes longer."""
        outcomes = [each.outcome for each in self._in_flight]
        return not outcomes or bool(wait(outcomes, seconds, FIRST_COMPLETED).done)

    def pop_finished(self) -> Publication | None:
        """The next publication that has an outcome."""
        if self._in_flight and self._in_flight[0].outcome.done():
            return self._in_flight.pop(0)
        return None

    def close(self) -> None:
        """No more videos will come. What is in flight is published, without a pause."""
        self._is_closed.set()
        self._queue.put(None)

    def abandon(self) -> Sequence[Publication]:
        """Publish nothing more, not even what is being written now; returns what is left in flight."""
        self._is_abandoned.set()
        left, self._in_flight = self._in_flight, []
        return left

    def _work(self) -> None:
        while publication := self._queue.get():
            outcome = self._publish(publication)
            if isinstance(outcome, Failed) and outcome.kind == "io" and not outcome.disk_full:
                self._is_closed.wait(self._io_pause)
            publication.outcome.set_result(outcome)

    def _publish(self, publication: Publication) -> Outcome:
        claim = publication.taken.claim

        def stands() -> bool:
            return not self._is_abandoned.is_set() and claim.stands()

        return publish(self._outputs, publication.taken.task.job, publication.made, stands)


def publish(outputs: Outputs, job: Job, made: Made, stands: Callable[[], bool]) -> Outcome:
    """Publish one video, if its claim stands, and let go of its frames."""
    started = time.monotonic()

    def describe(video: VideoFile) -> dict[str, Any]:
        return {
            **made.record,
            "video": asdict(video),
            "seconds": {**made.record["seconds"], "save": round(time.monotonic() - started, 3)},
            "finished": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        }

    try:
        video = outputs.publish(job, made.frames.open(), describe, stands)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged there
        return failure_of(job, outputs, error)
    finally:
        made.frames.close()
    log.info("%s: published, %d bytes, saved in %.1f s", job.id, video.num_bytes, time.monotonic() - started)
    return Published()
