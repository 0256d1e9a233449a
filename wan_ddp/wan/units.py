"""Pipeline units that take the place of DiffSynth's and serve what was encoded before.

Each one wraps the unit that it replaces and calls it for what is not yet known, so that the values are DiffSynth's own.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from diffsynth.diffusion.base_pipeline import PipelineUnit
from diffsynth.pipelines.wan_video import WanVideoPipeline

# The length to which WanVideoPipeline.from_pretrained has its tokenizer pad.
PROMPT_TOKENS = 512
# A v2v reference's latents are 4 MB at 832x480 with 81 frames, a VACE context 25 MB.
REFERENCES_KEPT = 4

Outputs = dict[str, Any]


class Reference(NamedTuple):
    """A clip on its way through the pipeline, known by `key`; without `frames` where its latents are known.

    `key` stands for everything that its latents depend on. `frames`: (T, H, W, 3) uint8 RGB.
    """

    key: Hashable
    frames: np.ndarray[Any, np.dtype[np.uint8]] | None


class ReferenceLatents:
    """The latents of the last few references, the least recently used one dropped first."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[Hashable, Outputs] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._outputs

    def get(self, key: Hashable) -> Outputs | None:
        if key in self._outputs:
            self._outputs.move_to_end(key)
        return self._outputs.get(key)

    def put(self, key: Hashable, outputs: Outputs) -> None:
        self._outputs[key] = outputs
        if len(self._outputs) > REFERENCES_KEPT:
            self._outputs.popitem(last=False)


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

    def __init__(self, original: PipelineUnit, argument: str, latents: ReferenceLatents) -> None:
        super().__init__(original)
        self.argument = argument
        self.latents = latents

    def process(self, pipe: WanVideoPipeline, **inputs: Any) -> Outputs:
        reference = inputs[self.argument]
        if reference is None:
            return dict(self.original.process(pipe, **inputs))
        return dict(self.encoded(pipe, reference, inputs))

    def encoded(self, pipe: WanVideoPipeline, reference: Reference, inputs: Outputs) -> Outputs:
        outputs = self.latents.get(reference.key)
        if outputs is None:
            if reference.frames is None:
                raise ValueError(f"no frames and no latents for the reference {reference.key}")
            outputs = self.original.process(pipe, **inputs | {self.argument: list(reference.frames)})
            self.latents.put(reference.key, outputs)
        return outputs


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
            unit_named(pipe, "WanVideoUnit_InputVideoEmbedder"), "input_video", latents
        ),
        "WanVideoUnit_FunControl": CachedReference(
            unit_named(pipe, "WanVideoUnit_FunControl"), "control_video", latents
        ),
        "WanVideoUnit_VACE": CachedReference(unit_named(pipe, "WanVideoUnit_VACE"), "vace_video", latents),
    }
    pipe.units = [replacements.get(type(unit).__name__, unit) for unit in pipe.units]
