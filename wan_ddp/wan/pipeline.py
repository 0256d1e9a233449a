"""A job's video from DiffSynth's own WanVideoPipeline, driven through the pipeline's extension points.

What it does faster than a plain call changes no pixel: prompts and references are encoded once (`units`), the text
encoder is not there, and frames become bytes in one go instead of one PIL image at a time.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffsynth.pipelines.wan_video import WanVideoPipeline

from wan_ddp.errors import JobError
from wan_ddp.job import Control, Job
from wan_ddp.presets import Attention, Preset
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.control import Frames, control_frames
from wan_ddp.wan.gpu import empty_cache, named_gpu_errors, peak_memory_bytes, start_peak_memory, synchronize
from wan_ddp.wan.loading import Offload
from wan_ddp.wan.models import load_models
from wan_ddp.wan.presets import speed_up
from wan_ddp.wan.prompts import Embeddings
from wan_ddp.wan.step_cache import step_cache_of
from wan_ddp.wan.step_state import LoopState, to_bytes
from wan_ddp.wan.units import Reference, ReferenceLatents, install_caches

# The pipeline's argument that takes the clip.
ARGUMENTS = {"v2v": "input_video", "vace": "vace_video", "fun_control": "control_video"}

OnStep = Callable[[int, int, Callable[[], bytes]], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A video and what it took.

    `frames`: (num_frames, height, width, 3) uint8 RGB. `seconds`: by part: encode, turn (what the first `on_step`
    took), denoise, decode. `measured`: `num_forwards` of the DiT, without those that a state or the preset saved it,
    and `seconds_per_forward`, the scheduler's part of a step included; `reference_share`, the share of the reference in
    the first latent, with v2v only; `peak_memory_bytes` of this process' tensors on the GPU.
    """

    frames: Frames
    seconds: dict[str, float]
    measured: dict[str, Any]


class Generator:
    """Makes videos on one device, one after another. `pipe` is DiffSynth's pipeline, without its text encoder."""

    def __init__(
        self,
        pipe: WanVideoPipeline,
        embeddings: Embeddings,
        *,
        device: str,
        tiled: bool,
        preset: Preset = "plain",
        attention: Attention = "auto",
        latents: ReferenceLatents | None = None,
    ) -> None:
        """`latents`: where those of references are found, and kept. The device must be one that can do the preset.

        Raises:
            OutOfGpuMemoryError, GpuError: see `named_gpu_errors`.
        """
        self.pipe = pipe
        self.device = device
        self.tiled = tiled
        with named_gpu_errors(device, f"preparing the preset {preset}"):
            self.kernels = speed_up(pipe, preset, attention, device)
        """What a record should say of how the DiT is computed."""
        self._latents = latents or ReferenceLatents()
        install_caches(pipe, embeddings, self._latents)
        self._step_cache = step_cache_of(pipe)
        self._loop = LoopState()
        pipe.units = [*pipe.units, self._loop]

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        embeddings: Embeddings,
        *,
        device: str,
        offload: Offload | None = None,
        tiled: bool = True,
        loras: Sequence[tuple[Path, float]] = (),
        preset: Preset = "plain",
        attention: Attention = "auto",
        latents: ReferenceLatents | None = None,
    ) -> "Generator":
        """One with models of its own: see `load_models`."""
        pipe = load_models(checkpoint, device=device, offload=offload, loras=loras, preset=preset)
        return cls(pipe, embeddings, device=device, tiled=tiled, preset=preset, attention=attention, latents=latents)

    def generate(
        self, job: Job, clip: Frames | None, *, control: Control, state: bytes | None = None, on_step: OnStep
    ) -> Result:
        """Make the job's video.

        Args:
            clip: (num_frames, height, width, 3) uint8 RGB, the reference at the job's size; None for mechanism none.
                Jobs with equal clips, one after another, share one encoding.
            control: what is made of the clip for vace and fun_control.
            state: what `on_step` was given in an earlier attempt at the job: the steps before it are not made again,
                and the frames are the same. One that does not fit is not used.
            on_step: called with the steps done, their number, and a function that gives the state after them, for as
                long as the call lasts; first before any step is made, and not where the next step is made of this one
                (`step_cache`), which is more than its state holds. It may raise.

        Raises:
            OutOfGpuMemoryError, GpuError: see `named_gpu_errors`.
            JobError: the video, or a state that is asked for, holds values that are not finite.
        """
        clock = _Clock(self.device)
        start_peak_memory(self.device)
        reference = self._reference(job, clip, control)
        with named_gpu_errors(self.device, f"making {job.id}"), self._loop.starting_from(state):
            video = self.pipe(
                **reference,
                prompt=job.prompt,
                negative_prompt=job.negative_prompt,
                denoising_strength=job.denoising_strength if job.mechanism == "v2v" else 1.0,
                seed=job.seed,
                width=job.width,
                height=job.height,
                num_frames=job.num_frames,
                cfg_scale=job.cfg_scale,
                num_inference_steps=job.num_inference_steps,
                sigma_shift=job.sigma_shift,
                tiled=self.tiled,
                progress_bar_cmd=lambda timesteps: self._steps(job, len(timesteps), clock, on_step),
                output_type="floatpoint",
            )
            frames = _to_frames(video.to(self.device), job)
            clock.lap()
        num_steps_made = sum(map(self._is_computed, range(self._loop.step, job.num_inference_steps)))
        num_forwards = num_steps_made * (1 if job.cfg_scale == 1.0 else 2)
        measured: dict[str, Any] = {"num_forwards": num_forwards}
        if num_forwards:
            measured["seconds_per_forward"] = round(clock.laps[2] / num_forwards, 4)
        if job.mechanism == "v2v":
            measured["reference_share"] = round(1 - self._loop.first_sigma, 4)
        if self.device != "cpu":
            measured["peak_memory_bytes"] = peak_memory_bytes(self.device)
        return Result(frames, dict(zip(("encode", "turn", "denoise", "decode"), clock.laps, strict=True)), measured)

    def _steps(self, job: Job, num_steps: int, clock: "_Clock", on_step: OnStep) -> Iterator[torch.Tensor]:
        """Wraps the pipeline's loop over timesteps, as a progress bar would, and leaves out those made before.

        It waits for the GPU at every step (the CPU would run far ahead), so a step is said to be done when it is.
        """
        clock.lap()
        step = self._loop.step

        def save() -> bytes:
            _check_finite(self._loop.latents, job)
            return to_bytes(self._loop.latents, step, num_steps)

        on_step(step, num_steps, save)
        clock.lap()
        for timestep in self._loop.skip_steps(self.pipe):
            if self._step_cache is not None:
                self._step_cache.step = step
            yield timestep
            clock.wait()
            step += 1
            if step < num_steps and self._is_computed(step):
                on_step(step, num_steps, save)
        clock.lap()
        empty_cache(self.device)  # what denoising took may be another rank's, once it is told of the last step
        if step > self._loop.step:
            on_step(step, num_steps, save)

    def _is_computed(self, step: int) -> bool:
        """Whether the step, counted from 0, takes forwards of its own."""
        return self._step_cache is None or self._step_cache.is_computed(step)

    def _reference(self, job: Job, clip: Frames | None, control: Control) -> dict[str, Any]:
        """The pipeline's argument for the clip, which a digest of its pixels stands for if it was encoded before."""
        if job.mechanism == "none":
            return {}
        if clip is None or clip.shape != (job.num_frames, job.height, job.width, 3) or clip.dtype != "uint8":
            what = "no clip" if clip is None else f"a clip of {clip.shape} {clip.dtype}"
            raise ValueError(f"{what} for {job.id} of {job.num_frames} frames, {job.width}x{job.height}")
        made_of_it = "as-is" if job.mechanism == "v2v" else control
        key = hashlib.sha256(np.ascontiguousarray(clip).data).digest(), clip.shape, job.mechanism, made_of_it
        frames = None if key in self._latents else control_frames(clip, made_of_it)
        return {ARGUMENTS[job.mechanism]: Reference(key, frames)}


class _Clock:
    """Seconds between `lap` calls, each counted when the GPU is done."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._last = time.perf_counter()
        self.laps: list[float] = []

    def lap(self) -> None:
        synchronize(self._device)
        now = time.perf_counter()
        self.laps.append(now - self._last)
        self._last = now

    def wait(self) -> None:
        synchronize(self._device)


def _to_frames(video: torch.Tensor, job: Job) -> Frames:
    """(1, 3, T, H, W) in -1..1 to (T, H, W, 3) uint8 on the CPU, by the rounding of DiffSynth's `vae_output_to_video`.

    It computes in the VAE's own dtype: in float32 every tenth value would differ by one.
    """
    _check_finite(video, job)
    pixels = ((video[0] + 1) * 127.5).clip(0, 255).to(torch.uint8)
    frames: Frames = pixels.permute(1, 2, 3, 0).contiguous().cpu().numpy()
    return frames


def _check_finite(values: torch.Tensor, job: Job) -> None:
    if not values.isfinite().all():
        raise JobError(f"the model made values that are not finite for {job.id}")
