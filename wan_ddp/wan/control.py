"""What is made of a reference for the mechanisms that want a control video: the clip as it is, its gray or its edges.

On the CPU with OpenCV, whatever the model runs on: the same clip gives the same pixels.
"""

from typing import Any

import cv2
import numpy as np

from wan_ddp.job import Control

Frames = np.ndarray[Any, np.dtype[np.uint8]]

# The thresholds of ControlNet's annotator, on the L1 norm of 3x3 Sobel gradients.
WEAK_EDGE, STRONG_EDGE = 100, 200


def control_frames(clip: Frames, control: Control) -> Frames:
    """(T, H, W, 3) uint8 RGB to the same."""
    if control == "as-is":
        return clip
    made = np.empty_like(clip)
    for frame, result in zip(clip, made, strict=True):
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        one_channel = gray if control == "gray" else cv2.Canny(gray, WEAK_EDGE, STRONG_EDGE)
        result[:] = one_channel[..., None]
    return made
