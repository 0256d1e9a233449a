"""The worker's process: it says what became of its start, hears signals, and does not outlive its supervisor."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from experiment import wait_for
from factories import make_job

from wan_ddp import worker_process
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.outputs import Outputs
from wan_ddp.process import is_dead, own_token
from wan_ddp.publisher import Published, publish
from wan_ddp.settings import parse
from wan_ddp.steps import load_steps
from wan_ddp.survey import Task
from wan_ddp.verdict import Finding
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.worker import Doing, Failed, Loaded, Made, Message, Order
from wan_ddp.worker_process import Workers, WorkerSpec

JOB = make_job(mechanism="none", denoising_strength=1.0, num_inference_steps=400)
SHORT = replace(JOB, num_inference_steps=1, seed=7)


@dataclass(frozen=True)
class Standing:
    key: str = "k" * 32

    def stands(self) -> bool:
        return True


def spec_of(output: Path, checkpoint: Checkpoint, **changes: Any) -> WorkerSpec:
    settings = parse(["--output", str(output), "--model", "tiny"], {})
    return WorkerSpec(settings, 0, checkpoint, "cpu", "run", [JOB, SHORT], **changes)


def order_of(job: Job) -> Order:
    return Order(Task(job, fingerprint_inputs(job, Conditions(model="m"), None), Finding("missing")), None, Standing())


@dataclass
class Running:
    process: BaseProcess
    connection: Connection

    def receive(self) -> Message:
        assert self.connection.poll(100), "the worker says nothing"
        message: Message = self.connection.recv()
        if isinstance(message, Made):
            return replace(message, frames=message.frames.receive(self.connection))
        return message

    def order(self, job: Job) -> Message:
        """Has a job made; returns what became of it."""
        self.connection.send(order_of(job))
        while isinstance(message := self.receive(), Doing):
            pass
        return message

    def exit_code(self) -> int | None:
        self.process.join(30)
        return self.process.exitcode


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, checkpoint: Checkpoint) -> Iterator[Start]:
    """Starts workers whose output folder is `tmp_path / "out"`."""
    running: list[Running] = []

    def start_one(*, offload: bool = False, checkpoint: Checkpoint = checkpoint) -> Running:
        ours, theirs = multiprocessing.Pipe()
        spec = spec_of(tmp_path / "out", checkpoint)
        process = Workers(spec).start(theirs, jobs=spec.jobs, offload=offload)
        theirs.close()
        running.append(Running(process, ours))
        return running[-1]

    yield start_one
    for each in running:
        each.process.kill()
        each.process.join()
        each.connection.close()


@pytest.mark.parametrize("offload", [False, True])
def test_a_worker_loads_makes_what_it_is_told_and_ends_with_its_orders(
    start: Start, tmp_path: Path, offload: bool
) -> None:
    worker = start(offload=offload)
    assert isinstance(worker.receive(), Loaded)
    made = worker.order(SHORT)
    assert isinstance(made, Made)
    worker.connection.close()
    assert worker.exit_code() == 0
    # What it has handed over outlives it.
    outputs = Outputs(tmp_path / "out")
    assert publish(outputs, SHORT, made, lambda: True) == Published()
    assert outputs.inspect(SHORT, order_of(SHORT).task.inputs, full=True).state == "verified"


def test_a_worker_that_is_told_to_stop_saves_its_step_and_another_goes_on_from_there(
    start: Start, tmp_path: Path
) -> None:
    worker = start()
    assert isinstance(worker.receive(), Loaded)
    worker.connection.send(order_of(JOB))
    while worker.receive() != Doing("denoise", 3, 400):
        pass
    # As from a scheduler and from the supervisor, which both tell it.
    for _ in range(2):
        os.kill(worker.process.pid or 0, signal.SIGTERM)
    assert worker.exit_code() == 143
    saved = load_steps(Outputs(tmp_path / "out").steps(JOB), fingerprint(order_of(JOB).task.inputs))
    assert saved is not None
    assert saved.header.step >= 3
    another = start()
    assert isinstance(another.receive(), Loaded)
    another.connection.send(order_of(JOB))
    said = iter(another.receive, None)
    first = next(each for each in said if isinstance(each, Doing) and each.part == "denoise")
    assert first.step == saved.header.step


def test_a_worker_that_is_told_to_stop_while_it_loads_ends_at_once(start: Start) -> None:
    worker = start()
    assert worker.process.pid is not None
    hears_it = Path(f"/proc/{worker.process.pid}/status")
    end = time.monotonic() + 60
    while not caught_signals(hears_it) & 1 << signal.SIGTERM - 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.exit_code() == 143


def caught_signals(status: Path) -> int:
    [line] = [line for line in status.read_text().splitlines() if line.startswith("SigCgt")]
    return int(line.split()[1], 16)


def test_a_broken_tokenizer_is_told_in_one_line(start: Start, checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = checkpoint.tokenizer
    broken = tmp_path / "tokenizer"
    shutil.copytree(folder, broken)
    for path in broken.iterdir():
        path.write_bytes(b"{broken")
    message = start(checkpoint=replace(checkpoint, tokenizer=broken)).receive()
    assert isinstance(message, Failed)
    assert message.kind == "error"
    assert "\n" not in message.error
    assert ": " in message.error


# A supervisor in a process of its own, whose worker imports the same program again, and so what it replaces.

LAUNCHER = """\
import os, signal, sys, time, weakref
from multiprocessing import Pipe
from pathlib import Path
from wan_ddp import worker_process
from wan_ddp.process import own_token
from wan_ddp.settings import parse
from wan_ddp.worker_process import Workers, WorkerSpec

note, when, gate = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
die_with_parent = worker_process.die_with_parent

def wait_at_the_gate():
    note.write_text(own_token())
    for _ in range(6000):
        if gate.exists():
            break
        time.sleep(0.01)

def die_with_parent_late():
    wait_at_the_gate()
    die_with_parent()

def load_generator(spec):
    note.with_name("loading").write_text("")
    if when == "loading":
        wait_at_the_gate()
    if when == "stopped":  # where Python drops an exception, as in the callbacks of its imports
        anything = type("Anything", (), {})()
        callback = weakref.ref(anything, lambda _: signal.raise_signal(signal.SIGTERM))
        del anything
        time.sleep(600)
    raise RuntimeError("nothing to load")

worker_process.load_generator = load_generator
worker_process.import_parts = lambda: None
if when == "before":
    worker_process.die_with_parent = die_with_parent_late

if __name__ == "__main__":
    ours, theirs = Pipe()
    spec = WorkerSpec(parse(["--output", "unused"], {}), 0, None, "cpu", "run", [])
    process = Workers(spec).start(theirs, jobs=[], offload=False)
    theirs.close()
    if when == "told":
        print(ours.recv())
    elif when == "stopped":
        process.join()
        print(process.exitcode)
    else:
        time.sleep(600)
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    path = tmp_path / "launcher.py"
    path.write_text(LAUNCHER)
    return path


def launch(launcher: Path, when: str) -> "subprocess.Popen[str]":
    root = str(Path(worker_process.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, launcher, launcher.with_name("note"), when, launcher.with_name("gate")],
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_program_may_put_another_generator_in_its_place(launcher: Path) -> None:
    stdout, _ = launch(launcher, "told").communicate(timeout=60)
    assert "Failed(kind='error', error='RuntimeError: nothing to load', disk_full=False)" in stdout


def test_no_callback_of_an_import_swallows_a_signal(launcher: Path) -> None:
    stdout, _ = launch(launcher, "stopped").communicate(timeout=60)
    assert stdout == "143\n"


@pytest.mark.parametrize("when", ["loading", "before"])
def test_a_worker_does_not_outlive_its_supervisor_even_one_that_died_before_it_began(launcher: Path, when: str) -> None:
    supervisor = launch(launcher, when)
    note = launcher.with_name("note")
    wait_for(lambda: note.exists() and note.read_text())
    worker = note.read_text()
    assert worker != own_token(supervisor.pid)
    with supervisor:  # its output stays open in the worker
        supervisor.kill()
    if when == "before":
        launcher.with_name("gate").touch()
    wait_for(lambda: is_dead(worker))
    assert launcher.with_name("loading").exists() == (when == "loading")
