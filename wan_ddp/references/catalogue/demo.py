"""The demo's clips: five of the world that the pocket Wan knows, in every category, and prompts of its words.

Unequal in size as the categories of the real experiment; with two seeds 14 jobs, two minutes on two cores.
"""

from wan_ddp.references.clip import Clip, PocketScene

_STILL = {"camera": "stays still"}

CLIPS = (
    Clip(
        "camera_motion",
        "镜头右移",
        PocketScene({"category": "camera_motion", "camera": "pans to the right", "colours": ["green"]}, seed=1),
        ("A red star on snow.",),
    ),
    Clip(
        "single_object",
        "ball_bounces_left",
        PocketScene({"category": "single_object", "paths": ["bounces"], "shapes": ["ball"], **_STILL}, seed=1),
        ("A yellow star over water.", "雪地上有一个红色的方块。", "A black triangle on a meadow."),
    ),
    Clip(
        "single_object",
        "五角星摆动",
        PocketScene({"category": "single_object", "paths": ["swings"], "shapes": ["star"], **_STILL}, seed=1),
        ("A blue ball on sand.",),
    ),
    Clip(
        "multiple_objects",
        "two_objects_cross",
        PocketScene(
            {"category": "multiple_objects", "paths": ["moves to the right", "moves to the left"], **_STILL}, seed=2
        ),
        ("A red ball and a white square on the lawn.",),
    ),
    Clip(
        "complex_human_motion",
        "人物开合跳",
        PocketScene({"category": "complex_human_motion", "action": "does jumping jacks", **_STILL}, seed=1),
        ("A person in a red shirt on snow.",),
    ),
)
