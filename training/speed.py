"""How long a step of each kind takes on this machine: to plan minutes by, and to see whether compiling pays."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from training import dit, vae
from training.budget import Budget
from training.flow import real_rotary
from training.state import Progress, save_weights


def measure(device: str, steps: int, compile_: bool) -> None:
    """Print milliseconds a step, the first one (which warms up, and compiles) apart."""
    budget = Budget(1e9, 1e9)
    options = vae.VaeOptions(compile=compile_)
    model = vae.on_device(vae.make_vae(), device)
    autoencoder: Any = vae.Autoencoder(model)
    if compile_:
        autoencoder = torch.compile(autoencoder, dynamic=False)
    optimiser = torch.optim.AdamW(model.model.parameters(), fused=device != "cpu")
    progress = Progress()

    def vae_step(lesson: vae.Lesson) -> None:
        vae.step(autoencoder, optimiser, lesson, progress, budget, device, options)
        progress.steps += 1

    for lesson in vae.LESSONS:
        _time(f"vae, {lesson.batch} x {lesson.num_frames} frames", partial(vae_step, lesson), device, steps)
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder), f"{vae.STAGE}-average", model.model.state_dict())
        frozen = vae.freeze(Path(folder), device, vae.VaeOptions(num_held_out=8))
    dit_options = dit.DitOptions(compile=compile_, pool=192)
    denoiser = dit.make_denoiser().to(device)
    if compile_:
        for block in denoiser.dit.blocks:
            block.compile(dynamic=False)
    optimiser = torch.optim.AdamW(denoiser.parameters(), fused=device != "cpu")
    pool, dropped = dit.Pool(frozen, device, dit_options, progress), dit._dropped(device)

    def dit_step() -> None:
        dit.step(denoiser, optimiser, pool, dropped, progress, budget, dit_options)
        progress.steps += 1

    with real_rotary():
        _time(f"dit, batch of {dit_options.batch}", dit_step, device, steps)
    _time(f"{dit_options.block} pairs of clips drawn and encoded", pool.refresh, device, max(2, steps // 4))


def _time(what: str, call: Callable[[], None], device: str, steps: int) -> None:
    def wait() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    begun = wait()
    call()
    warm = wait()
    for _ in range(steps):
        call()
    seconds = (wait() - warm) / steps
    peak = "" if device == "cpu" else f", peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
    print(f"{what}: {1000 * seconds:.0f} ms a step, the first {warm - begun:.1f} s{peak}", flush=True)
