"""The reference set as data: 68 clips in four categories, each with how it is drawn and five prompts."""

from dataclasses import replace
from functools import lru_cache

from wan_ddp.references.catalogue import camera_motion, complex_human_motion, multiple_objects, single_object
from wan_ddp.references.clip import Clip

CLIPS: tuple[Clip, ...] = (
    *camera_motion.CLIPS,
    *single_object.CLIPS,
    *multiple_objects.CLIPS,
    *complex_human_motion.CLIPS,
)

# Clips of the demo and how many of their prompts it uses: every category, unequal in size as in the real experiment,
# and 14 jobs with two seeds, about two minutes on two cores.
DEMO_PROMPTS = {
    "镜头仰角旋转": 2,
    "ball_rolls_right": 2,
    "灯笼摆动": 1,
    "two_balls_cross": 1,
    "人物挥手": 1,
}


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Clip]:
    return {clip.name: clip for clip in CLIPS}


def find(name: str) -> Clip:
    """The clip of that name; KeyError if there is none."""
    return _by_name()[name]


def demo_clips() -> tuple[Clip, ...]:
    """The demo's clips with only the prompts that it uses."""
    return tuple(replace(find(name), prompts=find(name).prompts[:count]) for name, count in DEMO_PROMPTS.items())
