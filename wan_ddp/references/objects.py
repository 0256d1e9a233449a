"""Draws the object clips: shapes on their paths, lit from the upper left, with soft shadows, before a backdrop."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from wan_ddp.references import backdrops, shapes
from wan_ddp.references.clip import Format, Mover, Stage
from wan_ddp.references.light import darkness, lit
from wan_ddp.references.paths import Pose

PHASES = 16  # the moving parts of shapes are drawn in so many positions
SHADOW_DARKNESS = 0.42


def frames(stage: Stage, clip_name: str, size: Format) -> Iterator[NDArray[np.uint8]]:
    backdrop = backdrops.draw(stage.backdrop, clip_name, size)
    shadow = backdrops.BACKDROPS[stage.backdrop].shadow
    for index in range(size.num_frames):
        image = backdrop.copy()
        progress = index / (size.num_frames - 1)
        poses = sorted(((mover, mover.path(progress)) for mover in stage.movers), key=lambda pair: pair[1].nearness)
        for mover, pose in poses:
            if shadow == "floor":
                _shade_floor(image, mover, pose)
        for mover, pose in poses:
            _place(image, mover, pose, drop_shadow=shadow == "drop")
        yield np.asarray(image)


def _place(image: Image.Image, mover: Mover, pose: Pose, *, drop_shadow: bool) -> None:
    """Draw an object, with its string behind it."""
    height = image.height
    pixels = max(8, round(mover.size * height))
    x, y = image.width / 2 + pose.x * height, height / 2 + pose.y * height
    if mover.tether is not None:
        anchor = (image.width / 2 + mover.tether[0] * height, height / 2 + mover.tether[1] * height)
        _string(image, anchor, (x, y))
    reach = math.ceil(0.5 * pixels * max(abs(pose.stretch_x), abs(pose.stretch_y)) * math.sqrt(2)) + 2
    left, top = math.floor(x) - reach, math.floor(y) - reach
    phase = round(pose.phase * PHASES) % PHASES / PHASES
    flat = _sprite(mover.shape, mover.colour, phase, pixels)
    patch = _turned(flat, pose, (x - left, y - top), 2 * reach)
    if drop_shadow:
        away = round(0.12 * pixels)
        dark = darkness(patch.getchannel("A").filter(ImageFilter.GaussianBlur(0.05 * pixels + 1)), SHADOW_DARKNESS)
        image.paste(dark, (left + away, top + away), dark)
    image.paste(lit(patch, pixels), (left, top), patch)


@lru_cache(maxsize=512)
def _sprite(shape: str, colour: str, phase: float, pixels: int) -> Image.Image:
    return shapes.sprite(shape, colour, phase, pixels)


def _turned(sprite: Image.Image, pose: Pose, middle: tuple[float, float], side: int) -> Image.Image:
    """The sprite at its size, turned and stretched about `middle` (a place between pixels) of a square patch."""
    angle = 2 * math.pi * pose.turn
    cosine, sine = math.cos(angle), math.sin(angle)
    across, down = shapes.SAMPLES / pose.stretch_x, shapes.SAMPLES / pose.stretch_y
    a, b, d, e = cosine * across, sine * across, -sine * down, cosine * down
    half = sprite.width / 2
    matrix = (a, b, half - a * middle[0] - b * middle[1], d, e, half - d * middle[0] - e * middle[1])
    return sprite.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _shade_floor(image: Image.Image, mover: Mover, pose: Pose) -> None:
    """A soft oval on the floor below the object, fainter and wider the higher it is."""
    height = image.height
    pixels = mover.size * height
    ground = (backdrops.FLOOR_LEVEL + 0.5) * height
    lift = max(0.0, ground - (pose.y + 0.5) * height - 0.5 * pixels * abs(pose.stretch_y)) / height
    across = 0.46 * pixels * max(0.2, abs(pose.stretch_x)) * (1 + 0.6 * lift)
    blur = 2 + height * (0.012 + 0.05 * lift)
    side = math.ceil(across + 3 * blur)
    mask = Image.new("L", (2 * side, 2 * side))
    ImageDraw.Draw(mask).ellipse((side - across, side - 0.22 * across, side + across, side + 0.22 * across), fill=255)
    dark = darkness(mask.filter(ImageFilter.GaussianBlur(blur)), 0.55 / (1 + 3 * lift))
    x = image.width / 2 + pose.x * height
    image.paste(dark, (round(x) - side, round(ground) - side), dark)


def _string(image: Image.Image, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A thin smooth line: drawn four times as large into a mask of its bounding box."""
    left, top = (math.floor(min(a, b)) - 3 for a, b in zip(start, end, strict=True))
    right, bottom = (math.ceil(max(a, b)) + 3 for a, b in zip(start, end, strict=True))
    mask = Image.new("L", (4 * (right - left), 4 * (bottom - top)))
    points = [(4 * (x - left), 4 * (y - top)) for x, y in (start, end)]
    ImageDraw.Draw(mask).line(points, fill=255, width=max(3, round(image.height / 40)))
    mask = mask.reduce(4)
    image.paste(Image.new("RGB", mask.size, (60, 52, 46)), (left, top), mask)
