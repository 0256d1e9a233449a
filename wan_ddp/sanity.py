"""Is a video what nobody would want to keep? Measured from its frames on the CPU, and written into its record.

A flag means "look at this one": nothing is deleted or made again for it. Thresholds: see docs/sanity.md, where they are
set against what drawn videos and broken ones give.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from wan_ddp.miniature import Frames, Miniature, shrink
from wan_ddp.motion import Comparison, Motion, compare, motion_of, still_pairs

Flag = Literal["black", "blank", "frozen", "flicker", "unlike_reference"]

# The brightest cell of a black frame: video's black is 16.
_BLACK_LEVEL = 16.0
# Levels between the cells of a frame of one colour.
_BLANK_LEVELS = 8
# Of the pairs. Frames shown twice make a half of them.
_FROZEN_SHARE = 0.25
# By how much a frame sticks out, and over what share of the picture.
_FLICKER_LEVELS = 3.0
_FLICKER_SHARE = 0.25
# Between noise, 0.15 at most over 81 frames, and the worst of 136 clips redrawn with the same motion, 0.26.
UNLIKE_BELOW = 0.2
# References whose motion is kept: half a megabyte each. Jobs of one reference follow one another.
_MAX_KEPT = 4


@dataclass(frozen=True, slots=True)
class Sanity:
    """What was measured of a video, and what of it is suspicious."""

    flags: tuple[Flag, ...]
    black_frames: int
    blank_frames: int
    """Frames of one colour other than black."""
    frozen_pairs: int
    """Neighbouring frames between which nothing moves, though in the reference, if there is one, something does."""
    flicker: float
    """How far the worst frame sticks out between its two neighbours, in levels of 255."""
    motion: Comparison | None
    """None without a reference."""

    def __str__(self) -> str:
        looks = f"suspicious ({', '.join(self.flags)})" if self.flags else "nothing suspicious"
        if self.motion is None or self.motion.likeness is None:
            return looks
        return f"{looks}, its motion is like its reference's by {self.motion.likeness:.2f}"


class Inspector:
    """Inspects videos, measuring the motion of each reference once for all of them. Threads may share it."""

    def __init__(self) -> None:
        self._motions: OrderedDict[Hashable, Motion] = OrderedDict()
        self._lock = Lock()

    def inspect(self, frames: Frames, reference: Frames | None, key: Hashable) -> Sanity:
        """`inspect`, for a reference of the video's size and length that `key` tells from others."""
        return inspect(frames, self._motion_of(reference, key) if reference is not None else None)

    def _motion_of(self, reference: Frames, key: Hashable) -> Motion:
        with self._lock:
            if key not in self._motions:
                self._motions[key] = motion_of(shrink(reference))
            self._motions.move_to_end(key)
            while len(self._motions) > _MAX_KEPT:
                self._motions.popitem(last=False)
            return self._motions[key]


def inspect(frames: Frames, reference: Motion | None) -> Sanity:
    """The sanity of (num_frames, height, width, 3) uint8 RGB frames, and its motion's likeness to the reference's."""
    video = shrink(frames)
    is_black = video.luma.max(axis=(1, 2)) <= _BLACK_LEVEL
    is_blank = np.ptp(video.colours, axis=(1, 2)).max(axis=1) <= _BLANK_LEVELS
    if reference is None:
        is_frozen, motion = still_pairs(video), None
    else:
        moved = motion_of(video)
        is_frozen, motion = moved.is_still & ~reference.is_still, compare(moved, reference)
    likeness = motion.likeness if motion else None
    flicker = _flicker(video)
    suspicions: dict[Flag, bool] = {
        "black": bool(is_black.any()),
        "blank": bool((is_blank & ~is_black).any()),
        "frozen": float(is_frozen.mean()) >= _FROZEN_SHARE,
        "flicker": flicker >= _FLICKER_LEVELS,
        "unlike_reference": likeness is not None and likeness < UNLIKE_BELOW,
    }
    return Sanity(
        flags=tuple(flag for flag, is_so in suspicions.items() if is_so),
        black_frames=int(is_black.sum()),
        blank_frames=int((is_blank & ~is_black).sum()),
        frozen_pairs=int(is_frozen.sum()),
        flicker=round(flicker, 2),
        motion=motion,
    )


def _flicker(video: Miniature) -> float:
    """How far the worst frame sticks out between its neighbours, over a quarter of the picture or more.

    What moves is as far again from the frame after next; what flashes is gone by then. A small thing that turns fast
    does look like a flash where it is, but not over a quarter of the picture.
    """
    luma = video.luma.reshape(len(video.luma), -1)
    if len(luma) < 3:
        return 0.0
    to_next, to_second = np.abs(luma[1:] - luma[:-1]), np.abs(luma[2:] - luma[:-2])
    outliers = np.minimum(to_next[1:], to_next[:-1]) - to_second
    return max(0.0, float(np.quantile(outliers, 1 - _FLICKER_SHARE, axis=1).max()))
