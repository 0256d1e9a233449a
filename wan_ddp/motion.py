"""How a video moves, by dense optical flow on the CPU, and how like the motion of its reference that is. No weights.

The method, from frame pair to frame pair:

1. Flow by dense inverse search (DIS, Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016,
   arXiv:1603.03590) on small gray frames, averaged over the cells of a grid of 32 along the longer side. Pairs between
   which nothing is seen to change count as motionless.
2. Each velocity v becomes v / sqrt|v|, slow drift below a threshold left out: in products of two of them motion then
   counts by its magnitude and not by the square of it, so that a few fast frames do not decide everything.
3. Both are blurred, by a sixteenth of the longer side and by one and a half frames: a result need not move in the very
   same place at the very same time.
4. The likeness is the cosine between the two videos' fields, over all places and pairs at once.

It asks what the motion fidelity score of Yatim et al. ("Space-Time Diffusion Features for Zero-Shot Text-Driven Motion
Transfer", CVPR 2024, arXiv:2311.17009) asks, which averages the cosines of tracked points' velocities. That score lets
each track look for its best partner anywhere in the other video; here motion has to be in about the same place, which
tells apart what merely moves in the same directions, needs no tracker's weights, and gives 0 for unrelated motion.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_ddp.miniature import Frames, Miniature, grid_size

Field = NDArray[np.float32]
"""(pairs, rows, columns, 2): right and down, in longer sides a frame."""

_GRID = 32
# The preset follows pixels at a quarter of the size. On frames too small for that, OpenCV chooses scales that suit the
# width alone, and on a strip it then crashes the process.
_COARSE_SIDE = 96
_BLUR_SIDES = 1 / 16
_BLUR_FRAMES = 1.5
# Flow slower than this is drift in flat areas: a twelfth of a pixel at 208x120.
_DRIFT = 0.0004
# The largest change of a cell's brightness between two frames that is not taken for motion. White noise of 5 levels a
# pixel makes 3; the slowest drawn reference, a dolly zoom, changes a cell by 4 and more.
_STILL_LEVELS = 3.0
# A reference with less motion than this is a still picture with a flaw: there is nothing to be like.
_LEAST_MOVING_SHARE = 0.1
# A camera moves three quarters of the frame or more, and by half a pixel a frame at 832x480 on average.
_CAMERA_QUANTILE = 0.25
_CAMERA_DRIFT = 0.0002
_LEAST_CAMERA_SPEED = 0.0005
_FIT_ROUNDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How a video moves."""

    is_still: NDArray[np.bool_]
    """(pairs,): nothing changes between these two frames."""
    whole: Field
    """All of its motion, weighted and blurred."""
    camera: Field
    """The part of it that the frame shares, weighted and blurred."""
    speed: float
    """Of the fastest place, a mean over the pairs, in longer sides a frame."""
    has_camera: bool

    @property
    def moves(self) -> bool:
        return float(np.mean(~self.is_still)) >= _LEAST_MOVING_SHARE and self.speed > 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A video's motion beside its reference's. Nothing is said (None) of what does not move in the reference."""

    likeness: float | None
    """1 the same, 0 unrelated or none, -1 the opposite."""
    camera_likeness: float | None
    """The same of what a camera does alone: pan, tilt, roll, zoom."""
    speed_ratio: float | None
    """How fast the fastest place of the picture is, as a multiple of the reference's."""


def still_pairs(video: Miniature) -> NDArray[np.bool_]:
    """(pairs,): between which neighbouring frames no part of the picture changes."""
    changes = np.abs(np.diff(video.luma, axis=0)).max(axis=(1, 2))
    is_still: NDArray[np.bool_] = changes <= _STILL_LEVELS
    return is_still


def motion_of(video: Miniature) -> Motion:
    """Measure how a video of two frames or more moves."""
    is_still = still_pairs(video)
    flow = _flow(video.gray)
    flow[is_still] = 0
    camera = _camera(flow)
    return Motion(
        is_still=is_still,
        whole=_blurred(_weighted(flow), _BLUR_FRAMES),
        camera=_blurred(_weighted(camera), _BLUR_FRAMES),
        speed=float(_speed(_blurred(flow)).max(axis=(1, 2)).mean()),
        has_camera=float(_speed(camera).mean()) >= _LEAST_CAMERA_SPEED,
    )


def compare(video: Motion, reference: Motion) -> Comparison:
    """Compare the motion of two videos of the same size and length."""
    if video.whole.shape != reference.whole.shape:
        raise ValueError(f"motion of {video.whole.shape} and {reference.whole.shape} cannot be compared")
    if not reference.moves:
        return Comparison(None, None, None)
    return Comparison(
        likeness=_cosine(video.whole, reference.whole),
        camera_likeness=_cosine(video.camera, reference.camera) if reference.has_camera else None,
        speed_ratio=round(video.speed / reference.speed, 3),
    )


def _flow(gray: Frames) -> Field:
    height, width = gray[0].shape
    columns, rows = grid_size(height, width, _GRID)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if min(height, width) < _COARSE_SIDE:
        search.setFinestScale(0)
    field = np.empty((len(gray) - 1, rows, columns, 2), np.float32)
    for cells, (before, after) in zip(field, pairwise(gray), strict=True):
        # None, or it would begin with what is in there. The stubs do not know that it may be.
        flow = search.calc(before, after, None)  # type: ignore[call-overload]
        cells[:] = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA).reshape(cells.shape)
    field /= max(height, width)
    return field


def _camera(flow: Field) -> Field:
    """What one affine motion of the whole frame explains of each pair's flow; nothing where a quarter of it is still.

    A least-squares fit whose weights fall with the residuals (Cauchy's), so that objects do not count for long.
    """
    num_pairs, rows, columns, _ = flow.shape
    down, right = (np.indices((rows, columns)).reshape(2, -1) + 0.5) / max(rows, columns)
    basis = np.stack([np.ones_like(right), right - right.mean(), down - down.mean()], axis=1)
    products = np.einsum("ci,cj->cij", basis, basis).reshape(-1, 9)
    wanted = flow.reshape(num_pairs, -1, 2).astype(np.float64)
    weights = np.ones(wanted.shape[:2])
    for _ in range(_FIT_ROUNDS):
        left = (weights @ products).reshape(-1, 3, 3) + 1e-9 * np.eye(3)  # solvable in a frame of one row, too
        fit = basis @ np.linalg.solve(left, basis.T @ (weights[..., None] * wanted))
        residuals = _speed(fit - wanted)
        usual = 1.4826 * np.median(residuals, axis=1, keepdims=True)  # the standard deviation, were they normal
        weights = 1 / (1 + (residuals / np.maximum(2 * usual, _DRIFT)) ** 2)
    is_shared = np.quantile(_speed(wanted), _CAMERA_QUANTILE, axis=1) > _CAMERA_DRIFT
    camera: Field = (fit * is_shared[:, None, None]).reshape(flow.shape).astype(np.float32)
    return camera


def _weighted(flow: Field) -> Field:
    speed = _speed(flow)[..., None]
    weighted: Field = flow * np.sqrt(np.maximum(speed - _DRIFT, 0)) / np.maximum(speed, _DRIFT)
    return weighted


def _blurred(field: Field, frames: float = 0.0) -> Field:
    """The field, each cell a mean of those around it, weighted by a Gaussian; at the edges of those that there are."""
    num_pairs, rows, columns, _ = field.shape
    cells = _BLUR_SIDES * max(rows, columns)
    blurred: Field = np.einsum("yr,trcd->tycd", _gaussian(rows, cells), field, optimize=True)
    blurred = np.einsum("xc,trcd->trxd", _gaussian(columns, cells), blurred, optimize=True)
    if frames:
        blurred = np.einsum("st,trcd->srcd", _gaussian(num_pairs, frames), blurred, optimize=True)
    return blurred


def _gaussian(length: int, sigma: float) -> NDArray[np.float32]:
    """(length, length): each row the weights of a mean about its own place."""
    places = np.arange(length, dtype=np.float32)
    weights = np.exp(-(((places[:, None] - places) / sigma) ** 2) / 2)
    means: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return means


def _speed(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    speed: NDArray[np.floating] = np.hypot(vectors[..., 0], vectors[..., 1])
    return speed


def _cosine(field: Field, other: Field) -> float:
    """Between -1 and 1; 0 if either is zero throughout."""
    energy = float(np.vdot(field, field)) * float(np.vdot(other, other))
    return round(float(np.vdot(field, other)) / energy**0.5, 3) if energy > 0 else 0.0
