"""Flow matching as DiffSynth's `FlowMatchScheduler("Wan")` runs it, and its DiT as training calls it.

x at sigma is (1 - sigma) clean + sigma noise; the DiT is given 1000 sigma and predicts noise - clean. The forward is
DiffSynth's (a test holds it against `model_fn_wan_video`), with two things done once instead of 300 times a second: the
rotary tables stay real and on the device, and the 449 paddings of a prompt, equal as they are, are one key that counts
449 times.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from diffsynth.models import wan_video_dit
from diffsynth.models.wan_video_dit import RMSNorm, WanModel, sinusoidal_embedding_1d
from diffsynth.models.wan_video_text_encoder import WanTextEncoder
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from training.captions import MAX_TOKENS
from training.tokens import PAD_ID
from wan_ddp.references.manifests import DEMO_SAMPLING
from wan_ddp.wan.kernels import real_frequencies, real_rope_apply
from wan_ddp.wan.units import PROMPT_TOKENS

SHIFT = 5.0
"""Of the sigmas, the jobs' default: v2v is learnt at it, and videos are made by it from noise alone."""


def shift_of(*, has_reference: bool) -> float:
    """What a video is made by."""
    return DEMO_SAMPLING["sigma_shift"] if has_reference else SHIFT


def shifted(uniform: Tensor, shift: float) -> Tensor:
    """Sigmas of evenly spaced times from 0 to 1."""
    return shift * uniform / (1 + (shift - 1) * uniform)


class _CountedKeys(nn.Module):
    """Attention in which the last key stands for many equal ones."""

    def __init__(self, num_heads: int, count: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.logarithm = math.log(count)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (rearrange(x, "b s (n d) -> b n s d", n=self.num_heads) for x in (q, k, v))
        bias = torch.zeros(1, 1, 1, k.shape[2], dtype=q.dtype, device=q.device)
        bias[..., -1] = self.logarithm
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(q.shape[0], -1, q.shape[2], -1))
        return rearrange(mixed, "b n s d -> b s (n d)")


class Denoiser(nn.Module):
    """The text encoder and the DiT, trained together. Its weights are theirs, under `text_encoder.` and `dit.`."""

    def __init__(self, text_encoder: WanTextEncoder, dit: WanModel) -> None:
        super().__init__()
        self.text_encoder, self.dit = text_encoder, dit
        for block in dit.blocks:
            block.cross_attn.attn = _CountedKeys(block.cross_attn.num_heads, PROMPT_TOKENS - MAX_TOKENS)
        self._tables: dict[Any, Tensor] = {}

    def encode(self, tokens: Tensor) -> Tensor:
        """(B, MAX_TOKENS) to (B, MAX_TOKENS + 1, width): zeros where the padding is, as the pipeline has it."""
        mask = tokens != PAD_ID
        encoded = self.text_encoder(tokens, mask.long()) * mask[..., None]
        return functional.pad(encoded, (0, 0, 0, 1))

    def forward(self, latents: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """The velocity at latents (B, 16, T, H, W) and sigmas (B,), for an encoded text."""
        dit = self.dit
        time = dit.time_embedding(sinusoidal_embedding_1d(dit.freq_dim, sigma * 1000))
        modulation = dit.time_projection(time).unflatten(1, (6, dit.dim))
        text = dit.text_embedding(context)
        x = dit.patchify(latents)
        grid = x.shape[2:]
        x = x.flatten(2).transpose(1, 2).contiguous()
        tables = self._rotary(tuple(grid), str(x.device))
        for block in dit.blocks:
            x = block(x, text, modulation, tables)
        velocity: Tensor = dit.unpatchify(dit.head(x, time), grid)
        return velocity

    def _rotary(self, grid: tuple[int, ...], device: str) -> Tensor:
        if (grid, device) not in self._tables:
            frames, rows, columns = grid
            along = [
                self.dit.freqs[0][:frames].view(frames, 1, 1, -1),
                self.dit.freqs[1][:rows].view(1, rows, 1, -1),
                self.dit.freqs[2][:columns].view(1, 1, columns, -1),
            ]
            table = torch.cat([part.expand(*grid, -1) for part in along], dim=-1).reshape(math.prod(grid), 1, -1)
            self._tables[grid, device] = real_frequencies(table, device)
        return self._tables[grid, device]


def _norm(layer: RMSNorm, x: Tensor) -> Tensor:
    """DiffSynth's norm in one kernel."""
    return functional.rms_norm(x.float(), layer.normalized_shape, layer.weight, layer.eps)


@contextmanager
def real_rotary() -> Iterator[None]:
    """Within it DiffSynth's blocks turn by the real tables that `Denoiser` gives them, and norm in one kernel."""
    rotate, norm = wan_video_dit.rope_apply, RMSNorm.forward
    wan_video_dit.rope_apply, RMSNorm.forward = real_rope_apply, _norm
    try:
        yield
    finally:
        wan_video_dit.rope_apply, RMSNorm.forward = rotate, norm


def mixed_precision(device: str) -> Any:
    """bfloat16 where it is fast; float32 on the CPU, as the project computes there."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device != "cpu")


def sigmas_of(num_steps: int, strength: float, shift: float) -> Tensor:
    """(num_steps + 1,): the pipeline's sigmas, and 0."""
    return shifted(torch.linspace(strength, 0, num_steps + 1), shift)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    tokens: Tensor,
    negative: Tensor,
    noise: Tensor,
    *,
    reference: Tensor | None = None,
    strength: float = 1.0,
    num_steps: int = 20,
    cfg_scale: float,
) -> Tensor:
    """The pipeline's sampling for a whole batch at once: latents (B, 16, T, H, W) for tokens (B, n)."""
    sigmas = sigmas_of(num_steps, strength, shift_of(has_reference=reference is not None)).to(noise.device)
    x = noise if reference is None else (1 - sigmas[0]) * reference + sigmas[0] * noise
    context = torch.cat([denoiser.encode(tokens), denoiser.encode(negative).expand(len(tokens), -1, -1)]).float()
    for sigma, following in pairwise(sigmas):
        both = denoiser(torch.cat([x, x]), sigma.expand(2 * len(x)), context).float()
        positive, unconditional = both.chunk(2)
        x = x + (following - sigma) * (unconditional + cfg_scale * (positive - unconditional))
    return x
