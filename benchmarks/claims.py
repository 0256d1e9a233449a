"""What keeping account costs: milliseconds for each claim, its end and a publishing, seconds for one look at all.

Publishing is measured without encoding the video and decoding it again: 4 MB are written in their place.

usage: python -m benchmarks.claims [jobs, default 100000] [folder on the disk that counts, default a temporary one]
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wan_ddp import outputs
from wan_ddp.claims import Claim, Claims, claim_key
from wan_ddp.job import Job
from wan_ddp.verdict import VideoFile

_NUM_LOOKS = 5
_NUM_PUBLISHED = 200
LOOK_AFRESH = """
import sys, time
from pathlib import Path
from wan_ddp.claims import Claims
started = time.monotonic()
look = Claims(Path(sys.argv[1]), run_id="run", rank=0).look()
num_done = sum(look.standing(key, 3) == "done" for key in look.generations)
print(time.monotonic() - started, num_done)
"""


def claim_and_end(claims: Claims, keys: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each claim, and of each end."""
    claiming, ending = [], []
    for key in keys:
        started = time.perf_counter()
        claim = claims.claim(key, 3)
        claimed = time.perf_counter()
        assert isinstance(claim, Claim), claim
        claim.end("done")
        claiming.append((claimed - started) * 1000)
        ending.append((time.perf_counter() - claimed) * 1000)
    return claiming, ending


def look_afresh(folder: Path, num_jobs: int) -> float:
    """Seconds that a new process takes to list the folder and to know that every job is done."""
    command = [sys.executable, "-c", LOOK_AFRESH, str(folder)]
    seconds, num_done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(num_done) == num_jobs
    return float(seconds)


def publish(folder: Path, claim: Claim) -> list[float]:
    """Milliseconds of each publishing: write, sync, ask whether the claim stands, rename, sync."""
    video = VideoFile(num_bytes=4 * 2**20, sha256="0" * 64, num_frames=81, fps=15.0, width=832, height=480)
    outputs.write_mp4 = lambda path, frames, fps: path.write_bytes(b"\0" * video.num_bytes)  # type: ignore[assignment]
    outputs._checked = lambda path, job: video
    frames = np.empty((81, 480, 832, 3), np.uint8)
    milliseconds = []
    for seed in range(_NUM_PUBLISHED):
        job = Job(category="c", reference="/r.mp4", prompt="p", prompt_index=0, seed=seed)
        there = outputs.Outputs(folder)
        there.prepare(job)
        started = time.perf_counter()
        there.publish(job, frames, lambda written: {"video": written.num_bytes}, claim.stands)
        milliseconds.append((time.perf_counter() - started) * 1000)
    return milliseconds


def main(num_jobs: int, where: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=where) as base:
        folder = Path(base, ".claims")
        keys = [claim_key(f"category/ref/seed_{number}_prompt_0", "fingerprint") for number in range(num_jobs)]
        with Claims(folder, run_id="benchmark", rank=0) as claims:
            claiming, ending = claim_and_end(claims, keys)
            last = max(len(keys) // 10, 1)
            for name, values in (("claim", claiming), ("end", ending)):
                full = statistics.median(values[-last:])
                print(
                    f"{name}: {statistics.median(values):.2f} ms (median of {num_jobs}), {full:.2f} ms with the folder "
                    f"full (median of the last {last}), {max(values):.0f} ms at most"
                )
            claim = claims.claim(claim_key("another", "fingerprint"), 3)
            assert isinstance(claim, Claim), claim
            publishing = publish(Path(base, "videos"), claim)
            claim.end("done")
            median = statistics.median(publishing)
            print(f"publish: {median:.1f} ms (median of {len(publishing)}), {max(publishing):.0f} at most")
        looks = [look_afresh(folder, num_jobs + 1) for _ in range(_NUM_LOOKS)]
        num_names = len(list(folder.glob("???/*")))
        print(
            f"look, {num_jobs} jobs done, {num_names} names: {statistics.median(looks):.2f} s "
            f"(median of {_NUM_LOOKS} new processes, {min(looks):.2f} to {max(looks):.2f})"
        )
        kind = subprocess.run(["stat", "-f", "-c", "%T", base], capture_output=True, text=True).stdout.strip()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
    print(f"{machine}, {kind}, Python {platform.python_version()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2] if len(sys.argv) > 2 else None)
