"""A manifest of 100,000 lines planned by `generate.py --dry-run`: seconds and peak memory of a fresh process.

Seconds of the clock, and of the processor: on a busy machine the first tell of the others.

usage: python benchmarks/plan_100k.py [lines, default 100000]
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CATEGORIES = ("camera_motion", "single_object", "multiple_objects", "complex_human_motion")
GENERATE = Path(__file__).resolve().parent.parent / "generate.py"


def write(path: Path, num_lines: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_lines):
            job = {
                "category": CATEGORIES[number * 4 // num_lines],
                "reference": f"../references/ref_镜头{number // 10}_832x480.mp4",
                "prompt": f"a red fox trots across a snowy field from left to right, take {number // 2}",
                "prompt_index": number // 2 % 5,
                "seed": (42, 142)[number % 2],
            }
            file.write(json.dumps(job, ensure_ascii=False) + "\n")


def main(num_lines: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "manifest.jsonl")
        write(manifest, num_lines)
        started = time.monotonic()
        command = [sys.executable, str(GENERATE), "--manifest", str(manifest), "--output", folder, "--dry-run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{num_lines} lines read, checked, looked for, planned for 8 ranks and shown: {seconds:.2f} s, "
        f"{used.ru_utime + used.ru_stime:.2f} s of the processor, {used.ru_maxrss >> 10} MB"
    )
    print(f"{platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
