"""Seconds a forward of the DiT at the true 14B shapes, 832x480, 81 frames, by the presets, beside plain DiffSynth.

usage: python -m benchmarks.forward [names of variants, default all]

`fused` and `fp8` are the presets of a run, by its own code; the others are parts of them, or have another --attention.
Random weights: speed and memory do not depend on the values. Each variant starts from the same weights and inputs; its
distance is the relative L2 difference of its output to plain DiffSynth's. One GPU, 60 GiB, and fa3-fwd, sageattention.
`python -m benchmarks.forward again`, in a second process, shows what the compile cache saves, and `profile` where the
time of a forward goes. Results and what follows from them: benchmarks/RESULTS.md.
"""

import math
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()

import torch  # noqa: E402 - the clock stands before what takes long
from accelerate import init_empty_weights  # noqa: E402
from diffsynth.models import wan_video_dit  # noqa: E402
from diffsynth.pipelines.wan_video import WanVideoPipeline, model_fn_wan_video  # noqa: E402
from torch import nn  # noqa: E402

from wan_ddp.presets import Attention  # noqa: E402
from wan_ddp.wan.float8 import Float8Linear, rows_to_fp8  # noqa: E402
from wan_ddp.wan.kernels import (  # noqa: E402
    LogisticGelu,
    cudnn,
    flash_attention_3_function,
    kernel_of,
    replace_modules,
    sdpa,
    use_kernel,
)
from wan_ddp.wan.presets import prepare_weights, speed_up  # noqa: E402

DEVICE = "cuda:0"
TOKENS, HEADS, WIDTH = 21 * 30 * 52, 40, 128
DIT = {"dim": 5120, "ffn_dim": 13824, "freq_dim": 256, "text_dim": 4096, "in_dim": 16, "out_dim": 16}
DIT |= {"num_heads": 40, "num_layers": 40, "patch_size": [1, 2, 2], "eps": 1e-6, "has_image_input": False}
HAS_FLASH3 = flash_attention_3_function() is not None


def say(*words: object) -> None:
    print(*words, flush=True)


def make_dit() -> Any:
    with init_empty_weights():
        dit = wan_video_dit.WanModel(**DIT)
    dit = dit.to(torch.bfloat16).to_empty(device=DEVICE).eval().requires_grad_(False)
    generator = torch.Generator(DEVICE).manual_seed(0)
    for name, weight in dit.named_parameters():
        if "norm" in name and name.endswith("weight"):
            weight.fill_(1.0)
        elif weight.ndim == 1:
            weight.normal_(0, 0.02, generator=generator)
        else:
            weight.normal_(0, 1 / math.sqrt(weight[0].numel()), generator=generator)
    return dit


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(1)
    latents = torch.randn(1, 16, 21, 60, 104, generator=generator, device=DEVICE).bfloat16()
    context = torch.randn(1, 512, 4096, generator=generator, device=DEVICE).bfloat16()
    return {"latents": latents, "context": context, "timestep": torch.tensor([900.0], device=DEVICE).bfloat16()}


def seconds_of(call: Callable[[], Any], repeats: int = 3) -> float:
    """The median of `repeats` calls; the caller has warmed up."""
    taken = []
    for _ in range(repeats):
        synchronize()
        clock = time.perf_counter()
        call()
        synchronize()
        taken.append(time.perf_counter() - clock)
    return sorted(taken)[repeats // 2]


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The relative L2 difference."""
    return ((found.float() - exact.float()).norm() / exact.float().norm()).item()


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Bench:
    def __init__(self) -> None:
        self.dit = make_dit()
        self.frequencies = self.dit.freqs
        self.pipe = WanVideoPipeline(device=DEVICE, torch_dtype=torch.bfloat16)
        self.pipe.dit = self.dit
        self.inputs = inputs()
        self.plain: torch.Tensor | None = None

    @torch.no_grad()
    def forward(self) -> torch.Tensor:
        out: torch.Tensor = model_fn_wan_video(self.dit, **self.inputs)
        return out

    def reset(self) -> None:
        """As DiffSynth comes, but for weights that are in float8."""
        use_kernel(self.dit, wan_video_dit.flash_attention)
        replace_modules(self.dit, (LogisticGelu,), lambda _: nn.GELU(approximate="tanh"))
        self.dit.freqs = self.frequencies
        torch.compiler.reset()
        for block in self.dit.blocks:
            block._compiled_call_impl = None
        torch.cuda.empty_cache()

    def measure(self, name: str) -> None:
        torch.cuda.reset_peak_memory_stats()
        clock = time.perf_counter()
        out = self.forward()
        torch.cuda.synchronize()
        first = time.perf_counter() - clock
        seconds = seconds_of(self.forward)
        if self.plain is None:
            self.plain = out.float()
        away = distance(out, self.plain)
        peak = torch.cuda.max_memory_allocated() / 2**30
        say(f"{name:16} {seconds:6.3f} s a forward, first {first:5.1f} s, distance {away:.1e}, peak {peak:.1f} GiB")


def kernels_alone() -> None:
    """Attention and the linear layers' products by themselves, in TFLOP/s."""
    q, k, v = (torch.randn(1, TOKENS, HEADS * WIDTH, device=DEVICE).bfloat16() for _ in range(3))
    calls: dict[str, Callable[[], Any]] = {"sdpa": lambda: sdpa(q, k, v, HEADS), "cudnn": lambda: cudnn(q, k, v, HEADS)}
    if HAS_FLASH3:
        calls["flash attention 3"] = lambda: kernel_of("flash3")(q, k, v, HEADS)
        in_float8 = torch.compile(kernel_of("flash3_fp8"))
        calls["flash attention 3 in float8, with the rounding to it"] = lambda: in_float8(q, k, v, HEADS)
    for name, call in calls.items():
        show_rate(f"attention, {name}", call, 4 * TOKENS**2 * HEADS * WIDTH)
    for width_in, width_out in ((5120, 5120), (5120, 13824), (13824, 5120)):
        linear_alone(width_in, width_out)


def linear_alone(width_in: int, width_out: int) -> None:
    x, one = torch.randn(TOKENS, width_in, device=DEVICE).bfloat16(), torch.ones((), device=DEVICE)
    linear = nn.Linear(width_in, width_out, device=DEVICE, dtype=torch.bfloat16).requires_grad_(False)
    eight = Float8Linear(linear)
    small, scale = rows_to_fp8(x)
    calls: dict[str, Callable[[], Any]] = {
        "bfloat16": lambda: linear(x),
        "float8, scaled a row": lambda: eight.product(small, scale, eight.scale, torch.bfloat16),
        "float8, scaled in all": lambda: eight.product(small, one, one, torch.bfloat16),
    }
    for name, call in calls.items():
        show_rate(f"linear {width_in} to {width_out}, {name}", call, 2 * TOKENS * width_in * width_out)


def show_rate(name: str, call: Callable[[], Any], flop: float) -> None:
    call()
    seconds = seconds_of(call, 5)
    say(f"{name:60} {seconds * 1e3:6.2f} ms, {flop / seconds / 1e12:6.0f} TFLOP/s")


def plain(bench: Bench) -> None:
    pass


def attention_alone(bench: Bench) -> None:
    use_kernel(bench.dit, kernel_of("flash3"))


def fused(bench: Bench, attention: Attention = "flash3") -> None:
    speed_up(bench.pipe, "fused", attention, DEVICE)


def fused_cudnn(bench: Bench) -> None:
    fused(bench, "cudnn")


def fp8(bench: Bench, attention: Attention = "flash3") -> None:
    """The linear layers of the blocks; once done, the bfloat16 weights are gone."""
    prepare_weights(bench.pipe, "fp8")
    speed_up(bench.pipe, "fp8", attention, DEVICE)


def fp8_attention(bench: Bench) -> None:
    fp8(bench, "flash3_fp8")


def fp8_sage(bench: Bench) -> None:
    fp8(bench, "sage")


VARIANTS: dict[str, Callable[[Bench], None]] = {
    "plain": plain,
    "attention_alone": attention_alone,
    "fused": fused,
    "fused_cudnn": fused_cudnn,
    "fp8": fp8,
    "fp8_attention": fp8_attention,
    "fp8_sage": fp8_sage,
}


def again() -> None:
    """How long another process of the same machine takes to its first forward."""
    bench = Bench()
    clock = time.perf_counter()
    fused(bench)
    bench.forward()
    torch.cuda.synchronize()
    say(f"the first forward with a warm compile cache: {time.perf_counter() - clock:.1f} s")
    say(f"since the start of the process: {time.perf_counter() - STARTED:.1f} s")


def profile() -> None:
    """The kernels that take most of a forward."""
    bench = Bench()
    for name in ("fused", "fp8"):
        bench.reset()
        VARIANTS[name](bench)
        bench.measure(name)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            bench.forward()
            torch.cuda.synchronize()
        rows = sorted(profiler.key_averages(), key=lambda row: -row.device_time_total)
        for row in rows[:14]:
            say(f"{row.device_time_total / 1e3:9.1f} ms {row.count:5d} {row.key[:100]}")


def main(names: list[str]) -> None:
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, imports {time.perf_counter() - STARTED:.1f} s")
    if names == ["again"]:
        again()
    elif names == ["profile"]:
        profile()
    else:
        kernels_alone()
        compare(names or list(VARIANTS))


def compare(names: list[str]) -> None:
    bench = Bench()
    for name in names:
        bench.reset()
        try:
            VARIANTS[name](bench)
            bench.measure(name)
        except (RuntimeError, ImportError):  # what one kernel cannot do says nothing of the others
            say(f"{name}: {traceback.format_exc()[-1500:]}")


if __name__ == "__main__":
    main(sys.argv[1:])
