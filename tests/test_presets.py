"""Presets: what each may change of a video and what not, what a GPU must be able to do, and what is refused."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffsynth.models import wan_video_dit
from factories import make_job
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wan_ddp import preflight
from wan_ddp.errors import MachineError, Stopped, UnusableError
from wan_ddp.job import Job, Mechanism
from wan_ddp.presets import (
    MEANINGS,
    Attention,
    Capability,
    Preset,
    attention_refusal,
    best_attention,
    computed_steps,
    module_of,
    refusal,
)
from wan_ddp.settings import ROOT, parse
from wan_ddp.wan import kernels
from wan_ddp.wan import presets as wan_presets
from wan_ddp.wan.checkpoint import Checkpoint, find_checkpoint
from wan_ddp.wan.float8 import Float8Linear, rows_to_fp8
from wan_ddp.wan.kernels import KernelAttention, LogisticGelu, kernel_of, use_logistic_gelu
from wan_ddp.wan.loading import Offload, load_pipeline
from wan_ddp.wan.pipeline import Generator
from wan_ddp.wan.presets import check_device, keep_compile_caches, prepare_weights, speed_up
from wan_ddp.wan.prompts import Embeddings, encode_prompts, prompts_of
from wan_ddp.wan.random_checkpoint import make_checkpoint
from wan_ddp.wan.step_cache import install_step_cache, step_cache_of

JOB = make_job(height=64)
# A reused step of more than one computed before it, on either side of one.
LONG = dataclasses.replace(JOB, height=32, num_inference_steps=13)
FILES: dict[Mechanism, str] = {"v2v": "tiny", "none": "tiny", "vace": "tiny-vace", "fun_control": "tiny-fun-control"}
HOPPER, AMPERE, ADA, BLACKWELL = (9, 0), (8, 0), (8, 9), (10, 0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in set(FILES.values()):
        make_checkpoint(folder / name, name)
    return {name: find_checkpoint(folder / name) for name in FILES.values()}


@pytest.fixture(scope="module")
def embeddings(checkpoints: dict[str, Checkpoint]) -> Embeddings:
    return encode_prompts(checkpoints["tiny"], prompts_of([JOB]), device="cpu")


def clip_of(job: Job) -> np.ndarray | None:
    if job.mechanism == "none":
        return None
    return np.random.default_rng(0).integers(0, 255, (job.num_frames, job.height, job.width, 3)).astype(np.uint8)


class Seen:
    """Takes the state at every step that is offered, and ends the attempt at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.states: dict[int, bytes] = {}

    def __call__(self, step: int, num_steps: int, save: Any) -> None:
        self.states[step] = save()
        if step == self.stop_at:
            raise Stopped(15)


def frames_of(generator: Generator, job: Job, state: bytes | None = None, seen: Seen | None = None) -> np.ndarray:
    made = generator.generate(job, clip_of(job), control="as-is", state=state, on_step=seen or Seen())
    return made.frames


def latents_of(generator: Generator, job: Job) -> torch.Tensor:
    """After the last step."""
    seen = Seen()
    frames_of(generator, job, seen=seen)
    from safetensors.torch import load

    return load(seen.states[job.num_inference_steps])["latents"]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one.float() - other.float()).norm() / other.float().norm()).item()


@pytest.mark.parametrize("mechanism", FILES)
def test_fused_makes_the_video_of_plain_but_for_rounding_and_leaves_plain_alone(
    checkpoints: dict[str, Checkpoint], embeddings: Embeddings, mechanism: Mechanism
) -> None:
    job = dataclasses.replace(JOB, mechanism=mechanism, denoising_strength=0.75 if mechanism == "v2v" else 1.0)
    found = checkpoints[FILES[mechanism]]
    plain = Generator.load(found, embeddings, device="cpu", preset="plain")
    before, frames = latents_of(plain, job), frames_of(plain, job)
    fused = Generator.load(found, embeddings, device="cpu", preset="fused")
    assert fused.kernels == {"attention": "sdpa", "compiled": False}
    assert plain.kernels == {}
    assert any(isinstance(module, KernelAttention) for module in fused.pipe.dit.modules())
    assert 0 < distance(latents_of(fused, job), before) < 1e-4
    difference = np.abs(frames_of(fused, job).astype(int) - frames)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    # The same process, after the other preset has begun to speed DiffSynth up.
    assert torch.equal(latents_of(plain, job), before)


@given(st.integers(1, 1000))
def test_the_first_and_the_last_steps_are_computed_and_never_more_than_three_in_a_row_are_not(num_steps: int) -> None:
    computed = computed_steps(num_steps)
    assert len(computed) == num_steps
    assert all(computed[:5]) and all(computed[-3:])
    assert all(any(computed[step : step + 4]) for step in range(num_steps))
    assert sum(computed) >= num_steps / 4


def test_the_share_of_computed_steps_is_as_the_documentation_says() -> None:
    assert {steps: sum(computed_steps(steps)) for steps in (4, 8, 20, 30, 40, 50, 100)} == {
        4: 4,
        8: 8,
        20: 11,
        30: 13,
        40: 16,
        50: 18,
        100: 31,
    }
    page = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^\| computed \|(.+)\|$", page, re.MULTILINE)
    [steps] = re.findall(r"^\| steps \|(.+)\|$", page, re.MULTILINE)
    for number, told in zip(steps.split("|"), row.split("|"), strict=True):
        assert sum(computed_steps(int(number))) == int(told)


@pytest.fixture(scope="module")
def stepping(checkpoints: dict[str, Checkpoint], embeddings: Embeddings) -> list[Generator]:
    """Two generators that cache steps, in float32."""

    def make() -> Generator:
        found = checkpoints["tiny"]
        pipe = load_pipeline([found.dit, (found.vae,)], None, device="cpu", offload=Offload())
        install_step_cache(pipe)
        return Generator(pipe, embeddings, device="cpu", tiled=False)

    return [make(), make()]


def test_a_video_with_reused_steps_goes_on_to_the_same_bytes_from_every_state_that_is_offered(
    stepping: list[Generator],
) -> None:
    first, second = stepping
    seen = Seen()
    unbroken = frames_of(first, LONG, seen=seen)
    computed = computed_steps(13)
    assert computed.count(False) == 4
    offered = [step for step in range(14) if step == 13 or computed[step]]
    assert list(seen.states) == offered == [0, 1, 2, 3, 4, 8, 10, 11, 12, 13]
    for step in offered[1:]:
        after = second.generate(LONG, clip_of(LONG), control="as-is", state=seen.states[step], on_step=(rest := Seen()))
        np.testing.assert_array_equal(after.frames, unbroken)
        assert list(rest.states) == offered[offered.index(step) :]
        assert after.measured["num_forwards"] == 2 * sum(computed[step:])
    # Interrupted twice; and the generator that was interrupted starts over.
    with pytest.raises(Stopped):
        frames_of(first, LONG, seen=(one := Seen(stop_at=4)))
    with pytest.raises(Stopped):
        frames_of(second, LONG, one.states[4], (two := Seen(stop_at=10)))
    np.testing.assert_array_equal(frames_of(first, LONG, two.states[10]), unbroken)
    np.testing.assert_array_equal(frames_of(second, LONG), unbroken)


def test_only_computed_steps_run_the_blocks_and_reusing_changes_the_video(
    stepping: list[Generator], checkpoints: dict[str, Checkpoint], embeddings: Embeddings
) -> None:
    generator, calls = stepping[0], []
    hook = generator.pipe.dit.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    result = generator.generate(LONG, clip_of(LONG), control="as-is", on_step=Seen())
    hook.remove()
    assert result.measured["num_forwards"] == len(calls) == 2 * 9
    plain = Generator.load(checkpoints["tiny"], embeddings, device="cpu", tiled=False)
    assert not np.array_equal(result.frames, frames_of(plain, LONG))
    # So few steps are all computed: nothing changes.
    few = dataclasses.replace(LONG, num_inference_steps=4)
    np.testing.assert_array_equal(frames_of(generator, few), frames_of(plain, few))


def test_reused_steps_hold_no_memory_after_the_loop(stepping: list[Generator]) -> None:
    kept = []
    cache = step_cache_of(stepping[0].pipe)
    assert cache is not None
    process = cache.process
    cache.process = lambda *args, **inputs: kept.append(process(*args, **inputs)) or kept[-1]  # type: ignore[method-assign]
    frames_of(stepping[0], LONG)
    del cache.process
    assert [vars(each["tea_cache"]) for each in kept] == 2 * [{"_cache": cache, "_before": None, "_residual": None}]


def test_every_mechanism_goes_with_reused_steps_in_float8(
    checkpoints: dict[str, Checkpoint], embeddings: Embeddings
) -> None:
    for mechanism in ("vace", "fun_control"):
        job = dataclasses.replace(LONG, mechanism=mechanism, denoising_strength=1.0)
        found = checkpoints[FILES[mechanism]]
        generator = Generator.load(found, embeddings, device="cpu", preset="fast", tiled=False)
        result = generator.generate(job, clip_of(job), control="as-is", on_step=Seen())
        assert result.measured["num_forwards"] == 18
        assert result.frames.std() > 1


@given(st.integers(0, 2**31), st.sampled_from([(3, 96, 192), (1, 16, 16), (40, 128, 96)]))
def test_a_float8_linear_is_within_its_bound_of_the_exact_one(seed: int, sizes: tuple[int, int, int]) -> None:
    """Each factor is off by at most 1/16 of itself (3 bits), or by 2^-10/448 of its row's largest where it is small."""
    num_rows, width_in, width_out = sizes
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(width_in, width_out).requires_grad_(False)
    linear.weight.normal_(0, 0.1, generator=generator)
    linear.bias.normal_(0, 0.1, generator=generator)
    x = torch.randn(2, num_rows, width_in, generator=generator) * 10
    eight, exact = Float8Linear(linear), linear(x)
    found = eight(x)
    assert (found.dtype, found.shape) == (x.dtype, exact.shape)
    products = x.abs() @ linear.weight.abs().T
    slack = 2**-9 * width_in * x.abs().amax() * linear.weight.abs().amax() / 448
    assert ((found - exact).abs() <= (2 / 16 + 1 / 256) * products + slack + 1e-6).all()
    assert distance(found, exact) < 0.06


def test_rows_keep_their_largest_value_and_zeros() -> None:
    x = torch.tensor([[1.0, -3.0, 0.0], [0.0, 0.0, 0.0], [1e-3, 2e4, 5.0]])
    scaled, scale = rows_to_fp8(x)
    back = scaled.float() * scale
    assert back[:, 1].tolist() == pytest.approx([-3.0, 0.0, 2e4])
    assert back[0, 2] == 0
    assert scale.shape == (3, 1)


@pytest.mark.parametrize("name", ["tiny", "tiny-vace"])
def test_float8_weights_are_the_same_by_way_of_a_skeleton_on_the_meta_device(
    checkpoints: dict[str, Checkpoint], embeddings: Embeddings, name: str
) -> None:
    found = checkpoints[name]

    def load() -> Any:
        return load_pipeline([found.dit, (found.vae,)], None, device="cpu", offload=Offload())

    holder, borrower = load(), load()
    prepare_weights(holder, "fp8")
    shared = {part: getattr(holder, part).state_dict() for part in ("dit", "vace") if getattr(holder, part) is not None}
    assert {tensor.dtype for tensor in shared["dit"].values()} == {torch.float32, torch.float8_e4m3fn}
    for part in shared:
        getattr(borrower, part).to("meta")
    prepare_weights(borrower, "fp8")
    for part, tensors in shared.items():
        model = getattr(borrower, part)
        assert {name: (each.shape, each.dtype) for name, each in model.state_dict().items()} == {
            name: (each.shape, each.dtype) for name, each in tensors.items()
        }
        model.load_state_dict(tensors, assign=True, strict=True)
        assert all(model.state_dict()[key].data_ptr() == each.data_ptr() for key, each in tensors.items())
        num_linear = sum(isinstance(each, nn.Linear) for each in model.modules())
        assert num_linear == {"dit": 6, "vace": 0}[part]  # those of embeddings and head stay as they are
    videos = []
    for pipe in (holder, borrower):
        speed_up(pipe, "fp8", "auto", "cpu")
        videos.append(frames_of(Generator(pipe, embeddings, device="cpu", tiled=False), JOB))
    np.testing.assert_array_equal(*videos)


def test_a_module_is_in_float8_without_ever_having_had_storage() -> None:
    with init_empty_weights():
        linear = nn.Linear(64, 32)
    eight = Float8Linear(linear)
    assert eight.weight.device.type == eight.scale.device.type == "meta"


@pytest.mark.parametrize("preset", ["plain", "fused"])
def test_other_presets_leave_the_weights_alone(checkpoints: dict[str, Checkpoint], preset: Preset) -> None:
    found = checkpoints["tiny"]
    pipe = load_pipeline([found.dit], None, device="cpu", offload=Offload())
    before = pipe.dit.state_dict()
    prepare_weights(pipe, preset)
    assert all(before[key] is each or torch.equal(before[key], each) for key, each in pipe.dit.state_dict().items())


def test_exact_kernels_are_near_diffsynths_attention() -> None:
    q, k, v = (torch.randn(1, length, 96, generator=torch.Generator().manual_seed(length)) for length in (40, 33, 33))
    assert distance(kernel_of("sdpa")(q, k, v, 3), wan_video_dit.flash_attention(q, k, v, 3)) < 1e-6
    assert kernel_of("sdpa") is kernel_of("sdpa")


@pytest.fixture
def flash3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlashAttention 3 needs a GPU: in its place the same product, of what it is handed."""

    def flash_attn_func(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **descales: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        if descales:
            assert {x.dtype for x in (q, k, v)} == {torch.float8_e4m3fn}
        parts = [
            (x.float() * descales[f"{name}_descale"][:, None, :, None] if descales else x).transpose(1, 2)
            for name, x in (("q", q), ("k", k), ("v", v))
        ]
        return torch.nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2), None

    monkeypatch.setattr(kernels, "flash_attention_3_function", lambda: flash_attn_func)
    kernel_of.cache_clear()
    yield
    kernel_of.cache_clear()


@pytest.mark.usefixtures("flash3")
def test_float8_attention_keeps_its_distance_small_and_leaves_cross_attention_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v, prompt = (torch.randn(1, length, 96, generator=generator) for length in (64, 64, 64, 9))
    shifted = k + 20 * torch.randn(1, 1, 96, generator=generator)  # as trained keys are, and softmax does not see it
    in_float8 = kernel_of("flash3_fp8")
    assert 1e-3 < distance(in_float8(q, shifted, v, 3), wan_video_dit.flash_attention(q, shifted, v, 3)) < 0.06
    exact = wan_video_dit.flash_attention(q, prompt, prompt, 3)
    assert distance(in_float8(q, prompt, prompt, 3), exact) < 1e-6


@pytest.mark.usefixtures("flash3")
def test_what_all_values_have_in_common_goes_around_float8_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 64, 96, generator=generator) for _ in range(3))
    shifted = v + 20 * torch.randn(1, 1, 96, generator=generator)
    in_float8 = kernel_of("flash3_fp8")
    assert distance(in_float8(q, k, shifted, 3), wan_video_dit.flash_attention(q, k, shifted, 3)) < 2e-3


def test_the_mean_of_many_values_in_bfloat16_stays_what_it_is_by_way_of_float8() -> None:
    v = torch.randn(1, 20_000, 96, generator=torch.Generator().manual_seed(0)).bfloat16()
    parts, common = kernels.in_float8(v, v, v, 3)
    small, scale = parts[2]
    found = (small.float() * scale[:, None, :, None]).flatten(-2).mean(1) + common[:, 0]
    assert distance(found, v.float().mean(1)) < 0.05


def test_gelu_by_the_logistic_function_is_its_tanh_form() -> None:
    feed_forward = nn.Sequential(nn.GELU(approximate="tanh"), nn.GELU())
    x = torch.linspace(-12, 12, 10_000)
    by_tanh, exact = (gelu(x) for gelu in feed_forward)
    use_logistic_gelu(feed_forward)
    by_logistic, kept = feed_forward
    assert isinstance(by_logistic, LogisticGelu)
    torch.testing.assert_close(by_logistic(x), by_tanh, rtol=1e-5, atol=1e-6)
    assert torch.equal(kept(x), exact)
    assert by_logistic(x.bfloat16()).dtype == torch.bfloat16


def installed(*names: Attention) -> Any:
    return lambda attention: attention in names


@pytest.mark.parametrize(
    ("capability", "there", "best"),
    [
        (HOPPER, ("flash3", "flash3_fp8", "flash4", "sage"), "flash3"),
        (HOPPER, ("flash4", "sage"), "flash4"),
        (HOPPER, ("sage",), "sdpa"),
        (BLACKWELL, ("flash3", "flash4"), "flash4"),
        (BLACKWELL, ("flash3",), "sdpa"),
        (AMPERE, ("flash3", "flash4", "sage"), "sdpa"),
        (None, ("flash3", "flash4", "sage"), "sdpa"),
    ],
)
def test_the_fastest_exact_kernel_that_fits_is_found_and_never_one_in_few_bits(
    capability: Capability | None, there: tuple[Attention, ...], best: Attention
) -> None:
    assert best_attention(capability, installed(*there)) == best


@pytest.mark.parametrize(
    ("preset", "capability", "why"),
    [
        ("fp8", None, "--preset fp8 computes in float8, which takes a GPU of compute capability 8.9 or later (Ada, "
         "Hopper), and there is none here; use --preset fused"),
        ("fast", AMPERE, "--preset fast computes in float8, which takes a GPU of compute capability 8.9 or later (Ada, "
         "Hopper), and this one's is 8.0; use --preset fused, or with SageAttention's int8 --preset fused --attention "
         "sage (pip install sageattention)"),
        ("fp8", ADA, None),
        ("fast", HOPPER, None),
        ("fp8", BLACKWELL, None),
        ("plain", None, None),
        ("fused", (7, 0), None),
    ],
)  # fmt: skip
def test_what_a_gpu_cannot_do_is_refused_in_a_line_that_names_what_it_can(
    preset: Preset, capability: Capability | None, why: str | None
) -> None:
    assert refusal(preset, capability) == why


@pytest.mark.parametrize(
    ("attention", "capability", "why"),
    [
        ("flash3", None, "--attention flash3 needs a GPU, and there is none here; use --attention auto"),
        ("flash3", AMPERE, "--attention flash3 is made for Hopper GPUs, and this one is of compute capability 8.0; use "
         "--attention auto"),
        ("flash3", BLACKWELL, "--attention flash3 is made for Hopper GPUs, and this one is of compute capability 10.0; "
         "use --attention auto"),
        ("flash4", ADA, "--attention flash4 needs a GPU of compute capability 9.0 or later, and this one's is 8.9; use "
         "--attention auto"),
        ("sage", (7, 5), "--attention sage needs a GPU of compute capability 8.0 or later, and this one's is 7.5; use "
         "--attention auto"),
        ("sage", AMPERE, "--attention sage is not installed; pip install sageattention, or use --attention auto"),
        ("flash3_fp8", ADA, "--attention flash3_fp8 is made for Hopper GPUs, and this one is of compute capability "
         "8.9; use --attention auto"),
        ("flash3_fp8", HOPPER, "--attention flash3_fp8 is not installed; pip install fa3-fwd, or use --attention auto"),
        ("flash3", HOPPER, "--attention flash3 is not installed; pip install fa3-fwd, or use --attention auto"),
        ("flash4", HOPPER, "--attention flash4 is not installed; pip install flash-attn-4, or use --attention auto"),
        ("cudnn", AMPERE, None),
        ("sdpa", None, None),
        ("auto", None, None),
    ],
)  # fmt: skip
def test_an_attention_kernel_that_cannot_run_is_refused_in_a_line(
    attention: Attention, capability: Capability | None, why: str | None
) -> None:
    assert attention_refusal(attention, capability, installed()) == why


def test_a_kernel_is_found_by_its_module_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert [module_of(name) for name in ("flash3", "flash4", "sage")] == [None, None, None]
    for module in ("fa3_fwd_interface.py", "flash_attn/__init__.py", "flash_attn/cute/__init__.py", "sageattention.py"):
        (tmp_path / module).parent.mkdir(exist_ok=True)
        if module == "flash_attn/cute/__init__.py":  # an older flash_attn has no such part
            assert module_of("flash4") is None
        (tmp_path / module).write_text("raise ImportError('it is looked for only')")
        invalidate_caches()
    found = [module_of(name) for name in ("flash3", "flash4", "sage")]
    assert found == ["fa3_fwd_interface", "flash_attn.cute", "sageattention"]


@pytest.mark.parametrize(
    ("flags", "environ", "why"),
    [
        (["--preset", "quick"], {}, "argument --preset: 'quick' is not one of plain, fused, fp8, fast"),
        ([], {"WAN_PRESET": "FP8"}, "WAN_PRESET in the environment: 'FP8' is not one of plain, fused, fp8, fast"),
        (["--attention", "fastest"], {}, "argument --attention: invalid choice: 'fastest'"),
        (
            ["--preset", "plain", "--attention", "sdpa"],
            {},
            "settings: --attention sdpa does not go with --preset plain",
        ),
        (["--preset", "fp8", "--cpu-offload"], {}, "settings: --preset fp8 keeps its weights on the GPU"),
        (
            ["--preset", "fast", "--vram-limit", "20"],
            {},
            "leave out --cpu-offload and --vram-limit, or use --preset fu",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_a_line(
    flags: list[str], environ: dict[str, str], why: str
) -> None:
    with pytest.raises(UnusableError, match=re.escape(why)) as caught:
        parse(flags, environ)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "environ", "told"),
    [
        ([], {}, "fused"),
        (["--preset", "plain"], {"WAN_PRESET": "fp8"}, "plain"),
        ([], {"WAN_PRESET": "fast"}, "fast"),
        (["--attention", "sage"], {}, "fused+sage"),
        (["--preset", "fp8", "--attention", "sage"], {}, "fp8+sage"),
        (["--preset", "fast", "--attention", "flash3_fp8"], {}, "fast+flash3_fp8"),
        (["--attention", "flash4"], {}, "fused"),  # an exact kernel stands in the record
        (["--preset", "fused", "--cpu-offload"], {}, "fused"),
    ],
)
def test_the_preset_is_a_condition_of_the_pixels(flags: list[str], environ: dict[str, str], told: str) -> None:
    assert parse(flags, environ).conditions("model").preset == told


def test_a_run_is_refused_before_it_begins_if_a_gpu_of_the_machine_cannot_do_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Capability | None] = {"cuda:0": HOPPER, "cuda:1": AMPERE, "cuda:2": None}
    monkeypatch.setattr(preflight, "compute_capability", lambda device, environ: asked.get(device))
    with pytest.raises(MachineError, match=r"^cuda:1: --preset fp8 computes in float8, .* this one's is 8\.0; use"):
        preflight.refuse_preset(parse(["--preset", "fp8"], {}), 3)
    with pytest.raises(MachineError, match=r"^cuda:0: --attention sage is not installed"):
        preflight.refuse_preset(parse(["--attention", "sage"], {}), 3)
    preflight.refuse_preset(parse(["--preset", "fp8"], {}), 1)
    asked["cuda:1"] = None  # not known: the worker will tell
    preflight.refuse_preset(parse(["--preset", "fp8"], {}), 3)
    preflight.refuse_preset(parse([], {}), 0)
    with pytest.raises(MachineError, match=r"^cpu: --preset fast computes in float8, .* there is none here"):
        preflight.refuse_preset(parse(["--preset", "fast"], {}), 0)


def test_a_worker_refuses_what_nobody_knew_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: AMPERE)
    with pytest.raises(MachineError, match=r"^cuda:3: --preset fp8 .* this one's is 8\.0; use --preset fused"):
        check_device("fp8", "auto", "cuda:3")
    check_device("fused", "auto", "cuda:3")
    check_device("plain", "auto", "cpu")


def test_the_command_says_it_in_one_line_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"category": "a", "reference": "r", "prompt": "p", "prompt_index": 0, "seed": 1, "mechanism": "none"}\n'
    )
    (tmp_path / "r").touch()
    command = [sys.executable, str(ROOT / "generate.py"), "--manifest", str(tmp_path / "a.jsonl"), "--model", "tiny"]
    command += ["--model-dir", str(tmp_path / "tiny"), "--output", str(tmp_path / "out"), "--preset", "fast"]
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cpu: --preset fast computes in float8, which takes a GPU")


def test_every_preset_is_told_in_the_help() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "generate.py"), "--help"], capture_output=True, text=True, check=True
    )
    text = " ".join(done.stdout.split())
    assert all(f"{preset}: {meaning}" in text for preset, meaning in MEANINGS.items())


def test_compile_caches_are_kept_in_the_users_folder_unless_the_user_has_set_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    variables = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    for variable in variables:
        monkeypatch.setenv(variable, "gone after this test")
        monkeypatch.delenv(variable)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    keep_compile_caches()
    assert not any(variable in os.environ for variable in variables)
    assert "what is compiled is not kept in /dev/null/.cache/wan_ddp/inductor: Not a directory" in caplog.text
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    keep_compile_caches()
    assert os.environ["TRITON_CACHE_DIR"] == "/elsewhere"
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder == tmp_path / ".cache" / "wan_ddp" / "inductor"
    assert list(folder.iterdir()) == []


def test_blocks_are_compiled_on_a_gpu_unless_their_weights_are_offloaded(
    checkpoints: dict[str, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU here: whether it is asked for."""
    monkeypatch.setattr(wan_presets, "capability_of", lambda device: AMPERE)
    monkeypatch.setattr(wan_presets, "use_real_rope", lambda dit, device: None)
    monkeypatch.setattr(wan_presets, "keep_compile_caches", lambda: None)
    for limit in ("cache_size_limit", "accumulated_cache_size_limit"):
        monkeypatch.setattr(torch._dynamo.config, limit, getattr(torch._dynamo.config, limit))
    compiled: list[bool] = []
    found = checkpoints["tiny"]
    for is_offloaded in (False, True):
        pipe = load_pipeline([found.dit], None, device="cpu", offload=Offload())
        pipe.vram_management_enabled = is_offloaded
        pipe.compile_pipeline = lambda *, dynamic: compiled.append(dynamic)
        assert speed_up(pipe, "fused", "auto", "cuda:0") == {"attention": "sdpa", "compiled": not is_offloaded}
        assert compiled == ([] if is_offloaded else [False])
        gelus = {type(each) for each in pipe.dit.blocks.modules() if isinstance(each, nn.GELU | LogisticGelu)}
        assert gelus == {nn.GELU if is_offloaded else LogisticGelu}
        compiled.clear()


def test_blocks_compile_without_a_break_and_once_for_all_of_a_size(checkpoints: dict[str, Checkpoint]) -> None:
    """By dynamo alone, whose part it is; what follows on a GPU takes a minute of a compiler here."""
    pipe = load_pipeline([checkpoints["tiny"].dit], None, device="cpu", offload=Offload())
    prepare_weights(pipe, "fp8")
    speed_up(pipe, "fp8", "sdpa", "cpu")
    traced: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: object) -> Any:
        traced.append(graph)
        return graph.forward

    x = {"x": torch.randn(1, 12, pipe.dit.dim), "context": torch.randn(1, 7, pipe.dit.dim)}
    modulation = torch.randn(1, 6, pipe.dit.dim)
    frequencies = torch.cat([each[:12] for each in pipe.dit.freqs], dim=-1)[:, None]
    use_logistic_gelu(pipe.dit.blocks)
    with torch.no_grad():
        exact = [block(**x, t_mod=modulation, freqs=frequencies) for block in pipe.dit.blocks]
        for block in pipe.dit.blocks:
            block.compile(backend=count, dynamic=False, fullgraph=True)
        compiled = [block(**x, t_mod=modulation, freqs=frequencies) for block in pipe.dit.blocks]
    assert len(pipe.dit.blocks) > 1
    assert len(traced) == 1
    assert all(map(torch.equal, exact, compiled))
    torch.compiler.reset()
