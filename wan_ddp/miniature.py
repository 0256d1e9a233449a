"""A video made small: what its sanity and its motion are measured on, so that either costs little."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = np.ndarray[Any, np.dtype[np.uint8]]

# Motion is followed at this size: 832x480 becomes 208x120, 1280x720 becomes 320x180.
_LONGEST_SIDE = 320
_SHORTEST_SIDE = 16  # two patches of the optical flow
# What is asked of the parts of a picture is asked of cells of this share of its longer side, 13 pixels at 832x480:
# noise averages out over them, and an object of a few pixels still counts.
_GRID = 64
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Miniature:
    """Small frames, and the mean colours of their cells."""

    gray: Frames
    """(num_frames, height, width)."""
    colours: Frames
    """(num_frames, rows, columns, 3) RGB, at most 64 rows and columns."""
    luma: NDArray[np.float32]
    """(num_frames, rows, columns), 0 to 255: the brightness of the cells."""


def shrink(frames: Frames) -> Miniature:
    """The miniature of (num_frames, height, width, 3) uint8 RGB frames."""
    small = [_halved(frame) for frame in frames]
    height, width, _ = small[0].shape
    cells = grid_size(height, width, _GRID)
    colours: Frames = np.stack([_resized(frame, cells) for frame in small])
    gray: Frames = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False) for frame in small])
    return Miniature(gray, colours, colours @ _LUMA)


def grid_size(height: int, width: int, most: int) -> tuple[int, int]:
    """Columns and rows of about square cells, `most` along the longer side, none smaller than a pixel."""
    side = max(1.0, max(height, width) / most)
    return max(1, round(width / side)), max(1, round(height / side))


def _halved(frame: Frames) -> Frames:
    """The frame, or its largest half, quarter, eighth, ... that is small enough.

    To halve is ten times as fast as to shrink by any other factor, and leaves no rest: jobs' sides are multiples of 16.
    """
    height, width, _ = frame.shape
    while max(height, width) > _LONGEST_SIDE and min(height, width) >= 2 * _SHORTEST_SIDE:
        height, width = height // 2, width // 2
        frame = _resized(frame, (width, height))
    if max(height, width) > _LONGEST_SIDE:  # a strip, which is squeezed: the flow's image pyramid takes no strips
        frame = _resized(frame, (min(width, _LONGEST_SIDE), min(height, _LONGEST_SIDE)))
    return frame


def _resized(frame: Frames, size: tuple[int, int]) -> Frames:
    """The frame at a size (width, height), each pixel the mean of what it covers."""
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
