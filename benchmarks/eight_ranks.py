"""What `eight_ranks.sh` runs and measures, one part after another; each prints its table when it is done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from wan_ddp.video import write_mp4

ROOT = Path(__file__).resolve().parent.parent
# The experiment's proportions, 14 : 33 : 13 : 8.
CATEGORIES = {"camera_motion": 4, "single_object": 10, "multiple_objects": 4, "complex_human_motion": 2}
SHORT = {"num_frames": 17, "num_inference_steps": 3}
TINY = {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 2}
SEEDS = (42, 142, 242)
"""As many as it takes for the ends of a run, a few seconds a GPU, to be small beside it."""
PATIENCE_SECONDS = 1800.0


def say(*words: object) -> None:
    print(*words, flush=True)


def ask_gpus(query: str, kind: str = "gpu") -> list[list[str]]:
    """Rows of nvidia-smi's answer; none where there is no GPU."""
    command = ["nvidia-smi", f"--query-{kind}={query}", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.CalledProcessError):
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [line.split(", ") for line in answer.splitlines()]
    return []


class Bench:
    def __init__(self, work: Path, flags: Sequence[str]) -> None:
        self.work = work
        self.gpus = [uuid for [uuid] in ask_gpus("uuid")]
        self.flags = [*flags, *(["--model-dir", str(work / "Wan2.1-T2V-14B")] if self.gpus else ["--model", "tiny"])]
        self.references = {category: self._references(category, count) for category, count in CATEGORIES.items()}

    def _references(self, category: str, count: int) -> list[Path]:
        rng = np.random.default_rng(len(category))
        paths = [self.work / f"ref_{category}{number}_832x480.mp4" for number in range(count)]
        for path in paths:
            texture = rng.integers(0, 256, (60, 104 + 81, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            write_mp4(path, np.stack([texture[:, 8 * t : 8 * t + 832] for t in range(81)]), 15)
        return paths

    def manifest(
        self,
        name: str,
        categories: Sequence[str],
        num_jobs: int | None = None,
        seeds: Sequence[int] = (42,),
        **fields: Any,
    ) -> Path:
        fields = fields if self.gpus else TINY
        jobs = [
            (category, path, seed) for category in categories for path in self.references[category] for seed in seeds
        ]
        lines = [
            {"category": category, "reference": path.name, "prompt": f"a fox, {path.stem}", "prompt_index": 0}
            | {"seed": seed}
            | fields
            for category, path, seed in jobs[:num_jobs]
        ]
        path = self.work / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def start(self, name: str, manifest: Path, gpus: Sequence[int], *flags: str) -> "Run":
        return Run(self, name, manifest, gpus, [*self.flags, *flags])


class Run:
    """A launch on some of the GPUs, into an empty folder."""

    def __init__(self, bench: Bench, name: str, manifest: Path, gpus: Sequence[int], flags: Sequence[str]) -> None:
        self.output = bench.work / f"output-{name}"
        self.gpus = gpus
        shutil.rmtree(self.output, ignore_errors=True)
        environ = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if bench.gpus else {"WAN_NUM_RANKS": "8"}
        command = ["bash", "launch.sh", "--manifest", str(manifest), "--output", str(self.output), *flags]
        with (bench.work / f"{name}.log").open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stdout=log, stderr=log)

    def wait(self) -> "Run":
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        report = json.loads((self.output / "report.json").read_text())
        if code or not report["complete"]:
            sys.exit(f"{self.output} ended with {code}: {report['verified']} of {report['expected']}")
        return self

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.output.glob("*/*/seed_*.json")]

    def states(self) -> list[dict[str, Any]]:
        """What the ranks say of themselves; one that is just being written is left out."""
        found = []
        for path in sorted(self.output.glob("logs/.run-*/rank*.json")):
            with suppress(OSError, ValueError):
                found.append(json.loads(path.read_text()))
        return found

    def gpu_seconds(self) -> tuple[float, float]:
        """Seconds from each GPU's first task to the last video, added up; and from the very first one."""
        first: dict[int, float] = defaultdict(lambda: float("inf"))
        for record in self.records():
            gpu = record["rank"] // 2
            first[gpu] = min(first[gpu], seconds(record["started"]))
        end = max(seconds(record["finished"]) for record in self.records())
        return sum(end - start for start in first.values()), end - min(first.values())


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.removesuffix("Z") + "+00:00").timestamp()


@contextmanager
def watching() -> Iterator[dict[str, Any]]:
    """The most of each GPU's and the host's memory in use, and which processes were seen on which GPU."""
    seen: dict[str, Any] = {"gpu": defaultdict(int), "host": 0, "processes": defaultdict(set)}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            for uuid, used in ask_gpus("uuid,memory.used"):
                seen["gpu"][uuid] = max(seen["gpu"][uuid], int(used))
            for uuid, pid in ask_gpus("gpu_uuid,pid", "compute-apps"):
                seen["processes"][int(pid)].add(uuid)
            memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
            total, free = (int(memory[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
            seen["host"] = max(seen["host"], (total - free) // 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def workers_of(pid: int) -> list[int]:
    """A supervisor's worker, and then its successor if there is one."""
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return sorted(found)


def pid_of(state: Mapping[str, Any]) -> int:
    """The supervisor's."""
    return int(state["token"].split("-")[2])


def right_gpus(bench: Bench) -> None:
    """All ranks from one launch, at the true size."""
    num_ranks = 2 * len(bench.gpus) or 8
    manifest = bench.manifest("true", list(CATEGORIES), num_ranks, num_inference_steps=1)
    workers: dict[int, int] = {}
    with watching() as seen:
        run = bench.start("true", manifest, range(len(bench.gpus)))
        while run.process.poll() is None:
            for state in run.states():
                workers |= dict.fromkeys(workers_of(pid_of(state)), state["rank"])
            time.sleep(0.5)
        run.wait()
    say(f"\n{num_ranks} ranks, {len(run.records())} videos of one step, complete and verified")
    for number, uuid in enumerate(bench.gpus):
        ranks = {workers[pid] for pid, uuids in seen["processes"].items() if uuid in uuids and pid in workers}
        says = {record["rank"] for record in run.records() if record["rank"] // 2 == number}
        ranks_there = f"ranks {sorted(ranks)} seen by nvidia-smi, {sorted(says)} in the records"
        say(f"  GPU {number}: {ranks_there}; at most {seen['gpu'][uuid] / 1024:.1f} GiB in use")
    loading = [record["loading_seconds"] for record in run.records()]
    for part in loading[0]:
        say(f"  {max(each[part] for each in loading):8.1f}  s at most, {part}")
    say(f"  {seen['host']:8d}  MiB of host memory at most")
    peak = max(record.get("peak_memory_bytes", 0) for record in run.records()) / 2**30
    say(f"  {peak:8.1f}  GiB at most, a rank's own tensors")


def scaling(bench: Bench) -> dict[str, float]:
    """The same manifest on one, two, four GPUs: returns the ideal and the measured makespan on all of them."""
    manifest = bench.manifest("scaling", list(CATEGORIES), seeds=SEEDS, **SHORT)
    rate_of_one = 0.0
    counts = [count for count in (1, 2, 4, 8) if count <= len(bench.gpus)]
    say("\nGPUs  videos  s from the first start  videos an hour  GPU-seconds a video, against one GPU")
    for count in counts:
        run = bench.start(f"on{count}", manifest, range(count)).wait()
        gpu_seconds, wall = run.gpu_seconds()
        rate = len(run.records()) / gpu_seconds
        rate_of_one = rate_of_one or rate
        line = f"{count:4d}  {len(run.records()):6d}  {wall:22.1f}  {3600 * rate * count:14.0f}"
        say(f"{line}  {1 / rate:8.2f}, {rate / rate_of_one:.3f} of perfect scaling")
    return {"ideal": len(run.records()) / (rate_of_one * len(bench.gpus)), "balanced": gpu_seconds / len(bench.gpus)}


def category_a_gpu(bench: Bench, makespans: Mapping[str, float]) -> None:
    """The old way: each GPU its categories, with nothing to take over."""
    names, count = list(CATEGORIES), len(bench.gpus)
    runs = [
        bench.start(f"category{gpu}", bench.manifest(f"category{gpu}", names[gpu::count], seeds=SEEDS, **SHORT), [gpu])
        for gpu in range(count)
        if names[gpu::count]
    ]
    slowest = max(run.wait().gpu_seconds()[1] for run in runs)
    say(f"\nmakespans on {count} GPUs, in seconds and over the ideal, {makespans['ideal']:.1f} s")
    for name, value in (("balanced shards", makespans["balanced"]), ("a category a GPU", slowest)):
        say(f"  {value:8.1f}  {value / makespans['ideal']:.3f}  {name}")


def faults(bench: Bench) -> None:
    """A worker killed, and the ranks of the last GPU stopped for good."""
    manifest = bench.manifest("all", list(CATEGORIES), **SHORT)
    run = bench.start("faults", manifest, range(len(bench.gpus)), "--barrier-timeout", "15")
    while sum(state["num_done"] for state in run.states()) < 2:
        if run.process.poll() is not None:
            sys.exit("it ended before anything was broken")
        time.sleep(0.2)
    states = sorted(run.states(), key=lambda state: int(state["rank"]))
    worker, *_ = workers_of(pid_of(states[0]))
    os.kill(worker, signal.SIGKILL)
    stopped = states[-2:]
    for state in stopped:
        for pid in (pid_of(state), *workers_of(pid_of(state))):
            os.kill(pid, signal.SIGSTOP)
    held = [state["job"] for state in stopped]
    run.wait()
    by_rank: dict[int, int] = defaultdict(int)
    for record in run.records():
        by_rank[record["rank"]] += 1
    say(f"\na worker of rank 0 killed, ranks {[state['rank'] for state in stopped]} stopped with {held} in hand:")
    say(f"  complete and verified; videos by rank {dict(sorted(by_rank.items()))}")


def main(work: Path, flags: Sequence[str]) -> None:
    parts = os.environ.get("PARTS", "gpus scaling faults").split()
    bench = Bench(work, flags)
    names = {name for [name] in ask_gpus("name")}
    say(f"{len(bench.gpus)} GPUs {', '.join(names)}; {' '.join(bench.flags)}")
    if "gpus" in parts:
        right_gpus(bench)
    if "scaling" in parts and bench.gpus:
        category_a_gpu(bench, scaling(bench))
    if "faults" in parts:
        faults(bench)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
