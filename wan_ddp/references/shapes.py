"""The objects: each a drawing in its own square from -1 to 1, with the colour and the phase of its moving parts."""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageColor, ImageDraw

Colour = tuple[int, ...]
Point = tuple[float, float]


class Pen:
    """Draws in a square of -1 to 1 (y down) on a transparent image."""

    def __init__(self, pixels: int) -> None:
        self.image = Image.new("RGBA", (pixels, pixels))
        self._draw = ImageDraw.Draw(self.image)
        self._half = pixels / 2

    def _at(self, point: Point) -> Point:
        return self._half * (1 + point[0]), self._half * (1 + point[1])

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([self._at(point) for point in points], fill=colour)

    def ellipse(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        self._draw.ellipse((*self._at((x - across, y - down)), *self._at((x + across, y + down))), fill=colour)

    def circle(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.ellipse(x, y, radius, radius, colour)

    def sector(self, x: float, y: float, radius: float, turns: Point, colour: Colour) -> None:
        """A slice of a disc between two angles, in turns from the right, clockwise."""
        box = (*self._at((x - radius, y - radius)), *self._at((x + radius, y + radius)))
        self._draw.pieslice(box, 360 * turns[0], 360 * turns[1], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        pixels = max(1, round(width * self._half))
        self._draw.line([self._at(point) for point in points], fill=colour, width=pixels, joint="curve")
        for point in points:
            self.circle(*point, width / 2, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, radius: float = 0.0) -> None:
        corners = (*self._at((left, top)), *self._at((right, bottom)))
        self._draw.rounded_rectangle(corners, radius * self._half, fill=colour)


WHITE, CREAM, INK, STEEL, GLASS = (
    (250, 250, 250, 255), (246, 234, 208, 255), (38, 36, 44, 255), (168, 176, 186, 255), (188, 222, 238, 255),
)  # fmt: skip


def tone(colour: Colour, light: float) -> Colour:
    """Darker (below 1) or lighter (above 1, towards white)."""
    if light <= 1:
        return (*(int(value * light) for value in colour[:3]), 255)
    return (*(int(value + (255 - value) * (light - 1)) for value in colour[:3]), 255)


def polar(turns: float, radius: float, centre: Point = (0.0, 0.0)) -> Point:
    angle = 2 * math.pi * turns
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def ball(pen: Pen, colour: Colour, phase: float) -> None:
    for k in range(6):
        pen.sector(0, 0, 0.96, (k / 6, (k + 1) / 6), colour if k % 2 else CREAM)
    pen.circle(0, 0, 0.18, tone(colour, 0.8))


def football(pen: Pen, colour: Colour, phase: float) -> None:
    pen.circle(0, 0, 0.96, WHITE)
    pen.polygon([polar(k / 5, 0.34) for k in range(5)], INK)
    for k in range(5):
        pen.line([polar(k / 5, 0.34), polar(k / 5, 0.7)], 0.05, INK)
        pen.polygon(
            [polar(k / 5 + turn, radius) for turn, radius in ((0, 0.66), (0.07, 0.86), (0, 0.95), (-0.07, 0.86))], INK
        )


def balloon(pen: Pen, colour: Colour, phase: float) -> None:
    pen.line(
        [(0.08 * math.sin(6 * y + 2 * math.pi * phase), 0.55 + 0.45 * y) for y in (0, 0.25, 0.5, 0.75, 1)], 0.03, INK
    )
    pen.polygon([(0, 0.42), (0.12, 0.62), (-0.12, 0.62)], tone(colour, 0.75))
    pen.ellipse(0, -0.22, 0.62, 0.74, colour)


def paper_plane(pen: Pen, colour: Colour, phase: float) -> None:
    pen.polygon([(0.95, 0), (-0.8, -0.62), (-0.45, -0.04)], WHITE)
    pen.polygon([(0.95, 0), (-0.45, -0.04), (-0.62, 0.4)], tone(colour, 0.7))
    pen.polygon([(0.95, 0), (-0.45, -0.04), (-0.3, 0.5)], tone(colour, 1.2))


def leaf(pen: Pen, colour: Colour, phase: float) -> None:
    edge = [(-0.9 + 1.8 * k / 20, 0.5 * math.sin(math.pi * k / 20) ** 1.2) for k in range(21)]
    pen.polygon(edge + [(x, -y) for x, y in reversed(edge)], colour)
    pen.line([(-0.98, 0.06), (0, 0), (0.85, 0)], 0.05, tone(colour, 0.6))
    for k in range(1, 6):
        x = -0.8 + 0.27 * k
        pen.line([(x, 0), (x + 0.22, 0.28 * math.sin(math.pi * k / 6.5))], 0.03, tone(colour, 0.6))
        pen.line([(x, 0), (x + 0.22, -0.28 * math.sin(math.pi * k / 6.5))], 0.03, tone(colour, 0.6))


def star(pen: Pen, colour: Colour, phase: float) -> None:
    pen.polygon([polar(k / 10 - 0.25, 0.96 if k % 2 == 0 else 0.42) for k in range(10)], colour)
    for k in range(5):
        tip, notch = polar(k / 5 - 0.25, 0.96), polar(k / 5 - 0.15, 0.42)
        pen.polygon([tip, notch, (0, 0)], tone(colour, 0.8))


def coin(pen: Pen, colour: Colour, phase: float) -> None:
    pen.circle(0, 0, 0.95, tone(colour, 0.72))
    pen.circle(0, 0, 0.85, colour)
    pen.circle(0, 0, 0.68, tone(colour, 0.86))
    pen.polygon([polar(k / 10 - 0.25, 0.52 if k % 2 == 0 else 0.24) for k in range(10)], tone(colour, 1.45))


def gear(pen: Pen, colour: Colour, phase: float) -> None:
    for k in range(10):
        pen.polygon(
            [polar(k / 10 + turn, radius) for turn, radius in ((-0.03, 0.7), (-0.02, 0.97), (0.02, 0.97), (0.03, 0.7))],
            colour,
        )
    pen.circle(0, 0, 0.78, colour)
    pen.circle(0, 0, 0.56, tone(colour, 0.8))
    for k in range(5):
        pen.circle(*polar(k / 5, 0.36), 0.11, tone(colour, 0.45))
    pen.circle(0, 0, 0.16, INK)


def crate(pen: Pen, colour: Colour, phase: float) -> None:
    pen.box(-0.7, -0.7, 0.7, 0.7, tone(colour, 0.6))
    for k in range(4):
        pen.box(-0.62, -0.62 + 0.31 * k, 0.62, -0.34 + 0.31 * k, colour)
    pen.line([(-0.6, 0.6), (0.6, -0.6)], 0.14, tone(colour, 0.75))
    for x, y in ((-0.6, -0.6), (0.6, -0.6), (-0.6, 0.6), (0.6, 0.6)):
        pen.circle(x, y, 0.045, INK)


def die(pen: Pen, colour: Colour, phase: float) -> None:
    pen.box(-0.68, -0.68, 0.68, 0.68, colour, radius=0.18)
    for x, y in ((-0.36, -0.36), (0.36, -0.36), (0, 0), (-0.36, 0.36), (0.36, 0.36)):
        pen.circle(x, y, 0.13, WHITE)


def rocket(pen: Pen, colour: Colour, phase: float) -> None:
    flame = 0.12 * math.sin(2 * math.pi * phase)
    pen.polygon([(-0.5, -0.18), (-0.86 + flame, 0), (-0.5, 0.18)], (255, 176, 59, 255))
    pen.polygon([(-0.5, -0.1), (-0.7 + flame, 0), (-0.5, 0.1)], (255, 240, 170, 255))
    pen.polygon([(-0.2, -0.2), (-0.62, -0.52), (-0.5, -0.1)], tone(colour, 0.8))
    pen.polygon([(-0.2, 0.2), (-0.62, 0.52), (-0.5, 0.1)], tone(colour, 0.8))
    pen.ellipse(0.1, 0, 0.68, 0.27, WHITE)
    pen.polygon([(0.98, 0), (0.5, -0.23), (0.44, 0), (0.5, 0.23)], colour)
    pen.circle(0.18, 0, 0.12, INK)
    pen.circle(0.18, 0, 0.085, GLASS)


def butterfly(pen: Pen, colour: Colour, phase: float) -> None:
    open_ = 0.35 + 0.65 * abs(math.cos(math.pi * phase))  # the wings fold up towards the viewer
    for side in (-1, 1):
        pen.ellipse(side * 0.44 * open_, -0.3, 0.44 * open_, 0.42, colour)
        pen.ellipse(side * 0.34 * open_, 0.36, 0.34 * open_, 0.36, tone(colour, 0.85))
        pen.ellipse(side * 0.5 * open_, -0.34, 0.2 * open_, 0.2, tone(colour, 1.6))
        pen.ellipse(side * 0.36 * open_, 0.4, 0.13 * open_, 0.14, INK)
        pen.line([(0, -0.45), (side * 0.2, -0.82)], 0.03, INK)
    pen.ellipse(0, 0, 0.08, 0.52, INK)


def bird(pen: Pen, colour: Colour, phase: float) -> None:
    beat = math.sin(2 * math.pi * phase)
    pen.polygon([(0.15, -0.05), (-0.3, -0.05), (-0.35, -0.62 * beat - 0.08)], tone(colour, 0.65))
    pen.polygon([(-0.4, 0), (-0.95, -0.16), (-0.92, 0.12)], tone(colour, 0.8))
    pen.ellipse(0, 0.02, 0.56, 0.22, colour)
    pen.circle(0.52, -0.1, 0.2, colour)
    pen.polygon([(0.68, -0.14), (0.95, -0.04), (0.68, 0.0)], (242, 170, 60, 255))
    pen.circle(0.58, -0.15, 0.045, INK)
    pen.polygon([(0.28, -0.06), (-0.28, -0.02), (-0.15, -0.85 * beat)], tone(colour, 1.3))


def fish(pen: Pen, colour: Colour, phase: float) -> None:
    beat = 0.22 * math.sin(2 * math.pi * phase)
    pen.polygon([(-0.4, 0), (-0.95, -0.4 + beat), (-0.78, beat), (-0.95, 0.4 + beat)], tone(colour, 0.75))
    pen.polygon([(-0.2, -0.3), (0.2, -0.62), (0.35, -0.25)], tone(colour, 0.75))
    pen.polygon([(-0.1, 0.28), (0.1, 0.55), (0.25, 0.25)], tone(colour, 0.75))
    pen.ellipse(0.15, 0, 0.68, 0.38, colour)
    for k in range(3):
        pen.ellipse(-0.2 + 0.25 * k, 0, 0.05, 0.3 - 0.02 * k, WHITE)
    pen.circle(0.58, -0.08, 0.09, WHITE)
    pen.circle(0.6, -0.08, 0.05, INK)


def boomerang(pen: Pen, colour: Colour, phase: float) -> None:
    pen.line([(-0.75, 0.62), (0, -0.55), (0.75, 0.62)], 0.36, colour)
    for x, y in ((-0.56, 0.32), (0.56, 0.32), (0, -0.5)):
        pen.circle(x, y, 0.1, CREAM)


def saucer(pen: Pen, colour: Colour, phase: float) -> None:
    pen.ellipse(0, -0.16, 0.4, 0.38, GLASS)
    pen.ellipse(0, 0.06, 0.95, 0.28, colour)
    pen.ellipse(0, -0.02, 0.7, 0.14, tone(colour, 0.75))
    for k in range(5):
        lit = (k + int(5 * phase)) % 5 == 0
        pen.circle(-0.64 + 0.32 * k, 0.12, 0.075, (255, 238, 140, 255) if lit else tone(colour, 0.5))


def car(pen: Pen, colour: Colour, phase: float) -> None:
    pen.polygon([(-0.5, -0.1), (-0.34, -0.48), (0.24, -0.48), (0.5, -0.1)], tone(colour, 0.85))
    pen.polygon([(-0.4, -0.1), (-0.28, -0.4), (-0.06, -0.4), (-0.06, -0.1)], GLASS)
    pen.polygon([(0.02, -0.1), (0.02, -0.4), (0.2, -0.4), (0.38, -0.1)], GLASS)
    pen.box(-0.95, -0.12, 0.95, 0.26, colour, radius=0.14)
    pen.box(0.78, -0.02, 0.95, 0.1, (255, 236, 160, 255), radius=0.05)
    _wheels(pen, (-0.54, 0.54), 0.26, 0.22, phase)


def bus(pen: Pen, colour: Colour, phase: float) -> None:
    pen.box(-0.95, -0.5, 0.95, 0.3, colour, radius=0.1)
    pen.box(-0.95, 0.08, 0.95, 0.16, CREAM)
    for k in range(5):
        pen.box(-0.84 + 0.34 * k, -0.38, -0.58 + 0.34 * k, -0.04, GLASS, radius=0.04)
    _wheels(pen, (-0.55, 0.55), 0.32, 0.18, phase)


def skateboard(pen: Pen, colour: Colour, phase: float) -> None:
    pen.line([(-0.95, -0.14), (-0.7, 0), (0.7, 0), (0.95, -0.14)], 0.12, colour)
    _wheels(pen, (-0.5, 0.5), 0.18, 0.15, phase)


def _wheels(pen: Pen, places: Sequence[float], y: float, radius: float, phase: float) -> None:
    for x in places:
        pen.circle(x, y, radius, INK)
        pen.circle(x, y, 0.6 * radius, STEEL)
        for k in range(3):
            spoke = phase + k / 6
            pen.line([polar(spoke, 0.55 * radius, (x, y)), polar(spoke + 0.5, 0.55 * radius, (x, y))], 0.035, INK)


def boat(pen: Pen, colour: Colour, phase: float) -> None:
    pen.line([(0, 0.3), (0, -0.9)], 0.05, (110, 78, 48, 255))
    pen.polygon([(0.06, -0.85), (0.06, 0.2), (0.72, 0.2)], WHITE)
    pen.polygon([(-0.05, -0.7), (-0.05, 0.2), (-0.55, 0.2)], CREAM)
    pen.polygon([(-0.85, 0.3), (0.9, 0.3), (0.62, 0.66), (-0.62, 0.66)], colour)
    pen.polygon([(-0.85, 0.3), (0.9, 0.3), (0.84, 0.39), (-0.79, 0.39)], tone(colour, 1.5))


def kite(pen: Pen, colour: Colour, phase: float) -> None:
    tail = [(0.09 * math.sin(2 * math.pi * (phase + k / 5)), 0.3 + 0.08 * k) for k in range(9)]
    pen.line(tail, 0.03, INK)
    for x, y in tail[2::3]:
        pen.polygon(
            [(x - 0.1, y - 0.05), (x + 0.1, y + 0.05), (x + 0.1, y - 0.05), (x - 0.1, y + 0.05)], tone(colour, 0.8)
        )
    pen.polygon([(0, -0.95), (0.5, -0.4), (0, 0.35)], colour)
    pen.polygon([(0, -0.95), (-0.5, -0.4), (0, 0.35)], tone(colour, 1.5))
    pen.line([(-0.5, -0.4), (0.5, -0.4)], 0.03, INK)


def snowflake(pen: Pen, colour: Colour, phase: float) -> None:
    for k in range(6):
        pen.line([(0, 0), polar(k / 6, 0.92)], 0.1, colour)
        for reach in (0.45, 0.7):
            stem = polar(k / 6, reach)
            for side in (-1, 1):
                pen.line([stem, polar(k / 6 + side / 7, 0.24, stem)], 0.07, colour)


def apple(pen: Pen, colour: Colour, phase: float) -> None:
    pen.ellipse(-0.26, 0.1, 0.5, 0.62, colour)
    pen.ellipse(0.26, 0.1, 0.5, 0.62, colour)
    pen.line([(0, -0.4), (0.08, -0.78)], 0.08, (96, 64, 40, 255))
    pen.polygon([(0.08, -0.66), (0.36, -0.86), (0.62, -0.74), (0.34, -0.58)], (96, 150, 60, 255))


def air_balloon(pen: Pen, colour: Colour, phase: float) -> None:
    pen.line([(-0.14, 0.62), (-0.42, 0.1)], 0.025, INK)
    pen.line([(0.14, 0.62), (0.42, 0.1)], 0.025, INK)
    pen.polygon([(-0.6, 0.02), (0.6, 0.02), (0.2, 0.44), (-0.2, 0.44)], tone(colour, 0.8))
    for across, tint in ((0.68, colour), (0.44, CREAM), (0.2, colour)):
        pen.ellipse(0, -0.26, across, 0.68, tint)
    pen.box(-0.18, 0.62, 0.18, 0.92, (150, 104, 60, 255), radius=0.05)


def helicopter(pen: Pen, colour: Colour, phase: float) -> None:
    blade = 0.9 * math.cos(2 * math.pi * phase)
    pen.line([(0.15, -0.3), (0.15, -0.5)], 0.05, INK)
    pen.line([(0.15 - blade, -0.5), (0.15 + blade, -0.5)], 0.06, STEEL)
    pen.polygon([(-0.1, -0.12), (-0.9, -0.14), (-0.9, -0.02), (-0.1, 0.18)], tone(colour, 0.85))
    rear = 2 * math.pi * phase
    pen.line([(-0.9 + 0.2 * math.cos(rear), -0.08 + 0.2 * math.sin(rear)),
              (-0.9 - 0.2 * math.cos(rear), -0.08 - 0.2 * math.sin(rear))], 0.05, STEEL)  # fmt: skip
    pen.ellipse(0.25, 0, 0.52, 0.32, colour)
    pen.sector(0.3, -0.02, 0.42, (-0.22, 0.02), GLASS)
    pen.line([(-0.2, 0.46), (0.66, 0.46)], 0.05, INK)
    pen.line([(0.02, 0.3), (0.0, 0.46)], 0.04, INK)
    pen.line([(0.42, 0.3), (0.44, 0.46)], 0.04, INK)


def windmill(pen: Pen, colour: Colour, phase: float) -> None:
    """A toy windmill's vanes, without the stick."""
    for k in range(4):
        pen.polygon([(0, 0), polar(k / 4, 0.95), polar(k / 4 + 0.11, 0.66)], colour if k % 2 else CREAM)
        pen.polygon([(0, 0), polar(k / 4 + 0.11, 0.66), polar(k / 4 + 0.14, 0.3)], tone(colour, 0.65))
    pen.circle(0, 0, 0.1, INK)


def duck(pen: Pen, colour: Colour, phase: float) -> None:
    pen.polygon([(-0.55, 0.1), (-0.95, -0.2), (-0.6, 0.5)], colour)
    pen.ellipse(-0.05, 0.3, 0.72, 0.4, colour)
    pen.circle(0.42, -0.32, 0.36, colour)
    pen.polygon([(0.7, -0.4), (0.98, -0.22), (0.68, -0.14)], (240, 130, 40, 255))
    pen.circle(0.52, -0.42, 0.06, INK)
    pen.ellipse(-0.15, 0.24, 0.36, 0.2, tone(colour, 0.85))


def tyre(pen: Pen, colour: Colour, phase: float) -> None:
    pen.circle(0, 0, 0.96, INK)
    for k in range(16):
        pen.line([polar(k / 16, 0.84), polar(k / 16, 0.93)], 0.06, (90, 90, 98, 255))
    pen.circle(0, 0, 0.56, STEEL)
    for k in range(5):
        pen.line([(0, 0), polar(k / 5, 0.5)], 0.13, tone(colour, 0.9))
    pen.circle(0, 0, 0.14, INK)


def umbrella(pen: Pen, colour: Colour, phase: float) -> None:
    for k in range(8):
        pen.polygon([(0, 0), polar(k / 8, 0.94), polar((k + 0.5) / 8, 0.86), polar((k + 1) / 8, 0.94)],
                    colour if k % 2 else tone(colour, 1.6))  # fmt: skip
    pen.circle(0, 0, 0.06, INK)


def planet(pen: Pen, colour: Colour, phase: float) -> None:
    pen.ellipse(0, 0, 0.98, 0.24, tone(colour, 1.5))
    pen.circle(0, 0, 0.6, colour)
    for k in (-1, 0, 1):
        pen.ellipse(0, 0.22 * k, 0.56 - 0.1 * abs(k), 0.06, tone(colour, 0.8))
    pen.polygon([(-0.98, 0), (-0.6, 0.14), (0, 0.2), (0.6, 0.14), (0.98, 0), (0.6, 0.22), (0, 0.25), (-0.6, 0.22)],
                tone(colour, 1.5))  # fmt: skip


def beetle(pen: Pen, colour: Colour, phase: float) -> None:
    for k, x in enumerate((-0.4, 0, 0.4)):
        step = 0.1 * math.sin(2 * math.pi * (phase + k / 2))
        pen.line([(x, -0.3), (x + step, -0.72)], 0.07, INK)
        pen.line([(x, 0.3), (x - step, 0.72)], 0.07, INK)
    pen.circle(0.68, 0, 0.26, INK)
    pen.ellipse(-0.08, 0, 0.72, 0.52, colour)
    pen.line([(-0.8, 0), (0.6, 0)], 0.05, INK)
    for x, y in ((-0.4, 0.24), (0.1, 0.28), (-0.4, -0.24), (0.1, -0.28)):
        pen.circle(x, y, 0.1, INK)


def ring(pen: Pen, colour: Colour, phase: float) -> None:
    for k in range(12):
        pen.line(
            [polar(k / 12, 0.76), polar((k + 0.5) / 12, 0.76), polar((k + 1) / 12, 0.76)],
            0.38,
            colour if k % 3 else WHITE,
        )


def bell(pen: Pen, colour: Colour, phase: float) -> None:
    pen.circle(0, 0.62, 0.18, tone(colour, 0.6))
    pen.polygon([(-0.24, -0.6), (0.24, -0.6), (0.46, 0.2), (0.72, 0.5), (-0.72, 0.5), (-0.46, 0.2)], colour)
    pen.circle(0, -0.56, 0.25, colour)
    pen.box(-0.76, 0.42, 0.76, 0.58, tone(colour, 0.8), radius=0.07)
    pen.circle(0, -0.86, 0.1, INK)


def bottle(pen: Pen, colour: Colour, phase: float) -> None:
    pen.box(-0.14, -0.95, 0.14, -0.4, tone(colour, 0.8), radius=0.04)
    pen.box(-0.32, -0.5, 0.32, 0.92, colour, radius=0.16)
    pen.box(-0.32, 0.0, 0.32, 0.5, CREAM)
    pen.box(-0.18, -0.98, 0.18, -0.82, INK, radius=0.04)


Shape = Callable[[Pen, Colour, float], None]
SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        ball, football, balloon, paper_plane, leaf, star, coin, gear, crate, die, rocket, butterfly, bird, fish,
        boomerang, saucer, car, bus, skateboard, boat, kite, snowflake, apple, air_balloon, helicopter, windmill, duck,
        tyre, umbrella, planet, beetle, ring, bell, bottle,
    )
}  # fmt: skip
SAMPLES = 2  # sprites are drawn this many times larger than they appear


def sprite(name: str, colour: str, phase: float, pixels: int) -> Image.Image:
    """A shape as a transparent picture for an object of `pixels` from side to side, SAMPLES times as large."""
    pen = Pen(pixels * SAMPLES)
    SHAPES[name](pen, (*ImageColor.getrgb(colour)[:3], 255), phase)
    return pen.image
