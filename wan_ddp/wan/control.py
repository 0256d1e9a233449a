"""What is made of a reference for the mechanisms that want a control video: the clip as it is, its gray or its edges.

All in whole numbers, so that a CPU and a GPU make the same pixels.
"""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import max_pool2d, pad

from wan_ddp.job import Control

Frames = np.ndarray[Any, np.dtype[np.uint8]]

# The thresholds of ControlNet's annotator, on the L1 norm of 3x3 Sobel gradients.
WEAK_EDGE, STRONG_EDGE = 100, 200


def control_frames(clip: Frames, control: Control, device: str) -> Frames:
    """(T, H, W, 3) uint8 RGB to the same, on the CPU."""
    if control == "as-is":
        return clip
    frames = [torch.from_numpy(frame).to(device) for frame in clip]
    frames = [_gray(frame) if control == "gray" else _canny(_gray(frame)) for frame in frames]
    one_channel = torch.stack(frames).to(torch.uint8).cpu().numpy()
    return np.repeat(one_channel[..., None], 3, axis=3)


def _gray(frame: torch.Tensor) -> torch.Tensor:
    """(H, W, 3) uint8 to (H, W) int32: the luma of ITU-R BT.601, rounded."""
    red, green, blue = frame.to(torch.int32).unbind(dim=2)
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


def _canny(gray: torch.Tensor) -> torch.Tensor:
    """(H, W) int32 to 0 or 255: Canny's edges, one pixel wide (Canny 1986, as in OpenCV with 3x3 Sobel and L1 norm)."""
    height, width = gray.shape
    wide = pad(gray[None].float(), (1, 1, 1, 1), mode="replicate")[0].to(torch.int32)

    def shifted(values: torch.Tensor, down: int, right: int) -> torch.Tensor:
        return values[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    def across(right: int) -> torch.Tensor:
        return shifted(wide, -1, right) + 2 * shifted(wide, 0, right) + shifted(wide, 1, right)

    def along(down: int) -> torch.Tensor:
        return shifted(wide, down, -1) + 2 * shifted(wide, down, 0) + shifted(wide, down, 1)

    dx, dy = across(1) - across(-1), along(1) - along(-1)
    size = dx.abs() + dy.abs()
    # A pixel stays if no neighbour along its gradient is steeper; 0.41421 is the tangent of 22.5 degrees.
    padded = pad(size, (1, 1, 1, 1))
    horizontal = dy.abs() * 100_000 < dx.abs() * 41_421
    vertical = dx.abs() * 100_000 < dy.abs() * 41_421
    falling = (dx > 0) == (dy > 0)
    before = torch.where(falling, shifted(padded, -1, -1), shifted(padded, -1, 1))
    after = torch.where(falling, shifted(padded, 1, 1), shifted(padded, 1, -1))
    before = torch.where(horizontal, shifted(padded, 0, -1), torch.where(vertical, shifted(padded, -1, 0), before))
    after = torch.where(horizontal, shifted(padded, 0, 1), torch.where(vertical, shifted(padded, 1, 0), after))
    ridge = (size > before) & (size >= after)
    return 255 * _connected(ridge & (size > STRONG_EDGE), ridge & (size > WEAK_EDGE))


def _connected(strong: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
    """The weak pixels that strong ones reach through weak ones, as 0 or 1."""
    edges = strong.float()
    while True:
        grown = max_pool2d(edges[None, None], 3, stride=1, padding=1)[0, 0] * weak
        if torch.equal(grown, edges):
            return edges
        edges = grown
