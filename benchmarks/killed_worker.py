"""Kills a rank's worker in the middle of a video, times what follows, and compares it with an unbroken run.

usage: python benchmarks/killed_worker.py WORK_FOLDER FLAGS OF generate.py, of the model and the video's size and steps
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wan_ddp.video import write_mp4

ROOT = Path(__file__).resolve().parent.parent
KILL_AFTER = 5  # steps that are saved: in 30 s the worker's successor is ready
PATIENCE_SECONDS = 1800.0
NEXT_STEP = "the next step is done"


def prepare(work: Path) -> Path:
    """One job, whose reference pans over a texture; returns its manifest."""
    texture = np.random.default_rng(0).integers(0, 256, (60, 104 + 81, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    write_mp4(work / "ref_pan_832x480.mp4", np.stack([texture[:, 8 * t : 8 * t + 832] for t in range(81)]), 15)
    job = {"category": "camera_motion", "reference": "ref_pan_832x480.mp4", "prompt": "a fox in the snow"}
    manifest = work / "killed_worker.jsonl"
    manifest.write_text(json.dumps(job | {"prompt_index": 0, "seed": 42}) + "\n")
    return manifest


def launch(manifest: Path, output: Path, flags: list[str]) -> "subprocess.Popen[bytes]":
    """A run of one rank that saves every step, into an empty folder."""
    shutil.rmtree(output, ignore_errors=True)
    command = ["bash", "launch.sh", "--manifest", manifest, "--output", output, "--checkpoint-every", "1", *flags]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"WAN_NUM_RANKS": "1"})


def saved_step(output: Path) -> int:
    """The step of the video's saved state, 0 if there is none."""
    for path in output.glob("*/*/.*.steps"):
        with suppress(OSError):
            return int(json.loads(path.read_bytes().split(b"\n", 2)[1])["step"])
    return 0


def has_record(output: Path) -> bool:
    return any(output.glob("*/*/seed_*.json"))


def record_of(output: Path) -> dict[str, Any]:
    [path] = output.glob("*/*/seed_*.json")
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def workers(ancestor: int) -> list[int]:
    """The worker that descends from a process, then its successor: what multiprocessing has spawned for generate.py."""
    commands, parents = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(process.name)
            parents[pid] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            commands[pid] = (process / "cmdline").read_bytes()
    found = []
    for pid, command in commands.items():
        if b"spawn_main" in command and b"generate.py" in commands.get(parents[pid], b""):
            above = pid
            while above > 1 and above != ancestor:
                above = parents.get(above, 0)
            found += [pid] if above == ancestor else []
    return sorted(found)


def wait_for(condition: Callable[[], object], run: "subprocess.Popen[bytes]") -> float:
    """Wait until the condition holds; returns when, in seconds of the monotonic clock."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if run.poll() is not None or time.monotonic() > end:
            sys.exit(f"it never happened; launch.sh: {run.poll()}")
        time.sleep(0.01)
    return time.monotonic()


def kill_in_the_middle(manifest: Path, output: Path, flags: list[str]) -> dict[str, float]:
    """Run with a kill; returns seconds from the kill to what followed it."""
    launched = time.monotonic()
    run = launch(manifest, output, flags)
    first = wait_for(lambda: saved_step(output) >= 1, run) - launched
    wait_for(lambda: saved_step(output) >= KILL_AFTER, run)
    worker, *successors = workers(run.pid)
    os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()
    step = saved_step(output)
    print(f"killed worker {worker}; saved was step {step}; a successor was ready: {bool(successors)}", flush=True)
    moments = {
        NEXT_STEP: wait_for(lambda: saved_step(output) > step or has_record(output), run),
        "the video is there": wait_for(lambda: has_record(output), run),
    }
    code = run.wait(timeout=PATIENCE_SECONDS)
    moments["the run has ended"] = time.monotonic()
    if code:
        sys.exit(f"launch.sh ended with {code}")
    seconds = {name: moment - killed for name, moment in moments.items()}
    ratio = first / seconds[NEXT_STEP]
    print(
        f"{first:.1f} s from launch.sh to the first step done, {ratio:.1f} times those from the kill to the next step"
    )
    return seconds


def main(work: Path, flags: list[str]) -> None:
    manifest = prepare(work)
    seconds = kill_in_the_middle(manifest, work / "output-killed", flags)
    unbroken = launch(manifest, work / "output-unbroken", flags)
    if code := unbroken.wait(timeout=PATIENCE_SECONDS):
        sys.exit(f"launch.sh ended with {code}")
    killed, whole = (record_of(work / f"output-{name}") for name in ("killed", "unbroken"))
    num_steps, forwards_a_step = killed["inputs"]["num_inference_steps"], 2
    print(f"\n{whole['device']}, {whole['versions']}, {num_steps} steps, saved after each")
    for name, value in seconds.items():
        print(f"{value:10.2f}  s from the kill until {name}")
    for part, value in killed["loading_seconds"].items():
        print(f"{value:10.2f}  s of these, {part}")
    print(f"{whole['seconds']['denoise'] / num_steps:10.2f}  s a step of the unbroken run")
    print(f"{killed['num_forwards'] // forwards_a_step:10d}  steps made after the kill")
    print(f"{killed['resumed_from']!s:>10}  resumed from")
    same = killed["video"]["sha256"] == whole["video"]["sha256"]
    print(f"{'same' if same else 'DIFFERENT':>10}  bytes: {killed['video']['sha256']}, {whole['video']['sha256']}")
    if not same or not killed["resumed_from"] or whole["resumed_from"]:
        sys.exit("it should have gone on from a saved step, to the bytes of the unbroken run")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
