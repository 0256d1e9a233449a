"""The pocket Wan inside makes what its prompts ask for, moving as its references do, by every preset that a CPU has."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from training import measure
from wan_ddp.job import Job
from wan_ddp.manifest import read_manifest
from wan_ddp.presets import Preset, computed_steps
from wan_ddp.references import catalogue
from wan_ddp.references.clip import DEMO
from wan_ddp.references.draw import frames
from wan_ddp.references.pocket_world.vocabulary import BACKGROUND_NAMES, COLOUR_NAMES
from wan_ddp.settings import OWN_MODELS, POCKET_MODEL, ROOT
from wan_ddp.wan.checkpoint import find_checkpoint
from wan_ddp.wan.models import load_models
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.prompts import encode_prompts, prompts_of
from wan_ddp.wan.step_cache import install_step_cache

Video = NDArray[np.uint8]
Make = Callable[..., Video]
CLIP = "ball_bounces_left"
# What the first two of its prompts ask for: background and the object's colour.
ASKED = (("water", "yellow"), ("snow", "red"))


@pytest.fixture(scope="module")
def clip() -> Video:
    return np.stack(list(frames(catalogue.find(CLIP), DEMO)))


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    """The demo's jobs for the clip with its first seed, by prompt."""
    every = read_manifest(ROOT / "manifests" / "demo.jsonl", {})
    return [job for job in every if CLIP in job.reference and job.seed == 42]


@pytest.fixture(scope="module")
def make(clip: Video, jobs: list[Job]) -> Make:
    """Make the video of a prompt, once; by `fused` unless told otherwise."""
    checkpoint = find_checkpoint(OWN_MODELS[POCKET_MODEL])
    embeddings = encode_prompts(checkpoint, prompts_of(jobs), device="cpu")

    @cache
    def make(prompt: int, preset: Preset = "fused", *, with_step_cache: bool = False) -> Video:
        pipe = load_models(checkpoint, device="cpu", preset=preset)
        if with_step_cache:
            install_step_cache(pipe)
        generator = Generator(pipe, embeddings, device="cpu", tiled=True, preset=preset)
        return generator.generate(jobs[prompt], clip, control="as-is", on_step=lambda *_: None).frames

    return make


def what_it_shows(video: Video) -> tuple[str, str]:
    seen = measure.seen_in(video)
    return BACKGROUND_NAMES[seen["background"]], COLOUR_NAMES[seen["colours"][0]]


def path_of(video: Video) -> measure.Path:
    seen = measure.seen_in(video)
    path = measure.path_of(seen["masks"], seen["colours"][0])
    assert path is not None
    return path


def psnr(video: Video, other: Video) -> float:
    return float(-10 * np.log10(np.mean((video.astype(float) - other) ** 2) / 255**2))


@pytest.mark.parametrize("prompt", range(len(ASKED)))
def test_a_demo_video_shows_what_its_prompt_asks_and_moves_as_its_reference(
    make: Make, clip: Video, prompt: int
) -> None:
    assert what_it_shows(clip) not in ASKED
    video = make(prompt)
    assert what_it_shows(video) == ASKED[prompt]
    assert measure.likeness(path_of(video), path_of(clip)) >= 0.9


def test_another_motion_would_be_told(make: Make, clip: Video) -> None:
    assert measure.likeness(path_of(make(0)), path_of(clip)[::-1]) < 0.5


def test_fused_is_plain_but_for_rounding(make: Make) -> None:
    plain, fused = make(0, "plain"), make(0)
    assert psnr(fused, plain) > 45
    assert np.abs(fused.astype(int) - plain).max() <= 8


def test_steps_that_are_not_computed_change_details_but_neither_motion_nor_text(make: Make, jobs: list[Job]) -> None:
    assert sum(computed_steps(jobs[0].num_inference_steps)) == 11  # of 20
    full, cached = make(0), make(0, with_step_cache=True)
    assert 20 < psnr(cached, full) < 45
    assert what_it_shows(cached) == what_it_shows(full)
    assert measure.likeness(path_of(cached), path_of(full)) > 0.98
