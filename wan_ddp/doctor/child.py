"""A process that looks at what may crash it or never come back: a broken torch, a file server that hangs.

It answers in JSON, an object a line as soon as it knows; what libraries print in between is no such line.
"""

import ctypes
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Facts = Iterator[Mapping[str, Any]]
MARK = "wan-ddp doctor: "


def about_torch() -> Facts:
    """The driver, torch, and all that a worker imports. CUDA is not started."""
    yield {"driver_cuda": driver_cuda()}
    # Else the list of architectures is not given without starting CUDA.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import torch

    yield {"version": torch.__version__, "cuda": torch.version.cuda or "", "num_gpus": torch.cuda.device_count()}
    yield {"architectures": torch.cuda.get_arch_list()}
    from wan_ddp.wan import pipeline

    yield {"worker": pipeline.__name__}


def driver_cuda() -> str:
    """The newest CUDA that the driver can, such as 13.0: a question that libcuda answers before it is initialised."""
    try:
        libcuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    version = ctypes.c_int()
    if libcuda.cuDriverGetVersion(ctypes.byref(version)) or version.value <= 0:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def about_ffmpeg() -> Facts:
    """The program, and a video written with it and read back, as a run does."""
    import subprocess

    import imageio_ffmpeg
    import numpy as np

    path = imageio_ffmpeg.get_ffmpeg_exe()
    yield {"path": path}
    first = subprocess.run([path, "-version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    yield {"version": " ".join(first.split()[:3]).replace("version ", "")}
    from wan_ddp.video import probe, write_mp4

    with tempfile.TemporaryDirectory() as folder:
        write_mp4(Path(folder, "a.mp4"), np.zeros((5, 64, 64, 3), np.uint8), 15)
        yield {"num_frames": probe(Path(folder, "a.mp4")).num_frames}


def about_folder(path: str, num_bytes: str) -> Facts:
    """The output folder, made if need be and then removed again, with the room and the clock of its disk."""
    from wan_ddp.outputs import Outputs

    root = Path(path).absolute()
    made = [each for each in (root, *root.parents) if not each.exists()]
    had_logs = (root / "logs").exists()
    outputs = Outputs(root)
    try:
        outputs.check_usable()
        yield look_at_folder(root) | {"takes": outputs.has_room(int(num_bytes))}
    finally:
        for each in made if had_logs else [root / "logs", *made]:
            with suppress(OSError):  # what somebody has put there since stays
                each.rmdir()


def look_at_folder(root: Path) -> dict[str, Any]:
    """The room on a folder's disk, and how far its clock is ahead. Raises OSError."""
    from wan_ddp.files import touched

    disk = os.statvfs(root)
    before = time.time()
    there = touched(root).st_mtime
    return {
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "free_files": disk.f_favail if disk.f_files else None,  # btrfs and some network disks do not count them
        "skew_seconds": there - (before + time.time()) / 2,
    }


ASKED: dict[str, Callable[..., Facts]] = {"torch": about_torch, "ffmpeg": about_ffmpeg, "folder": about_folder}


def main(name: str, *arguments: str) -> int:
    try:
        for facts in ASKED[name](*arguments):
            _tell(facts)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
        from wan_ddp.doctor.rows import in_one_line

        _tell({"problem": in_one_line(error)})
    return 0


def _tell(facts: Mapping[str, Any]) -> None:
    # A line of its own, whatever stands before it.
    print(f"\n{MARK}{json.dumps(facts)}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
