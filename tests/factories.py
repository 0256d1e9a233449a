"""Values that several test files build: a job with every field told, and the jobs of the experiment."""

import contextlib
from pathlib import Path
from typing import Any

from wan_ddp.job import Job

# Category -> references, each with 5 prompts and 2 seeds: the experiment that the project was made for.
EXPERIMENT = {"camera_motion": 14, "single_object": 33, "multiple_objects": 13, "complex_human_motion": 8}


def make_job(**changes: Any) -> Job:
    """A small job, valid whatever is changed within the format."""
    fields: dict[str, Any] = {
        "category": "camera_motion",
        "reference": "/references/pan.mp4",
        "prompt": "a cat walks 一只猫在走",
        "prompt_index": 0,
        "seed": 42,
        "width": 32,
        "height": 16,
        "num_frames": 5,
        "num_inference_steps": 2,
    }
    return Job(**fields | changes)


def experiment_jobs() -> list[Job]:
    """The 680 jobs."""
    return [
        Job(
            category=category,
            reference=f"/references/{category}/{number}.mp4",
            prompt=f"prompt {prompt_index}",
            prompt_index=prompt_index,
            seed=seed,
        )
        for category, num_references in EXPERIMENT.items()
        for number in range(num_references)
        for prompt_index in range(5)
        for seed in (42, 142)
    ]


def fill(disk: Path, num_bytes_left: int) -> None:
    """Leave so much room on a small file system."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    with (disk / "filler").open("r+b") as file:
        file.truncate((disk / "filler").stat().st_size - num_bytes_left)
