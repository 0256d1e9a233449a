"""A worker without a model, for tests of its supervisor: a real process that does what its tasks' prompts say.

A prompt names one action an attempt, `die publish` say: the first attempt dies, the second has its video published.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from wan_ddp.frames_file import FramesFile
from wan_ddp.job import Job, fingerprint
from wan_ddp.outputs import Outputs
from wan_ddp.process import die_with_parent, own_token
from wan_ddp.worker import Doing, Failed, Loaded, Made, Order, Superseded


@dataclass(frozen=True)
class StandIn:
    """Starts workers that write what they do into `journal`; `loads` names what each start does, then all load."""

    journal: Path
    output: Path
    loads: Sequence[str] = ()

    def start(self, connection: Connection, *, jobs: Sequence[Job], offload: bool) -> BaseProcess:
        self.note("asked", len({job.prompt for job in jobs}), "offload" if offload else "plain")
        process = multiprocessing.get_context("spawn").Process(target=_main, args=(self, connection))
        process.start()
        return process

    def entries(self, what: str) -> list[list[str]]:
        """The journal's entries of a kind, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [words for kind, *words in map(str.split, lines) if kind == what]

    def note(self, *words: object) -> None:
        with self.journal.open("a") as file:
            print(*words, file=file)


def _main(stand_in: StandIn, connection: Connection) -> None:
    os.setpgid(0, 0)
    die_with_parent()
    number = len(stand_in.entries("start"))
    stand_in.note("start", own_token())
    load = stand_in.loads[number] if number < len(stand_in.loads) else "load"
    if load == "load":
        connection.send(Loaded())
    else:
        _act(load, stand_in, connection, None)
    while True:
        try:
            order: Order = connection.recv()
        except EOFError:
            return
        job = order.task.job
        actions = job.prompt.split()
        attempt = sum(entry[0] == str(job.seed) for entry in stand_in.entries("order"))
        upcoming = order.upcoming.job.seed if order.upcoming else "nothing"
        stand_in.note("order", job.seed, upcoming, own_token())
        stand_in.note("claim", order.claim.generation)
        for action in actions[min(attempt, len(actions) - 1)].split("+"):
            _act(action, stand_in, connection, order)


def _hand_over(order: Order | None, stand_in: StandIn, connection: Connection) -> None:
    """Give away noise of the job's size: the larger, the longer it takes to encode."""
    assert order is not None, "a worker that loads has no order"
    job = order.task.job
    Outputs(stand_in.output).prepare(job)
    shape = (job.num_frames, job.height, job.width, 3)
    made = FramesFile.of(np.random.default_rng(job.seed).integers(0, 256, shape, np.uint8))
    record = {"id": job.id, "fingerprint": fingerprint(order.task.inputs), "inputs": order.task.inputs, "seconds": {}}
    connection.send(Made(made, record))
    made.send(connection)


def _act(action: str, stand_in: StandIn, connection: Connection, order: Order | None) -> None:
    verb, _, detail = action.partition(":")
    if verb == "publish":
        _hand_over(order, stand_in, connection)
    elif verb == "superseded":
        connection.send(Superseded())
    elif verb == "publish_when_told_to_end":
        signal.signal(signal.SIGTERM, lambda *_: (_hand_over(order, stand_in, connection), sys.exit(143)))
    elif verb == "step":
        step, num_steps = map(int, detail.split("/"))
        connection.send(Doing("denoise", step, num_steps))
    elif verb == "fail":
        connection.send(Failed(detail, f"told to fail with {detail}"))  # type: ignore[arg-type]
    elif verb == "disk_full":
        connection.send(Failed("io", "No space left on device", disk_full=True))
    elif verb == "say":
        print(detail, file=sys.stderr, flush=True)
    elif verb == "die":
        os.kill(os.getpid(), getattr(signal, detail or "SIGKILL"))
    elif verb == "die_inside_a_message":
        os.write(connection.fileno(), (1000).to_bytes(4, "big") + b"the first words")
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "exit":
        sys.exit(int(detail))
    elif verb == "sleep":
        time.sleep(float(detail))
    elif verb == "ignore_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif verb == "note_videos":
        stand_in.note("videos", len(list(stand_in.output.glob("*/*/*.mp4"))))
    elif verb == "start_child":
        child = subprocess.Popen(["sleep", "600"])
        stand_in.note("child", own_token(child.pid))
    elif verb == "signal_supervisor":
        os.kill(os.getppid(), signal.SIGUSR1)
    else:
        raise AssertionError(f"no such action: {action}")
