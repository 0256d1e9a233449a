"""Draws the camera clips: a still world, seen from a view that moves."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_ddp.references import worlds
from wan_ddp.references.clip import Format, Shot
from wan_ddp.references.moves import View
from wan_ddp.references.warp import Camera, paint

# The ground is painted in bands of depth (metres), far ones first, each with the texture size that suits it. With a
# ratio of 0.77 neither the texture nor the haze is seen to change from band to band; the nearest is at 0.2 m.
BANDS = tuple(260.0 * 0.77**k for k in range(28))
BAND_OVERLAP = 1.04
PLAIN_NEAREST_METRES = 17.0  # nearer than this, the ground hides the plain from every camera
HAZE_METRES = 160.0  # where nothing but haze would be left


def frames(shot: Shot, size: Format) -> Iterator[NDArray[np.uint8]]:
    world = worlds.build(shot.world)
    for index in range(size.num_frames):
        yield np.asarray(draw(world, shot.move(index / (size.num_frames - 1)), size))


def draw(world: worlds.World, view: View, size: Format) -> Image.Image:
    """One view, painted from back to front."""
    image = Image.new("RGB", (size.width, size.height), world.zenith)
    camera = Camera(view, size.width, size.height)
    for piece in world.sky:
        paint(image, piece, camera, smooth_edges=False)
    for plane, nearest in ((world.plain, PLAIN_NEAREST_METRES), (world.ground, 0.0)):
        for far, near in pairwise(band for band in BANDS if band >= nearest):
            haze = (world.haze, _haze((near + far) / 2))
            paint(image, plane, camera, near=near, far=far * BAND_OVERLAP, smooth_edges=False, haze=haze)
    for box in sorted(world.boxes, key=lambda box: -float(np.linalg.norm(box.middle - camera.position))):
        haze = (world.haze, _haze(float(np.linalg.norm(box.middle - camera.position))))
        for face, normal in box.faces:
            if normal @ (camera.position - face.origin) > 0:
                paint(image, face, camera, haze=haze)
    return image


def _haze(metres: float) -> float:
    return min(0.9, metres / HAZE_METRES)
