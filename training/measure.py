"""What a video shows, measured by colour: its background, its objects' colours, and where they are in each frame.

Each pixel goes to the colour that it is most like, in CIE Lab, of the objects' and of everything else that a clip is
made of. A video's background is the one whose colours most of its pixels have.
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_ddp.references.pocket_world.drawing import SKIN, STREWN_OPACITY, TROUSERS
from wan_ddp.references.pocket_world.vocabulary import BACKGROUNDS, COLOURS

Frames = NDArray[np.uint8]
Path = NDArray[np.float64]
LEAST_SHARE = 0.006
"""Of a frame's pixels: fewer are no object."""
_FARTHEST = 34.0  # of a pixel from an object's colour, in Lab
_LEAST_SEEN = 0.6  # of the frames: an object that is seen in fewer has no path


def background_of(frames: Frames) -> int:
    """The index of the background that a video (T, H, W, 3) has."""
    pixels = _lab(frames[:: max(1, len(frames) // 4), ::2, ::2].reshape(-1, 3))
    distances = np.stack([_nearest(pixels, _shades(index)) for index in range(len(BACKGROUNDS))])
    # The mean over the half that fits best: objects and shadows are not counted against it.
    half = np.sort(distances, axis=1)[:, : distances.shape[1] * 6 // 10]
    return int(half.mean(axis=1).argmin())


def colour_masks(frames: Frames, background: int) -> NDArray[np.int8]:
    """(T, H, W): for each pixel the index of the object's colour that it has, or -1."""
    pixels = _lab(frames.reshape(-1, 3))
    others = np.concatenate([_shades(background), _lab(_blends(background))])
    kinds = [index for index, colour in enumerate(COLOURS) if colour.name not in BACKGROUNDS[background].unlike]
    objects = np.stack([_nearest(pixels, _lab(_lit(COLOURS[index].rgb))) for index in kinds])
    nearest = objects.argmin(axis=0)
    distance = objects.min(axis=0)
    is_object = (distance < _FARTHEST) & (distance < _nearest(pixels, others))
    return np.where(is_object, np.array(kinds)[nearest], -1).astype(np.int8).reshape(frames.shape[:3])


def colours_of(masks: NDArray[np.int8]) -> list[int]:
    """The objects' colours that are seen in a video, the one with most pixels first."""
    counts = np.bincount(masks[masks >= 0].ravel(), minlength=len(COLOURS)) / masks.size
    return [int(index) for index in np.argsort(-counts) if counts[index] >= LEAST_SHARE]


def path_of(masks: NDArray[np.int8], colour: int) -> Path | None:
    """(T, 2): the middle of the largest patch of that colour in each frame, in frame heights; NaN where there is none.

    None if it is seen in too few frames.
    """
    num_frames, height, width = masks.shape
    path = np.full((num_frames, 2), np.nan)
    for index, mask in enumerate(masks == colour):
        count, _, stats, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        if count > 1:
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            if stats[largest, cv2.CC_STAT_AREA] >= LEAST_SHARE * height * width / 2:
                path[index] = middles[largest]
    path = (path + 0.5 - np.array([width, height]) / 2) / height
    return path if np.isfinite(path[:, 0]).mean() >= _LEAST_SEEN else None


def likeness(path: Path | None, reference: Path | None) -> float | None:
    """The correlation of two paths about their middles, both axes at once, -1 to 1; 0 for one that is not there.

    None if the reference's stays where it is: there is nothing to be like.
    """
    if reference is None:
        return None
    moved = reference - np.nanmean(reference, axis=0)
    if np.sqrt(np.nanmean((moved**2).sum(axis=1))) < 0.02:
        return None
    if path is None:
        return 0.0
    both = np.isfinite(path[:, 0]) & np.isfinite(reference[:, 0])
    if both.sum() < 4:
        return 0.0
    a, b = (values[both] - values[both].mean(axis=0) for values in (path, reference))
    energy = float((a**2).sum() * (b**2).sum())
    return float((a * b).sum()) / energy**0.5 if energy > 1e-12 else 0.0


def seen_in(frames: Frames) -> dict[str, Any]:
    """Background, colours and masks of a video."""
    background = background_of(frames)
    masks = colour_masks(frames, background)
    return {"background": background, "colours": colours_of(masks), "masks": masks}


def _lab(colours: NDArray[Any]) -> NDArray[np.float32]:
    values = np.ascontiguousarray(colours, np.float32).reshape(1, -1, 3) / 255
    converted: NDArray[np.float32] = cv2.cvtColor(values, cv2.COLOR_RGB2LAB)[0]
    return converted


def _nearest(pixels: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = (pixels**2).sum(1)[:, None] - 2 * pixels @ colours.T + (colours**2).sum(1)
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return distances


@cache
def _shades(background: int) -> NDArray[np.float32]:
    """Its dark and light colour and what lies between."""
    low, high = (np.array(colour, np.float32) for colour in (BACKGROUNDS[background].low, BACKGROUNDS[background].high))
    return _lab(low + np.linspace(-0.1, 1.1, 7)[:, None] * (high - low))


def _lit(colour: tuple[int, int, int]) -> NDArray[np.float32]:
    """An object's colour in the light and at its rim."""
    return np.clip(np.array(colour, np.float32) * np.array([[0.8], [0.9], [1.0], [1.1]], np.float32), 0, 255)


@cache
def _blends(background: int) -> NDArray[np.float32]:
    """What else is seen: what lies strewn, skin, trousers, and the ground in the shadow."""
    ground = BACKGROUNDS[background]
    low, high, strewn = (np.array(colour, np.float32) for colour in (ground.low, ground.high, ground.strewn))
    middle = (low + high) / 2
    rows = [0.65 * low, 0.65 * middle, 0.65 * high, SKIN, np.array(SKIN) * 0.8, TROUSERS, np.array(TROUSERS) * 0.75]
    for share in (0.4, 0.6, STREWN_OPACITY):
        rows += [low + share * (strewn - low), high + share * (strewn - high)]
    return np.array(rows, np.float32)
