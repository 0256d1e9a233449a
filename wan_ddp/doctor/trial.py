"""The pilot: short videos, made as a run makes them, in a folder of their own; what they took speaks for the rest."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

from wan_ddp.doctor.probe import ask_smi, read_smi
from wan_ddp.errors import MachineError, Stopped, UnusableError
from wan_ddp.estimate import Sample
from wan_ddp.files import read_or_none, write_atomically
from wan_ddp.job import Job
from wan_ddp.manifest import job_line
from wan_ddp.outputs import Outputs
from wan_ddp.pilot import CPU, Pilot, setup_of
from wan_ddp.process import die_with_parent
from wan_ddp.settings import ROOT, Settings
from wan_ddp.signals import blocked

NUM_STEPS = 8
"""Of a short video: enough that the first step, which takes longer, hardly counts."""
# All that takes time but `turn`: how long a rank waits for the GPU follows from what the others do there.
_PARTS = ("read", "encode", "denoise", "decode", "inspect", "save")
_POLL_SECONDS = 2.0


def choose(jobs: Sequence[Job], num_ranks: int) -> list[Job]:
    """One job of each category, then another of each in turn, until every rank has as many as any other.

    Ranks that share a GPU slow each other down, and in the run all of them are at work to its end.
    """
    categories: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.mechanism == "none" or Path(job.reference).exists():
            categories[job.category].append(job)
    in_turn = [job for turn in zip_longest(*categories.values()) for job in turn if job is not None]
    return in_turn[: -(-len(categories) // num_ranks) * num_ranks]


def shorten(job: Job) -> Job:
    """The same video of fewer steps: its size and frames stay, and so does what each step takes."""
    return replace(job, num_inference_steps=min(job.num_inference_steps, NUM_STEPS), note=None)


def folder_of(output: Path) -> Path:
    """Where a pilot's own videos go: beside the output folder."""
    output = output.absolute()
    return output.with_name(f"{output.name}-pilot")


@dataclass(frozen=True, slots=True)
class Trial:
    """A pilot that is to be made: its jobs, short already, and the flags that the run will have."""

    settings: Settings
    jobs: Sequence[Job]
    flags: Sequence[str]
    num_ranks: int

    def run(self, environ: Mapping[str, str]) -> Pilot:
        """Make the videos and read what they took.

        Raises UnusableError if that did not work, and whatever ends the wait: what was started ends with it.
        """
        outputs = Outputs(folder_of(self.settings.output))
        manifest = self._prepare(outputs)
        command = ["bash", str(ROOT / "launch.sh"), *self.flags, "--manifest", str(manifest)]
        command += ["--output", str(outputs.root), "--on-change", "rerun", "--retry-failed"]
        # launch.sh looks for python3 first, and what is measured is to be this environment.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
        code, gpu_gib = _launch(command, {**environ, "PATH": path, "WAN_NUM_RANKS": str(self.num_ranks)})
        records = [record for job in self.jobs if (record := _read_record(outputs.record(job)))]
        if code or len(records) < len(self.jobs):
            raise UnusableError(
                f"pilot: {len(records)} of {len(self.jobs)} short videos were made (exit code {code}); "
                f"{outputs.root / 'report.json'} and the logs beside it say more"
            )
        return self._pilot(records, gpu_gib)

    def _prepare(self, outputs: Outputs) -> Path:
        """A manifest of the short videos, none of which is there any more. Raises MachineError."""
        try:
            for job in self.jobs:
                for path in (outputs.record(job), outputs.video(job), outputs.steps(job)):
                    path.unlink(missing_ok=True)
            outputs.root.mkdir(parents=True, exist_ok=True)
            manifest = outputs.root / "pilot.jsonl"
            write_atomically(manifest, "".join(f"{job_line(job)}\n" for job in self.jobs).encode())
        except OSError as error:
            raise MachineError(
                f"{error.filename}: the pilot cannot be prepared: {error.strerror}; make room"
            ) from error
        return manifest

    def _pilot(self, records: Sequence[Mapping[str, Any]], gpu_gib: float | None) -> Pilot:
        on_gpu = "peak_memory_bytes" in records[0]
        device = str(records[0]["device"]) if on_gpu else CPU
        samples = [
            Sample(job, {part: float(record["seconds"][part]) for part in _PARTS}, int(record["video"]["num_bytes"]))
            for job, record in zip(self.jobs, records, strict=True)
        ]
        return Pilot(
            setup_of(self.settings, records[0]["inputs"]["model"], device, self.num_ranks),
            f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
            median(sum(record["loading_seconds"].values()) for record in records),
            tuple(samples),
            gpu_gib if on_gpu else None,
        )


def _launch(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, float | None]:
    """The exit code of a run, and the most memory in use on any GPU meanwhile; its words go to the terminal."""
    process = None
    try:
        with blocked() as unblock:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=dict(environ),
                # Ctrl-C reaches this process alone, which passes it on: a second one means something else to launch.sh.
                start_new_session=True,
                preexec_fn=partial(_begin, unblock),  # no other thread runs yet
            )
        with _GpuMemory(environ) as memory:
            return process.wait(), memory.most_gib
    except BaseException as error:
        if process is not None:
            process.send_signal(error.signal_number if isinstance(error, Stopped) else signal.SIGTERM)
            process.wait()
        raise


def _begin(unblock: Callable[[], None]) -> None:
    die_with_parent(signal.SIGTERM)
    unblock()


class _GpuMemory:
    """Watches what is in use on the GPUs that a run sees, as long as there is an nvidia-smi to ask."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.most_gib: float | None = None
        self._environ = environ
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="GPU memory", daemon=True)

    def __enter__(self) -> "_GpuMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            with ask_smi() as question:
                gpus = read_smi(question.answer(), self._environ).gpus
            if not gpus:
                return
            self.most_gib = max(self.most_gib or 0.0, *(gpu.used_gib for gpu in gpus))


def _read_record(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        record = json.loads(read_or_none(path) or b"null")
        return record if isinstance(record, dict) else None
    return None
