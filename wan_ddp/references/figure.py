"""Draws the clips of the jointed figure: a skeleton in three dimensions, its limbs capsules drawn from far to near."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from wan_ddp.references import actions, backdrops
from wan_ddp.references.actions import Arm, Foot, Posture
from wan_ddp.references.clip import Format, Performance
from wan_ddp.references.light import darkness, lit

Vector = NDArray[np.float64]  # (3,): right, up, towards the viewer, in body heights
Colour = tuple[int, int, int]
Pixel = tuple[float, float]

BODY = 0.62  # a body height in frame heights
GROUND = 0.86  # where the figure stands, in frame heights from the top
TILT = 0.2  # the ground is seen a little from above: how far down a step towards the viewer is drawn
SAMPLES = 3  # drawn this many times larger, for smooth edges

THIGH, SHIN, UPPER_ARM, FOREARM = 0.245, 0.245, 0.165, 0.155
HIP_WIDTH, SHOULDER_WIDTH, TRUNK, HEAD = 0.055, 0.105, 0.285, 0.068
SKIN, HAIR, SHOES = (226, 172, 134), (62, 42, 34), (48, 46, 56)


@dataclass(frozen=True)
class Capsule:
    """A limb: two ends, their radii, and a colour."""

    start: Vector
    end: Vector
    radii: tuple[float, float]
    colour: Colour


Part = tuple[Capsule, ...]  # drawn as one, with one rim round all of it


def frames(performance: Performance, clip_name: str, size: Format) -> Iterator[NDArray[np.uint8]]:
    backdrop = backdrops.draw(performance.backdrop, clip_name, size)
    action = actions.ACTIONS[performance.action]
    shirt, trousers = (ImageColor.getrgb(colour)[:3] for colour in (performance.shirt, performance.trousers))
    for index in range(size.num_frames):
        parts = skeleton(action(index / (size.num_frames - 1)), shirt, trousers)
        image = backdrop.copy()
        _cast_shadow(image, parts)
        _draw_body(image, parts)
        yield np.asarray(image)


def skeleton(posture: Posture, shirt: Colour, trousers: Colour) -> list[Part]:
    """The parts of the body in space, in no order."""
    angle = math.radians(posture.heading)
    ahead = np.array([math.sin(angle), 0.0, math.cos(angle)])
    left = np.array([math.cos(angle), 0.0, -math.sin(angle)])
    pelvis = np.array([posture.x, posture.hips + posture.lift, 0.0])
    spine = _spine(posture, ahead, left)
    chest = pelvis + TRUNK * spine
    parts = _head(chest, spine, ahead, left)
    parts += _trunk(pelvis, chest, spine, left, shirt, trousers)
    for side, foot, arm in ((1, posture.left_foot, posture.left_arm), (-1, posture.right_foot, posture.right_arm)):
        parts += _leg(pelvis + side * HIP_WIDTH * left, posture, side, foot, ahead, left, trousers)
        parts += _arm(chest + side * SHOULDER_WIDTH * left, side, arm, ahead, left, shirt)
    return parts


def _spine(posture: Posture, ahead: Vector, left: Vector) -> Vector:
    lean, bend = math.radians(posture.lean), math.radians(posture.bend)
    upright = np.array([0.0, math.cos(lean) * math.cos(bend), 0.0])
    spine: Vector = upright + math.sin(lean) * math.cos(bend) * ahead + math.sin(bend) * left
    return spine


def _trunk(pelvis: Vector, chest: Vector, spine: Vector, left: Vector, shirt: Colour, trousers: Colour) -> list[Part]:
    shirt_limbs = []
    for side in (-1, 0, 1):
        shoulder, hip = chest + side * (SHOULDER_WIDTH - 0.035) * left, pelvis + side * 0.045 * left + 0.03 * spine
        shirt_limbs.append(Capsule(shoulder - 0.02 * spine, hip, (0.056, 0.06), shirt))
    return [(Capsule(pelvis - 0.05 * left, pelvis + 0.05 * left, (0.064, 0.064), trousers),), tuple(shirt_limbs)]


def _head(chest: Vector, spine: Vector, ahead: Vector, left: Vector) -> list[Part]:
    """Neck, hair, face, and what of the eyes and the nose looks towards the viewer."""
    head = chest + 0.125 * spine
    brow, hair = head + 0.02 * ahead - 0.014 * spine, head - 0.012 * ahead + 0.012 * spine
    parts: list[Part] = [
        (Capsule(chest, head, (0.034, 0.034), SKIN),),
        (Capsule(hair, hair, (HEAD, HEAD), HAIR),),
        (Capsule(brow, brow, (0.86 * HEAD, 0.86 * HEAD), SKIN),),
    ]
    for side in (-1, 1):
        outward = ahead * math.cos(0.42) + side * left * math.sin(0.42)
        if outward[2] > 0.2:
            eye = brow + 0.8 * HEAD * outward + 0.01 * spine
            parts.append((Capsule(eye, eye, (0.009, 0.009), HAIR),))
    nose = brow + 0.86 * HEAD * ahead - 0.008 * spine
    parts.append((Capsule(nose, nose, (0.011, 0.011), SKIN),))
    return parts


def _leg(
    hip: Vector, posture: Posture, side: int, foot: Foot, ahead: Vector, left: Vector, colour: Colour
) -> list[Part]:
    ankle = np.array([posture.x, foot[1] + posture.lift, 0.0]) + foot[0] * ahead + side * foot[2] * left
    knee, ankle = bent(hip, ankle, THIGH, SHIN, ahead)
    # the toes point down as the ankle rises above the ground behind the body, and up as it goes ahead
    rise = foot[1] - actions.ANKLE
    pitch = max(-0.9, min(0.6, -5 * rise if foot[0] < 0.05 else 1.2 * rise))
    toe = ankle + 0.085 * (math.cos(pitch) * ahead + np.array([0.0, math.sin(pitch), 0.0]))
    sole = np.array([0.0, 0.016, 0.0])
    return [
        (Capsule(hip, knee, (0.06, 0.043), colour), Capsule(knee, ankle, (0.043, 0.031), colour)),
        (Capsule(ankle - sole, toe - sole, (0.027, 0.022), SHOES),),
    ]


def bent(start: Vector, end: Vector, upper: float, lower: float, towards: Vector) -> tuple[Vector, Vector]:
    """The middle joint of two bones from start to end, bent towards a direction (the cosine rule), and the end.

    An end out of reach is pulled in to where the bones are all but straight.
    """
    reach = end - start
    distance = float(np.linalg.norm(reach))
    usable = min(distance, 0.998 * (upper + lower))
    along = reach / distance
    end = start + usable * along
    share = (upper**2 - lower**2 + usable**2) / (2 * usable)
    out = towards - (towards @ along) * along
    out = out / np.linalg.norm(out)
    return start + share * along + math.sqrt(max(0.0, upper**2 - share**2)) * out, end


def _arm(shoulder: Vector, side: int, arm: Arm, ahead: Vector, left: Vector, colour: Colour) -> list[Part]:
    elbow = shoulder + UPPER_ARM * _direction(arm[0], arm[1], side, ahead, left)
    wrist = elbow + FOREARM * _direction(arm[2], arm[3], side, ahead, left)
    palm = elbow + 1.16 * (wrist - elbow)
    return [
        (Capsule(elbow, wrist, (0.029, 0.023), SKIN), Capsule(wrist, palm, (0.026, 0.024), SKIN)),
        (Capsule(shoulder, elbow, (0.039, 0.032), colour),),
    ]


def _direction(forward: float, outward: float, side: int, ahead: Vector, left: Vector) -> Vector:
    swing, out = math.radians(forward), math.radians(outward)
    down = np.array([0.0, -math.cos(swing) * math.cos(out), 0.0])
    direction: Vector = down + math.sin(swing) * math.cos(out) * ahead + side * math.sin(out) * left
    return direction


def _draw_body(image: Image.Image, parts: list[Part]) -> None:
    """Draw the parts from far to near, each with a darker rim, and light the whole."""
    scale = BODY * image.height
    left, top, right, bottom = _bounds(parts, image)
    patch = Image.new("RGBA", (SAMPLES * (right - left), SAMPLES * (bottom - top)))
    draw = ImageDraw.Draw(patch)
    rim = max(0.7, 0.006 * scale)

    def sample(point: Vector) -> Pixel:
        x, y = _pixel(point, image)
        return SAMPLES * (x - left), SAMPLES * (y - top)

    for part in sorted(parts, key=_nearness):
        for inset, light in ((0.0, 0.72), (rim, 1.0)):
            for limb in part:
                radii = tuple(SAMPLES * max(0.3, radius * scale - inset) for radius in limb.radii)
                fill = (*(int(light * value) for value in limb.colour), 255)
                capsule(draw, sample(limb.start), sample(limb.end), (radii[0], radii[1]), fill)
    patch = patch.reduce(SAMPLES)
    image.paste(lit(patch, round(0.16 * scale)), (left, top), patch)


def _nearness(part: Part) -> float:
    return sum(float(limb.start[2] + limb.end[2]) for limb in part) / len(part)


def _pixel(point: Vector, image: Image.Image) -> Pixel:
    scale = BODY * image.height
    return image.width / 2 + point[0] * scale, GROUND * image.height + (TILT * point[2] - point[1]) * scale


def _bounds(parts: list[Part], image: Image.Image) -> tuple[int, int, int, int]:
    """A box round the body in pixels: left, top, right, bottom."""
    ends = [_pixel(end, image) for part in parts for limb in part for end in (limb.start, limb.end)]
    margin = 0.09 * BODY * image.height + 4  # the thickest limb's radius, and a little more
    across, down = zip(*ends, strict=True)
    return (
        math.floor(min(across) - margin),
        math.floor(min(down) - margin),
        math.ceil(max(across) + margin),
        math.ceil(max(down) + margin),
    )


def capsule(
    draw: ImageDraw.ImageDraw,
    start: Pixel,
    end: Pixel,
    radii: tuple[float, float],
    fill: int | tuple[int, ...],
) -> None:
    """Two discs and the band between them."""
    for (x, y), radius in zip((start, end), radii, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    if length > 1e-6:
        across, down = -dy / length, dx / length
        corners = [
            (x + sign * across * radius, y + sign * down * radius)
            for (x, y), radius, signs in ((start, radii[0], (1, -1)), (end, radii[1], (-1, 1)))
            for sign in signs
        ]
        draw.polygon(corners, fill=fill)


def _cast_shadow(image: Image.Image, parts: list[Part]) -> None:
    """Lay the figure's shadow on the ground, to the right and away from the viewer; drawn half size, it is soft."""
    scale = BODY * image.height
    mask = Image.new("L", (image.width // 2, image.height // 2))
    draw = ImageDraw.Draw(mask)
    for limb in (limb for part in parts for limb in part):
        ends = [
            (
                (image.width / 2 + (end[0] + 0.42 * end[1]) * scale) / 2,
                (GROUND * image.height + (TILT * end[2] - 0.16 * end[1]) * scale) / 2,
            )
            for end in (limb.start, limb.end)
        ]
        capsule(draw, ends[0], ends[1], (0.4 * limb.radii[0] * scale, 0.4 * limb.radii[1] * scale), 255)
    soft = mask.filter(ImageFilter.GaussianBlur(0.008 * image.height)).resize(image.size, Image.Resampling.BILINEAR)
    dark = darkness(soft, 0.45)
    image.paste(dark, (0, 0), dark)
