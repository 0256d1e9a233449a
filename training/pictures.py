"""Pictures of clips: some frames of each in a row."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]
COLUMNS = 2


def sheet(clips: list[list[Frames]], num_frames: int = 5) -> Image.Image:
    """A row for each item, of frames evenly spaced from each of its clips (T, H, W, 3), clip beside clip."""
    rows = []
    for row in clips:
        strips = []
        for clip in row:
            times = np.linspace(0, len(clip) - 1, num_frames).round().astype(int)
            strips += [np.concatenate(list(clip[times]), axis=1), np.zeros((clip.shape[1], 6, 3), np.uint8)]
        rows.append(np.concatenate(strips, axis=1))
    return Image.fromarray(np.concatenate(rows, axis=0))


def draw_some(seed: int, path: Path, count: int = 24) -> None:
    from training.captions import captions
    from training.drawing import draw, to_bytes
    from training.scenes import doubles, draw_scenes

    scenes = draw_scenes(seed, count)
    clips = [to_bytes(draw(each)).numpy() for each in (scenes, doubles(scenes, seed + 1))]
    sheet([list(pair) for pair in zip(*clips, strict=True)]).save(path)
    for caption in captions(scenes, seed):
        print(caption)
