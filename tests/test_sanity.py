"""Each fault of a video is flagged, and no drawn clip is. The thresholds are set in docs/sanity.md."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

from wan_ddp.miniature import Frames, shrink
from wan_ddp.motion import motion_of
from wan_ddp.references import catalogue
from wan_ddp.references.clip import Format
from wan_ddp.references.draw import frames
from wan_ddp.sanity import Inspector, Sanity, inspect

SIZE = Format(width=160, height=96, num_frames=33, fps=15)
TIMES = np.arange(SIZE.num_frames)
MIDDLE = SIZE.num_frames // 2
# Some of each category, and those that come nearest to a fault: a thing at rest in the beginning, limbs and strings
# that swing fast, the slowest of all. The camera clips are of one world, whose drawing takes longest. All 68 at full
# size: benchmarks/sanity.py.
CLIPS = [
    *("pan_left", "orbit_clockwise", "镜头后退"),
    *(
        "ball_rolls_right",
        "star_spins",
        "小鸟飞过",
        "boat_rocks",
        "飞船远去",
        "umbrella_whirls_away",
        "苹果落地",
        "气球升空",
    ),
    *("balloons_rise_leaf_falls", "汽车与巴士超车", "top_view_tabletop", "pendulums_out_of_step"),
    *("原地高抬腿", "原地转身", "jumping_jacks", "人物挥手"),
]
FAULTY = ("pan_left", "ball_rolls_right", "jumping_jacks", "原地转身")


@cache
def drawn(name: str) -> Frames:
    return np.stack(list(frames(catalogue.find(name), SIZE)))


def flags(video: Frames, reference: Frames | None = None) -> tuple[str, ...]:
    return inspect(video, None if reference is None else motion_of(shrink(reference))).flags


def noisy(video: Frames, levels: float) -> Frames:
    noise = np.random.default_rng(0).normal(0, levels, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def with_frame(video: Frames, frame: Frames | int) -> Frames:
    changed = video.copy()
    changed[MIDDLE] = frame
    return changed


def brighter(video: Frames, levels: int, which: slice) -> Frames:
    changed = video.astype(np.int16)
    changed[which] += levels
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CLIPS)
def test_no_drawn_clip_is_suspicious(name: str) -> None:
    video = drawn(name)
    for changed in (video, video // 2, noisy(video, 2)):
        assert flags(changed) == ()
    assert flags(video, video) == ()


Fault = Callable[[Frames], Frames]
FAULTS: dict[str, tuple[str, Fault]] = {
    "black": ("black", lambda video: 0 * video),
    "nearly black, with noise": ("black", lambda video: noisy(0 * video + 8, 2)),
    "one black frame": ("black", lambda video: with_frame(video, 0)),
    "black from the middle on": ("black", lambda video: np.concatenate([video[:MIDDLE], 0 * video[MIDDLE:]])),
    "gray": ("blank", lambda video: 0 * video + 128),
    "one green frame": ("blank", lambda video: with_frame(video, np.array([20, 140, 20], np.uint8))),
    "one frame all along": ("frozen", lambda video: video[0 * TIMES]),
    "one frame with noise": ("frozen", lambda video: noisy(video[0 * TIMES], 2)),
    "still for the last third": ("frozen", lambda video: video[np.minimum(TIMES, 22)]),
    "every frame shown twice": ("frozen", lambda video: video[TIMES // 2 * 2]),
    "one bright frame": ("flicker", lambda video: brighter(video, 12, slice(MIDDLE, MIDDLE + 1))),
    "one dark frame": ("flicker", lambda video: brighter(video, -12, slice(MIDDLE, MIDDLE + 1))),
    "a white frame": ("flicker", lambda video: with_frame(video, 255)),
    "bright and dark in turn": ("flicker", lambda video: brighter(video, 6, slice(0, None, 2))),
    "half of the picture bright and dark in turn": (
        "flicker",
        lambda video: np.concatenate([brighter(video, 12, slice(0, None, 2))[:, :48], video[:, 48:]], axis=1),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_flagged(fault: str) -> None:
    flag, change = FAULTS[fault]
    for name in FAULTY:
        assert flag in flags(change(drawn(name))), name


def test_a_night_scene_is_not_black() -> None:
    video = drawn("ball_rolls_right") // 25
    video[:, 20:24, 30:34] = 90  # a lamp
    assert "black" not in flags(video)


def test_fog_is_not_blank() -> None:
    fog = 0.9 * 200 + 0.1 * drawn("pan_left")
    assert "blank" not in flags(fog.astype(np.uint8))


def test_a_cut_and_a_slow_change_of_light_are_not_flicker() -> None:
    video = drawn("ball_rolls_right")
    cut = np.concatenate([drawn("pan_left")[:MIDDLE], video[MIDDLE:]])
    fading = (video * np.linspace(1, 0.5, SIZE.num_frames)[:, None, None, None]).astype(np.uint8)
    assert flags(cut) == ()
    assert flags(fading) == ()


def test_a_small_thing_that_moves_before_a_still_camera_is_not_frozen() -> None:
    video = drawn("ball_rolls_right")[0 * TIMES].copy()
    for index, frame in enumerate(video):
        frame[40:44, 4 * index : 4 * index + 4] = 255
    assert flags(video) == ()


def test_what_rests_where_its_reference_rests_is_not_frozen() -> None:
    resting = drawn("ball_rolls_right")[np.minimum(TIMES, MIDDLE)]
    assert flags(resting, resting) == ()
    assert flags(resting) == ("frozen",)
    assert inspect(resting, motion_of(shrink(drawn("ball_rolls_right")))).frozen_pairs == MIDDLE


def test_motion_unlike_the_references_is_flagged() -> None:
    noise = np.random.default_rng(0).integers(96, 160, drawn("pan_left").shape, dtype=np.uint8)
    reference = drawn("pan_left")
    for video in (noise, drawn("镜头后退"), reference[::-1]):
        assert "unlike_reference" in flags(video, reference)


def test_without_a_reference_or_its_motion_no_likeness_is_asked_for() -> None:
    video = drawn("pan_left")
    assert inspect(video, None).motion is None
    still = inspect(video, motion_of(shrink(video[0 * TIMES])))
    assert still.flags == ()
    assert still.motion is not None
    assert still.motion.likeness is None


def test_it_is_written_as_json_with_what_was_measured() -> None:
    video = with_frame(drawn("pan_left"), 0)
    written = json.loads(json.dumps(asdict(inspect(video, motion_of(shrink(drawn("pan_left")))))))
    assert written["flags"] == ["black", "flicker"]
    assert (written["black_frames"], written["blank_frames"], written["frozen_pairs"]) == (1, 0, 0)
    assert written["flicker"] > 20
    assert 0.8 < written["motion"]["likeness"] < 1
    assert written["motion"].keys() == {"likeness", "camera_likeness", "speed_ratio"}


def test_it_is_told_in_a_line() -> None:
    video = drawn("pan_left")
    told = [
        str(inspect(video, None)),
        str(inspect(video[::-1], motion_of(shrink(video)))),
        str(Sanity(("black", "frozen"), 33, 0, 32, 0.0, None)),
    ]
    assert told == [
        "nothing suspicious",
        "suspicious (unlike_reference), its motion is like its reference's by -1.00",
        "suspicious (black, frozen)",
    ]


def test_the_motion_of_a_reference_is_measured_once_for_all_its_videos() -> None:
    inspector, video = Inspector(), drawn("pan_left")
    first = inspector.inspect(video, video, "pan")
    assert inspector.inspect(video, drawn("镜头后退"), "pan") == first
    assert inspector.inspect(video, drawn("镜头后退"), "back").flags == ("unlike_reference",)
    for key in range(10):  # so many others that it is forgotten
        inspector.inspect(video[:5], video[:5], key)
    assert inspector.inspect(video, drawn("镜头后退"), "pan") != first


def test_several_threads_measure_what_one_does() -> None:
    inspector = Inspector()
    videos = [drawn(name) for name in FAULTY]
    alone = [inspect(video, motion_of(shrink(drawn("pan_left")))) for video in videos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda video: inspector.inspect(video, drawn("pan_left"), "pan"), videos * 4))
    assert together == alone * 4


def test_a_video_of_few_frames_is_measured() -> None:
    for num_frames in (2, 3, 5):
        assert flags(drawn("pan_left")[:num_frames], drawn("pan_left")[:num_frames]) == ()
