"""The first stage: the VAE, on single frames first and then on ever longer clips.

Long clips from the start teach it the background and lose small objects; single frames are many and cheap, and what
they taught is kept: at first the layers over time pass each frame through as it is.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffsynth.models.wan_video_vae import CausalConv3d, Resample, WanVideoVAE
from torch import Tensor, nn

from training import whole
from training.budget import Budget, Ticker, name_of
from training.state import Average, Progress, load_stage, load_weights, save_stage, save_weights, write_progress
from wan_ddp.references.pocket_world.drawing import draw
from wan_ddp.references.pocket_world.scenes import NUM_FRAMES, draw_scenes
from wan_ddp.wan.pocket_models import PocketWanVideoVAE

STAGE, FINAL = "vae", "vae-final"
SEED = 1_000_000_000
HELD_OUT_SEED = 7
LATENT_STD = 6.0
"""Of the final latents. What a noised reference still shows goes with their size times the square root of their number,
and a pocket clip has a hundredth of the latents of a real one: at 1 the default strength would leave too little of a
motion to be read. It also makes of the schedule's shift 5 about the 1 that suits so few latents."""
_PULL, _SQUARED, _LATENT_NOISE = 0.02, 5.0, 0.05
_FRAMES_A_SCENE = 6


@dataclass(frozen=True, slots=True)
class Lesson:
    """A part of the stage, up to a share of it: how long the clips are, and how many a batch."""

    until: float
    num_frames: int
    batch: int


LESSONS = (Lesson(0.36, 1, 192), Lesson(0.5, 5, 48), Lesson(0.62, 9, 32), Lesson(1.0, 17, 24))


@dataclass(frozen=True, slots=True)
class VaeOptions:
    learning_rate: float = 1.5e-3
    warmup_steps: int = 150
    decay: float = 0.998
    batch_scale: float = 1.0
    compile: bool = False
    num_held_out: int = 48
    width: int = 160
    height: int = 96


class Autoencoder(nn.Module):
    """A clip (B, T, H, W, 3) in -1 to 1 there and back; the latents get noise on the way, as a DiT's will have."""

    def __init__(self, vae: WanVideoVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, video: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        latents = whole.encode(self.vae, video)
        return whole.decode(self.vae, latents + noise), latents


def make_vae() -> WanVideoVAE:
    """A fresh VAE, whose layers over time pass each frame through as it is."""
    vae = PocketWanVideoVAE()
    for module in vae.modules():
        if isinstance(module, CausalConv3d) and module.kernel_size[0] == 3 and module.kernel_size[1] == 3:
            module.weight.data[:, :, :-1] = 0
        if isinstance(module, Resample) and module.mode == "downsample3d":
            module.init_weight(module.time_conv)
        if isinstance(module, Resample) and module.mode == "upsample3d":
            module.init_weight2(module.time_conv)
    vae.model.requires_grad_(True)
    return vae


def on_device(vae: WanVideoVAE, device: str) -> WanVideoVAE:
    """The VAE there, with its mean and scale, which are plain attributes."""
    vae.mean, vae.std = vae.mean.to(device), vae.std.to(device)
    return vae.to(device)


def train(folder: Path, budget: Budget, device: str, options: VaeOptions | None = None) -> Progress:
    """Go on with the stage in `folder` for the budget's minutes."""
    options = options or VaeOptions()
    vae = on_device(make_vae(), device)
    model, average = vae.model, Average(vae.model, options.decay)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=device != "cpu")
    progress, is_warm = load_stage(folder, STAGE, model, average, optimiser)
    autoencoder: Any = Autoencoder(vae)
    if options.compile:
        autoencoder = torch.compile(autoencoder, dynamic=False)
    progress.device = name_of(device)
    budget.begin(progress, 0 if is_warm else options.warmup_steps)
    ticker = Ticker()
    while not budget.is_over(progress):
        lesson = next(lesson for lesson in LESSONS if budget.share(progress) <= lesson.until)
        losses = step(autoencoder, optimiser, lesson, progress, budget, device, options)
        average.update(model, progress.steps)
        progress.steps += 1
        ticker.step(progress, losses, optimiser.param_groups[0]["lr"], f"vae, {lesson.num_frames} frames")
        if ticker.is_time_to_save():
            save_stage(folder, STAGE, model, average, optimiser, progress)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.state_dict())
    progress.figures = reconstruction(vae, device, options)
    model.load_state_dict(kept)
    save_stage(folder, STAGE, model, average, optimiser, progress)
    print(f"vae: {progress.steps} steps, {progress.seconds:.0f} s, {progress.figures}", flush=True)
    return progress


def step(
    autoencoder: Any,
    optimiser: torch.optim.Optimizer,
    lesson: Lesson,
    progress: Progress,
    budget: Budget,
    device: str,
    options: VaeOptions,
) -> dict[str, Tensor]:
    """One step on fresh clips, which follow from the number of steps made."""
    batch = max(2, round(lesson.batch * options.batch_scale))
    video = training_clips(SEED + progress.steps, batch, lesson.num_frames, device, options)
    chance = torch.Generator(device).manual_seed(SEED + progress.steps)
    shape = (batch, 1 + lesson.num_frames // 4, options.height // 8, options.width // 8, 16)
    noise = torch.randn(shape, generator=chance, device=device) * _LATENT_NOISE
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    made, latents = autoencoder(video.to(dtype), noise.to(dtype))
    difference = made.float() - video
    latents = latents.float()
    spread, middle = torch.std_mean(latents, dim=(0, 1, 2, 3))
    pull = (middle**2 + (spread - 1) ** 2).mean()
    squared = (difference**2).mean()
    loss = difference.abs().mean() + _SQUARED * squared + _PULL * pull
    rate = budget.learning_rate(options.learning_rate, progress)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()
    return {"loss": loss, "squared": squared, "pull": pull}


def training_clips(seed: int, batch: int, num_frames: int, device: str, options: VaeOptions) -> Tensor:
    """(B, T, H, W, 3) in -1 to 1: pieces of whole clips, so that things move as fast as in those."""
    chance = torch.Generator("cpu").manual_seed(seed)
    if num_frames == 1:
        scenes = draw_scenes(seed, math.ceil(batch / _FRAMES_A_SCENE), wild=0.35)
        times = torch.randint(NUM_FRAMES, (_FRAMES_A_SCENE,), generator=chance)
        video = draw(scenes.in_time(times), device, width=options.width, height=options.height)
        return video.flatten(0, 1)[:batch, None] * 2 - 1
    start = int(torch.randint(NUM_FRAMES - num_frames + 1, (1,), generator=chance))
    scenes = draw_scenes(seed, batch, wild=0.35).in_time(slice(start, start + num_frames))
    return draw(scenes, device, width=options.width, height=options.height) * 2 - 1


@torch.no_grad()
def reconstruction(vae: WanVideoVAE, device: str, options: VaeOptions) -> dict[str, Any]:
    """PSNR in dB on clips that it is not trained on: over whole clips, and of the first and the last frame."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    errors = []
    for start in range(0, options.num_held_out, 8):
        scenes = draw_scenes(HELD_OUT_SEED + start, 8)
        video = draw(scenes, device, width=options.width, height=options.height) * 2 - 1
        made = whole.decode(vae, whole.encode(vae, video.to(dtype))).float().clamp(-1, 1)
        errors.append((((made - video) / 2) ** 2).mean(dim=(2, 3, 4)))
    by_frame = torch.cat(errors)

    def psnr(error: Tensor) -> float:
        return round(float((-10 * torch.log10(error.clamp_min(1e-9))).mean()), 2)

    return {
        "psnr": psnr(by_frame.mean(dim=1)),
        "psnr_first_frame": psnr(by_frame[:, 0]),
        "psnr_last_frame": psnr(by_frame[:, -1]),
    }


@torch.no_grad()
def freeze(folder: Path, device: str, options: VaeOptions | None = None) -> WanVideoVAE:
    """The averaged VAE, its latents brought to mean 0 and LATENT_STD a channel, in bfloat16's values; written once.

    The first and the last layer of the latents are linear, so nothing else changes. Raises FileNotFoundError where no
    VAE has been trained.
    """
    options = options or VaeOptions()
    vae = on_device(PocketWanVideoVAE(), device)
    final = load_weights(folder, FINAL)
    if final is None:
        averaged = load_weights(folder, f"{STAGE}-average")
        if averaged is None:
            raise FileNotFoundError(f"{folder} has no VAE; train it first: python -m training vae")
        vae.model.load_state_dict(averaged)
        latents = [
            whole.encode(vae, draw(draw_scenes(SEED - 1 - n, 8), device, width=options.width, height=options.height)
                         * 2 - 1)
            for n in range(max(1, options.num_held_out // 4))
        ]  # fmt: skip
        spread, middle = torch.std_mean(torch.cat(latents).float(), dim=(0, 1, 2, 3))
        rescale(vae, middle, LATENT_STD / spread)
        final = {name: tensor.to(torch.bfloat16) for name, tensor in vae.model.state_dict().items()}
        save_weights(folder, FINAL, final)
        vae.model.load_state_dict(final)
        progress = Progress(figures=reconstruction(vae, device, options))
        write_progress(folder, FINAL, progress)
        print(f"vae: frozen, {progress.figures}", flush=True)
    vae.model.load_state_dict(final)
    return vae.eval()


def rescale(vae: WanVideoVAE, middle: Tensor, factor: Tensor) -> None:
    """Have the VAE give (latents - middle) x factor for its latents, and decode those as it did the others.

    With m and s the fixed mean and scale, and u = (h - m) / s the latents of the last layer's h = W x + b, the new h is
    m + factor (u - middle) s = m + factor (h - m - middle s). The first layer of the decoder takes u s + m.
    """
    model, mean, std = vae.model, vae.mean.to(middle), vae.std.to(middle)
    channels = len(middle)
    weight, bias = model.conv1.weight, model.conv1.bias
    weight[:channels] *= factor.view(-1, 1, 1, 1, 1)
    bias[:channels] = mean + factor * (bias[:channels] - mean - middle * std)
    # The decoder has V h + c for h; h = m + (h' - m) / factor + middle s.
    weight, bias = model.conv2.weight, model.conv2.bias
    old = weight[:, :, 0, 0, 0].clone()
    bias += old @ (mean + middle * std - mean / factor)
    weight[:, :, 0, 0, 0] = old / factor
