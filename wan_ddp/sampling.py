"""Which frames of a clip become the frames of a job: indices from numbers, nothing read."""

from bisect import bisect_right
from collections.abc import Sequence

from wan_ddp.job import ShortReference

# Matroska and WebM round timestamps to milliseconds; a frame that starts this little too late still counts as on time.
TIMESTAMP_TOLERANCE_SECONDS = 1e-3


def frames_in_order(num_available: int, num_frames: int, short_reference: ShortReference) -> list[int] | None:
    """Indices of the first `num_frames` of `num_available` frames, or what `short_reference` makes of too few.

    None where there are too few and `short_reference` is `refuse`.
    """
    if num_available < 1 or num_frames < 1:
        raise ValueError(f"cannot take {num_frames} frames of {num_available}")
    if num_available >= num_frames:
        return list(range(num_frames))
    return _fill(num_available, num_frames, short_reference)


def frames_at_times(
    starts: Sequence[float], end: float, num_frames: int, fps: float, short_reference: ShortReference
) -> list[int] | None:
    """Indices of the frames on display at 0, 1/fps, 2/fps, ... seconds after the first frame appears.

    `starts` are the seconds at which the clip's frames appear, ascending from 0; `end` is when the last one goes. A
    clip that ends before (num_frames - 1) / fps is too short: None with `refuse`; `stretch` then spreads the clip's
    own frames evenly, the others continue what was sampled.
    """
    if not starts or num_frames < 1:
        raise ValueError(f"cannot take {num_frames} frames of {len(starts)}")
    sampled = []
    for frame in range(num_frames):
        seconds = frame / fps + TIMESTAMP_TOLERANCE_SECONDS
        if frame and seconds >= end:
            break
        sampled.append(bisect_right(starts, seconds) - 1)
    if len(sampled) == num_frames:
        return sampled
    if short_reference == "stretch":
        step = starts[-1] / max(num_frames - 1, 1)
        return [bisect_right(starts, frame * step + TIMESTAMP_TOLERANCE_SECONDS) - 1 for frame in range(num_frames)]
    positions = _fill(len(sampled), num_frames, short_reference)
    return positions and [sampled[position] for position in positions]


def _fill(num_available: int, num_frames: int, short_reference: ShortReference) -> list[int] | None:
    """`num_frames` indices into `num_available` frames, which are fewer."""
    last = num_available - 1
    if short_reference == "refuse":
        return None
    if short_reference == "hold":
        return [min(frame, last) for frame in range(num_frames)]
    if short_reference == "loop":
        return [frame % num_available for frame in range(num_frames)]
    if short_reference == "ping-pong":
        # There and back without showing either end twice; a single frame has nowhere to go.
        period = max(2 * last, 1)
        return [last - abs(last - frame % period) for frame in range(num_frames)]
    # stretch: the first and the last frame stay so, the others come from the nearest place, rounded half up.
    intervals = num_frames - 1
    return [(2 * frame * last + intervals) // (2 * intervals) for frame in range(num_frames)]
