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
    from wan_ddp.references.pocket_world.drawing import draw, to_bytes
    from wan_ddp.references.pocket_world.scenes import doubles, draw_scenes

    scenes = draw_scenes(seed, count)
    clips = [to_bytes(draw(each)).numpy() for each in (scenes, doubles(scenes, seed + 1))]
    sheet([list(pair) for pair in zip(*clips, strict=True)]).save(path)
    for caption in captions(scenes, seed):
        print(caption)


def show_results(results: Path, references: Path, clip: str, path: Path, scale: int = 2) -> None:
    """A picture that moves: a reference of the demo and, beside it, the videos of its prompts."""
    from decord import VideoReader

    videos = [*references.rglob(f"ref_{clip}_*.mp4"), *sorted(results.glob(f"*/ref_{clip}_*/seed_42_prompt_*.mp4"))]
    clips = [VideoReader(str(video))[:].asnumpy() for video in videos]
    gap = np.full((*clips[0].shape[:2], 4, 3), 255, np.uint8)
    row = np.concatenate([part for each in clips for part in (each, gap)][:-1], axis=2)
    pictures = [Image.fromarray(frame).resize((frame.shape[1] * scale, frame.shape[0] * scale)) for frame in row]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0)
