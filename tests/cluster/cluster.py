"""What the cases need: a shared folder with a checkout and an experiment in it, and jobs handed to Slurm."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chaos_journal import Innocence, Journal, wrongs

from wan_ddp.video import write_mp4

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 300.0  # seconds for anything to happen at all, on a busy machine
SIZE = {"width": 32, "height": 32, "num_frames": 5}
CHECKPOINT_EVERY = 5
TOLD_TO_GO = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")


def slurm(*command: str, cwd: Path | None = None, **environ: str) -> str:
    """What one of Slurm's commands prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, cwd=cwd, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it never happened: {what}"
        time.sleep(0.4)  # each look is a process or more
    return found


@dataclass(frozen=True, slots=True)
class Job:
    """A job, or one task of an array."""

    id: str

    def show(self) -> dict[str, str]:
        words = slurm("scontrol", "--oneliner", "show", "job", self.id).split()
        return dict(word.partition("=")[::2] for word in words if "=" in word)

    @property
    def state(self) -> str:
        return self.show()["JobState"]

    @property
    def node(self) -> str:
        """Where its batch shell runs."""
        return self.show()["BatchHost"]

    @property
    def nodes(self) -> list[str]:
        return slurm("scontrol", "show", "hostnames", self.show()["NodeList"]).split()

    @property
    def restarts(self) -> int:
        return int(self.show()["Restarts"])

    def end(self) -> tuple[str, str]:
        """How it ended, once it has: its state and its exit code."""

        def over() -> tuple[str, str] | None:
            shown = self.show()
            return None if shown["JobState"] in TOLD_TO_GO else (shown["JobState"], shown["ExitCode"])

        ended: tuple[str, str] = wait_until(over, f"job {self.id} ends")
        return ended


class Checkout:
    """A shared folder with the scripts of cluster/, and what stands in for launch.sh: says how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here, self.marks = folder, folder / "check out", folder / "marks"
        self.marks.mkdir()
        (self.here / "cluster").mkdir(parents=True)
        for path in (ROOT / "cluster").glob("slurm*"):
            (self.here / "cluster" / path.name).symlink_to(path)
        (self.here / "launch.sh").symlink_to(ROOT / "tests" / "cluster" / "stand_in_launch.sh")

    def submit(self, script: Path | str, *flags: str, arguments: Sequence[str] = (), **environ: str) -> Job:
        path = script if isinstance(script, Path) else Path(self.here.name, "cluster", script)
        command = ["sbatch", "--parsable", *flags, str(path), *arguments]
        return Job(slurm(*command, cwd=self.folder, MARKS=str(self.marks), **environ))

    def said(self, name: str) -> str:
        """What a stand-in wrote, once it has."""
        path = self.marks / name
        wait_until(path.exists, f"{name} is written")
        return path.read_text()

    def log(self) -> str:
        return log_in(self.folder)


class Folder:
    """A shared folder: a checkout whose generate.py is the stand-in of tests/chaos_rank.py, a manifest, an output."""

    def __init__(self, folder: Path, *, num_jobs: int, num_steps: int, step_seconds: float = 0.05) -> None:
        self.folder = folder
        self.checkout, self.output = folder / "check out", folder / "results"
        (self.checkout / "cluster").mkdir(parents=True)
        for name in ("launch.sh", "environment.sh", "tmux.sh", "requirements.txt", "constraints.txt", "wan_ddp"):
            (self.checkout / name).symlink_to(ROOT / name)
        for path in (ROOT / "cluster").glob("slurm*"):
            (self.checkout / "cluster" / path.name).symlink_to(path)
        (self.checkout / "generate.py").symlink_to(ROOT / "tests" / "chaos_rank.py")
        self.journal = Journal(folder / "journal")
        self.ids = [f"pan/ref_clip_32x32/seed_{number}_prompt_{number}" for number in range(num_jobs)]
        noise = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
        write_mp4(folder / "clip.mp4", noise, 15)
        line = {"category": "pan", "reference": "clip.mp4", "prompt": "a cat walks", "num_inference_steps": num_steps}
        lines = [line | SIZE | {"prompt_index": number, "seed": number} for number in range(num_jobs)]
        (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CHAOS_JOURNAL": str(folder / "journal"),
            "CHAOS_STEP_SECONDS": str(step_seconds),
            "OMP_NUM_THREADS": "1",
            "WAN_NUM_RANKS": "1",
        }

    def submit(self, script: str, *flags: str, **environ: str) -> Job:
        """The job of `cluster/<script>`, from the shared folder, where its log and relative paths belong."""
        run = ["--manifest", "jobs.jsonl", "--output", "results", "--model", "tiny"]
        run += ["--checkpoint-every", str(CHECKPOINT_EVERY)]
        command = ["sbatch", "--parsable", *flags, str(self.checkout / "cluster" / script)]
        return Job(slurm(*command, *run, cwd=self.folder, **(self.environ | environ)))

    def begin(self) -> None:
        """Return once a video is under way, some steps after its beginning."""
        wait_until(lambda: any(each.event == "step" and each.step >= 3 for each in self.journal.read()), "steps")

    def log(self) -> str:
        return log_in(self.folder)

    def living(self) -> list[str]:
        """The processes of this folder's jobs, on whichever node: all inherit its variables."""
        mark = f"CHAOS_JOURNAL={self.folder}/journal".encode()
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if mark in _read(path)]

    def problems(self, innocence: Innocence | None = None) -> list[str]:
        """What is not there, was made twice, or was lost: nothing of a step, if nobody is innocent of it."""
        missing = [each for each in self.ids if not (self.output / f"{each}.json").exists()]
        made = {str(path.relative_to(self.output).with_suffix("")) for path in self.output.glob("*/*/*.mp4")}
        wait_until(lambda: not self.living(), "all processes end")
        problems, _ = wrongs(self.journal.read(), innocence or Innocence(), CHECKPOINT_EVERY)
        return [
            *problems,
            *(f"{each}: no record" for each in missing),
            *(f"{each}: no video" for each in {*self.ids} - made),
        ]


def log_in(folder: Path) -> str:
    """What the log files of the jobs say."""
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("wan-ddp-*.out")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
