"""A manifest of 100,000 lines read, checked and planned: seconds and peak memory of a fresh process.

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
PLAN = """
import sys
from pathlib import Path
from wan_ddp.manifest import read_manifest
from wan_ddp.plan import plan
print(len(plan(read_manifest(Path(sys.argv[1]), {}), 8)))
"""


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
        subprocess.run([sys.executable, "-c", PLAN, str(manifest)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{num_lines} lines read, checked and planned for 8 ranks: {seconds:.2f} s, {megabytes:.0f} MB")
    print(f"{platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
