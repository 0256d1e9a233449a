"""What each speed preset does to videos of a trained model: to pixels, to motion, to what the prompt asked for.

usage: python -m benchmarks.pocket_presets [videos, default 8] [steps, default 50] [names of variants, default all]

The pocket Wan on the CPU, v2v at the default strength, clips and prompts that it was not trained on. Float8 is computed
as a GPU does it, by the same code; attention in float8 has queries, keys and values rounded to it and is exact from
there.
"""

import sys
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from training import measure
from training.cases import Case, cases
from wan_ddp import presets
from wan_ddp.references.pocket_world.scenes import SINGLE
from wan_ddp.settings import OWN_MODELS, POCKET_MODEL
from wan_ddp.wan import step_cache
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.wan.kernels import in_float8, sdpa, use_kernel
from wan_ddp.wan.models import load_models
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import Embeddings, encode_prompts, prompts_of

Video = NDArray[np.uint8]
# Name: preset, one step in how many is computed between the first and the last ones (None: all), float8 attention.
VARIANTS: dict[str, tuple[presets.Preset, int | None, bool]] = {
    "plain": ("plain", None, False),
    "fused": ("fused", None, False),
    "fp8": ("fp8", None, False),
    "fp8, float8 attention": ("fp8", None, True),
    "fused, 1 step in 3": ("fused", 3, False),
    "fp8, 1 step in 3": ("fast", 3, False),
    "fast": ("fast", 4, False),
    "fast, float8 attention": ("fast", 4, True),
}


def attention_in_fp8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
    """As `flash3_fp8` rounds."""
    if q.shape != k.shape:
        return sdpa(q, k, v, num_heads)
    parts, common = in_float8(q, k, v, num_heads)
    rounded = [(small.float() * scale[:, None, :, None]).to(q.dtype).flatten(-2) for small, scale in parts]
    return sdpa(*rounded, num_heads) + common


def videos_of(name: str, embeddings: Embeddings, wanted: list[Case]) -> list[Video]:
    preset, every, has_float8_attention = VARIANTS[name]
    pipe = load_models(find_checkpoint(OWN_MODELS[POCKET_MODEL]), device="cpu", preset=preset)
    if every and preset != "fast":
        step_cache.install_step_cache(pipe)
    generator = Generator(pipe, embeddings, device="cpu", tiled=True, preset=preset)
    if has_float8_attention:
        use_kernel(pipe.dit, attention_in_fp8)
    schedule = partial(presets.computed_steps, every=every or 1)
    with patch.object(step_cache, "computed_steps", schedule):
        return [
            generator.generate(case.job, case.clip(), control="as-is", on_step=lambda *_: None).frames
            for case in wanted
        ]


def compared(case: Case, video: Video, plain: Video) -> dict[str, float]:
    seen = measure.seen_in(video)
    colour = seen["colours"][0] if seen["colours"] else -1
    clip = case.clip()
    assert clip is not None and case.reference is not None
    drawn = measure.colour_masks(clip, int(case.reference.background[0]))
    reference = measure.path_of(drawn, int(case.reference.colour[0, 0]))
    path = measure.path_of(seen["masks"], colour) if colour >= 0 else None
    error = float(np.mean((video.astype(float) - plain) ** 2)) / 255**2
    asked = (int(case.asked.background[0]), int(case.asked.colour[0, 0]))
    return {
        "PSNR to plain": float("inf") if not error else -10 * float(np.log10(error)),
        "path like the reference's": measure.likeness(path, reference) or 0.0,
        "as asked": float((seen["background"], colour) == asked),
    }


def main(count: int, num_steps: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    found = [case for case in cases() if case.group == "v2v" and int(case.asked.category[0]) == SINGLE][:count]
    wanted = [replace(case, job=replace(case.job, num_inference_steps=num_steps)) for case in found]
    checkpoint = find_checkpoint(OWN_MODELS[POCKET_MODEL])
    embeddings = encode_prompts(checkpoint, prompts_of([case.job for case in wanted]), device="cpu")
    plain = videos_of("plain", embeddings, wanted)
    print(f"{len(wanted)} videos of {num_steps} steps, pocket Wan {checkpoint.identity[:12]}", flush=True)
    for name in names:
        videos = plain if name == "plain" else videos_of(name, embeddings, wanted)
        rows: list[dict[str, Any]] = [compared(*each) for each in zip(wanted, videos, plain, strict=True)]
        every = VARIANTS[name][1]
        computed = sum(presets.computed_steps(num_steps, every=every)) if every else num_steps
        told = ", ".join(f"{what} {mean(row[what] for row in rows):.3g}" for what in rows[0])
        least = min(row["PSNR to plain"] for row in rows)
        print(f"{name:32} {computed:3d} steps computed, {told}, least PSNR {least:.3g}", flush=True)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    words = [word for word in sys.argv[1:] if not word.isdecimal()]
    main(*(*numbers, *(8, 50)[len(numbers) :]), words or list(VARIANTS))
