"""A small 3-D painter: textured parallelograms seen by a pinhole camera, drawn with Pillow's perspective warp."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wan_ddp.references.moves import View

Vector = NDArray[np.float64]  # (3,)
Polygon = NDArray[np.float64]  # (N, 3) in 3-D, (N, 2) in pixels

# Textures are cut this share inside their edge, so that a polygon grown by a pixel still lies on its texture.
TEXTURE_MARGIN = 0.02
NEAR_METRES = 0.2
MASK_SAMPLES = 4  # masks are drawn this many times larger, for smooth edges


@dataclass(frozen=True, eq=False)
class Surface:
    """A textured parallelogram: the texture's top left lies at `origin`, its width along `u`, its height along `v`."""

    origin: Vector
    u: Vector
    v: Vector
    levels: tuple[Image.Image, ...]  # the texture at falling sizes, half the area each

    @property
    def corners(self) -> Polygon:
        return np.array([self.origin, self.origin + self.u, self.origin + self.u + self.v, self.origin + self.v])


def surface(origin: Vector, u: Vector, v: Vector, texture: Image.Image) -> Surface:
    levels = [texture]
    while min(levels[-1].size) > 8 and len(levels) < 12:
        scale = math.sqrt(0.5) ** len(levels)  # steps of one half in area: coarser ones would be seen to switch
        size = (max(4, round(texture.width * scale)), max(4, round(texture.height * scale)))
        levels.append(texture.resize(size, Image.Resampling.BOX))
    return Surface(origin, u, v, tuple(levels))


class Camera:
    """A view of the world in pixels."""

    def __init__(self, view: View, width: int, height: int) -> None:
        yaw, pitch, roll = math.radians(view.yaw), math.radians(view.pitch), math.radians(view.roll)
        ahead = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        up = np.cross(ahead, right)
        right, up = math.cos(roll) * right - math.sin(roll) * up, math.sin(roll) * right + math.cos(roll) * up
        self.position = np.array([view.x, view.y, view.z])
        self.rotation = np.array([right, -up, ahead])  # rows: right, down and ahead, as pixels count
        self.width, self.height = width, height
        focal = view.focal * height
        self.projection = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def see(self, points: Polygon) -> Polygon:
        """World coordinates to camera coordinates (right, down, ahead)."""
        seen: Polygon = (points - self.position) @ self.rotation.T
        return seen

    def project(self, seen: Polygon) -> Polygon:
        flat = seen @ self.projection.T
        pixels: Polygon = flat[:, :2] / flat[:, 2:]
        return pixels


def cut(polygon: Polygon, near: float, far: float) -> Polygon:
    """The part of a polygon in camera coordinates with a depth between two limits (Sutherland-Hodgman)."""
    for sign, limit in ((1.0, near), (-1.0, far)):
        inside = sign * (polygon[:, 2] - limit) >= 0
        if inside.all():
            continue
        if not inside.any():
            return np.empty((0, 3))
        kept: list[Vector] = []
        for index, end in enumerate(polygon):
            start = polygon[index - 1]
            if inside[index] != inside[index - 1]:
                kept.append(start + (end - start) * (limit - start[2]) / (end[2] - start[2]))
            if inside[index]:
                kept.append(end)
        polygon = np.array(kept)
    return polygon


def paint(
    image: Image.Image,
    piece: Surface,
    camera: Camera,
    *,
    near: float = NEAR_METRES,
    far: float = math.inf,
    smooth_edges: bool = True,
    haze: tuple[tuple[int, int, int], float] | None = None,
) -> None:
    """Draw the part of a surface between two depths, mixed with a share of the haze's colour."""
    seen = cut(camera.see(piece.corners), near, far)
    if len(seen) == 0:
        return
    outline = camera.project(seen)
    box = _bounds(outline, image)
    if box is None:
        return
    left, top, right, bottom = box
    whole = _pixel_to_unit(piece, camera)
    across, down, _ = slopes = np.abs(whole[2])
    if abs(whole[2] @ (left, top, 1)) < 1e-9 * slopes.max():
        # The corner lies on the plane's vanishing line, where Pillow's form of the homography is not defined: leave it.
        left, top = (left - 1, top) if across > down else (left, top - 1)
    size = (right - left, bottom - top)
    to_unit = whole @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    texture = piece.levels[_level(piece, to_unit, outline - (left, top), size)]
    margin = TEXTURE_MARGIN
    unit_to_texel = np.array(
        [
            [texture.width * (1 - 2 * margin), 0, texture.width * margin],
            [0, texture.height * (1 - 2 * margin), texture.height * margin],
            [0, 0, 1],
        ]
    )
    matrix = unit_to_texel @ to_unit
    coefficients = tuple((matrix / matrix[2, 2]).ravel()[:8])
    patch = texture.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    if haze is not None:
        patch = Image.blend(patch, Image.new("RGB", size, haze[0]), haze[1])
    image.paste(patch, (left, top), _mask(outline - (left, top), size, smooth_edges))


def _bounds(outline: Polygon, image: Image.Image) -> tuple[int, int, int, int] | None:
    """The pixels that an outline may touch: left, top, right, bottom; None when it is out of the picture."""
    low, high = np.floor(outline.min(axis=0)) - 1, np.ceil(outline.max(axis=0)) + 2
    left, top = int(max(0, low[0])), int(max(0, low[1]))
    right, bottom = int(min(image.width, high[0])), int(min(image.height, high[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def _pixel_to_unit(piece: Surface, camera: Camera) -> NDArray[np.float64]:
    """The homography from pixels to the surface's own coordinates, 0..1 each way.

    A point is origin + a u + b v, so the ray through a pixel is a multiple of [u v origin] (a, b, 1).
    """
    plane = np.column_stack([camera.rotation @ piece.u, camera.rotation @ piece.v, camera.see(piece.origin[None])[0]])
    homography: NDArray[np.float64] = np.linalg.inv(camera.projection @ plane)
    return homography


def _level(piece: Surface, to_unit: NDArray[np.float64], outline: Polygon, size: tuple[int, int]) -> int:
    """The texture size at which a texel is about a pixel, in the middle of what is seen of the surface."""
    x, y = np.clip(outline, 0, size).mean(axis=0)
    w = float(to_unit[2] @ (x, y, 1.0))
    # the area that one pixel covers on the surface is the homography's Jacobian, det / w^3
    covered = abs(np.linalg.det(to_unit) / w**3) * piece.levels[0].width * piece.levels[0].height
    return int(np.clip(round(math.log2(max(covered, 1e-9))), 0, len(piece.levels) - 1))


def _mask(outline: Polygon, size: tuple[int, int], smooth_edges: bool) -> Image.Image:
    if not smooth_edges:
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([tuple(point) for point in outline], fill=255)
        return mask
    # half a pixel of growth closes the seams between the faces of a box
    away = outline - outline.mean(axis=0)
    grown = outline + 0.5 * away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    large = Image.new("L", (size[0] * MASK_SAMPLES, size[1] * MASK_SAMPLES))
    ImageDraw.Draw(large).polygon([tuple(point) for point in grown * MASK_SAMPLES], fill=255)
    return large.reduce(MASK_SAMPLES)
