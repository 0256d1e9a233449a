"""What the figure does: functions from progress (0 to 1 over the clip) to a posture. Pure.

Lengths are in body heights, angles in degrees. A foot is where its ankle is, seen from the ground point below the
pelvis: (forward, up, outward). An arm is the direction of its two halves, each (forward, outward) from hanging down.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Foot: TypeAlias = tuple[float, float, float]
Arm: TypeAlias = tuple[float, float, float, float]  # upper arm forward and outward, forearm forward and outward

ANKLE = 0.04  # the ankle's height over the sole
STANDING_HIPS = 0.524  # the pelvis's height, knees a little bent
STANCE: Foot = (0.0, ANKLE, 0.065)
HANGING: Arm = (2.0, 8.0, 12.0, 5.0)


@dataclass(frozen=True, slots=True)
class Posture:
    """One moment of an action. Heading 0 faces the viewer and 90 faces right."""

    heading: float
    x: float = 0.0
    lift: float = 0.0  # the whole figure over the ground
    hips: float = STANDING_HIPS
    lean: float = 0.0  # of the trunk, forward
    bend: float = 0.0  # of the trunk, to the figure's left
    left_foot: Foot = STANCE
    right_foot: Foot = STANCE
    left_arm: Arm = HANGING
    right_arm: Arm = HANGING


Action: TypeAlias = Callable[[float], Posture]


def keyed(time: float, keys: Sequence[tuple[float, float]]) -> float:
    """A value that eases from key to key, each a (time, value); flat before the first and after the last."""
    for (start, low), (end, high) in itertools.pairwise(keys):
        if time < end:
            share = max(0.0, (time - start) / (end - start))
            return low + (high - low) * share * share * (3 - 2 * share)
    return keys[-1][1]


WALK_CYCLES = 4  # of two steps each: 1.35 s a cycle at 81 frames and 15 fps, a calm walk
WALK_REACH = 0.2  # how far before and behind the pelvis a foot stands
WALK_STANCE = 0.6  # the share of a cycle that a foot is on the ground, as people walk


def walk(progress: float) -> Posture:
    """Cross the frame from left to right. A foot on the ground moves backwards as fast as the body goes: no sliding."""
    length = 2 * WALK_REACH / WALK_STANCE
    cycle = WALK_CYCLES * progress
    swing = math.cos(2 * math.pi * (cycle + 0.05))
    return Posture(
        heading=90,
        x=(progress - 0.5) * length * WALK_CYCLES,
        hips=0.492 + 0.012 * math.cos(4 * math.pi * (cycle - WALK_STANCE / 2)),
        lean=4,
        left_foot=_walking_foot(cycle),
        right_foot=_walking_foot(cycle + 0.5),
        left_arm=(-26 * swing, 6, -24 * swing + 22, 4),
        right_arm=(26 * swing, 6, 24 * swing + 22, 4),
    )


def _walking_foot(cycle: float) -> Foot:
    phase = cycle % 1
    if phase < WALK_STANCE:
        share = phase / WALK_STANCE
        heel = 0.05 * max(0.0, (share - 0.7) / 0.3) ** 2  # the heel leaves the ground before the toes
        return WALK_REACH * (1 - 2 * share), ANKLE + heel, 0.04
    share = (phase - WALK_STANCE) / (1 - WALK_STANCE)
    forward = -WALK_REACH * math.cos(math.pi * share)
    return forward, ANKLE + 0.05 * (1 - share) + 0.075 * math.sin(math.pi * share), 0.04


def wave(progress: float) -> Posture:
    """Raise the right arm, wave three times to and fro, and lower it."""
    up = keyed(progress, ((0.0, 0.0), (0.18, 1.0), (0.85, 1.0), (1.0, 0.0)))
    beat = up * math.sin(2 * math.pi * 4 * progress)
    return Posture(
        heading=8,
        bend=4 * up + 2 * beat,
        right_arm=(4 * up, 8 + 92 * up, 8 * up, 8 + 155 * up + 32 * beat),
        left_arm=(4, 9 + 3 * beat, 16, 6),
    )


def jump(progress: float) -> Posture:
    """Two jumps on the spot: crouch, take off with the arms thrown up, fly, land softly."""
    time = 2 * progress % 1 if progress < 1 else 1.0
    hips = keyed(
        time, ((0.0, STANDING_HIPS), (0.28, 0.37), (0.38, 0.52), (0.7, 0.5), (0.82, 0.4), (1.0, STANDING_HIPS))
    )
    flight = min(1.0, max(0.0, (time - 0.38) / 0.34))
    arms = keyed(time, ((0.0, 5.0), (0.26, -50.0), (0.42, 165.0), (0.66, 140.0), (0.84, 20.0), (1.0, 5.0)))
    tuck = 0.07 * math.sin(math.pi * flight)
    foot = (0.0, ANKLE + tuck, 0.07)
    arm = (arms, 14.0, arms + 12, 8.0)
    return Posture(
        heading=38,
        lift=0.24 * 4 * flight * (1 - flight),
        hips=hips,
        lean=keyed(time, ((0.0, 0.0), (0.28, 32.0), (0.42, -2.0), (0.7, 2.0), (0.82, 24.0), (1.0, 0.0))),
        left_foot=foot,
        right_foot=foot,
        left_arm=arm,
        right_arm=arm,
    )


def turn(progress: float) -> Posture:
    """Turn once round on the spot with small steps, arms a little out."""
    share = keyed(progress, ((0.05, 0.0), (0.95, 1.0)))
    step = 8 * share
    left, right = (0.05 * max(0.0, math.sin(math.pi * step + k * math.pi)) for k in (0, 1))
    out = 24 + 14 * math.sin(math.pi * share)
    return Posture(
        heading=20 + 360 * share,
        hips=0.518,
        bend=2.5 * math.sin(math.pi * step),
        left_foot=(0.015, ANKLE + left, 0.065),
        right_foot=(0.015, ANKLE + right, 0.065),
        left_arm=(6, out, 14, out + 8),
        right_arm=(6, out, 14, out + 8),
    )


def high_knees(progress: float) -> Posture:
    """Run on the spot: the knees come up to the hips in turn, the arms pump."""
    beat = math.sin(2 * math.pi * 6 * progress)
    left, right = max(0.0, beat), max(0.0, -beat)
    return Posture(
        heading=55,
        hips=0.515 + 0.01 * abs(beat),
        lift=0.03 * abs(beat),
        lean=5,
        left_foot=(0.13 * left, ANKLE + 0.27 * left, 0.055),
        right_foot=(0.13 * right, ANKLE + 0.27 * right, 0.055),
        left_arm=(-42 * beat + 4, 10, -42 * beat + 92, 4),
        right_arm=(42 * beat + 4, 10, 42 * beat + 92, 4),
    )


def jumping_jack(progress: float) -> Posture:
    """Jump the feet apart with the arms overhead, and back, four times."""
    open_ = (1 - math.cos(2 * math.pi * 4 * progress)) / 2
    foot = (0.0, ANKLE, 0.055 + 0.15 * open_)
    arm = (0.0, 10 + 145 * open_, 6.0, 6 + 166 * open_)
    return Posture(
        heading=0,
        hips=STANDING_HIPS - 0.055 * open_,
        lift=0.05 * abs(math.sin(2 * math.pi * 4 * progress)),
        left_foot=foot,
        right_foot=foot,
        left_arm=arm,
        right_arm=arm,
    )


def squat(progress: float) -> Posture:
    """Three deep squats, arms stretched out ahead."""
    down = (1 - math.cos(2 * math.pi * 3 * progress)) / 2
    arm = (4 + 84 * down, 8.0, 10 + 82 * down, 5.0)
    foot = (0.10 * down, ANKLE, 0.09)
    return Posture(
        heading=58, hips=STANDING_HIPS - 0.25 * down, lean=40 * down,
        left_foot=foot, right_foot=foot, left_arm=arm, right_arm=arm,
    )  # fmt: skip


def kick(progress: float) -> Posture:
    """Draw the right leg back and kick high ahead, twice, with the arms out for balance."""
    time = 2 * progress % 1 if progress < 1 else 1.0
    ahead = keyed(time, ((0.0, 0.0), (0.25, -0.2), (0.45, 0.40), (0.55, 0.38), (0.8, 0.02), (1.0, 0.0)))
    height = keyed(time, ((0.0, 0.0), (0.25, 0.1), (0.45, 0.43), (0.55, 0.41), (0.8, 0.06), (1.0, 0.0)))
    effort = keyed(time, ((0.0, 0.0), (0.25, 0.6), (0.5, 1.0), (1.0, 0.0)))
    return Posture(
        heading=66,
        hips=0.52,
        lean=keyed(time, ((0.0, 0.0), (0.25, 12.0), (0.48, -14.0), (0.9, 0.0))),
        right_foot=(ahead, ANKLE + height, 0.05),
        left_arm=(50 * effort, 10 + 30 * effort, 60 * effort + 12, 5 + 25 * effort),
        right_arm=(-40 * effort, 10 + 34 * effort, 10 - 34 * effort, 6 + 30 * effort),
    )


ACTIONS: dict[str, Action] = {
    action.__name__: action for action in (walk, wave, jump, turn, high_knees, jumping_jack, squat, kick)
}
