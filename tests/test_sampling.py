import pytest

from wan_ddp.sampling import frames_at_times, frames_in_order


@pytest.mark.parametrize("policy", ["refuse", "hold", "loop", "ping-pong", "stretch"])
@pytest.mark.parametrize("num_available", [81, 82, 500])
def test_a_clip_with_enough_frames_gives_its_first_ones_whatever_the_policy(num_available, policy):
    assert frames_in_order(num_available, 81, policy) == list(range(81))


@pytest.mark.parametrize(
    ("policy", "num_available", "indices"),
    [
        ("refuse", 8, None),
        ("refuse", 1, None),
        ("hold", 3, [0, 1, 2, 2, 2, 2, 2, 2, 2]),
        ("loop", 3, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
        ("ping-pong", 4, [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        ("ping-pong", 2, [0, 1, 0, 1, 0, 1, 0, 1, 0]),
        ("ping-pong", 1, [0] * 9),
        ("stretch", 5, [0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ("stretch", 1, [0] * 9),
    ],
)
def test_a_short_clip_is_filled_as_the_policy_says(policy, num_available, indices):
    assert frames_in_order(num_available, 9, policy) == indices


@pytest.mark.parametrize("num_available", range(2, 9))
def test_stretching_keeps_the_ends_and_spreads_the_repeats(num_available):
    indices = frames_in_order(num_available, 9, "stretch")
    assert (indices[0], indices[-1]) == (0, num_available - 1)
    counts = [indices.count(index) for index in range(1, num_available - 1)]
    assert indices == sorted(indices)
    assert not counts or max(counts) - min(counts) <= 1


def constant_rate(num_frames, fps):
    return [frame / fps for frame in range(num_frames)], num_frames / fps


@pytest.mark.parametrize(("source_fps", "step"), [(15, 1), (30, 2), (60, 4)])
def test_a_faster_clip_is_thinned_out(source_fps, step):
    starts, end = constant_rate(80 * step + 1, source_fps)
    assert frames_at_times(starts, end, 81, 15, "refuse") == list(range(0, 80 * step + 1, step))


def test_a_slower_clip_repeats_frames():
    starts, end = constant_rate(3, 5)
    assert frames_at_times(starts, end, 9, 15, "refuse") == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_frame_on_display_is_taken_where_intervals_vary():
    starts, end = [0.0, 0.1, 0.2, 0.7, 0.8], 1.0
    assert frames_at_times(starts, end, 9, 10, "refuse") == [0, 1, 2, 2, 2, 2, 2, 3, 4]


def test_timestamps_rounded_to_milliseconds_do_not_shift_frames():
    starts = [round(frame / 15, 3) for frame in range(81)]
    assert frames_at_times(starts, 5.4, 81, 15, "refuse") == list(range(81))


def test_a_rate_that_no_float_holds_does_not_shift_frames():
    starts = [frame * 1001 / 30000 for frame in range(81)]
    assert frames_at_times(starts, 81 * 1001 / 30000, 81, 30000 / 1001, "refuse") == list(range(81))
    assert frames_at_times(starts, 81 * 1001 / 30000, 81, 29.97, "refuse") == list(range(81))


@pytest.mark.parametrize(
    ("policy", "indices"),
    [
        ("refuse", None),
        ("hold", [0, 2, 4, 4, 4]),
        ("loop", [0, 2, 4, 0, 2]),
        ("ping-pong", [0, 2, 4, 2, 0]),
        ("stretch", [0, 1, 2, 3, 5]),
    ],
)
def test_a_clip_that_ends_too_early_is_filled_as_the_policy_says(policy, indices):
    starts, end = constant_rate(6, 30)
    assert frames_at_times(starts, end, 5, 15, policy) == indices


def test_a_single_frame_can_be_held():
    assert frames_at_times([0.0], 0.04, 5, 15, "hold") == [0] * 5


@pytest.mark.parametrize(("num_available", "num_frames"), [(0, 5), (5, 0)])
def test_nothing_cannot_be_taken_or_made(num_available, num_frames):
    with pytest.raises(ValueError, match="cannot take"):
        frames_in_order(num_available, num_frames, "hold")
