"""Prompts are encoded before anything else, each once, so that the text encoder (11.4 GB) can leave the GPU again."""

from collections.abc import Iterable, Mapping

import torch

from wan_ddp.job import Job
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.gpu import named_gpu_errors, release_memory
from wan_ddp.wan.loading import Offload, load_pipeline
from wan_ddp.wan.units import unit_named

# Prompt -> (tokens, width), in the pipeline's dtype and on the CPU, without the padding.
Embeddings = Mapping[str, torch.Tensor]


def prompts_of(jobs: Iterable[Job]) -> list[str]:
    """Every distinct text that the jobs need encoded, in the order of the jobs.

    The negative prompt counts only where guidance uses it: the pipeline skips it at a cfg_scale of 1.
    """
    texts = {job.prompt: None for job in jobs}
    texts |= {job.negative_prompt: None for job in jobs if job.cfg_scale != 1.0}
    return list(texts)


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
