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
BEFORE = ("read", "encode", "turn")
SUMMARY = "summary.json"


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


def moment(record: dict[str, Any], *parts: str, since: str = "started") -> float:
    """When those parts of a video were over, in seconds since 1970, to a second or so."""
    begun = datetime.fromisoformat(record[since][:-1] + "+00:00").timestamp()
    return begun + sum(record["seconds"][part] for part in parts)


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
    launched = float((work / "launched").read_text())
    began = [moment(record, *BEFORE) for record in records]
    ended = [moment(record, *BEFORE, "denoise") for record in records]
    ready = {
        rank: min(moment(record, "read", "encode") for record in records if record["rank"] == rank)
        for rank in sorted({record["rank"] for record in records})
    }
    alone = num_forwards * min(forwards)
    denoising = sum(record["seconds"]["denoise"] for record in records)
    stepping = max(ended) - min(began)
    whole = max(moment(record, since="finished") for record in records) - min(map(moment, records))
    rows |= {f"s from launch.sh until rank {rank} could step": when - launched for rank, when in ready.items()}
    rows |= {
        "s a forward, median": median(forwards),
        "s a forward, the fastest video's": min(forwards),
        "forwards in all": num_forwards,
        "s from the first step to the last": stepping,
        "the first step to the last, over all denoising": stepping / denoising,
        "the first step to the last, over the forwards at the fastest video's rate": stepping / alone,
        "s from the first start to the last video": whole,
        "the first start to the last video, over the forwards at the fastest video's rate": whole / alone,
    }
    for part in records[0]["seconds"]:
        rows[f"s a video, {part}, median"] = median(record["seconds"][part] for record in records)
    (work / SUMMARY).write_text(json.dumps(rows))
    for name, value in rows.items():
        print(f"{value:10.2f}  {name}")


def compare(one: Path, other: Path) -> None:
    """Print what both summaries have, side by side, and the ratio."""
    ones, others = (json.loads(path.read_text()) for path in (one, other))
    print(f"{one.stem:>10}  {other.stem:>10}  {'ratio':>6}")
    for name in filter(others.__contains__, ones):
        ratio = f"{ones[name] / others[name]:6.2f}" if others[name] else " " * 6
        print(f"{ones[name]:10.2f}  {others[name]:10.2f}  {ratio}  {name}")


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    if command == "prepare":
        prepare(Path(folder), int(rest[0]))
    elif command == "compare":
        compare(Path(folder), Path(rest[0]))
    else:
        summarise(Path(folder))
