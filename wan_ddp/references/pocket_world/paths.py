"""Where things are over a clip, for many clips at once: paths of objects, moves of the camera, a figure's actions.

Lengths are in frame heights, the origin is the middle of the frame, x points right and y down; the frame reaches from
-5/6 to 5/6 and from -1/2 to 1/2. `draws` are uniform random numbers from 0 to 1, (B, n): a clip's own share of chance.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wan_ddp.references.pocket_world.vocabulary import ACTIONS, MOVES, PATHS

TURN = 2 * math.pi
NUM_DRAWS = 8
HALF_WIDTH, HALF_HEIGHT = 5 / 6, 0.5


def object_paths(kinds: Tensor, draws: Tensor, num_frames: int) -> Tensor:
    """(B, T, 2): where the objects of these kinds (indices into PATHS) are in each frame."""
    p = torch.linspace(0, 1, num_frames)[None, :]
    u = [draws[:, i : i + 1] for i in range(NUM_DRAWS)]
    low = -0.24 + 0.48 * u[1]
    reach = 0.5 + 0.22 * u[2]
    drift = 0.24 * (u[3] - 0.5) * p
    sign = torch.where(u[4] < 0.5, -1.0, 1.0)
    across = sign * reach * (2 * p - 1)
    angle = TURN * (u[1] + p * (0.8 + 0.5 * u[2]))
    centre_x, centre_y = 0.5 * (u[0] - 0.5), 0.16 * (u[5] - 0.5)
    radius_x, radius_y = 0.3 + 0.16 * u[3], 0.19 + 0.08 * u[4]
    hops = p * (2 + u[3]) % 1
    swing = 0.75 * torch.cos(TURN * (p * (1 + 0.4 * u[1]))) * sign
    left_right = 0.55 * (u[0] - 0.5)
    made = {
        "stays in place": (0.9 * (u[0] - 0.5) + 0 * p, low + 0 * p),
        "moves to the right": (reach * (2 * p - 1), low + drift),
        "moves to the left": (-reach * (2 * p - 1), low + drift),
        "falls": (0.9 * (u[0] - 0.5) + drift, 0.3 * (2 * p**1.4 - 1) + 0 * u[0]),
        "rises": (0.9 * (u[0] - 0.5) + drift, -0.3 * (2 * p - 1) + 0 * u[0]),
        "moves diagonally": (across, torch.where(u[5] < 0.5, -1.0, 1.0) * 0.29 * (2 * p - 1)),
        "circles clockwise": (centre_x + radius_x * angle.cos(), centre_y + radius_y * angle.sin()),
        "circles counterclockwise": (centre_x + radius_x * angle.cos(), centre_y - radius_y * angle.sin()),
        "bounces": (across, 0.27 - 4 * (0.34 + 0.14 * u[1]) * hops * (1 - hops)),
        "swings": (left_right + 0.55 * swing.sin(), -0.4 + 0.62 * swing.cos()),
        "moves in a wave": (across, centre_y + 0.2 * torch.sin(TURN * (p * (1 + 0.6 * u[1]) + u[3]))),
        "moves to and fro": (across.abs() * sign - sign * 0.5 * reach + centre_x, low + 0 * p),
    }
    return _choose(made, [path.name for path in PATHS], kinds)


def camera_moves(kinds: Tensor, draws: Tensor, num_frames: int) -> Tensor:
    """(B, T, 4): x and y of the middle of the view, the logarithm of the zoom, the roll in radians (clockwise)."""
    p = torch.linspace(-0.5, 0.5, num_frames)[None, :]
    eased = p + (draws[:, 4:5] - 0.5) * 0.5 * torch.sin(TURN * p) / TURN * 2
    pan, tilt = (0.4 + 0.5 * draws[:, 0:1]) * eased, (0.25 + 0.35 * draws[:, 0:1]) * eased
    zoom, roll = (0.45 + 0.4 * draws[:, 0:1]) * eased, (0.4 + 0.5 * draws[:, 0:1]) * eased
    none = 0 * p + 0 * zoom
    made = {
        "stays still": (none, none, none, none),
        "pans to the right": (pan, none, none, none),
        "pans to the left": (-pan, none, none, none),
        "tilts up": (none, -tilt, none, none),
        "tilts down": (none, tilt, none, none),
        "zooms in": (none, none, zoom, none),
        "zooms out": (none, none, -zoom, none),
        "rolls clockwise": (none, none, none, roll),
        "rolls counterclockwise": (none, none, none, -roll),
    }
    return _choose(made, [move.name for move in MOVES], kinds)


def figure_poses(kinds: Tensor, draws: Tensor, num_frames: int) -> Tensor:
    """(B, T, 10): x and lift of the hips, the crouch (0 to 1), and seven angles in radians.

    The angles: left upper arm, left forearm, right upper arm, right forearm (from hanging down, outwards), left leg,
    right leg (sideways, outwards), stride (the legs' swing when walking, seen from the side).
    """
    p = torch.linspace(0, 1, num_frames)[None, :]
    u = [draws[:, i : i + 1] for i in range(NUM_DRAWS)]
    at = 0.9 * (u[0] - 0.5) + 0 * p
    zero = 0 * at
    rest = 0.2 + zero
    beat = torch.sin(TURN * (p * (2 + u[1]) + u[2]))
    jumps = p * (1.6 + 0.6 * u[1]) % 1
    lift = 4 * 0.2 * jumps * (1 - jumps)
    spread = (1 - torch.cos(TURN * (p * (2 + 0.5 * u[1])))) / 2
    crouch = (1 - torch.cos(TURN * (p * (1 + 0.6 * u[1])))) / 2
    walk = (0.45 + 0.2 * u[2]) * (2 * p - 1)
    stride = 0.5 * torch.sin(TURN * (p * (2 + u[1]) + u[3]))
    raised = 2.2 + 0.45 * beat
    made = {
        "waves": (at, zero, zero, rest, rest, 1.9 + zero, raised, 0.08 + zero, 0.08 + zero, zero),
        "walks to the right": (walk, zero, zero, stride, stride, -stride, -stride, zero, zero, stride),
        "walks to the left": (-walk, zero, zero, stride, stride, -stride, -stride, zero, zero, stride),
        "jumps": (at, lift, zero, 0.3 + 7 * lift, 0.3 + 8 * lift, 0.3 + 7 * lift, 0.3 + 8 * lift, rest, rest, zero),
        "does jumping jacks": (at, 0.1 * spread * (1 - spread), zero, *[0.2 + 2.3 * spread] * 4,
                               *[0.06 + 0.42 * spread] * 2, zero),
        "squats": (at, zero, crouch, *[0.25 + 1.2 * crouch] * 4, 0.12 + zero, 0.12 + zero, zero),
    }  # fmt: skip
    return _choose(made, [action.name for action in ACTIONS], kinds)


def _choose(made: Mapping[str, tuple[Tensor, ...]], names: list[str], kinds: Tensor) -> Tensor:
    """Of every kind's values (B, T) a clip's own, (B, T, number of values)."""
    broadcast: Any = torch.broadcast_tensors
    everything = torch.stack([torch.stack(broadcast(*made[name]), dim=-1) for name in names])
    return everything[kinds, torch.arange(len(kinds))]
