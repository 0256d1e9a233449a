"""Procedural textures: seeded noise, and the small arithmetic on colours that backdrops and worlds share."""

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

Plane = NDArray[np.float32]  # (H, W), mostly 0 to 1
Picture = NDArray[np.float32]  # (H, W, 3), 0 to 255
Size2 = tuple[float, float]


def generator(name: str) -> np.random.Generator:
    """The random numbers of one clip or world: the same for its name, on any machine and in any process."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def rgb(colour: str) -> NDArray[np.float32]:
    return np.array(ImageColor.getrgb(colour)[:3], dtype=np.float32)


def noise(rng: np.random.Generator, width: int, height: int, cell: Size2, octaves: int = 4) -> Plane:
    """Fractal value noise in 0..1. `cell` is the size (across, down) of its largest features, in pixels."""
    total = np.zeros((height, width), dtype=np.float32)
    weight, weights = 1.0, 0.0
    across, down = cell
    for _ in range(octaves):
        grid = rng.random((max(2, round(height / down) + 2), max(2, round(width / across) + 2)), dtype=np.float32)
        total += weight * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
        weights += weight
        weight, across, down = weight / 2, max(1.0, across / 2), max(1.0, down / 2)
    # the sum of several octaves keeps to the middle; stretch it so that it uses the range
    stretched: Plane = np.clip((total / weights - 0.5) * 1.8 + 0.5, 0, 1).astype(np.float32)
    return stretched


def mix(share: Plane, low: str, high: str) -> Picture:
    """Colours from `low` (where share is 0) to `high` (where it is 1)."""
    blend: Picture = rgb(low) + share[..., None] * (rgb(high) - rgb(low))
    return blend


def ramp(width: int, height: int) -> Plane:
    """0 in the top row to 1 in the bottom row."""
    return np.broadcast_to(np.linspace(0, 1, height, dtype=np.float32)[:, None], (height, width))


def picture(values: Picture) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
