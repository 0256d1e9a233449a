"""Output folders as runs leave them, without the runs: real mp4s, records, run files, states and histories."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from wan_ddp.digests import REMEMBERED, ReferenceDigests
from wan_ddp.heartbeat import RankState, run_folder
from wan_ddp.job import Conditions, Job, fingerprint, fingerprint_inputs
from wan_ddp.manifest import read_manifest
from wan_ddp.outputs import Outputs
from wan_ddp.process import own_token
from wan_ddp.run_file import describe_run, write_run_file
from wan_ddp.settings import parse
from wan_ddp.verdict import Failure, VideoFile
from wan_ddp.video import write_mp4

CONDITIONS = Conditions(model="identity")
ELSEWHERE = "00000000-1-1-1"
"""The token of a process on another host."""


class Finished:
    """An output folder over references of some categories, with one prompt and some seeds for each."""

    def __init__(self, folder: Path, categories: Mapping[str, int], *, seeds: Sequence[int] = (42, 142)) -> None:
        self.folder, self.categories, self.seeds = folder, categories, seeds
        self.output = folder / "output"
        self.outputs = Outputs(self.output)
        self.logs = self.output / "logs"
        self.logs.mkdir(parents=True)
        self._digests = ReferenceDigests(self.output / REMEMBERED)
        self._video = folder / "video.mp4"
        write_mp4(self._video, np.full((5, 16, 32, 3), 90, np.uint8), 15)
        for category, number in categories.items():
            (folder / "references" / category).mkdir(parents=True)
            for reference in range(number):
                (folder / "references" / category / f"{reference}.mp4").write_bytes(f"{category} {reference}".encode())
        self.jobs = read_manifest(self.manifest(), {})
        for job in self.jobs:
            self._digests.digest(job.reference)
        self._digests.save()

    def manifest(self, seeds: Sequence[int] | None = None) -> Path:
        lines = [
            {
                "category": category,
                "reference": f"references/{category}/{reference}.mp4",
                "prompt": "a cat walks 一只猫在走",
                "prompt_index": 0,
                "seed": seed,
                "width": 32,
                "height": 16,
                "num_frames": 5,
                "num_inference_steps": 4,
            }
            for category, number in self.categories.items()
            for reference in range(number)
            for seed in seeds or self.seeds
        ]
        path = self.folder / "manifest.jsonl"
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        return path

    def begin(
        self, run_id: str, *, day: int = 1, seeds: Sequence[int] | None = None, world_size: int = 2, flags: str = ""
    ) -> None:
        """The file of a run that was told of these videos."""
        settings = parse(["--manifest", str(self.manifest(seeds)), *flags.split()], {})
        run = describe_run(
            settings,
            CONDITIONS,
            run_id=run_id,
            started=datetime(2026, 11, day, tzinfo=timezone.utc),
            world_size=world_size,
            num_gpus=0,
            model="tiny",
            random_weights=True,
        )
        write_run_file(self.logs, run)

    def inputs(self, job: Job) -> dict[str, Any]:
        return fingerprint_inputs(job, CONDITIONS, self._digests.digest(job.reference))

    def make(self, job: Job, *, later: float = 0.0, **more: Any) -> None:
        """The job's video and record; `later` sets the record's time forward, by so many seconds."""
        video, record = self.outputs.video(job), self.outputs.record(job)
        video.parent.mkdir(parents=True, exist_ok=True)
        if not video.exists():
            os.link(self._video, video)
        inputs = self.inputs(job)
        told = {"id": job.id, "fingerprint": fingerprint(inputs), "inputs": inputs, "seconds": {"denoise": 4.0}}
        described = VideoFile(video.stat().st_size, "0" * 64, job.num_frames, job.fps, job.width, job.height)
        record.write_text(json.dumps(told | {"video": asdict(described)} | more, ensure_ascii=False), encoding="utf-8")
        if later:
            os.utime(record, (record.stat().st_atime, record.stat().st_mtime + later))

    def make_all(self) -> None:
        for job in self.jobs:
            self.make(job)

    def give_up(self, job: Job, run_id: str = "run", **changes: Any) -> None:
        failure: dict[str, Any] = {"error": "the clip is damaged", "kind": "bad_input", "attempts": 1} | changes
        self.outputs.record_failure(job, Failure(fingerprint(self.inputs(job)), run_id=run_id, **failure))

    def give_verdict(self, run_id: str, **report: Any) -> None:
        path = run_folder(self.logs, run_id) / "report.json"
        path.write_text(json.dumps({"run_id": run_id, "complete": False} | report), encoding="utf-8")

    def rank(self, run_id: str, rank: int, *, age: float = 0.0, **changes: Any) -> RankState:
        """A rank's state, by default of this living process; its file was written `age` seconds ago."""
        state = self._state(run_id, rank, changes)
        path = run_folder(self.logs, run_id) / f"rank{rank}.json"
        path.write_text(json.dumps(asdict(state)), encoding="utf-8")
        written = path.stat().st_mtime - age
        os.utime(path, (written, written))
        return state

    def tell(
        self, run_id: str, rank: int, did: Sequence[tuple[float, Mapping[str, Any]]], *, node: int | None = None
    ) -> None:
        """Lines of a rank's history: what changed, and when, in seconds since some moment."""
        folder = self.logs if node is None else self.logs / f"node{node}"
        folder.mkdir(exist_ok=True)
        now: dict[str, Any] = {}
        with (folder / f"gpu{rank // 2}_process{rank % 2}.history.jsonl").open("a", encoding="utf-8") as file:
            for seconds, changes in did:
                now |= changes
                state = self._state(run_id, rank, now | {"time": 1_800_000_000.0 + seconds})
                file.write(json.dumps(asdict(state)) + "\n")

    @staticmethod
    def _state(run_id: str, rank: int, changes: Mapping[str, Any]) -> RankState:
        fields: dict[str, Any] = {"token": own_token(), "host": "node-a"} | dict(changes)
        return RankState(run_id, rank, rank // 2, rank % 2, **fields)
