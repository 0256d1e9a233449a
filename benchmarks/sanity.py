"""What the sanity of a video costs, and how well its measures tell good videos from broken ones.

usage: python -m benchmarks.sanity [folder of `python -m wan_ddp references make`]

Without a folder the cost alone. With one, every clip in it is measured as if it were a video made for itself, then with
each fault that a flag is for, and beside the same motion in other looks and the motion of every other clip. All of that
at 208x120, to which 832x480 is shrunk anyway.
"""

import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from wan_ddp.miniature import Frames, shrink
from wan_ddp.motion import Motion, compare, motion_of
from wan_ddp.references import catalogue
from wan_ddp.references.clip import FULL, Clip, Format
from wan_ddp.references.draw import frames
from wan_ddp.references.looks import in_other_looks
from wan_ddp.sanity import UNLIKE_BELOW, Sanity, inspect
from wan_ddp.video import read_clip

SMALL = Format(width=208, height=120, num_frames=FULL.num_frames, fps=FULL.fps)
NUM_TIMES = 5


def moved(video: Frames, *indices: int | np.ndarray) -> Frames:
    return video[np.concatenate([np.atleast_1d(index) for index in indices])]


def brighter(video: Frames, levels: int, which: slice) -> Frames:
    changed = video.astype(np.int16)
    changed[which] += levels
    return np.clip(changed, 0, 255).astype(np.uint8)


def noisy(video: Frames, levels: float) -> Frames:
    """Noise of so many levels in each pixel at 832x480, of which one here is the mean of 16."""
    noise = np.random.default_rng(0).standard_normal(video.shape, dtype=np.float32) * levels / 4
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def with_frame(video: Frames, value: int) -> Frames:
    changed = video.copy()
    changed[len(video) // 2] = value
    return changed


TIMES = np.arange(FULL.num_frames)
HALF = FULL.num_frames // 2
VERSIONS: Mapping[str, Callable[[Frames], Frames]] = {
    "as it is": lambda video: video,
    "half as bright": lambda video: video // 2,
    "a quarter as bright": lambda video: video // 4,
    "noise of 5 levels": lambda video: noisy(video, 5),
    "noise of 15 levels": lambda video: noisy(video, 15),
    "cut in the middle": lambda video: moved(video, TIMES[:HALF], TIMES[:HALF:-1], 0),
    "a black frame": lambda video: with_frame(video, 0),
    "black from the middle on": lambda video: np.concatenate([video[:HALF], 0 * video[HALF:]]),
    "a white frame": lambda video: with_frame(video, 255),
    "still, with noise of 3 levels": lambda video: noisy(moved(video, 0 * TIMES + HALF), 3),
    "still from the middle on": lambda video: moved(video, np.minimum(TIMES, HALF)),
    "still for the last quarter": lambda video: moved(video, np.minimum(TIMES, 3 * FULL.num_frames // 4 - 1)),
    "every frame shown twice": lambda video: moved(video, TIMES // 2 * 2),
    "every other frame 3 levels brighter": lambda video: brighter(video, 3, slice(0, None, 2)),
    "every other frame 6 levels brighter": lambda video: brighter(video, 6, slice(0, None, 2)),
    "one frame 6 levels brighter": lambda video: brighter(video, 6, slice(HALF, HALF + 1)),
    "one frame 12 levels brighter": lambda video: brighter(video, 12, slice(HALF, HALF + 1)),
    "backwards": lambda video: video[::-1],
    "noise alone": lambda video: np.random.default_rng(0).integers(96, 160, video.shape).astype(np.uint8),
}


def cost() -> None:
    """Of one video of an experiment: seconds of this process's own time, which other processes do not lengthen."""
    clip = catalogue.find("镜头仰角旋转")
    reference, video = drawn(clip, FULL), drawn(in_other_looks(clip), FULL)
    motion = motion_of(shrink(reference))
    steps: Mapping[str, Callable[[], object]] = {
        "a video inspected, its reference's motion known": lambda: inspect(video, motion),
        "a video inspected, without a reference": lambda: inspect(video, None),
        "a reference's motion measured": lambda: motion_of(shrink(reference)),
    }
    for name, step in steps.items():
        own, wall = [], []
        for _ in range(NUM_TIMES):
            started, clock = time.process_time(), time.perf_counter()
            step()
            own.append(time.process_time() - started)
            wall.append(time.perf_counter() - clock)
        print(f"{name}: {min(own):.2f} to {max(own):.2f} s of one core ({min(wall):.2f} to {max(wall):.2f} s passed)")


def separation(folder: Path) -> None:
    clips = {clip: path for clip in catalogue.CLIPS if (path := folder / clip.path(FULL)).is_file()}
    versions: dict[str, list[Sanity]] = defaultdict(list)
    references, others = [], []
    for clip, path in clips.items():
        video = read(path)
        reference = motion_of(shrink(video))
        for name, change in VERSIONS.items():
            versions[name].append(inspect(change(video), reference))
        others.append([motion_of(shrink(drawn(in_other_looks(clip, number), SMALL))) for number in (0, 1)])
        references.append(reference)
        print(f"{clip.name} measured", file=sys.stderr)
    print(f"{len(clips)} clips")
    for name, found in versions.items():
        print(f"{name}: {told(found)}")
    same = [compare(other, reference) for reference, looks in zip(references, others, strict=True) for other in looks]
    print(f"the same motion in other looks: likeness {spread([each.likeness for each in same])}, {len(same)} videos")
    cameras = [each.camera_likeness for each in same if each.camera_likeness is not None]
    print(f"  of the camera, where it moves: {spread(cameras)}, {len(cameras)} videos")
    print(f"  speed ratio: {spread([each.speed_ratio for each in same])}")
    unrelated = list(unrelated_likenesses(references, [looks[0] for looks in others]))
    print(f"the motion of every other clip, in other looks: likeness {spread(unrelated)}")
    print(f"  not flagged: {np.mean(np.array(unrelated) >= UNLIKE_BELOW):.1%} of {len(unrelated)}")


def unrelated_likenesses(references: Sequence[Motion], others: Sequence[Motion]) -> Iterator[float]:
    for place, reference in enumerate(references):
        for other in others[:place] + others[place + 1 :]:
            likeness = compare(other, reference).likeness
            assert likeness is not None
            yield likeness


def told(found: Sequence[Sanity]) -> str:
    flags = [flag for each in found for flag in each.flags]
    counts = ", ".join(f"{flag} {flags.count(flag)}" for flag in dict.fromkeys(flags)) or "no flags"
    likeness = spread([each.motion.likeness for each in found if each.motion])
    frozen = [each.frozen_pairs for each in found]
    flicker = [each.flicker for each in found]
    return (
        f"{counts}; likeness {likeness}; flicker {min(flicker):.1f} to {max(flicker):.1f}; "
        f"frozen pairs {min(frozen)} to {max(frozen)}"
    )


def spread(values: Sequence[float | None]) -> str:
    least, low, middle, high, most = np.quantile(np.array(values, float), [0, 0.05, 0.5, 0.95, 1])
    return f"{middle:.2f} (nine tenths {low:.2f} to {high:.2f}, all {least:.2f} to {most:.2f})"


def drawn(clip: Clip, size: Format) -> Frames:
    return np.stack(list(frames(clip, size)))


def read(path: Path) -> Frames:
    size = {"num_frames": SMALL.num_frames, "width": SMALL.width, "height": SMALL.height, "fps": SMALL.fps}
    return read_clip(str(path), **size, sampling="frames", short_reference="refuse").frames


def main(folder: str | None) -> None:
    cv2.setNumThreads(1)
    cost()
    if folder:
        separation(Path(folder))
    versions = f"Python {platform.python_version()}, OpenCV {cv2.__version__}, NumPy {np.__version__}"
    print(f"{os.cpu_count()} cores, {platform.machine()}, {versions}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
