"""generate.py with a stand-in for the model, so that it can be killed a thousand times in an hour: see tests/chaos.py.

Its videos take some milliseconds a step, and depend on every one of them: a video taken up at a wrong step, or from a
wrong state, has other pixels. Each step made is written to $CHAOS_JOURNAL. All the rest is the real thing, with shorter
waits. A worker process imports this file as well, as its main module, and so gets the stand-in too.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from wan_ddp.entry import enter

    enter(os.environ)

import numpy as np

from wan_ddp import heartbeat, outputs, owners, process, run, supervisor, worker_process
from wan_ddp.job import Job
from wan_ddp.outputs import Outputs
from wan_ddp.process import own_token

STEP_SECONDS = float(os.environ.get("CHAOS_STEP_SECONDS", "0"))
DECODE_SECONDS = float(os.environ.get("CHAOS_DECODE_SECONDS", "0"))


def journal(event: str, job: Job, step: int = 0) -> None:
    """Add a line, whole whatever happens: of so few bytes a write that appends is not torn."""
    pid = os.getpid()
    who = f"{pid}:{own_token().rpartition('-')[2]}"
    line = "\t".join([f"{time.time():.3f}", event, who, os.environ.get("CHAOS_LAUNCH", ""), job.id, str(step)])
    descriptor = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Made:
    frames: np.ndarray
    seconds: dict[str, float]
    measured: dict[str, Any]


class StandIn:
    """Noise that each step multiplies and adds to: no step can be left out, made twice or made in another order."""

    def generate(
        self,
        job: Job,
        clip: np.ndarray | None,
        *,
        control: str,
        state: bytes | None,
        on_step: Callable[[int, int, Callable[[], bytes]], None],
    ) -> Made:
        shape = (job.num_frames, job.height, job.width, 3)
        step, latents = 0, _noise(job, 0, shape)
        if clip is not None:
            latents = latents ^ clip
        if state is not None:
            step = int.from_bytes(state[:4], "big")
            latents = np.frombuffer(state[4:], np.uint8).reshape(shape)

        def save() -> bytes:
            return step.to_bytes(4, "big") + latents.tobytes()

        journal("begin", job, step)
        on_step(step, job.num_inference_steps, save)
        while step < job.num_inference_steps:
            time.sleep(STEP_SECONDS)  # what a GPU would take: the CPU is others' meanwhile
            step += 1
            latents = latents * np.uint8(5) + _noise(job, step, shape)
            journal("step", job, step)
            on_step(step, job.num_inference_steps, save)
        time.sleep(DECODE_SECONDS)
        journal("made", job)
        return Made(latents, {"encode": 0.0, "denoise": 0.0, "decode": DECODE_SECONDS}, {})


def _noise(job: Job, step: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([job.seed, job.prompt_index, step]).integers(0, 256, shape, np.uint8)


def load_generator(spec: worker_process.WorkerSpec) -> tuple[StandIn, Mapping[str, Any]]:
    return StandIn(), {"stand_in": True, "device": "a stand-in"}


def publish(self: Outputs, job: Job, *args: Any, **more: Any) -> Any:
    """The real one, and a line in the journal once the video is there."""
    written = _real_publish(self, job, *args, **more)
    journal("published", job)
    return written


def shorten_waits(environ: Mapping[str, str]) -> None:
    """Minutes that one host waits for another become seconds; $CHAOS_HOST makes this process one of another host."""
    heartbeat.BEAT_SECONDS = 0.5
    owners.HOST_LOST_SECONDS = 4.0
    outputs._OTHER_HOST_SECONDS = 8.0
    supervisor.POLL_SECONDS = 0.2
    run.Patience = partial(supervisor.Patience, io_pause=0.5)  # type: ignore[misc,assignment]
    if host := environ.get("CHAOS_HOST"):
        process._pid_namespace = lambda: host


_real_publish = Outputs.publish
Outputs.publish = publish  # type: ignore[method-assign]
worker_process.load_generator = load_generator  # type: ignore[assignment]
worker_process.import_parts = lambda: None
shorten_waits(os.environ)

if __name__ == "__main__":
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", Path(__file__).resolve().parent.parent / "generate.py")
    assert spec and spec.loader, "it lies there"
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    generate.leave(generate.main(sys.argv[1:]))
