"""An experiment on the tiny checkpoint, and the project's commands run on it as a user gives them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wan_ddp.video import write_mp4

ROOT = Path(__file__).resolve().parent.parent
SIZE = {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 2}
TIMEOUT = 150


@dataclass
class Experiment:
    """A folder with references, a manifest and an output folder, and the commands run on them."""

    folder: Path
    jobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def manifest(self) -> Path:
        path = self.folder / "manifest.jsonl"
        path.write_text("".join(json.dumps(job, ensure_ascii=False) + "\n" for job in self.jobs), encoding="utf-8")
        return path

    def add(
        self, category: str, name: str, *, num_frames: int = 5, seeds: Sequence[int] = (42, 142), **job: Any
    ) -> Path:
        """A reference of a moving square, and a job for each seed."""
        path = self.folder / "references" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        frames = np.full((num_frames, 64, 64, 3), 90, np.uint8)
        for number, frame in enumerate(frames):
            frame[20:40, 4 * number % 40 : 4 * number % 40 + 20] = (250, 120, 30)
        write_mp4(path, frames, 15)
        base = {"category": category, "reference": f"references/{name}.mp4", "prompt": f"a cat walks 一只猫, {name}"}
        self.jobs += [base | {"prompt_index": 0, "seed": seed} | SIZE | job for seed in seeds]
        return path

    def flags(self, *more: str) -> list[str]:
        return ["--manifest", str(self.manifest), "--output", str(self.output), "--model", "tiny", *more]

    def launch(self, *more: str) -> subprocess.CompletedProcess[str]:
        return finish(self.start("bash", "launch.sh", *self.flags(*more)))

    def generate(self, *more: str) -> subprocess.CompletedProcess[str]:
        return finish(self.start(sys.executable, "generate.py", *self.flags(*more)))

    def start(self, *command: str) -> "subprocess.Popen[str]":
        # The interpreter of these tests is the active environment; a session of its own, as a terminal would give it.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.output / "report.json").read_text(encoding="utf-8"))
        return report

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in self.output.glob("*/*/seed_*.json")]

    def digests(self) -> dict[str, str]:
        """The videos' digests as their records say them."""
        return {record["id"]: record["video"]["sha256"] for record in self.records()}

    def log(self, process: int = 0) -> str:
        return (self.output / "logs" / f"gpu0_process{process}.log").read_text(encoding="utf-8")

    def hidden(self) -> list[str]:
        """What lies under hidden names beside the videos."""
        return [path.name for path in self.output.glob("*/*/.*")]


def finish(process: "subprocess.Popen[str]") -> subprocess.CompletedProcess[str]:
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_for(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def states(experiment: Experiment) -> Iterator[dict[str, Any]]:
    return states_in(experiment.output)


def states_in(output: Path) -> Iterator[dict[str, Any]]:
    for path in output.glob("logs/.run-*/rank*.json"):
        yield json.loads(path.read_text())


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def living(experiment: Experiment) -> list[int]:
    """Every process that has the experiment's folder open, in its command line, or as an ancestor's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                log = str((entry / "fd" / "2").readlink())
            except OSError:
                log = ""
            if str(experiment.folder) in command_line(int(entry.name)) or str(experiment.folder) in log:
                found.append(int(entry.name))
    return found
