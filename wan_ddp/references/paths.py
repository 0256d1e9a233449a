"""Paths of objects: functions from progress (0 to 1 over the clip) to a pose. Pure.

Lengths are in frame heights, the origin is the middle of the frame, x points right and y down; the frame reaches from
about -0.85 to 0.85 and from -0.5 to 0.5. Turns are whole revolutions, clockwise.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]


class Pose(NamedTuple):
    """Where an object is and how it stands. `phase` drives wings, wheels and rotors; nearer objects hide farther."""

    x: float
    y: float
    turn: float = 0.0
    stretch_x: float = 1.0
    stretch_y: float = 1.0
    phase: float = 0.0
    nearness: float = 0.0


Path: TypeAlias = Callable[[float], Pose]
Ease: TypeAlias = Callable[[float], float]


def steady(progress: float) -> float:
    return progress


def gentle(progress: float) -> float:
    """Speed up and slow down."""
    return progress * progress * (3 - 2 * progress)


def braking(progress: float) -> float:
    return 1 - (1 - progress) ** 2


def starting(progress: float) -> float:
    return progress * progress


def line(
    start: Point, end: Point, turns: float = 0.0, scale: Point = (1.0, 1.0), cycles: float = 0.0, ease: Ease = steady
) -> Path:
    """Go straight; `scale` is the size at both ends, which also reads as coming nearer or going away."""

    def pose(progress: float) -> Pose:
        share = ease(progress)
        x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
        size = scale[0] + (scale[1] - scale[0]) * share
        return Pose(x, y, turns * share, size, size, cycles * progress)

    return pose


def wave(start: Point, end: Point, height: float, waves: float, cycles: float = 0.0, banking: float = 0.0) -> Path:
    """Go along a sine wave; `banking` tilts the object with the slope (1 follows it fully)."""

    def pose(progress: float) -> Pose:
        angle = 2 * math.pi * waves * progress
        x, y = (a + (b - a) * progress for a, b in zip(start, end, strict=True))
        across = end[0] - start[0] or 1e-9
        slope = math.atan((end[1] - start[1] + height * 2 * math.pi * waves * math.cos(angle)) / across)
        return Pose(x, y + height * math.sin(angle), banking * slope / (2 * math.pi), phase=cycles * progress)

    return pose


def circle(
    centre: Point,
    radius: float,
    turns: float,
    start: float = 0.0,
    squash: float = 1.0,
    facing: bool = False,
    cycles: float = 0.0,
    depth: float = 0.0,
) -> Path:
    """Go round; `start` is a share of a turn from the right. `depth` makes the lower half nearer: larger, in front."""

    def pose(progress: float) -> Pose:
        share = start + turns * progress
        angle = 2 * math.pi * share
        x, y = centre[0] + radius * math.cos(angle), centre[1] + radius * squash * math.sin(angle)
        size = 1 + depth * math.sin(angle)
        heading = share + math.copysign(0.25, turns) if facing else 0.0
        return Pose(x, y, heading, size, size, cycles * progress, nearness=math.sin(angle) if depth else 0.0)

    return pose


def spiral(centre: Point, radii: Point, turns: float, spin: float = 0.0, scale: Point = (1.0, 1.0)) -> Path:
    def pose(progress: float) -> Pose:
        angle = 2 * math.pi * turns * progress
        radius = radii[0] + (radii[1] - radii[0]) * progress
        size = scale[0] + (scale[1] - scale[0]) * progress
        x, y = centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)
        return Pose(x, y, spin * progress, size, size)

    return pose


def figure_eight(centre: Point, width: float, height: float, rounds: float, cycles: float = 0.0) -> Path:
    """A lying eight; the object faces the way it goes."""

    def pose(progress: float) -> Pose:
        angle = 2 * math.pi * rounds * progress
        heading = math.atan2(2 * height * math.cos(2 * angle), width * math.cos(angle))
        x, y = centre[0] + width * math.sin(angle), centre[1] + height * math.sin(2 * angle)
        return Pose(x, y, heading / (2 * math.pi), phase=cycles * progress)

    return pose


def bounce(start: Point, end: Point, height: float, bounces: int, turns: float = 0.0, damping: float = 0.75) -> Path:
    """Bounce along from `start` to `end` (both on the ground), each hop `damping` times as long as the one before."""
    # a hop's height goes with the square of the time it takes
    lengths = [damping**k for k in range(bounces)]

    def pose(progress: float) -> Pose:
        left = progress * sum(lengths)
        hop = 0
        while hop < bounces - 1 and left > lengths[hop]:
            left -= lengths[hop]
            hop += 1
        share = min(1.0, left / lengths[hop])
        lift = height * lengths[hop] ** 2 * 4 * share * (1 - share)
        flat = 0.28 * max(0.0, 1 - lift / (0.12 * height)) * lengths[hop]  # it is squeezed as it hits the ground
        x, y = (a + (b - a) * progress for a, b in zip(start, end, strict=True))
        return Pose(x, y - lift, turns * progress, 1 + 0.6 * flat, 1 - flat)

    return pose


def throw(start: Point, end: Point, height: float, turns: float = 0.0, facing: bool = False) -> Path:
    """Fly a parabola that rises `height` above the line between the ends."""

    def pose(progress: float) -> Pose:
        x, y = (a + (b - a) * progress for a, b in zip(start, end, strict=True))
        rise = height * 4 * progress * (1 - progress)
        slope = math.atan2(end[1] - start[1] - height * 4 * (1 - 2 * progress), end[0] - start[0])
        return Pose(x, y - rise, slope / (2 * math.pi) if facing else turns * progress)

    return pose


def swing(pivot: Point, length: float, degrees: float, swings: float, damping: float = 0.0) -> Path:
    """Swing below a pivot like a pendulum."""

    def pose(progress: float) -> Pose:
        angle = math.radians(degrees) * math.exp(-damping * progress) * math.cos(2 * math.pi * swings * progress)
        x, y = pivot[0] + length * math.sin(angle), pivot[1] + length * math.cos(angle)
        return Pose(x, y, -angle / (2 * math.pi))

    return pose


def spring(rest: Point, height: float, cycles: float, damping: float = 1.0) -> Path:
    """Bob up and down, less and less."""

    def pose(progress: float) -> Pose:
        away = math.exp(-damping * progress) * math.cos(2 * math.pi * cycles * progress)
        return Pose(rest[0], rest[1] + height * away, stretch_x=1 - 0.08 * away, stretch_y=1 + 0.08 * away)

    return pose


def flutter(start: Point, end: Point, width: float, sways: float, tilt: float = 0.12, cycles: float = 0.0) -> Path:
    """Fall like a leaf: from side to side, tilted into each sway, dropping fastest in the middle of it."""

    def pose(progress: float) -> Pose:
        angle = 2 * math.pi * sways * progress
        x, y = (a + (b - a) * progress for a, b in zip(start, end, strict=True))
        lift = 0.25 * width * math.cos(2 * angle)
        return Pose(x + width * math.sin(angle), y + lift, -tilt * math.cos(angle), phase=cycles * progress)

    return pose


def spin(at: Point, turns: float, ease: Ease = steady) -> Path:
    return lambda progress: Pose(*at, turns * ease(progress))


def flip(at: Point, flips: float) -> Path:
    """Turn about the upright axis, like a coin on its edge."""
    # never quite edge-on, or it would vanish for a frame
    return lambda progress: Pose(
        *at, stretch_x=math.copysign(0.06, c) + 0.94 * c if (c := _cosine(flips * progress)) else 0.06
    )


def toss(at: Point, height: float, flips: float) -> Path:
    """Fly straight up and fall back, tumbling head over heels."""

    def pose(progress: float) -> Pose:
        c = _cosine(flips * progress)
        return Pose(at[0], at[1] - height * 4 * progress * (1 - progress), stretch_y=math.copysign(0.08, c) + 0.92 * c)

    return pose


def pulse(at: Point, sizes: Point, cycles: float) -> Path:
    """Grow and shrink in place."""

    def pose(progress: float) -> Pose:
        size = sizes[0] + (sizes[1] - sizes[0]) * (1 - _cosine(cycles * progress)) / 2
        return Pose(*at, stretch_x=size, stretch_y=size)

    return pose


def rock(at: Point, degrees: float, cycles: float) -> Path:
    """Tilt to and fro in place."""
    return lambda progress: Pose(*at, degrees / 360 * math.sin(2 * math.pi * cycles * progress))


def through(points: Sequence[Point], cycles: float = 0.0, turns: float = 0.0, facing: bool = False) -> Path:
    """Go from point to point in straight lines, at one speed."""
    lengths = [math.dist(a, b) for a, b in itertools.pairwise(points)]

    def pose(progress: float) -> Pose:
        left = progress * sum(lengths)
        leg = 0
        while leg < len(lengths) - 1 and left > lengths[leg]:
            left -= lengths[leg]
            leg += 1
        (x0, y0), (x1, y1) = points[leg], points[leg + 1]
        share = left / lengths[leg]
        heading = math.atan2(y1 - y0, x1 - x0) / (2 * math.pi) if facing else turns * progress
        return Pose(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share, heading, phase=cycles * progress)

    return pose


def then(first: Path, second: Path, change: float) -> Path:
    """Follow one path up to `change` (a share of the clip) and another from there on."""

    def pose(progress: float) -> Pose:
        return first(progress / change) if progress < change else second((progress - change) / (1 - change))

    return pose


def upright(path: Path, flipped: bool = False) -> Path:
    """Keep the object level, mirrored if it is to look to the left."""

    def pose(progress: float) -> Pose:
        level = path(progress)._replace(turn=0.0)
        return level._replace(stretch_x=-level.stretch_x) if flipped else level

    return pose


def _cosine(turns: float) -> float:
    return math.cos(2 * math.pi * turns)
