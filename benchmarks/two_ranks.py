"""The manifest of `two_ranks.sh`, and the figures of its run from the records and the samples of nvidia-smi."""

import json
import sys
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from wan_ddp.video import write_mp4

NUM_REFERENCES, SEEDS = 2, (42, 142)
WHEN = ("started", "finished")


def prepare(work: Path, num_steps: int) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (60, 104 + 81, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    lines = []
    for reference in range(NUM_REFERENCES):
        frames = np.stack([texture[:, 8 * t : 8 * t + 832] for t in range(81)][:: 1 - 2 * reference])
        path = work / f"ref_pan{reference}_832x480.mp4"
        write_mp4(path, frames, 15)
        for seed in SEEDS:
            job = {"category": "camera_motion", "reference": path.name, "prompt": f"a fox in the snow, {reference}"}
            job |= {"prompt_index": 0, "seed": seed, "num_inference_steps": num_steps}
            lines.append(json.dumps(job))
    (work / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def first_step(record: dict[str, Any]) -> float:
    return sum(record["seconds"][part] for part in ("read", "encode", "turn"))


def summarise(work: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(work.glob("output/*/*/seed_*.json"))]
    samples = [line.split(", ") for line in (work / "gpu.csv").read_text().splitlines()]
    print(f"{records[0]['device']}, {records[0]['versions']}, {len(records)} videos")
    rows = {"peak GiB, both ranks (nvidia-smi)": max(int(memory) for memory, _ in samples) / 1024}
    rows["peak GiB of tensors, one rank"] = max(record["peak_memory_bytes"] for record in records) / 2**30
    for part in records[0]["loading_seconds"]:
        rows[f"s, {part}"] = max(record["loading_seconds"][part] for record in records)
    forwards = [record["seconds"]["denoise"] / record["num_forwards"] for record in records]
    num_forwards = sum(record["num_forwards"] for record in records)
    started, finished = (sorted(datetime.fromisoformat(record[when][:-1]) for record in records) for when in WHEN)
    wall = (finished[-1] - started[0]).total_seconds()
    rows |= {
        "s a forward, median": median(forwards),
        "s a forward, the fastest video's": min(forwards),
        "forwards in all": num_forwards,
        "s from the first start to the last video": wall,
        "of it s before the first video's first step": min(first_step(record) for record in records),
        "wall over forwards at the fastest video's rate": wall / (num_forwards * min(forwards)),
    }
    for part in records[0]["seconds"]:
        rows[f"s a video, {part}, median"] = median(record["seconds"][part] for record in records)
    for name, value in rows.items():
        print(f"{value:10.2f}  {name}")


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(folder), int(rest[0]))
    else:
        summarise(Path(folder))
