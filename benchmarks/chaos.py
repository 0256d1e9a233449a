"""A thousand random kills over real torchrun, and what is lost by them; the engine is that of tests/chaos.py.

usage: python benchmarks/chaos.py [kills, default 1000] [seed, default 1] [videos, default 400]; Ctrl-C ends it early,
with the table of what was done until then.

Workers, supervisors, agents and launch.sh are killed, stopped and told to end; the disk is filled; what is published is
damaged. The model is a stand-in of 20 ms a step, and all the rest the real thing. Needs the right to mount a tmpfs, or
else fills no disk. About a second a kill.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos import Chaos, Result, Scale  # noqa: E402 - found by the line above


def show(result: Result, scale: Scale) -> None:
    """The table, as it goes into RESULTS.md."""
    problems = result.problems
    repeated = list(result.repeated.values())
    rows: list[tuple[str, object]] = [("kills", result.num_kills)]
    rows += [(f"  {name}", number) for name, number in result.done.most_common() if name.startswith("kill ")]
    rows += [(name, number) for name, number in result.done.most_common() if not name.startswith("kill ")]
    rows += [(f"launches: {name}", number) for name, number in result.launches.items()]
    rows += [(f"  ended with {code}", number) for code, number in sorted(result.exit_codes.items())]
    rows += [
        ("videos", result.num_videos),
        ("published, those damaged on purpose made again", result.num_published),
        ("lost", sum(each.startswith("lost: ") for each in problems)),
        ("corrupt", sum(each.startswith("corrupt: ") for each in problems)),
        ("finished twice", sum("published again" in each for each in problems)),
        ("other problems", sum(not each.startswith(("lost: ", "corrupt: ")) for each in problems)),
        ("workers killed at a video", len(repeated)),
        (f"steps made again for each, at most (--checkpoint-every {scale.checkpoint_every})", max(repeated, default=0)),
        ("steps made again for each, on average", round(sum(repeated) / max(1, len(repeated)), 2)),
        ("seconds", round(result.seconds)),
    ]
    for name, value in rows:
        print(f"{value!s:>8}  {name}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    versions = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True
    ).stdout.strip()
    print(f"seed {scale.seed}, {scale.num_steps} steps a video, ranks {sorted(set(scale.world_sizes))}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {versions}")


def main(num_kills: int = 1000, seed: int = 1, num_videos: int = 400) -> int:
    scale = Scale(seed=seed, num_kills=num_kills, num_jobs=num_videos, world_sizes=(2, 3, 4), faults_a_round=(40, 80))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"faults, journal and outputs: {folder}", flush=True)
    chaos = Chaos(folder, scale, say=lambda text: print(text, flush=True))

    def stop(*_: object) -> None:
        chaos.is_enough = True

    signal.signal(signal.SIGINT, stop)
    result = chaos.run()
    show(result, scale)
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
