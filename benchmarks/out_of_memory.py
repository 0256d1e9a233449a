"""A video on a GPU where another process leaves too little memory: tried again with its weights on the CPU, same bytes.

usage: python benchmarks/out_of_memory.py WORK_FOLDER FREE_GIB FLAGS, after killed_worker.sh with the same folder and
flags: its unbroken video is what this one is compared with. 31 GiB take the 14B checkpoint, but not its denoising.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent


def record_of(output: Path) -> dict[str, Any]:
    [path] = output.glob("*/*/seed_*.json")
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def main(work: Path, free_gib: float, flags: list[str]) -> None:
    torch.cuda.init()
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(int(free - free_gib * 2**30), dtype=torch.uint8, device="cuda:0")
    output = work / "out_of_memory"
    shutil.rmtree(output, ignore_errors=True)
    command = ["bash", "launch.sh", "--manifest", work / "killed_worker.jsonl", "--output", output, *flags]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | {"WAN_NUM_RANKS": "1"}, check=False).returncode
    log = (output / "logs" / "gpu0_process0.log").read_text()
    print(*re.findall(r"ERROR (.*failed \(out_of_memory\).{200})", log), sep="\n")
    record, whole = record_of(output), record_of(work / "output-unbroken")
    rows = {
        "exit code": code,
        "GiB taken by the other process": hog.numel() / 2**30,
        "attempts that ran out of memory": len(re.findall(r"failed \(out_of_memory\), attempt", log)),
        "GiB of tensors, offloaded": record["peak_memory_bytes"] / 2**30,
        "GiB of tensors, usual": whole["peak_memory_bytes"] / 2**30,
        "s a forward, offloaded": record["seconds"]["denoise"] / record["num_forwards"],
        "s a forward, usual": whole["seconds"]["denoise"] / whole["num_forwards"],
        "the same bytes": record["video"]["sha256"] == whole["video"]["sha256"],
    }
    print(f"{record['device']}, {record['versions']}")
    for name, value in rows.items():
        print(f"{value:10.2f}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
