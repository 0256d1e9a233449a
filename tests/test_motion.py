"""Likeness of motion, on drawn clips: the same motion is alike whatever it is drawn with, and another one is not."""

from functools import cache

import numpy as np
import pytest

from wan_ddp.miniature import Frames, shrink
from wan_ddp.motion import Comparison, Motion, compare, motion_of
from wan_ddp.references import catalogue
from wan_ddp.references.clip import Format
from wan_ddp.references.draw import frames
from wan_ddp.references.looks import in_other_looks

SIZE = Format(width=160, height=96, num_frames=33, fps=15)
# Of every category, and each in a direction of its own.
CLIPS = ("pan_left", "tilt_up", "zoom_in", "ball_rolls_right", "fish_swims_left", "two_balls_cross", "person_walks")


@cache
def drawn(name: str) -> Frames:
    return np.stack(list(frames(catalogue.find(name), SIZE)))


@cache
def redrawn(name: str) -> Frames:
    """The same motion in other looks."""
    return np.stack(list(frames(in_other_looks(catalogue.find(name)), SIZE)))


@cache
def reference(name: str) -> Motion:
    return motion_of(shrink(drawn(name)))


def compared(video: Frames, name: str) -> Comparison:
    return compare(motion_of(shrink(video)), reference(name))


def likeness(video: Frames, name: str) -> float:
    likeness = compared(video, name).likeness
    assert likeness is not None
    return likeness


def noisy(video: Frames, levels: float) -> Frames:
    noise = np.random.default_rng(0).normal(0, levels, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_moves_like_itself(name: str) -> None:
    found = compared(drawn(name), name)
    assert (found.likeness, found.speed_ratio) == (1, 1)


@pytest.mark.parametrize("name", CLIPS)
def test_the_same_motion_in_other_textures_and_colours_is_alike(name: str) -> None:
    assert likeness(redrawn(name), name) > 0.65


@pytest.mark.parametrize("name", ["pan_left", "tilt_up", "zoom_in", "ball_rolls_right", "person_walks"])
def test_a_clip_played_backwards_is_unlike_itself(name: str) -> None:
    assert likeness(drawn(name)[::-1], name) < -0.1
    assert likeness(redrawn(name)[::-1], name) < -0.1


def test_a_motion_that_is_the_same_backwards_stays_alike() -> None:
    assert likeness(drawn("jumping_jacks")[::-1], "jumping_jacks") > 0.9


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("pan_left", "tilt_up"),
        ("tilt_up", "zoom_in"),
        ("zoom_in", "pan_left"),
        ("ball_rolls_right", "jumping_jacks"),
        ("jumping_jacks", "pan_left"),
        ("person_walks", "tilt_up"),
    ],
)
def test_unrelated_motion_is_near_nothing(name: str, other: str) -> None:
    assert abs(likeness(redrawn(name), other)) < 0.2


def test_a_pan_the_other_way_is_the_opposite() -> None:
    assert likeness(drawn("镜头右摇"), "pan_left") < -0.9


def test_noise_moves_like_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, drawn("pan_left").shape, dtype=np.uint8)
    found = [likeness(noise, name) for name in CLIPS]
    # It all drifts somewhere: by chance a little with one clip or against it. The longer the video, the less.
    assert max(np.abs(found)) < 0.35
    assert abs(np.mean(found)) < 0.1


@pytest.mark.parametrize("name", CLIPS)
def test_a_still_result_is_no_motion_at_all(name: str) -> None:
    still = noisy(drawn(name)[[16] * SIZE.num_frames], 1)
    found = compared(still, name)
    assert (found.likeness, found.speed_ratio) == (0, 0)


def test_of_a_still_reference_nothing_is_said() -> None:
    still = motion_of(shrink(noisy(drawn("pan_left")[[0] * SIZE.num_frames], 1)))
    assert compare(reference("pan_left"), still) == Comparison(None, None, None)


def test_one_flaw_in_a_still_reference_is_no_motion() -> None:
    flawed = drawn("pan_left")[[0] * SIZE.num_frames].copy()
    flawed[20:] += 9
    assert compare(reference("pan_left"), motion_of(shrink(flawed))).likeness is None


@pytest.mark.parametrize("name", CLIPS)
def test_brightness_and_grain_change_little(name: str) -> None:
    assert likeness(drawn(name) // 2, name) > 0.9
    assert likeness(noisy(drawn(name), 3), name) > 0.75


def test_motion_a_little_aside_or_late_is_still_alike() -> None:
    video = drawn("ball_rolls_right")
    assert likeness(np.roll(video, 8, axis=2), "ball_rolls_right") > 0.7
    assert likeness(video[np.maximum(np.arange(SIZE.num_frames) - 1, 0)], "ball_rolls_right") > 0.9


def test_frames_shown_twice_move_as_one_that_are_not() -> None:
    for name in ("pan_left", "ball_rolls_right"):
        assert likeness(drawn(name)[np.arange(SIZE.num_frames) // 2 * 2], name) > 0.7, name


def test_half_the_way_is_half_the_speed() -> None:
    size = Format(SIZE.width, SIZE.height, 2 * SIZE.num_frames - 1, SIZE.fps)
    slow = np.stack(list(frames(catalogue.find("ball_rolls_right"), size)))[: SIZE.num_frames]
    ratio = compared(slow, "ball_rolls_right").speed_ratio
    assert ratio is not None
    assert 0.4 < ratio < 0.6


@pytest.mark.parametrize("name", ["pan_left", "tilt_up", "zoom_in"])
def test_what_the_camera_does_is_compared_by_itself(name: str) -> None:
    camera = compared(redrawn(name), name).camera_likeness
    assert camera is not None
    assert camera > 0.95


@pytest.mark.parametrize("name", ["ball_rolls_right", "fish_swims_left", "person_walks"])
def test_of_a_camera_that_stands_still_nothing_is_said(name: str) -> None:
    assert compared(drawn(name), name).camera_likeness is None


def test_an_object_of_its_own_does_not_count_as_the_camera() -> None:
    video = drawn("pan_left").copy()
    person = drawn("person_walks")[0, 10:80, 60:90]
    for index, frame in enumerate(video):  # to the left, where the scene goes to the right
        frame[15:85, 96 - 3 * index : 126 - 3 * index] = person
    found = compared(video, "pan_left")
    assert found.likeness is not None
    assert found.camera_likeness is not None
    assert found.likeness < 0.85
    assert found.camera_likeness > 0.9


def test_a_result_whose_camera_stands_still_has_nothing_of_the_references() -> None:
    assert compared(drawn("ball_rolls_right"), "pan_left").camera_likeness == 0


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (16, 304), (304, 16), (16, 4096), (4096, 16), (32, 2048), (48, 640), (96, 320)]
)
def test_whatever_size_a_job_may_have_is_measured(height: int, width: int) -> None:
    video = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    motion = motion_of(shrink(video))
    assert np.isfinite(motion.whole).all()
    assert np.isfinite(motion.camera).all()
    assert compare(motion, motion).likeness == 1


def test_videos_of_other_sizes_or_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compared(drawn("pan_left")[:-1], "pan_left")
