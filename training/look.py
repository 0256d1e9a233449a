"""A quick look at a training: samples in batches from the state itself, measured and put into a picture.

The figures that count are those of `evaluate`, from the written checkpoint through the project's own pipeline.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training import measure, vae, whole
from training.captions import captions, tokenize
from training.dit import STAGE, make_denoiser
from training.flow import mixed_precision, real_rotary, sample
from training.pictures import sheet
from training.state import load_weights, read_progress, write_progress
from wan_ddp.job import NEGATIVE_PROMPT, V2V_STRENGTH
from wan_ddp.miniature import shrink
from wan_ddp.motion import compare, motion_of
from wan_ddp.references.pocket_world.drawing import draw, to_bytes
from wan_ddp.references.pocket_world.scenes import CAMERA, SINGLE, Scenes, doubles, draw_scenes

SEED = 11
STRENGTHS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SAMPLE_BATCH = 64


@torch.no_grad()
def look(state: Path, picture: Path, device: str, count: int, cfg_scale: float) -> dict[str, Any]:
    """Print figures of the averaged weights in `state`, keep them in its progress, and write a picture."""
    frozen = vae.freeze(state, device)
    weights = load_weights(state, f"{STAGE}-average")
    if weights is None:
        raise FileNotFoundError(f"{state} has no DiT; train it first: python -m training dit")
    denoiser = make_denoiser().to(device)
    denoiser.load_state_dict(weights)
    negative = tokenize([NEGATIVE_PROMPT]).to(device)
    chance = torch.Generator("cpu").manual_seed(SEED)

    def make(prompts: list[str], references: Scenes | None, strength: float) -> np.ndarray[Any, Any]:
        """(B, T, H, W, 3) uint8."""
        made = []
        for start in range(0, len(prompts), SAMPLE_BATCH):
            part = slice(start, start + SAMPLE_BATCH)
            tokens = tokenize(prompts[part]).to(device)
            noise = torch.randn((len(tokens), 16, 5, 12, 20), generator=chance).to(device)
            reference = None if references is None else encoded(references[part])
            with real_rotary(), mixed_precision(device):
                latents = sample(
                    denoiser, tokens, negative, noise, reference=reference, strength=strength, cfg_scale=cfg_scale
                )
            video = whole.decode(frozen, latents.permute(0, 2, 3, 4, 1).to(dtype)).float()
            made.append(to_bytes((video + 1) / 2).cpu().numpy())
        return np.concatenate(made)

    def encoded(scenes: Scenes) -> Tensor:
        video = draw(scenes, device) * 2 - 1
        return whole.encode(frozen, video.to(dtype)).float().permute(0, 4, 1, 2, 3)

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    wanted = draw_scenes(SEED, 12 * count)
    wanted = wanted[(wanted.num_objects > 0).nonzero().flatten()[:count]]
    prompts = captions(wanted, SEED)
    texts = make(prompts, None, 1.0)
    figures: dict[str, Any] = {"text": _text_figures(texts, wanted)}
    many = draw_scenes(SEED + 1, 12 * count)
    half = max(1, count // 2)
    moving = torch.cat([(many.category == category).nonzero().flatten()[:half] for category in (SINGLE, CAMERA)])
    references = many[moving]
    other = doubles(references, SEED + 2)
    other_prompts = captions(other, SEED + 3, motion=False)
    shown = {}
    for strength in (*STRENGTHS, 1.0):
        made = make(other_prompts, None if strength == 1.0 else references, strength)
        figures[f"strength {strength:g}"] = motion_figures(made, references, other)
        if strength in (V2V_STRENGTH, 1.0):
            shown[strength] = made
    for name, values in figures.items():
        print(f"{name}: {values}", flush=True)
    progress = read_progress(state, STAGE)
    progress.figures = figures
    write_progress(state, STAGE, progress)
    drawn = to_bytes(draw(references, device)).cpu().numpy()
    rows = [[texts[k], drawn[j], shown[V2V_STRENGTH][j]] for k, j in enumerate(_spread(len(drawn), 24))]
    sheet(rows).save(picture)
    for k, j in enumerate(_spread(len(drawn), 24)):
        print(f"{prompts[k]} | {other_prompts[j]}")
    return figures


def _spread(length: int, count: int) -> list[int]:
    return [int(at) for at in np.linspace(0, length - 1, min(length, count)).round()]


def _text_figures(made: np.ndarray[Any, Any], wanted: Scenes) -> dict[str, float | None]:
    colours, grounds, both = [], [], []
    for index, frames in enumerate(made):
        seen = measure.seen_in(frames)
        is_ground = seen["background"] == int(wanted.background[index])
        is_colour = int(wanted.colour[index, 0]) in seen["colours"][:2]
        colours.append(is_colour)
        grounds.append(is_ground)
        both.append(is_colour and is_ground)
    return {"colour": _mean(colours), "background": _mean(grounds), "both": _mean(both)}


def motion_figures(made: np.ndarray[Any, Any], references: Scenes, asked: Scenes) -> dict[str, float | None]:
    """How like the references' the motion is (objects' paths, the camera's flow), and whose look the videos have."""
    drawn = to_bytes(draw(references)).numpy()
    paths, cameras, follows, keeps, grounds = [], [], [], [], []
    for index, frames in enumerate(made):
        seen = measure.seen_in(frames)
        grounds.append(seen["background"] == int(asked.background[index]))
        if references.num_objects[index]:
            first = seen["colours"][0] if seen["colours"] else -1
            follows.append(first == int(asked.colour[index, 0]))
            keeps.append(first == int(references.colour[index, 0]))
            if references.category[index] == SINGLE:
                found = measure.path_of(seen["masks"], first) if first >= 0 else None
                known = references.path[index, 0].double().numpy()
                on_it = measure.path_of(
                    measure.colour_masks(drawn[index], int(references.background[index])),
                    int(references.colour[index, 0]),
                )
                paths.append(measure.likeness(found, known if on_it is None else on_it))
        if references.category[index] == CAMERA:
            motions = [motion_of(shrink(video)) for video in (frames, drawn[index])]
            cameras.append(compare(*motions).camera_likeness)
    return {
        "path": _mean(paths),
        "camera": _mean(cameras),
        "colour": _mean(follows),
        "reference_colour": _mean(keeps),
        "background": _mean(grounds),
    }


def _mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None
