"""Pipeline units that take the place of DiffSynth's and serve what was encoded before.

Each one wraps the unit that it replaces and calls it for what is not yet known, so that the values are DiffSynth's own.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from diffsynth.diffusion.base_pipeline import PipelineUnit
from diffsynth.pipelines.wan_video import WanVideoPipeline

from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.kept import KeptTensors, key_of
from wan_ddp.wan.loading import dtype_of

# The length to which WanVideoPipeline.from_pretrained has its tokenizer pad.
PROMPT_TOKENS = 512
# A v2v reference's latents are 4 MB at 832x480 with 81 frames, a VACE context 25 MB.
REFERENCES_KEPT = 4

Outputs = dict[str, Any]
# By the name of the pipeline's input.
Latents = dict[str, torch.Tensor]


class Reference(NamedTuple):
    """A clip on its way through the pipeline, known by `key`; without `frames` where its latents are known.

    `key` stands for everything that its latents depend on. `frames`: (T, H, W, 3) uint8 RGB.
    """

    key: Hashable
    frames: np.ndarray[Any, np.dtype[np.uint8]] | None


class KeptLatents:
    """Latents on disk: those of one checkpoint's VAE, computed as on `device`, in tiles or not."""

    def __init__(self, kept: KeptTensors, checkpoint: Checkpoint, device: str, *, tiled: bool) -> None:
        self._kept = kept
        where = device if device == "cpu" else torch.cuda.get_device_name(device)
        made_with = where, str(dtype_of(device)), str(tiled), version("torch"), version("diffsynth")
        self._basis = "latents", checkpoint.identity, *made_with

    def get(self, key: Hashable) -> Latents | None:
        return self._kept.get(key_of(*self._basis, repr(key)))

    def put(self, key: Hashable, latents: Latents) -> None:
        self._kept.put(key_of(*self._basis, repr(key)), latents)


class ReferenceLatents:
    """The latents of the last few references, the least recently used one dropped first; more of them are on disk."""

    def __init__(self, kept: KeptLatents | None = None) -> None:
        self._kept = kept
        self._recent: OrderedDict[Hashable, Latents] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return self.get(key) is not None

    def get(self, key: Hashable) -> Latents | None:
        if key not in self._recent:
            latents = self._kept.get(key) if self._kept else None
            if latents is None:
                return None
            self._remember(key, latents)
        self._recent.move_to_end(key)
        return self._recent[key]

    def put(self, key: Hashable, latents: Latents) -> None:
        self._remember(key, latents)
        if self._kept:
            self._kept.put(key, latents)

    def _remember(self, key: Hashable, latents: Latents) -> None:
        self._recent[key] = latents
        if len(self._recent) > REFERENCES_KEPT:
            self._recent.popitem(last=False)


class Replacement(PipelineUnit):  # type: ignore[misc]
    """A unit with the inputs and outputs of the one that it wraps."""

    def __init__(self, original: PipelineUnit) -> None:
        super().__init__(
            seperate_cfg=original.seperate_cfg,
            input_params=original.input_params,
            output_params=original.output_params,
            input_params_posi=original.input_params_posi,
            input_params_nega=original.input_params_nega,
            onload_model_names=original.onload_model_names,
        )
        self.original = original


class CachedPrompts(Replacement):
    """Serves embeddings made by `encode_prompts`, padded with zeros again, as DiffSynth does."""

    def __init__(self, original: PipelineUnit, embeddings: Mapping[str, torch.Tensor]) -> None:
        super().__init__(original)
        self.embeddings = embeddings

    def process(self, pipe: WanVideoPipeline, prompt: str, positive: bool) -> Outputs:
        embedding = self.embeddings[prompt]
        context = torch.nn.functional.pad(embedding, (0, 0, 0, PROMPT_TOKENS - len(embedding)))
        return {"context": context[None].to(pipe.device)}


class CachedReference(Replacement):
    """Serves a unit's outputs again for a clip that was encoded before.

    For units whose outputs depend on nothing but the clip, its size and the tiling: VACE and Fun-Control.
    """

    def __init__(
        self, original: PipelineUnit, argument: str, made_of_the_clip: Sequence[str], latents: ReferenceLatents
    ) -> None:
        super().__init__(original)
        self.argument = argument
        self.made_of_the_clip = made_of_the_clip
        self.latents = latents

    def process(self, pipe: WanVideoPipeline, **inputs: Any) -> Outputs:
        reference = inputs[self.argument]
        if reference is None:
            return dict(self.original.process(pipe, **inputs))
        return {**self.encoded(pipe, reference, inputs)}

    def encoded(self, pipe: WanVideoPipeline, reference: Reference, inputs: Outputs) -> Latents:
        latents = self.latents.get(reference.key)
        if latents is None:
            if reference.frames is None:
                raise ValueError(f"no frames and no latents for the reference {reference.key}")
            outputs = self.original.process(pipe, **inputs | {self.argument: list(reference.frames)})
            latents = {name: outputs[name] for name in self.made_of_the_clip if torch.is_tensor(outputs.get(name))}
            self.latents.put(reference.key, latents)
        return {name: tensor.to(pipe.device) for name, tensor in latents.items()}


class CachedInputVideo(CachedReference):
    """The same for v2v, whose unit also mixes in the noise: that is done anew for each job."""

    def process(self, pipe: WanVideoPipeline, **inputs: Any) -> Outputs:
        reference = inputs[self.argument]
        if reference is None:
            return dict(self.original.process(pipe, **inputs))
        # In training mode DiffSynth's unit gives the clip's latents without noise.
        pipe.scheduler.training = True
        try:
            clean = self.encoded(pipe, reference, inputs)["input_latents"]
        finally:
            pipe.scheduler.training = False
        return {"latents": pipe.scheduler.add_noise(clean, inputs["noise"], timestep=pipe.scheduler.timesteps[0])}


def unit_named(pipe: WanVideoPipeline, name: str) -> PipelineUnit:
    """The pipeline's unit of that class; the name is DiffSynth's."""
    (unit,) = [unit for unit in pipe.units if type(unit).__name__ == name]
    return unit


def install_caches(pipe: WanVideoPipeline, embeddings: Mapping[str, torch.Tensor], latents: ReferenceLatents) -> None:
    """Put the units above in the place of DiffSynth's."""
    replacements: dict[str, PipelineUnit] = {
        "WanVideoUnit_PromptEmbedder": CachedPrompts(unit_named(pipe, "WanVideoUnit_PromptEmbedder"), embeddings),
        "WanVideoUnit_InputVideoEmbedder": CachedInputVideo(
            unit_named(pipe, "WanVideoUnit_InputVideoEmbedder"), "input_video", ["input_latents"], latents
        ),
        "WanVideoUnit_FunControl": CachedReference(
            unit_named(pipe, "WanVideoUnit_FunControl"), "control_video", ["clip_feature", "y"], latents
        ),
        "WanVideoUnit_VACE": CachedReference(
            unit_named(pipe, "WanVideoUnit_VACE"), "vace_video", ["vace_context"], latents
        ),
    }
    pipe.units = [replacements.get(type(unit).__name__, unit) for unit in pipe.units]
