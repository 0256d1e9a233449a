"""The DiT's attention, rotary embedding and GELU in other forms than DiffSynth's.

The mathematics is the same; two attentions, which a run has to ask for, round to fewer bits.

Attention takes and gives what DiffSynth's `flash_attention` does: (batch, tokens, heads * width), and how many heads.
"""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from diffsynth.models import wan_video_dit
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from wan_ddp.presets import Attention, module_of
from wan_ddp.wan.float8 import heads_to_fp8

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]
Scaled = tuple[torch.Tensor, torch.Tensor]
"""A tensor in float8, and its scale."""


class KernelAttention(nn.Module):
    """In the place of DiffSynth's `AttentionModule`, which holds no weights either."""

    def __init__(self, num_heads: int, kernel: Kernel) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel = kernel

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.kernel(q, k, v, self.num_heads)


def use_kernel(model: nn.Module, kernel: Kernel) -> None:
    """Have every attention of the model, a DiT or the VACE beside it, computed by the kernel."""
    kinds = (wan_video_dit.AttentionModule, KernelAttention)
    replace_modules(model, kinds, lambda attention: KernelAttention(attention.num_heads, kernel))


def replace_modules(model: nn.Module, kinds: tuple[type[nn.Module], ...], made_of: Callable[[Any], nn.Module]) -> None:
    """Put what is made of it in the place of each module of these kinds, at any depth."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, kinds):
                setattr(module, name, made_of(child))


def use_real_rope(dit: Any, device: str) -> None:
    """Have the DiT turn queries and keys in real float32, which compiles; complex128, as it comes, does not.

    https://arxiv.org/abs/2104.09864. A VACE beside it is handed the DiT's frequencies.
    """
    wan_video_dit.rope_apply = rope_apply
    dit.freqs = tuple(real_frequencies(each, device) for each in dit.freqs)


def real_frequencies(frequencies: torch.Tensor, device: str) -> torch.Tensor:
    """(positions, n) complex to (positions, 4n) float32: of each angle cosine, cosine, minus sine, sine."""
    if not frequencies.is_complex():
        return frequencies.to(device)
    cos, sin = frequencies.real, frequencies.imag
    return torch.stack((cos, cos, -sin, sin), dim=-1).flatten(-2).float().to(device)


_diffsynths_rope_apply = wan_video_dit.rope_apply


def rope_apply(x: torch.Tensor, frequencies: torch.Tensor, num_heads: int) -> torch.Tensor:
    """DiffSynth's own for a DiT that has its own frequencies: with the preset plain, in the same process say."""
    if frequencies.is_complex():
        turned: torch.Tensor = _diffsynths_rope_apply(x, frequencies, num_heads)
        return turned
    return real_rope_apply(x, frequencies, num_heads)


def real_rope_apply(x: torch.Tensor, frequencies: torch.Tensor, num_heads: int) -> torch.Tensor:
    """`frequencies`: (tokens, 1, 2 * width), as `real_frequencies` has them.

    Each of a pair is made of both, and not both at once and joined: so a compiled kernel reads half as often.
    """
    pairs = torch.unflatten(x, -1, (num_heads, -1, 2)).float()
    cos, sin = torch.unflatten(frequencies, -1, (-1, 2, 2)).unbind(-2)
    return (pairs * cos + pairs.flip(-1) * sin).flatten(-3).to(x.dtype)


class LogisticGelu(nn.Module):
    """GELU's tanh form (https://arxiv.org/abs/1606.08415) by the logistic function: tanh but for scale and shift.

    To be compiled: it takes two thirds of the time there, and more memory than `nn.GELU` where it is not.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        cubic = wide + 0.044715 * wide * wide * wide
        return (wide * torch.sigmoid(2 * math.sqrt(2 / math.pi) * cubic)).to(x.dtype)


def use_logistic_gelu(model: nn.Module) -> None:
    replace_modules(model, (nn.GELU,), lambda gelu: LogisticGelu() if gelu.approximate == "tanh" else gelu)


def in_heads(x: torch.Tensor, num_heads: int) -> torch.Tensor:
    return torch.unflatten(x, -1, (num_heads, -1))


def only(result: Any) -> torch.Tensor:
    """The output alone: some versions give the log of the softmax' sums as well."""
    output: torch.Tensor = result[0] if isinstance(result, tuple) else result
    return output


def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
    """torch's, which chooses a backend by itself."""
    q, k, v = (in_heads(x, num_heads).transpose(1, 2) for x in (q, k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def cudnn(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return sdpa(q, k, v, num_heads)


@cache  # one function object for all blocks: they share what is compiled
def kernel_of(attention: Attention) -> Kernel:
    """The kernel of that name, which must be installed. `auto` is no kernel."""
    if attention == "flash3":
        return _flash_attention_3()
    if attention == "flash3_fp8":
        return _flash_attention_3_in_float8()
    if attention == "flash4":
        return _flash_attention_4()
    if attention == "sage":
        return _sage_attention()
    return {"sdpa": sdpa, "cudnn": cudnn}[attention]


def flash_attention_3_function() -> Any | None:
    """`flash_attn_func` of FlashAttention 3 (https://arxiv.org/abs/2407.08608); None where it is not installed."""
    name = module_of("flash3")
    return import_module(name).flash_attn_func if name else None


def _flash_attention_3() -> Kernel:
    function = flash_attention_3_function()
    assert function is not None, "checked before"

    def flash_attention_3(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
        return only(function(*(in_heads(x, num_heads) for x in (q, k, v)))).flatten(-2)

    return flash_attention_3


def _flash_attention_3_in_float8() -> Kernel:
    """Self-attention in float8. Cross-attention, told by its length, is too short to gain and stays exact."""
    exact, function = kernel_of("flash3"), flash_attention_3_function()
    assert function is not None, "checked before"

    def flash_attention_3_in_float8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
        if q.shape != k.shape:
            return exact(q, k, v, num_heads)
        parts, mean = in_float8(q, k, v, num_heads)
        return attend(function, parts).to(q.dtype) + mean

    return flash_attention_3_in_float8


def attend(flash_attention_3: Any, parts: list[Scaled]) -> torch.Tensor:
    """(batch, tokens, heads * width) of queries, keys and values in float8."""
    scales = dict(zip(("q_descale", "k_descale", "v_descale"), (scale for _, scale in parts), strict=True))
    return only(flash_attention_3(*(x for x, _ in parts), **scales)).flatten(-2)


def in_float8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> tuple[list[Scaled], torch.Tensor]:
    """Queries, keys and values with their scales, see `heads_to_fp8`, and what is to be added to attention's result.

    Keys and values are those about their mean over the tokens. That of the keys adds the same to all of a query's
    logits, which the softmax does not see, and without it more of few bits is left to what tells the tokens apart
    (https://arxiv.org/abs/2410.02367, section 4.2). That of the values is in any mean of values as it is, so it can be
    added later; in a sum over 32,760 tokens part of it would be lost, because Hopper's float8 products are summed in 14
    bits (https://arxiv.org/abs/2411.10958). In bfloat16 the difference would round all values alike, and shift the sum.
    """
    mean = v.mean(dim=1, keepdim=True)
    parts = (q, k - k.mean(dim=1, keepdim=True), v.float() - mean)
    return [heads_to_fp8(in_heads(x, num_heads)) for x in parts], mean


def _flash_attention_4() -> Kernel:
    """https://github.com/Dao-AILab/flash-attention/tree/main/flash_attn/cute; it compiles itself, not through torch."""
    function = import_module("flash_attn.cute").flash_attn_func

    def flash_attention_4(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
        return only(function(*(in_heads(x, num_heads) for x in (q, k, v)))).flatten(-2)

    return _not_compiled(flash_attention_4)


def _sage_attention() -> Kernel:
    """https://arxiv.org/abs/2411.10958: queries and keys in int8."""
    function = import_module("sageattention").sageattn

    def sage_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int) -> torch.Tensor:
        q, k, v = (in_heads(x, num_heads).transpose(1, 2) for x in (q, k, v))
        return only(function(q, k, v)).transpose(1, 2).flatten(-2)

    return _not_compiled(sage_attention)


def _not_compiled(kernel: Kernel) -> Kernel:
    """What surrounds it in a block is compiled in two parts."""
    disable: Callable[[Kernel], Kernel] = torch.compiler.disable
    return disable(kernel)
