"""Camera moves: functions from progress (0 to 1 over the clip) to where the camera is and looks. Pure.

x points right, y up, z ahead, in metres; yaw is positive to the right and pitch upwards, in degrees. The worlds have
their subject at the origin, and the street of open ground that leads to it comes from negative z.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera. `focal` is in frame heights: 1.0 sees about 53 degrees from top to bottom."""

    x: float = 0.0
    y: float = 2.2
    z: float = -19.0
    yaw: float = 0.0
    pitch: float = 3.0
    roll: float = 0.0
    focal: float = 1.0


Move: TypeAlias = Callable[[float], View]


def smooth(progress: float) -> float:
    """Start and stop gently, as a camera operator does, but keep most of the clip at an even speed."""
    return progress - 0.6 * math.sin(2 * math.pi * progress) / (2 * math.pi)


def between(start: View, end: View) -> Move:
    """Move every setting evenly from one view to the other: pans, tilts, rolls, zooms, tracking and dolly shots."""
    names = ("x", "y", "z", "yaw", "pitch", "roll")

    def view(progress: float) -> View:
        share = smooth(progress)
        mixed = {name: (1 - share) * getattr(start, name) + share * getattr(end, name) for name in names}
        # a zoom looks even when the magnification grows by the same factor in each frame
        return View(**mixed, focal=start.focal ** (1 - share) * end.focal**share)

    return view


def looking_at(eye: View, target_height: float) -> View:
    """Turn a camera towards the axis of the world at a height."""
    distance = math.hypot(eye.x, eye.z)
    yaw = math.degrees(math.atan2(-eye.x, -eye.z))
    return replace(eye, yaw=yaw, pitch=math.degrees(math.atan2(target_height - eye.y, distance)))


def orbit(radius: float, azimuths: tuple[float, float], elevations: tuple[float, float], target_height: float) -> Move:
    """Circle the middle of the world at one distance and keep looking at it. Angles are in degrees."""

    def view(progress: float) -> View:
        share = smooth(progress)
        azimuth = math.radians((1 - share) * azimuths[0] + share * azimuths[1])
        elevation = math.radians((1 - share) * elevations[0] + share * elevations[1])
        level = radius * math.cos(elevation)
        eye = View(
            x=level * math.sin(azimuth),
            y=target_height + radius * math.sin(elevation),
            z=-level * math.cos(azimuth),
        )
        return looking_at(eye, target_height)

    return view


def dolly_zoom(start: float, end: float, height: float) -> Move:
    """Go from one distance to another while the zoom keeps the subject's size: only the background changes."""

    def view(progress: float) -> View:
        distance = start + (end - start) * smooth(progress)
        return View(y=height, z=-distance, pitch=0.0, focal=1.5 * distance / max(start, end))

    return view
