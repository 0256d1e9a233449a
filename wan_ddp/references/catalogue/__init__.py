"""The reference set as data: 68 clips in four categories, how each is drawn, five prompts for it; and the demo's."""

from functools import lru_cache

from wan_ddp.references.catalogue import camera_motion, complex_human_motion, demo, multiple_objects, single_object
from wan_ddp.references.clip import Clip

CLIPS: tuple[Clip, ...] = (
    *camera_motion.CLIPS,
    *single_object.CLIPS,
    *multiple_objects.CLIPS,
    *complex_human_motion.CLIPS,
)
DEMO_CLIPS = demo.CLIPS


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Clip]:
    return {clip.name: clip for clip in (*CLIPS, *DEMO_CLIPS)}


def find(name: str) -> Clip:
    """The clip of that name; KeyError if there is none."""
    return _by_name()[name]
