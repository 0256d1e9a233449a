"""The videos that an evaluation makes: prompts and references that no training has seen. Pure but for the seeds.

A case is a job of the project, with what it is to be measured against.
"""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from training.captions import captions
from training.flow import shift_of
from wan_ddp.job import V2V_STRENGTH, Job
from wan_ddp.references.manifests import DEMO_SAMPLING
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import (
    CAMERA,
    FIGURE,
    HEIGHT,
    MULTIPLE,
    NUM_FRAMES,
    SINGLE,
    WIDTH,
    Scenes,
    doubles,
    draw_scenes,
)

SEED = 3
CURVE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TEXTS = {SINGLE: 28, MULTIPLE: 12, FIGURE: 14, CAMERA: 10}
MOTIONS = {SINGLE: 20, CAMERA: 12, FIGURE: 4}
CURVES = {SINGLE: 6, CAMERA: 4}


@dataclass(frozen=True, eq=False)
class Case:
    """One video. `reference`: the scene that it is to move like; `asked`: the scene that its prompt describes."""

    name: str
    group: str
    job: Job
    reference: Scenes | None
    asked: Scenes

    @property
    def digest(self) -> str:
        """Of all that decides the video, and what it is measured against."""
        hashed = hashlib.sha256(repr(self.job).encode())
        for scene in filter(None, (self.reference, self.asked)):
            for field in fields(scene):
                hashed.update(getattr(scene, field.name).numpy().tobytes())
        return hashed.hexdigest()[:16]

    def clip(self) -> NDArray[np.uint8] | None:
        """(T, H, W, 3): the reference as the pipeline takes it."""
        return None if self.reference is None else to_bytes(draw(self.reference))[0].numpy()


def cases(share: float = 1.0, cfg_scale: float | None = None) -> list[Case]:
    """Every case, or about a share of each group; by the demo's guidance, or another one."""
    cfg_scale = DEMO_SAMPLING["cfg_scale"] if cfg_scale is None else cfg_scale
    made = _text_cases(share, cfg_scale)
    references, asked, prompts = _pairs(MOTIONS, SEED + 10, share)
    for n, prompt in enumerate(prompts):
        pair = references[[n]], asked[[n]]
        made.append(_case(f"v2v-{n}", "v2v", prompt, n, pair, V2V_STRENGTH, cfg_scale))
        made.append(_case(f"none-{n}", "none", prompt, n, pair, None, cfg_scale))
    references, asked, prompts = _pairs(CURVES, SEED + 20, share)
    for strength in CURVE:
        for n, prompt in enumerate(prompts):
            pair = references[[n]], asked[[n]]
            name = f"strength-{strength:g}-{n}"
            made.append(_case(name, f"strength {strength:g}", prompt, n, pair, strength, cfg_scale))
    return made


def _text_cases(share: float, cfg_scale: float) -> list[Case]:
    scenes = _some(draw_scenes(SEED, 1200), TEXTS, share, with_objects=True)
    prompts = captions(scenes, SEED)
    return [
        Case(f"text-{n}", "text", _job(prompt, n, None, cfg_scale), None, scenes[[n]])
        for n, prompt in enumerate(prompts)
    ]


def _pairs(counts: dict[int, int], seed: int, share: float) -> tuple[Scenes, Scenes, list[str]]:
    """References, scenes that move like them and look different, and what is said of those but for their motion."""
    references = _some(draw_scenes(seed, 1200), counts, share, with_objects=False)
    asked = doubles(references, seed + 1)
    return references, asked, captions(asked, seed + 2, motion=False)


def _some(scenes: Scenes, counts: dict[int, int], share: float, *, with_objects: bool) -> Scenes:
    kept = []
    for category, count in counts.items():
        fits = scenes.category == category
        if with_objects:
            fits &= (scenes.num_objects > 0) | (scenes.category == FIGURE)
        kept.append(fits.nonzero().flatten()[: max(1, round(share * count))])
    return scenes[torch.cat(kept)]


def _case(
    name: str,
    group: str,
    prompt: str,
    seed: int,
    pair: tuple[Scenes, Scenes],
    strength: float | None,
    cfg_scale: float,
) -> Case:
    return Case(name, group, _job(prompt, seed, strength, cfg_scale), *pair)


def _job(prompt: str, seed: int, strength: float | None, cfg_scale: float) -> Job:
    """With a strength, v2v; else from noise alone."""
    return Job(
        category="evaluation",
        reference="drawn.mp4",
        prompt=prompt,
        prompt_index=0,
        seed=seed,
        mechanism="none" if strength is None else "v2v",
        denoising_strength=V2V_STRENGTH if strength is None else strength,
        width=WIDTH,
        height=HEIGHT,
        num_frames=NUM_FRAMES,
        num_inference_steps=int(DEMO_SAMPLING["num_inference_steps"]),
        sigma_shift=shift_of(has_reference=strength is not None),
        cfg_scale=cfg_scale,
    )
