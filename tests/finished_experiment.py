"""An output folder as a run leaves it, or has it half way: tiny videos and everything that lies beside them.

Nothing is generated: files are written in the formats of the project's own modules, so 680 videos take two seconds. A
simulated schedule of ranks gives them times, histories, crashes and take-overs that belong together.
"""

import hashlib
import heapq
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from factories import EXPERIMENT

from wan_ddp.digests import ReferenceDigests
from wan_ddp.errors import FailureKind
from wan_ddp.heartbeat import RankState, States, run_folder
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs
from wan_ddp.plan import plan
from wan_ddp.process import own_token
from wan_ddp.run_file import describe_run, write_run_file
from wan_ddp.settings import parse
from wan_ddp.survey import survey
from wan_ddp.verdict import Failure, report, rerun_lines
from wan_ddp.video import write_mp4

SIZE = {"width": 96, "height": 64, "num_frames": 9, "num_inference_steps": 50}
CONDITIONS = Conditions(model="Wan2.1-T2V-14B:" + "0123456789abcdef" * 4)
START = datetime(2026, 11, 23, 20, tzinfo=timezone.utc).timestamp()
NUM_RANKS = 8
RANKS_PER_GPU = 2
SECONDS = {"read": 0.8, "encode": 2.8, "turn": 30.0, "denoise": 332.0, "decode": 5.1, "save": 3.3}
_LOADING_SECONDS = 70.0
_NAMES = ("镜头仰角旋转", "sliding door", "街道 #2 50%", "平移?", "走路的人", "dolly & roll", "pendulum")
_ERRORS: Mapping[FailureKind, str] = {
    "bad_input": "it has 80 of the 81 frames that the job needs; use a longer clip, or --short-reference hold",
    "out_of_memory": "CUDA out of memory. Tried to allocate 2.50 GiB",
    "io": "No space left on device; nothing was published for it",
    "worker_died": "the worker was killed by SIGKILL",
    "hang": "no step for 900 s",
    "gpu": "CUDA error: an illegal memory access was encountered",
    "error": "RuntimeError: the latents hold values that are not finite",
}


def manifest_lines(
    categories: Mapping[str, int] = EXPERIMENT, *, num_prompts: int = 5, seeds: Sequence[int] = (42, 142)
) -> list[dict[str, Any]]:
    """Manifest lines with so many references in each category, their names Chinese and such as URLs must escape."""
    return [
        {
            "category": category,
            "reference": f"references/{category}/ref_{_NAMES[number % len(_NAMES)]} {number}_96x64.mp4",
            "prompt": f"A red fox trots over fresh snow, take {prompt_index}; 一只狐狸在雪地上小跑，镜头缓缓跟随",
            "prompt_index": prompt_index,
            "seed": seed,
        }
        for category, num_references in categories.items()
        for number in range(num_references)
        for prompt_index in range(num_prompts)
        for seed in seeds
    ]


@dataclass
class FinishedExperiment:
    """A folder with `references/`, `manifest.jsonl` and `output/`.

    `failures` says by job id what its attempts come to; a job that dies fewer than three times is made after that.
    With `until` the run has gone on for so many seconds, and goes on.
    """

    folder: Path
    lines: Sequence[Mapping[str, Any]]
    failures: Mapping[str, Sequence[FailureKind]] = field(default_factory=dict)
    until: float | None = None
    start: float = START
    run_id: str = "20261123T200000Z-1"
    flags: Sequence[str] = ()
    recorded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What records say besides, by job id."""
    jobs: list[Job] = field(init=False)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    def ids(self) -> list[str]:
        """The lines' job ids."""
        return [
            f"{line['category']}/{Path(line['reference']).stem}/seed_{line['seed']}_prompt_{line['prompt_index']}"
            for line in self.lines
        ]

    def write(self) -> "FinishedExperiment":
        self.output.mkdir(parents=True)
        self.manifest.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines), "utf-8")
        told = ["--manifest", str(self.manifest), "--output", str(self.output)]
        told += [f"--{name.replace('_', '-').replace('num-inference-', '')}={SIZE[name]}" for name in SIZE]
        settings = parse([*told, *self.flags], {})
        conditions = settings.conditions(CONDITIONS.model)
        self.jobs = read_manifest(self.manifest, settings.job_defaults)
        run = describe_run(
            settings,
            conditions,
            run_id=self.run_id,
            started=_utc(self.start),
            world_size=NUM_RANKS,
            num_gpus=NUM_RANKS // RANKS_PER_GPU,
            model="Wan2.1-T2V-14B",
            random_weights=False,
        )
        write_run_file(self.output / "logs", run)
        digests = self._write_references()
        clips = [_Clip.write(self.folder / f"result{number}.mp4", number) for number in range(3)]
        outputs, histories = Outputs(self.output), _Histories(self)
        for number, made in enumerate(_Schedule(self).run(histories)):
            inputs = fingerprint_inputs(made.job, conditions, digests.digest(made.job.reference))
            outputs.video(made.job).parent.mkdir(parents=True, exist_ok=True)
            if made.failure:
                failure = replace(made.failure, fingerprint=fingerprint(inputs))
                outputs.record_failure(made.job, failure)
                continue
            clip = clips[number % len(clips)]
            shutil.copyfile(clip.path, outputs.video(made.job))
            record = self._record(made, clip) | {"fingerprint": fingerprint(inputs), "inputs": inputs}
            record |= self.recorded.get(made.job.id, {})
            outputs.record(made.job).write_text(json.dumps(record, ensure_ascii=False), "utf-8")
        histories.write()
        if self.until is None:
            tasks = survey(self.jobs, outputs, digests, conditions, read_references=False)
            findings = [task.finding for task in tasks]
            verdict = report(self.jobs, findings, keep_changed=False) | {
                "run_id": self.run_id,
                "started": _text(self.start),
                "finished": _text(histories.last_time),
                "silent_ranks": [],
                "ranks": [asdict(states[-1]) for states in histories.states],
            }
            for folder in (self.output, run_folder(self.output / "logs", self.run_id)):
                (folder / "report.json").write_text(json.dumps(verdict, ensure_ascii=False), "utf-8")
            lines = rerun_lines(self.jobs, findings, keep_changed=False)
            (self.output / "missing.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return self

    def _write_references(self) -> ReferenceDigests:
        clip = _Clip.write(self.folder / "reference.mp4", 7)
        digests = ReferenceDigests(self.output / ".references.json")
        for reference in dict.fromkeys(job.reference for job in self.jobs):
            Path(reference).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clip.path, reference)
            digests.digest(reference)
        digests.save()
        return digests

    def _record(self, made: "_Made", clip: "_Clip") -> dict[str, Any]:
        job = made.job
        return {
            "id": job.id,
            "reference": {"path": job.reference, "num_frames": 9, "fps": 15.0, "width": 96, "height": 64},
            "video": {"num_bytes": len(clip.content), "sha256": clip.sha256}
            | {"num_frames": job.num_frames, "fps": job.fps, "width": job.width, "height": job.height},
            "flags": [],
            "wan_ddp": "0.1.0",
            "model": "Wan2.1-T2V-14B",
            "random_weights": False,
            "device": "NVIDIA H100 80GB HBM3",
            "versions": {"python": "3.12.3", "torch": "2.11.0", "diffsynth": "2.1.12"},
            "num_forwards": 100,
            "reference_share": 0.0625,
            "peak_memory_bytes": 33_800_000_000,
            "resumed_from": [20] if made.attempt > 1 else [],
            "seconds": {name: round(made.seconds[name], 3) for name in made.seconds if name != "turn"},
            "run_id": self.run_id,
            "rank": made.rank,
            "started": _text(made.started),
            "finished": _text(made.finished),
        }


@dataclass(frozen=True)
class _Clip:
    path: Path
    content: bytes
    sha256: str

    @classmethod
    def write(cls, path: Path, number: int) -> "_Clip":
        """A square that moves over a gradient, in colours of its own."""
        rows, columns = np.mgrid[0:64, 0:96]
        frames = np.zeros((9, 64, 96, 3), np.uint8)
        for index, frame in enumerate(frames):
            frame[..., number % 3] = 60 + columns
            frame[..., (number + 1) % 3] = 60 + rows
            frame[20:40, 8 + 7 * index : 28 + 7 * index] = (250, 240 - 30 * (number % 8), 40 * (number % 6))
        write_mp4(path, frames, 15)
        content = path.read_bytes()
        return cls(path, content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class _Made:
    """A job that was finished, or given up."""

    job: Job
    rank: int
    attempt: int
    started: float
    finished: float
    seconds: Mapping[str, float]
    failure: Failure | None = None


class _Histories:
    """What each rank did, line by line."""

    def __init__(self, experiment: FinishedExperiment) -> None:
        self._experiment = experiment
        self.states = [
            [RankState(experiment.run_id, rank, rank // 2, rank % 2, own_token(), host="node", time=experiment.start)]
            for rank in range(NUM_RANKS)
        ]

    def tell(self, rank: int, time: float, **changes: Any) -> None:
        until = self._experiment.until
        if until is None or time <= self._experiment.start + until:
            self.states[rank].append(replace(self.states[rank][-1], time=round(time, 3), **changes))

    @property
    def last_time(self) -> float:
        return max(states[-1].time for states in self.states)

    def write(self) -> None:
        logs, until = self._experiment.output / "logs", self._experiment.until
        heartbeats = States(logs, self._experiment.run_id, NUM_RANKS)
        for rank, states in enumerate(self.states):
            path = logs / f"gpu{rank // RANKS_PER_GPU}_process{rank % RANKS_PER_GPU}.history.jsonl"
            path.write_text("".join(json.dumps(asdict(state)) + "\n" for state in states[1:]), "utf-8")
            last = states[-1]
            if until is not None and last.part == "denoise":
                elapsed = self._experiment.start + until - last.time
                last = replace(last, step=min(int(elapsed / SECONDS["denoise"] * 50), 49), num_steps=50)
            if until is not None:
                last = replace(last, time=self._experiment.start + until)
            heartbeats.path(rank).write_text(json.dumps(asdict(replace(last, beat=99))), "utf-8")


class _Schedule:
    """Eight ranks, each through its shard and then through what others have left."""

    def __init__(self, experiment: FinishedExperiment) -> None:
        self._experiment = experiment
        self._shards = [list(shard) for shard in plan(experiment.jobs, NUM_RANKS)]
        self._attempts: dict[str, int] = {}
        self._random = np.random.default_rng(0)

    def run(self, histories: _Histories) -> Iterator[_Made]:
        end = self._experiment.start + (self._experiment.until or float("inf"))
        free = [(self._experiment.start + 4.0 * rank, rank) for rank in range(NUM_RANKS)]
        for time, rank in free:
            histories.tell(rank, time, phase="loading", num_jobs=len(self._shards[rank]))
        free = [(time + _LOADING_SECONDS, rank) for time, rank in free]
        heapq.heapify(free)
        while free:
            time, rank = heapq.heappop(free)
            own = self._shards[rank]
            shard = own or max(self._shards, key=len)
            if not shard:
                histories.tell(rank, time, phase="finished", part="", job=None, attempt=0, taken_over=False)
            elif time <= end:
                made, time = self._attempt(histories, rank, time, shard, taken_over=shard is not own)
                if made and made.finished <= end:
                    yield made
                heapq.heappush(free, (time, rank))

    def _attempt(
        self, histories: _Histories, rank: int, time: float, shard: list[Job], *, taken_over: bool
    ) -> tuple[_Made | None, float]:
        job = shard.pop(-1 if taken_over else 0)
        attempt = self._attempts[job.id] = self._attempts.get(job.id, 0) + 1
        started, planned = time, self._experiment.failures.get(job.id, ())
        kind = planned[attempt - 1] if attempt <= len(planned) else None
        state = histories.states[rank][-1]
        histories.tell(rank, time, phase="working", part="", job=job.id, attempt=attempt, taken_over=taken_over)
        seconds = {name: value * self._random.uniform(0.95, 1.1) for name, value in SECONDS.items()}
        for part in seconds:
            histories.tell(rank, time, part=part)
            if kind and part == ("read" if kind == "bad_input" else "denoise"):
                break
            time += seconds[part]
        if kind is None:
            histories.tell(rank, time, num_done=state.num_done + 1)
            return _Made(job, rank, attempt, started, time, seconds), time
        time += 0.2 if kind == "bad_input" else 140.0
        lost = kind in ("worker_died", "hang", "gpu")
        if attempt == len(planned) and (attempt >= 3 or not lost):
            histories.tell(rank, time, num_lost=state.num_lost + lost, num_failed=state.num_failed + 1)
            tail = "" if kind == "bad_input" else "2026-11-23 20:10:00 INFO step 20 of 50\nKilled </script>\n"
            failure = Failure("", _ERRORS[kind], kind, attempt, self._experiment.run_id, attempt, tail)
            made = _Made(job, rank, attempt, started, time, seconds, failure)
        else:
            histories.tell(rank, time, num_lost=state.num_lost + lost)
            shard.append(job)
            made = None
        if lost:
            idle = {"part": "", "job": None, "attempt": 0, "taken_over": False}
            histories.tell(rank, time, phase="loading", **idle)
            time += _LOADING_SECONDS
        return made, time


def _utc(time: float) -> datetime:
    return datetime.fromtimestamp(time, timezone.utc)


def _text(time: float) -> str:
    return f"{_utc(time):%Y-%m-%dT%H:%M:%SZ}"
