"""The still worlds that the camera clips move in: a sky, a ground, and boxes of all sizes on it."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wan_ddp.references.textures import generator, mix, noise, picture, ramp, rgb
from wan_ddp.references.warp import TEXTURE_MARGIN, Surface, Vector, surface

SKY_METRES = 220.0
SKY_SEGMENTS = 16
SKY_OVERLAP = 1.01  # of neighbouring pieces, so that no gap shows
GROUND_METRES = 56.0
GROUND_PIXELS = 2048
PLAIN_METRES = 420.0  # the coarse ground from the detailed one to the sky


@dataclass(frozen=True)
class Palette:
    """The colours of a world."""

    zenith: str
    horizon: str
    cloud: str
    hills: str
    ground: tuple[str, str]
    paving: str  # what the ground is laid with: "slabs", "sand" or "checks"
    walls: tuple[str, ...]


WORLDS = {
    "plaza": Palette(
        "#3f7fc4", "#cfe3ee", "#ffffff", "#6d8f86", ("#8f8a7e", "#c4bcaa"), "slabs",
        ("#c96f4a", "#e2b65e", "#d9d0bd", "#7fa3a0", "#a9564a", "#8a93a8"),
    ),
    "dusk": Palette(
        "#2b2a55", "#f0a07a", "#d4708a", "#4a3a5e", ("#54506a", "#8c8298"), "checks",
        ("#e4b363", "#5f7fa8", "#c65f6b", "#8fb0a0", "#e8dcc8", "#7a5a88"),
    ),
    "desert": Palette(
        "#5a95c9", "#f2e2c0", "#fdf6e8", "#b98a5c", ("#c79a5e", "#e8c88e"), "sand",
        ("#d8a469", "#b9764a", "#efd9b0", "#9c8f76", "#7d9a8c", "#c25b3c"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Box:
    """An upright box: the middle of its base, and its faces with their outward normals."""

    middle: Vector
    faces: tuple[tuple[Surface, Vector], ...]


@dataclass(frozen=True)
class World:
    zenith: tuple[int, int, int]
    haze: tuple[int, int, int]
    sky: tuple[Surface, ...]
    plain: Surface
    ground: Surface
    boxes: tuple[Box, ...]


@lru_cache(maxsize=4)
def build(name: str) -> World:
    """Build a world. It is kept, because several clips are drawn in each."""
    palette, rng = WORLDS[name], generator(name)
    plan = _plan(rng)
    ground = _ground(palette, plan, rng)
    plain = ground.resize((256, 256)).resize((1024, 1024), Image.Resampling.BICUBIC)
    return World(
        zenith=_bytes(palette.zenith),
        haze=_bytes(palette.horizon),
        sky=_sky(palette, rng),
        plain=_flat(PLAIN_METRES, plain),
        ground=_flat(GROUND_METRES, ground),
        boxes=tuple(_box(palette, rng, *footprint) for footprint in plan),
    )


def _bytes(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rgb(colour))
    return red, green, blue


def _flat(metres: float, texture: Image.Image) -> Surface:
    half = metres / 2
    return surface(np.array([-half, 0, half]), np.array([metres, 0, 0]), np.array([0, 0, -metres]), texture)


Footprint = tuple[float, float, float, float, float]  # x, z, width, depth, height, in metres


def _plan(rng: np.random.Generator) -> list[Footprint]:
    """A landmark of three steps in the middle, crates round it, and houses along two sides and the far end.

    The houses leave the street along negative z and a ring round the landmark open, where the cameras move.
    """
    plan: list[Footprint] = [(0.0, 0.0, 3.6, 3.6, 1.0), (0.0, 0.0, 2.2, 2.2, 4.2)]
    for k in range(7):
        angle, size = 2 * math.pi * (k + 0.3) / 7, float(rng.uniform(0.7, 1.5))
        radius = float(rng.uniform(4.2, 6.2))
        plan.append(
            (radius * math.sin(angle), radius * math.cos(angle), size, size, size * float(rng.uniform(0.7, 1.6)))
        )
    for side in (-1, 1):
        for k in range(6):
            width = float(rng.uniform(3.6, 4.6))
            plan.append(
                (side * float(rng.uniform(12.5, 13.5)), -16.0 + 6.2 * k, width, width, float(rng.uniform(4, 11)))
            )
    for k in range(5):
        plan.append((-10.0 + 5.0 * k, 18.5, 4.2, 4.0, float(rng.uniform(5, 13))))
    return plan


def _ground(palette: Palette, plan: list[Footprint], rng: np.random.Generator) -> Image.Image:
    size = GROUND_PIXELS
    grain = 0.65 * noise(rng, size, size, (300, 300), 5) + 0.35 * noise(rng, size, size, (6, 6), 2)
    image = picture(mix(grain, *palette.ground))
    draw = ImageDraw.Draw(image, "RGBA")
    if palette.paving == "sand":
        for k in range(0, size, 23):
            sway = [(x, k + 7 * math.sin(x / 90 + k) + 4 * math.sin(x / 31)) for x in range(0, size + 16, 16)]
            draw.line(sway, fill=(90, 55, 20, 60), width=4)
    else:
        cell = size // 32 if palette.paving == "slabs" else size // 24
        for row in range(0, size, cell):
            for column in range(0, size, cell):
                tone = int(rng.integers(0, 60))
                if palette.paving == "checks" and (row // cell + column // cell) % 2:
                    tone += 70
                draw.rectangle(
                    (column, row, column + cell - 3, row + cell - 3),
                    fill=(250, 246, 236, tone),
                    outline=(60, 54, 50, 90),
                    width=4,
                )
    return _shaded(image, plan)


def _shaded(ground: Image.Image, plan: list[Footprint]) -> Image.Image:
    """Paint the soft shadows of the boxes, which fall to the right and away from the street."""
    scale = GROUND_PIXELS / GROUND_METRES
    mask = Image.new("L", ground.size)
    draw = ImageDraw.Draw(mask)
    for x, z, width, depth, height in plan:
        reach = 0.35 * min(height, 6.0)
        steps = 12
        for k in range(steps + 1):
            left = GROUND_PIXELS / 2 + (x - width / 2 + reach * k / steps) * scale
            top = GROUND_PIXELS / 2 - (z + depth / 2 + reach * k / steps) * scale
            draw.rectangle((left, top, left + width * scale, top + depth * scale), fill=150)
    mask = mask.filter(ImageFilter.GaussianBlur(7))
    return Image.composite(Image.new("RGB", ground.size, (24, 22, 34)), ground, mask)


def _box(
    palette: Palette, rng: np.random.Generator, x: float, z: float, width: float, depth: float, height: float
) -> Box:
    colour = palette.walls[int(rng.integers(len(palette.walls)))]
    base = np.array([x, 0.0, z])
    texture = _wall(rng, width, height, colour)
    right, up, ahead = np.array([width, 0, 0]), np.array([0, height, 0]), np.array([0, 0, depth])
    # light comes from the upper left behind the street, so the sides differ in brightness
    sides = ((-ahead, right, 1.0), (-right, -ahead, 0.9), (right, ahead, 0.62), (ahead, -right, 0.55))
    faces = [
        (surface(base + up + (normal - along) / 2, along, -up, texture.point(lambda v, k=light: int(v * k))), normal)
        for normal, along, light in sides
    ]
    roof = picture(mix(noise(rng, 128, 128, (40, 40)), colour, "#f4efe6"))
    faces.append((surface(base + up + (ahead - right) / 2, right, -ahead, roof), up))
    return Box(base, tuple(faces))


def _wall(rng: np.random.Generator, width: float, height: float, colour: str) -> Image.Image:
    """A weathered wall: windows on houses, stone courses on the tower, planks on crates."""
    pixels = 56 if height > 3 else 110  # a metre; crates are seen from nearer
    across, down = max(32, round(width * pixels)), max(32, round(height * pixels))
    dirt = 0.6 * noise(rng, across, down, (90, 140), 4) + 0.4 * noise(rng, across, down, (5, 5), 2)
    image = picture(mix(dirt, colour, "#fbf3e4") * (0.62 + 0.24 * (1 - ramp(across, down)[..., None])))
    draw = ImageDraw.Draw(image, "RGBA")
    if height < 3:
        _planks(draw, across, down)
    elif width < 3:
        _courses(draw, across, down)
    else:
        _windows(draw, rng, across, down, columns=max(2, round(width)), rows=max(2, round(height / 1.6)))
    return image


def _planks(draw: ImageDraw.ImageDraw, across: int, down: int) -> None:
    for k in range(1, 5):
        draw.line((0, k * down / 5, across, k * down / 5), fill=(30, 20, 15, 150), width=4)
    draw.line((0, 0, across, down), fill=(40, 28, 20, 140), width=9)
    draw.rectangle((0, 0, across - 1, down - 1), outline=(30, 22, 18, 200), width=10)


def _courses(draw: ImageDraw.ImageDraw, across: int, down: int) -> None:
    for k in range(10):
        top, joint = k * down / 10, across * (0.3 + 0.4 * (k % 2))
        draw.line((0, top, across, top), fill=(40, 30, 30, 150), width=3)
        draw.line((joint, top, joint, top + down / 10), fill=(40, 30, 30, 150), width=3)


def _windows(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, across: int, down: int, columns: int, rows: int
) -> None:
    step_x, step_y = across / columns, down / rows
    for row in range(rows):
        for column in range(columns):
            left, top = (column + 0.24) * step_x, (row + 0.22) * step_y
            right, bottom = left + 0.52 * step_x, top + 0.56 * step_y
            pane = (30, 40, 60, 235) if rng.random() < 0.72 else (255, 224, 150, 235)  # dark, or a lamp is on
            draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=(250, 245, 235, 200))
            draw.rectangle((left, top, right, bottom), fill=pane)


def _sky(palette: Palette, rng: np.random.Generator) -> tuple[Surface, ...]:
    """A ring of tall pictures: sky and clouds above two rows of hills."""
    width, height, horizon = 4096, 512, 0.8
    rise = np.clip(ramp(width, height) / horizon, 0, 1)
    image = mix(rise**1.6, palette.zenith, palette.horizon)
    clouds = noise(rng, width, height, (280, 87), 5)
    # clouds fade out towards the top, where the picture ends in the plain colour of the zenith
    share = np.clip((clouds - 0.5) * 3.2, 0, 1) * np.clip(rise * 3, 0, 1) * (1 - 0.5 * rise)
    image += share[..., None] * (rgb(palette.cloud) - image)
    rows = np.arange(height, dtype=np.float32)[:, None]
    for cell, high, base, haze in ((330, 0.13, 0.73, 0.55), (160, 0.09, 0.79, 0.2)):
        crest = (base - high * noise(rng, width, 1, (cell, 1), 5)) * height
        land = mix(noise(rng, width, height, (20, 8), 3), palette.hills, palette.horizon)
        land = rgb(palette.hills) * (1 - haze) + land * haze
        share = np.clip(rows - crest + 0.5, 0, 1)[..., None]  # a smooth edge, one pixel wide
        image += share * (land - image)
    ring = picture(
        np.concatenate((image, image, image), axis=1)
    )  # so that the first and the last piece find their ends
    step = width / SKY_SEGMENTS
    # what a piece shows is its share of the ring, its overlap with its neighbours, and the margin that paint() cuts off
    reach = step * SKY_OVERLAP / (1 - 2 * TEXTURE_MARGIN) / 2
    top, side = SKY_METRES * 0.95, 2 * SKY_METRES * math.tan(math.pi / SKY_SEGMENTS) * SKY_OVERLAP
    drop = np.array([0, -top / horizon, 0])
    pieces = []
    for k in range(SKY_SEGMENTS):
        angle = 2 * math.pi * (k - SKY_SEGMENTS / 2) / SKY_SEGMENTS  # the ring's seam lies behind the first view
        ahead = np.array([math.sin(angle), 0, math.cos(angle)])
        along = np.array([math.cos(angle), 0, -math.sin(angle)]) * side
        middle = (k + 0.5) * step + width
        crop = ring.crop((round(middle - reach), 0, round(middle + reach), height))
        pieces.append(surface(SKY_METRES * ahead + np.array([0, top, 0]) - along / 2, along, drop, crop))
    return tuple(pieces)
