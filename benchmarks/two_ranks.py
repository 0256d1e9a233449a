"""The manifest of `two_ranks.sh`, and the figures of its run from the records and the samples of nvidia-smi."""

import json
import sys
from pathlib import Path
from statistics import median

import numpy as np

from wan_ddp.video import write_mp4

NUM_REFERENCES, SEEDS = 2, (42, 142)


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


def summarise(work: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(work.glob("output/*/*/seed_*.json"))]
    samples = [line.split(", ") for line in (work / "gpu.csv").read_text().splitlines()]
    print(f"{records[0]['device']}, {records[0]['versions']}, {len(records)} videos")
    rows = {"peak GiB, both ranks (nvidia-smi)": max(int(memory) for memory, _ in samples) / 1024}
    rows["peak GiB of tensors, one rank"] = max(record["peak_memory_bytes"] for record in records) / 2**30
    for part in records[0]["loading_seconds"]:
        rows[f"s, {part}"] = max(record["loading_seconds"][part] for record in records)
    forwards = [record["seconds"]["denoise"] / record["num_forwards"] for record in records]
    rows |= {"s a forward, median": median(forwards), "s a forward, both ranks together": median(forwards) / 2}
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
