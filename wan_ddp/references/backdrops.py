"""The still pictures behind the objects and the figure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wan_ddp.references.clip import Format
from wan_ddp.references.textures import Picture, generator, mix, noise, picture, ramp, rgb

Shadow = Literal["floor", "drop", "none"]


@dataclass(frozen=True)
class Backdrop:
    """How a backdrop is painted (from random numbers, width and height) and where things before it cast shadows.

    "floor": straight below them, on the ground; "drop": just behind them, as on a table seen from above.
    """

    paint: Callable[[np.random.Generator, int, int], Image.Image]
    shadow: Shadow


FLOOR_LEVEL = 0.30  # where objects stand on a floor, in frame heights below the middle
HORIZON = 0.62  # the back edge of the floor, in frame heights from the top


def draw(name: str, clip_name: str, size: Format) -> Image.Image:
    """The backdrop of a clip, shaded towards the corners. No two clips get the same grain."""
    image = BACKDROPS[name].paint(generator(clip_name), size.width, size.height)
    across = np.linspace(-1, 1, size.width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, size.height, dtype=np.float32)[:, None]
    vignette = 1 - 0.2 * np.clip(across**2 + down**2 - 0.5, 0, 1.5)
    return picture(np.asarray(image, dtype=np.float32) * vignette[..., None])


def _grain(rng: np.random.Generator, width: int, height: int, strength: float) -> Picture:
    """Large and fine unevenness about 1, to multiply with."""
    coarse = noise(rng, width, height, (height / 3, height / 3), 5) - 0.5
    fine = rng.random((height, width), dtype=np.float32) - 0.5
    grain: Picture = (1 + strength * (1.4 * coarse + 0.35 * fine)).astype(np.float32)[..., None]
    return grain


def _room(wall: tuple[str, str], floor: tuple[str, str], *, tiles: bool) -> Callable[..., Image.Image]:
    """A wall above a floor that runs towards the viewer."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        edge = round(HORIZON * height)
        image = np.empty((height, width, 3), dtype=np.float32)
        image[:edge] = mix(ramp(width, edge), *wall) * _grain(rng, width, edge, 0.1)
        depth = height - edge
        image[edge:] = mix(ramp(width, depth), *floor) * _grain(rng, width, depth, 0.2)
        # lines of the floor meet at a vanishing point above its edge
        rows = np.arange(depth, dtype=np.float32)[:, None] / height + 0.16
        columns = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / height
        across, away = columns / rows * 1.3, 0.5 / rows
        if tiles:
            odd = (np.floor(across * 1.5) + np.floor(away * 4)) % 2
            image[edge:] *= (0.9 + 0.16 * odd)[..., None]
        else:
            seam = np.abs((across * 2.2) % 1 - 0.5) > 0.475
            image[edge:] *= (0.92 + 0.12 * (np.floor(across * 2.2) % 3) / 2 - 0.22 * seam)[..., None]
        skirting = max(2, height // 60)
        image[edge - skirting : edge] = rgb(wall[1]) * 0.55
        return picture(image)

    return paint


def _outdoors(sky: tuple[str, str], hills: str, ground: tuple[str, str]) -> Callable[..., Image.Image]:
    """Sky with clouds, two rows of hills, and rough ground."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        image = mix(ramp(width, height) / HORIZON, *sky)
        clouds = np.clip((noise(rng, width, height, (height / 1.6, height / 5), 5) - 0.52) * 3, 0, 1)
        image += (0.8 * clouds * (1 - 0.6 * ramp(width, height)))[..., None] * (255 - image)
        rows = np.arange(height, dtype=np.float32)[:, None] / height
        for base, high, tone in ((0.56, 0.16, 1.25), (0.63, 0.1, 1.0)):
            crest = base - high * noise(rng, width, 1, (height / 1.5, 1), 4)
            land = rgb(hills) * tone * _grain(rng, width, height, 0.3)
            share = np.clip((rows - crest) * height + 0.5, 0, 1)[..., None]  # a smooth edge, one pixel wide
            image += share * (land - image)
        depth = height - round(HORIZON * height)
        tufts = noise(rng, width, depth, (height / 8, height / 40), 5)
        image[-depth:] = mix(0.6 * ramp(width, depth) + 0.4 * tufts, *ground) * _grain(rng, width, depth, 0.25)
        return picture(image)

    return paint


def _sky(top: str, bottom: str, cloud: str, cover: float) -> Callable[..., Image.Image]:
    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        image = mix(ramp(width, height), top, bottom)
        clouds = np.clip((noise(rng, width, height, (height / 1.3, height / 3), 6) - cover) * 2.6, 0, 1)
        image += clouds[..., None] * (rgb(cloud) - image)
        return picture(image * _grain(rng, width, height, 0.03))

    return paint


def _space(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    nebula = noise(rng, width, height, (height / 1.2, height / 1.6), 6)
    image = mix(np.clip(nebula * 1.5 - 0.5, 0, 1), "#0b1026", "#5a3a7a")
    night = picture(image)
    pen = ImageDraw.Draw(night)
    for _ in range(260):
        x, y, light = rng.random() * width, rng.random() * height, int(rng.integers(110, 256))
        radius = rng.random() * height / 320
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(light, light, min(255, light + 20)))
    return night


def _table(light: str, dark: str) -> Callable[..., Image.Image]:
    """Wooden boards seen from above."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        boards = 5
        image = np.empty((height, width, 3), dtype=np.float32)
        for k in range(boards):
            top, bottom = k * height // boards, (k + 1) * height // boards
            rings = noise(rng, width, bottom - top, (height, height / 12), 4)
            fibre = noise(rng, width, bottom - top, (height / 4, height / 120), 3)
            share = 0.5 + 0.5 * np.sin(rings * 22).astype(np.float32)
            image[top:bottom] = mix(0.55 * share + 0.45 * fibre, light, dark) * (0.9 + 0.2 * rng.random())
            image[top : top + max(1, height // 160)] *= 0.45
        return picture(image)

    return paint


def _meadow(light: str, dark: str, blossom: str) -> Callable[..., Image.Image]:
    """Grass, snow or sand seen from above, strewn with small things."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        share = 0.6 * noise(rng, width, height, (height / 3, height / 3), 5) + 0.4 * noise(
            rng, width, height, (4, 9), 2
        )
        image = picture(mix(share, light, dark))
        pen = ImageDraw.Draw(image, "RGBA")
        red, green, blue = (int(value) for value in rgb(blossom))
        for _ in range(150):
            x, y = rng.random() * width, rng.random() * height
            radius = height * (0.002 + 0.006 * rng.random())
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue, 190))
        return image

    return paint


def _water(light: str, dark: str) -> Callable[..., Image.Image]:
    """Still water from above: a net of bright lines."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image.Image:
        ripples = noise(rng, width, height, (height / 4, height / 6), 3)
        net = np.exp(-((np.sin(ripples * 4 * math.pi) / 0.28) ** 2)).astype(np.float32)
        image = picture(mix(0.75 * net * noise(rng, width, height, (height, height), 2) + 0.1, dark, light))
        return image.filter(ImageFilter.GaussianBlur(height / 320))

    return paint


BACKDROPS = {
    "studio": Backdrop(_room(("#b9c4cf", "#e3e6e4"), ("#8d8f94", "#b9b4ab"), tiles=True), "floor"),
    "parquet": Backdrop(_room(("#d8c3a5", "#efe3cf"), ("#8a5a34", "#c08a55"), tiles=False), "floor"),
    "gym": Backdrop(_room(("#5d7f95", "#a9c1cc"), ("#a5713f", "#d9a468"), tiles=False), "floor"),
    "hall": Backdrop(_room(("#6f5b7c", "#c7a9b5"), ("#4f4a5c", "#8b8296"), tiles=True), "floor"),
    "park": Backdrop(_outdoors(("#5f9fd6", "#dcecf2"), "#5b8a5f", ("#6fa04c", "#436f33")), "floor"),
    "beach": Backdrop(_outdoors(("#4f9bd0", "#e8f0ea"), "#4a8fa8", ("#ecd7a3", "#cfae74")), "floor"),
    "snowfield": Backdrop(_outdoors(("#8fb3d6", "#f3ece6"), "#8fa3b8", ("#f6f8fb", "#c9d6e4")), "floor"),
    "sunset": Backdrop(_outdoors(("#3d3a6b", "#f6a56b"), "#5a3f5f", ("#7a5a4a", "#4a3640")), "floor"),
    "sea": Backdrop(_outdoors(("#5f9fd6", "#e6eff0"), "#6d8f9f", ("#4f9fbc", "#1f5f86")), "none"),
    "sky": Backdrop(_sky("#3f84cc", "#bfe0f0", "#ffffff", 0.5), "none"),
    "dusk": Backdrop(_sky("#34366b", "#f2a38a", "#e8c0c8", 0.52), "none"),
    "overcast": Backdrop(_sky("#7f93a6", "#cfd8dc", "#f4f4f2", 0.42), "none"),
    "space": Backdrop(_space, "none"),
    "oak": Backdrop(_table("#d9a86c", "#a9703c"), "drop"),
    "walnut": Backdrop(_table("#8f6645", "#5b3c28"), "drop"),
    "meadow": Backdrop(_meadow("#86b24f", "#3f7334", "#f7f0c6"), "drop"),
    "snow": Backdrop(_meadow("#ffffff", "#bccbdd", "#8fa2b8"), "drop"),
    "sand": Backdrop(_meadow("#f0d9a8", "#c99f62", "#8b6a45"), "drop"),
    "pond": Backdrop(_water("#c9f3ee", "#2f7f92"), "drop"),
}
