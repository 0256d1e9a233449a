"""What a resume costs before any GPU work: finished jobs surveyed by fresh processes, their files in the page cache.

usage: python -m benchmarks.resume_scan [references, default 1000] [jobs of each, default 100] [remembered] [cpu]

The videos are a few bytes, the records as long as real ones. The first survey reads every record and remembers what it
saw; later ones read only what is new. With `remembered` the files are empty and all of them remembered, so that a
million are made in minutes: a later survey, which opens none of them, is the same. Each figure is in
seconds by the clock, with `cpu` in those of the processor (on a busy machine), imports left out, the best of three.
From 100,000 jobs on two processes look; parts of the survey are those of the first one, which waits for nothing else.
Memory is that of both together (PSS), from one survey more, as looking at it takes its time.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wan_ddp.digests import ReferenceDigests
from wan_ddp.job import Conditions, Identifier, Job, fingerprint, fingerprint_inputs
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs
from wan_ddp.record_index import RecordIndex

CONDITIONS = Conditions(model="Wan2.1-T2V-14B:" + "0123456789abcdef" * 4)
NUM_RANKS = 8
BESIDE = "  beside it, by the second process (cpu)"
INDEX = "  of it the index read"
LISTING = "  of it folders listed, files compared"
POLL_SECONDS = 0.1
ABOUT: dict[str, Any] = {
    "sanity": {
        "flags": [],
        "black_frames": 0,
        "blank_frames": 0,
        "frozen_pairs": 0,
        "flicker": 0.12,
        "motion": {"likeness": 0.871, "camera_likeness": 0.934, "speed_ratio": 1.037},
    },
    "model": {
        "name": "Wan2.1-T2V-14B",
        "identity": CONDITIONS.model,
        "files": {f"part{n}": "0" * 64 for n in range(6)},
    },
    "gpu": {"name": "NVIDIA H100 80GB HBM3", "index": 0, "driver": "580.95.05"},
    "versions": {"torch": "2.11.0+cu130", "diffsynth": "2.1.12", "wan_ddp": "0.1.0", "python": "3.12.3"},
    "num_forwards": 100,
    "peak_gib": 31.47,
    "reference_share": 0.0625,
    "seconds": {"read": 0.81, "encode": 2.83, "denoise": 332.1, "decode": 5.12, "save": 3.31},
    "run_id": "20261123-101010-1234",
    "rank": 3,
    "started": "2026-11-23T10:10:10Z",
    "finished": "2026-11-23T10:15:54Z",
}
SURVEY = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.resume_scan import BESIDE, CONDITIONS, INDEX, LISTING, NUM_RANKS
from wan_ddp.digests import ReferenceDigests
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs
from wan_ddp.plan import plan
from wan_ddp import survey as surveys

seconds = {}
clock = time.process_time if sys.argv[3] == "cpu" else time.monotonic
def lap(name, since):
    seconds[name] = clock() - since
    return clock()

def timed(name, function):
    def call(*arguments):
        now = clock()
        result = function(*arguments)
        lap(name, now)
        return result
    return call

folder = Path(sys.argv[2])
outputs = Outputs(folder / "out")
now = clock()
jobs = read_manifest(folder / "manifest.jsonl", {})
now = lap("manifest read", now)
plan(jobs, NUM_RANKS)
now = lap("plan for 8 ranks", now)
outputs.sweep()
now = lap("sweep", now)
seconds["survey"] = 0.0  # its parts stand below it
surveys.RecordIndex = timed(INDEX, surveys.RecordIndex)
surveys._look_up = timed(LISTING, surveys._look_up)
now = clock()
tasks = surveys.survey(jobs, outputs, ReferenceDigests(folder / "digests"), CONDITIONS)
now = lap("survey", now)
children = os.times()
seconds[BESIDE] = children.children_user + children.children_system
assert all(task.finding.state == "verified" for task in tasks)
json.dump(seconds, sys.stdout)
"""


def make(folder: Path, num_references: int, num_each: int, *, remembered: bool = False) -> None:
    """A manifest, its references, and every job finished."""
    (folder / "references").mkdir()
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for number in range(num_references):
            reference = folder / "references" / f"ref_镜头{number}_832x480.mp4"
            reference.write_bytes(b"reference %d" % number)
            for each in range(num_each):
                job = {
                    "category": ("camera_motion", "single_object", "multiple_objects", "human")[number % 4],
                    "reference": str(reference),
                    "prompt": f"a red fox trots across a snowy field from left to right, take {number} {each // 2}",
                    "prompt_index": each // 2,
                    "seed": (42, 142)[each % 2],
                }
                manifest.write(json.dumps(job, ensure_ascii=False) + "\n")
    digests = ReferenceDigests(folder / "digests")
    outputs = Outputs(folder / "out")
    if remembered:
        make_remembered(outputs, digests, read_manifest(folder / "manifest.jsonl", {}))
        return
    for job in read_manifest(folder / "manifest.jsonl", {}):
        inputs = fingerprint_inputs(job, CONDITIONS, digests.digest(job.reference))
        video = {"num_bytes": 7, "sha256": "0" * 64, "num_frames": 81, "fps": 15.0, "width": 832, "height": 480}
        record = {"id": job.id, "fingerprint": fingerprint(inputs), "inputs": inputs, "video": video, **ABOUT}
        outputs.video(job).parent.mkdir(parents=True, exist_ok=True)
        outputs.video(job).write_bytes(b"a video")
        outputs.record(job).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
    digests.save()


def make_remembered(outputs: Outputs, digests: ReferenceDigests, jobs: Sequence[Job]) -> None:
    """Empty files, and an index that says of each record what reading it would have proven."""
    for job in jobs:
        outputs.record(job).parent.mkdir(parents=True, exist_ok=True)
        for path in (outputs.record(job), outputs.video(job)):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    time.sleep(3.0)  # what is as young as the clock is not remembered
    index = RecordIndex(outputs.index)
    index.start()
    identify = Identifier(CONDITIONS).identify
    for job in jobs:
        _, mark = identify(job, digests.digest(job.reference))
        index.add(outputs.record(job).lstat(), bytes.fromhex(str(mark)), 0, 344.2)
    index.save()
    digests.save()


def measure(folder: Path, clock: str) -> dict[str, float]:
    done = subprocess.run(survey_command(folder, clock), check=True, capture_output=True)
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def survey_command(folder: Path, clock: str) -> list[str]:
    return [sys.executable, "-c", SURVEY, str(Path(__file__).resolve().parent.parent), str(folder), clock]


def peak_megabytes(folder: Path) -> int:
    """The most memory that a survey's processes hold together: each page once, in shares where both have it."""
    peak = 0
    with subprocess.Popen(survey_command(folder, "wall"), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError, StopIteration):  # one that has just ended
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
                peak = max(peak, sum(map(_proportional_kilobytes, [process.pid, *map(int, children)])))
            time.sleep(POLL_SECONDS)
    return peak >> 10


def _proportional_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1])


def main(num_references: int, num_each: int, *how: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), num_references, num_each, remembered="remembered" in how)
        clock = "cpu" if "cpu" in how else "wall"
        # The second one still reads the records that were too young for the first one to remember.
        first, _, *later = [measure(Path(name), clock) for _ in range(5)]
        megabytes = peak_megabytes(Path(name))
    print(f"{num_references * num_each} finished jobs, {num_references} references")
    for part in first:
        print(f"{part:<41} first {first[part]:6.2f} s   later {min(each[part] for each in later):6.2f} s")
    print(f"peak memory of a survey with its manifest and plan {megabytes} MB")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or ("1000", "100")), *sys.argv[3:])
