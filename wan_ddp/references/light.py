"""Light and shadow: what makes flat drawings look solid."""

import numpy as np
from PIL import Image, ImageFilter


def lit(patch: Image.Image, pixels: int) -> Image.Image:
    """Round the shape off: brighter towards the upper left, darker towards the lower right.

    The blurred outline stands for the height of the surface, and its slope along the light for the brightness.
    """
    alpha = patch.getchannel("A").filter(ImageFilter.BoxBlur(0.09 * pixels))
    alpha = alpha.filter(ImageFilter.BoxBlur(0.09 * pixels))
    height = np.asarray(alpha, dtype=np.float32) / 255
    step = max(1, round(0.05 * pixels))
    slope = np.roll(height, (-step, -step), (0, 1)) - np.roll(height, (step, step), (0, 1))
    colours = np.asarray(patch.convert("RGB"), dtype=np.float32)
    bright = colours * (1 + 0.75 * np.minimum(slope, 0))[..., None]
    bright += (0.55 * np.maximum(slope, 0))[..., None] * (255 - bright)
    return Image.fromarray(np.clip(np.rint(bright), 0, 255).astype(np.uint8))


def darkness(mask: Image.Image, strength: float) -> Image.Image:
    """A nearly black picture, as opaque as the mask times `strength`."""
    dark = Image.new("RGBA", mask.size, (18, 16, 26, 0))
    dark.putalpha(mask.point(lambda value: int(value * strength)))
    return dark
