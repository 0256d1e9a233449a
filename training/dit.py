"""The second stage: text encoder and DiT together, by flow matching on the frozen VAE's latents.

Half of the batch learns what a Wan learns: to make clips from noise. The other half learns what v2v asks of it. There a
video begins as (1 - s) reference + s noise, and on the way to sigma the reference's share fades as sigma / s while that
of the result grows. Of every clip there is a double that moves like it and looks different; with the double as the
reference the state is known in closed form, and so is the velocity that leads to the clip. So the model learns to take
the motion from what is left of the reference and the look from the prompt.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffsynth.models.wan_video_dit import WanModel
from diffsynth.models.wan_video_text_encoder import WanTextEncoder
from diffsynth.models.wan_video_vae import WanVideoVAE
from torch import Tensor

from training import vae as vae_stage
from training import whole
from training.budget import Budget, Ticker, name_of
from training.captions import captions, tokenize
from training.flow import SHIFT, Denoiser, mixed_precision, real_rotary, shifted
from training.state import Average, Progress, load_stage, save_stage
from wan_ddp.job import NEGATIVE_PROMPT
from wan_ddp.references.pocket_world.drawing import draw
from wan_ddp.references.pocket_world.scenes import doubles, draw_scenes
from wan_ddp.wan.pocket_models import DIT, TEXT_ENCODER

STAGE = "dit"
SEED = 2_000_000_000


@dataclass(frozen=True, slots=True)
class DitOptions:
    """`pool` pairs of clips are at hand, of which `block` are replaced every `fresh_every` steps."""

    learning_rate: float = 1.2e-3
    warmup_steps: int = 300
    decay: float = 0.999
    batch: int = 192
    pool: int = 3072
    block: int = 96
    fresh_every: int = 10
    encode_batch: int = 48
    train_shift: float = 2 * vae_stage.LATENT_STD
    """Of the sigmas in training from noise alone: that of latents of standard deviation 1 would be 2. With less, what
    lays out a video is seldom practised, and without a reference six in ten objects were not there."""
    double_share: float = 0.5
    strengths: tuple[float, float] = (0.4, 0.9)
    """Of v2v in training, from and to; its sigmas are as dense as at inference."""
    drop_share: float = 0.1
    compile: bool = False
    num_held_out: int = 48
    width: int = 160
    height: int = 96


def make_denoiser() -> Denoiser:
    text_encoder, dit = WanTextEncoder(**TEXT_ENCODER), WanModel(**DIT)
    # The last layer begins at nothing, as diffusion transformers do.
    torch.nn.init.zeros_(dit.head.head.weight)
    torch.nn.init.zeros_(dit.head.head.bias)
    for block in dit.blocks:
        torch.nn.init.xavier_uniform_(block.self_attn.o.weight, 0.5)
        torch.nn.init.xavier_uniform_(block.cross_attn.o.weight, 0.5)
    torch.nn.init.normal_(text_encoder.token_embedding.weight, std=1.0)
    return Denoiser(text_encoder, dit).eval()


class Pool:
    """Pairs of clips that move alike: latents (N, 2, 16, T, H, W) in the VAE's scale, captions' tokens (N, 2, n)."""

    def __init__(self, vae: WanVideoVAE, device: str, options: DitOptions, progress: Progress) -> None:
        self.vae, self.device, self.options, self.progress = vae, device, options, progress
        self.latents = torch.empty(0)
        self.tokens = torch.empty(0)
        self._oldest = 0
        blocks = [self._block() for _ in range(max(1, options.pool // options.block))]
        self.latents = torch.cat([latents for latents, _ in blocks])
        self.tokens = torch.cat([tokens for _, tokens in blocks])

    def refresh(self) -> None:
        """Replace the oldest block."""
        latents, tokens = self._block()
        stretch = slice(self._oldest, self._oldest + len(latents))
        self.latents[stretch], self.tokens[stretch] = latents, tokens
        self._oldest = (self._oldest + len(latents)) % len(self.latents)

    @torch.no_grad()
    def _block(self) -> tuple[Tensor, Tensor]:
        seed = SEED + self.progress.blocks
        self.progress.blocks += 1
        scenes = draw_scenes(seed, self.options.block)
        pair = [scenes, doubles(scenes, seed + 500_000_000)]
        surprises = random.Random(seed)
        tokens = torch.stack([tokenize(captions(side, seed + n), surprises) for n, side in enumerate(pair)], dim=1)
        latents = torch.stack([self._encode(side) for side in pair], dim=1)
        return latents, tokens.to(self.device, non_blocking=True)

    def _encode(self, scenes: Any) -> Tensor:
        options = self.options
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        parts = []
        for start in range(0, len(scenes), options.encode_batch):
            part = scenes[start : start + options.encode_batch]
            video = draw(part, self.device, width=options.width, height=options.height)
            parts.append(whole.encode(self.vae, (video * 2 - 1).to(dtype)).permute(0, 4, 1, 2, 3))
        return torch.cat(parts).contiguous()


def train(folder: Path, budget: Budget, device: str, options: DitOptions | None = None) -> Progress:
    """Go on with the stage in `folder` for the budget's minutes. The VAE is frozen first, if it is not yet."""
    options = options or DitOptions()
    of_vae = vae_stage.VaeOptions(width=options.width, height=options.height, num_held_out=options.num_held_out)
    vae = vae_stage.freeze(folder, device, of_vae)
    denoiser = make_denoiser().to(device)
    average = Average(denoiser, options.decay)
    optimiser = torch.optim.AdamW(denoiser.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=device != "cpu")
    progress, is_warm = load_stage(folder, STAGE, denoiser, average, optimiser)
    if options.compile:
        for block in denoiser.dit.blocks:
            block.compile(dynamic=False)
    progress.device = name_of(device)
    budget.begin(progress, 0 if is_warm else options.warmup_steps)
    pool, dropped = Pool(vae, device, options, progress), _dropped(device)
    print(f"dit: {len(pool.latents)} pairs of clips in {budget.elapsed():.0f} s", flush=True)
    ticker = Ticker()
    with real_rotary():
        while not budget.is_over(progress):
            if progress.steps % options.fresh_every == 0:
                pool.refresh()
            loss = step(denoiser, optimiser, pool, dropped, progress, budget, options)
            average.update(denoiser, progress.steps)
            progress.steps += 1
            budget.share(progress)
            ticker.step(progress, {"loss": loss}, optimiser.param_groups[0]["lr"], "dit")
            if ticker.is_time_to_save():
                save_stage(folder, STAGE, denoiser, average, optimiser, progress)
    save_stage(folder, STAGE, denoiser, average, optimiser, progress)
    print(f"dit: {progress.steps} steps, {progress.seconds:.0f} s, {progress.blocks * options.block} pairs", flush=True)
    return progress


def step(
    denoiser: Denoiser,
    optimiser: torch.optim.Optimizer,
    pool: Pool,
    dropped: Tensor,
    progress: Progress,
    budget: Budget,
    options: DitOptions,
) -> Tensor:
    """One step; what is drawn by chance follows from the number of steps made."""
    chance = torch.Generator(pool.device).manual_seed(SEED + progress.steps)
    with mixed_precision(pool.device):
        state, sigma, velocity, tokens = examples(pool, dropped, chance, options)
        predicted = denoiser(state, sigma, denoiser.encode(tokens))
    loss: Tensor = ((predicted.float() - velocity) ** 2).mean() / vae_stage.LATENT_STD**2
    rate = budget.learning_rate(options.learning_rate, progress)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()
    return loss


def examples(
    pool: Pool, dropped: Tensor, chance: torch.Generator, options: DitOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch: states at sigmas (B,), the velocities to be predicted, and the tokens of the captions."""
    device, batch = pool.device, options.batch

    def rand() -> Tensor:
        return torch.rand(batch, generator=chance, device=device)

    which = torch.randint(len(pool.latents), (batch,), generator=chance, device=device)
    side = (rand() < 0.5).long()
    clean, tokens = pool.latents[which, side].float(), pool.tokens[which, side]
    double = pool.latents[which, 1 - side].float()
    noise = torch.randn(clean.shape, generator=chance, device=device)
    # v2v's first sigma; 1, where there is nothing of the reference, for the others.
    least, most = options.strengths
    strength, share, is_double = least + (most - least) * rand(), rand(), rand() < options.double_share
    first = torch.where(is_double, shifted(strength, SHIFT), 1.0)
    sigma = torch.where(is_double, shifted(strength * share, SHIFT), shifted(share, options.train_shift))
    sigma = sigma.clamp_min(1e-3)
    state, velocity = on_the_way(clean, double, noise, sigma, first)
    is_dropped = rand() < options.drop_share
    instead = dropped[(rand() < 0.5).long()]
    return state, sigma, velocity, torch.where(is_dropped[:, None], instead, tokens)


def on_the_way(clean: Tensor, reference: Tensor, noise: Tensor, sigma: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Where a video is at sigma that began as (1 - first) reference + first noise, and the way from there to `clean`.

    With first = 1 it is flow matching as everywhere: (1 - sigma) clean + sigma noise, and noise - clean.
    """
    sigma, first = sigma.view(-1, 1, 1, 1, 1), first.view(-1, 1, 1, 1, 1)
    begun = (1 - first) * reference + first * noise
    state = sigma / first * begun + (1 - sigma / first) * clean
    return state, (begun - clean) / first


def _dropped(device: str) -> Tensor:
    """(2, n): what stands for no prompt: the jobs' default negative prompt, and nothing."""
    return tokenize([NEGATIVE_PROMPT, ""]).to(device)
