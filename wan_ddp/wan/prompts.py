"""Prompts are encoded before anything else, each once, so that the text encoder (11.4 GB) can leave the GPU again.

They are kept on disk, so that a worker that finds them all there never loads it.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version

import torch

from wan_ddp.job import Job
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.gpu import named_gpu_errors, release_memory
from wan_ddp.wan.kept import KeptTensors, key_of
from wan_ddp.wan.loading import Offload, dtype_of, load_pipeline
from wan_ddp.wan.units import PROMPT_TOKENS, unit_named

# Prompt -> (tokens, width), in the pipeline's dtype and on the CPU, without the padding.
Embeddings = Mapping[str, torch.Tensor]


def prompts_of(jobs: Iterable[Job]) -> list[str]:
    """Every distinct text that the jobs need encoded, in the order of the jobs.

    The negative prompt counts only where guidance uses it: the pipeline skips it at a cfg_scale of 1.
    """
    texts = {job.prompt: None for job in jobs}
    texts |= {job.negative_prompt: None for job in jobs if job.cfg_scale != 1.0}
    return list(texts)


class KeptPrompts:
    """Embeddings on disk: those of one text encoder, computed as on `device`."""

    def __init__(self, kept: KeptTensors, checkpoint: Checkpoint, device: str) -> None:
        self._kept = kept
        self._dtype = dtype_of(device)
        self._basis = checkpoint.text_identity, device.partition(":")[0], str(self._dtype), version("diffsynth")

    def get(self, prompt: str) -> torch.Tensor | None:
        found = (self._kept.get(key_of(*self._basis, prompt)) or {}).get("embedding")
        fits = found is not None and found.ndim == 2 and found.dtype == self._dtype and len(found) <= PROMPT_TOKENS
        return found if fits else None

    def put(self, prompt: str, embedding: torch.Tensor) -> None:
        self._kept.put(key_of(*self._basis, prompt), {"embedding": embedding})


def obtain_prompts(
    checkpoint: Checkpoint,
    prompts: Iterable[str],
    kept: KeptPrompts,
    lock: AbstractContextManager[object] | None = None,
    *,
    device: str,
    offload: Offload | None = None,
) -> dict[str, torch.Tensor]:
    """The embedding of each prompt, from the disk or encoded now, and kept there for others.

    `lock` is held while any are encoded: what somebody else encoded meanwhile is found. Raises what `encode_prompts`
    does.
    """
    distinct = list(dict.fromkeys(prompts))
    embeddings = _find(distinct, kept)
    if len(embeddings) < len(distinct):
        with lock or nullcontext():
            embeddings = _find(distinct, kept)
            missing = [prompt for prompt in distinct if prompt not in embeddings]
            if missing:
                encoded = encode_prompts(checkpoint, missing, device=device, offload=offload)
                for prompt, embedding in encoded.items():
                    kept.put(prompt, embedding)
                embeddings |= encoded
    return embeddings


def _find(prompts: Iterable[str], kept: KeptPrompts) -> dict[str, torch.Tensor]:
    return {prompt: found for prompt in prompts if (found := kept.get(prompt)) is not None}


def encode_prompts(
    checkpoint: Checkpoint, prompts: Iterable[str], *, device: str, offload: Offload | None = None
) -> dict[str, torch.Tensor]:
    """Encode each prompt with the checkpoint's text encoder, which is loaded for this and gone afterwards.

    The work is done by DiffSynth's own unit, so the values are those of a call of the pipeline.

    Raises:
        OutOfGpuMemoryError, GpuError: see `named_gpu_errors`.
    """
    offload = offload or Offload()
    pipe = load_pipeline([(checkpoint.text_encoder,)], checkpoint.tokenizer, device=device, offload=offload)
    unit = unit_named(pipe, "WanVideoUnit_PromptEmbedder")
    embeddings = {}
    with torch.no_grad(), named_gpu_errors(device, "encoding prompts"):
        for prompt in dict.fromkeys(prompts):
            context = unit.process(pipe, prompt=prompt, positive=True)["context"][0].cpu()
            num_tokens = int(context.any(dim=1).nonzero().max()) + 1
            embeddings[prompt] = context[:num_tokens].clone()
    del pipe
    release_memory(device)
    return embeddings
