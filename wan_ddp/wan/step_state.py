"""The latents of DiffSynth's denoising loop: taken out after a step, and put in again to go on from there.

The loop numbers the timesteps that it is given, so an attempt that goes on is given the rest of them, and a scheduler
that knows the rest only. Nothing else is carried from step to step, so the pixels are those of an unbroken loop.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffsynth.diffusion.base_pipeline import PipelineUnit
from diffsynth.pipelines.wan_video import WanVideoPipeline
from safetensors import SafetensorError
from safetensors.torch import load, save

log = logging.getLogger(__name__)

Inputs = dict[str, Any]


class MisfitError(ValueError):
    """A state is not one of this video; the text says why."""


def to_bytes(latents: torch.Tensor, step: int, num_steps: int) -> bytes:
    """The state after `step` of `num_steps` steps, on any device, as safetensors."""
    kept = {"latents": latents.detach().cpu().contiguous(), "steps": torch.tensor([step, num_steps])}
    state: bytes = save(kept)
    return state


def from_bytes(state: bytes, *, like: torch.Tensor, num_steps: int) -> tuple[int, torch.Tensor]:
    """The step and the latents of a state, on the device of `like`, the latents that the loop would start with.

    Raises MisfitError for anything but finite latents of that shape and dtype after 1 to `num_steps` of so many steps.
    """
    try:
        tensors = load(state)
        latents, (step, num_steps_then) = tensors["latents"], map(int, tensors["steps"].tolist())
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise MisfitError(f"it does not parse ({type(error).__name__})") from error
    if (latents.shape, latents.dtype) != (like.shape, like.dtype):
        raise MisfitError(
            f"its latents are {tuple(latents.shape)} {latents.dtype}, and {tuple(like.shape)} {like.dtype} are wanted"
        )
    if num_steps_then != num_steps or not 0 < step <= num_steps:
        raise MisfitError(f"it is that after step {step} of {num_steps_then}, and there are {num_steps}")
    if not latents.isfinite().all():
        raise MisfitError("its latents are not finite")
    return step, latents.to(like.device)


class LoopState(PipelineUnit):  # type: ignore[misc]
    """The last unit of a pipeline: it starts the loop with the latents of a state, and sees them change."""

    def __init__(self) -> None:
        super().__init__(take_over=True)
        self._given: bytes | None = None
        self._inputs: Inputs = {}
        self.step = 0
        """After which step the loop starts."""
        self.first_sigma = 1.0
        """The noise in the very first latents, whichever the loop starts with."""

    @contextmanager
    def starting_from(self, state: bytes | None) -> Iterator[None]:
        """For one call of the pipeline. Its tensors are let go afterwards."""
        self._given, self.step = state, 0
        try:
            yield
        finally:
            self._given, self._inputs = None, {}

    @property
    def latents(self) -> torch.Tensor:
        """What the loop has made so far, in the middle of it."""
        latents: torch.Tensor = self._inputs["latents"]
        return latents

    def process(
        self, pipe: WanVideoPipeline, inputs_shared: Inputs, inputs_posi: Inputs, inputs_nega: Inputs
    ) -> tuple[Inputs, Inputs, Inputs]:
        self._inputs = inputs_shared  # the loop replaces the latents in this very dictionary
        self.first_sigma = pipe.scheduler.sigmas[0].item()
        if self._given is not None:
            try:
                self.step, inputs_shared["latents"] = from_bytes(
                    self._given, like=inputs_shared["latents"], num_steps=len(pipe.scheduler.timesteps)
                )
            except MisfitError as error:
                log.warning("the saved state is not used, the video starts over: %s", error)
        return inputs_shared, inputs_posi, inputs_nega

    def skip_steps(self, pipe: WanVideoPipeline) -> torch.Tensor:
        """Leave the scheduler the steps that are still to be made, and return their timesteps."""
        scheduler = pipe.scheduler
        scheduler.timesteps, scheduler.sigmas = scheduler.timesteps[self.step :], scheduler.sigmas[self.step :]
        timesteps: torch.Tensor = scheduler.timesteps
        return timesteps
