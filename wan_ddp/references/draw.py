"""From a clip to its frames."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wan_ddp.references import camera, figure, objects
from wan_ddp.references.clip import Clip, Format, PocketScene, Shot, Stage


def frames(clip: Clip, size: Format) -> Iterator[NDArray[np.uint8]]:
    """Draw a clip: (H, W, 3) RGB frames, one after another, the same every time."""
    if isinstance(clip.drawing, Shot):
        return camera.frames(clip.drawing, size)
    if isinstance(clip.drawing, Stage):
        return objects.frames(clip.drawing, clip.name, size)
    if isinstance(clip.drawing, PocketScene):
        from wan_ddp.references.pocket_world import clips  # imports torch

        return clips.frames(clip.drawing, size)
    return figure.frames(clip.drawing, clip.name, size)
