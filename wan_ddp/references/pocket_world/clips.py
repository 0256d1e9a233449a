"""A clip of the demo from a scene of the pocket Wan's world."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from wan_ddp.references.clip import Format, PocketScene
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import Scenes, doubles, draw_scenes

_NUM_SEARCHED = 2000


def frames(scene: PocketScene, size: Format) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) RGB frames, one after another."""
    torch.set_num_threads(1)  # of several processes: more wait for each other longer than so small a picture takes
    yield from to_bytes(draw(find(scene, size.num_frames), width=size.width, height=size.height))[0].numpy()


def find(scene: PocketScene, num_frames: int) -> Scenes:
    """The scene, a batch of one. Raises LookupError if none of the seed shows what it is to show."""
    scenes = draw_scenes(scene.seed, _NUM_SEARCHED, num_frames=num_frames)
    for index in range(len(scenes)):
        names = scenes.names(index)
        if all(names[what] == shown for what, shown in scene.shows.items()):
            found = scenes[[index]]
            return doubles(found, scene.look) if scene.look else found
    raise LookupError(f"no scene of seed {scene.seed} shows {dict(scene.shows)}")
