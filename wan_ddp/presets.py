"""Presets: how the DiT is computed, from DiffSynth as it comes to fewer and cheaper forwards; what each asks of a GPU.

A preset changes pixels, so it is part of a video's fingerprint; the attention kernel that it found is not, and stands
in the record. How they work is in `wan.presets`; what they cost, in docs/presets.md.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Preset = Literal["plain", "fused", "fp8", "fast"]
Attention = Literal["auto", "flash3", "flash4", "cudnn", "sdpa", "flash3_fp8", "sage"]
Capability = tuple[int, int]
"""A GPU's compute capability, such as (9, 0): https://developer.nvidia.com/cuda-gpus."""

MEANINGS: Mapping[Preset, str] = {
    "plain": "DiffSynth as it comes, bit for bit",
    "fused": "the same mathematics in better kernels, equal but for rounding",
    "fp8": "fused, with the linear layers of the DiT's blocks in float8",
    "fast": "fp8, and 18 of 50 steps computed, the others made of the last computed one",
}
_IN_FLOAT8: frozenset[Preset] = frozenset({"fp8", "fast"})
_OLDEST_WITH_FLOAT8: Capability = (8, 9)
_INEXACT: frozenset[Attention] = frozenset({"flash3_fp8", "sage"})
_FLASH3 = ("fa3_fwd_interface", "flash_attn_interface"), "fa3-fwd"
# The modules of each attention kernel's package, any of which will do, and what to install.
_PACKAGES: Mapping[Attention, tuple[tuple[str, ...], str]] = {
    "flash3": _FLASH3,
    "flash3_fp8": _FLASH3,
    "flash4": (("flash_attn.cute",), "flash-attn-4"),
    "sage": (("sageattention",), "sageattention"),
}
_HOPPER = 9
_NUM_FIRST, _NUM_LAST, _EVERY = 5, 3, 4


def described(preset: Preset, attention: Attention) -> str:
    """What the fingerprint says: attention in few bits changes pixels by much more than one exact kernel or another."""
    return f"{preset}+{attention}" if attention in _INEXACT else preset


def computed_steps(num_steps: int, every: int = _EVERY) -> tuple[bool, ...]:
    """Which steps `fast` computes: the first five, the last three, and every fourth between; 18 of 50.

    A fixed schedule, so that the cost is known before and a resumed video goes on with the same steps. The first steps
    lay out the video and the last ones its detail; what a step adds changes least between.
    """
    last = num_steps - _NUM_LAST
    return tuple(
        step < _NUM_FIRST or step >= last or (step - _NUM_FIRST) % every == every - 1 for step in range(num_steps)
    )


def can_offload(preset: Preset) -> bool:
    """Whether the weights may wait in the CPU's memory: DiffSynth moves layers of its own kinds alone."""
    return preset not in _IN_FLOAT8


def refusal(preset: Preset, compute_capability: Capability | None) -> str | None:
    """Why a GPU (None: the CPU) cannot do the preset, and what to do, in a line; None if it can."""
    if preset not in _IN_FLOAT8:
        return None
    needs = f"--preset {preset} computes in float8, which takes a GPU of compute capability 8.9 or later (Ada, Hopper)"
    if compute_capability is None:
        return f"{needs}, and there is none here; use --preset fused"
    if compute_capability < _OLDEST_WITH_FLOAT8:
        return (
            f"{needs}, and this one's is {_dotted(compute_capability)}; use --preset fused, or with SageAttention's "
            "int8 --preset fused --attention sage (pip install sageattention)"
        )
    return None


def attention_refusal(
    attention: Attention, compute_capability: Capability | None, is_installed: Callable[[Attention], bool]
) -> str | None:
    """The same for an attention kernel that was asked for."""
    asked = f"--attention {attention}"
    if attention in ("auto", "sdpa"):
        return None
    if compute_capability is None:
        return f"{asked} needs a GPU, and there is none here; use --attention auto"
    if attention in ("flash3", "flash3_fp8") and compute_capability[0] != _HOPPER:
        found = _dotted(compute_capability)
        return f"{asked} is made for Hopper GPUs, and this one is of compute capability {found}; use --attention auto"
    oldest = (_HOPPER, 0) if attention == "flash4" else (8, 0)
    if compute_capability < oldest:
        return (
            f"{asked} needs a GPU of compute capability {_dotted(oldest)} or later, and this one's is "
            f"{_dotted(compute_capability)}; use --attention auto"
        )
    if attention in _PACKAGES and not is_installed(attention):
        return f"{asked} is not installed; pip install {_PACKAGES[attention][1]}, or use --attention auto"
    return None


def best_attention(compute_capability: Capability | None, is_installed: Callable[[Attention], bool]) -> Attention:
    """The fastest exact kernel: FlashAttention 3, FlashAttention 4, or what torch itself chooses, cuDNN's included."""
    exact: tuple[Attention, ...] = ("flash3", "flash4")
    for attention in exact:
        if is_installed(attention) and attention_refusal(attention, compute_capability, is_installed) is None:
            return attention
    return "sdpa"


def module_of(attention: Attention) -> str | None:
    """The name of an installed module that has the kernel; found without importing any of it."""
    names, _ = _PACKAGES[attention]
    return next((name for name in names if _is_there(name)), None)


def is_installed(attention: Attention) -> bool:
    return module_of(attention) is not None


def _is_there(name: str) -> bool:
    """Whether there is a module. `find_spec` of one in a package would import the package."""
    package, _, inner = name.partition(".")
    spec = find_spec(package)
    if spec is None or not inner:
        return spec is not None
    folders = spec.submodule_search_locations or ()
    return any(Path(folder, inner, "__init__.py").exists() for folder in folders)


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))
