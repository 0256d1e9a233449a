"""What Hopper's float8 sums cost: attention of 32,760 tokens in float8 beside FlashAttention 3 in bfloat16.

usage: python -m benchmarks.float8_attention

Relative L2 distances to bfloat16, for tokens that attend to all others alike, mostly to themselves, or to a region
whose values have something in common. `rounded`: inputs in float8, exact from there, all that float8 costs by itself;
`as it is`: float8 attention with the values' mean in it; `now`: as a run has it but not compiled, with the mean added
after it. One Hopper GPU with 12 GiB.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.forward import DEVICE, HEADS, TOKENS, WIDTH, distance, say
from wan_ddp.wan.float8 import heads_to_fp8
from wan_ddp.wan.kernels import attend, flash_attention_3_function, in_float8, in_heads, kernel_of

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def cases() -> Iterator[tuple[str, Inputs]]:
    generator = torch.Generator(DEVICE).manual_seed(3)

    def noise(num_tokens: int = TOKENS) -> torch.Tensor:
        return torch.randn(1, num_tokens, HEADS * WIDTH, device=DEVICE, generator=generator)

    q, k, v = noise(), noise(), noise()
    yield "all alike, values of no mean", (q, k, v)
    yield "all alike, values with a mean", (q, k, v + 1)
    yield "each token mostly to itself", (q, q, v)
    for size in (64, 512, 4095, 16380):
        of_region, value = (noise(-(-TOKENS // size)).repeat_interleave(size, 1)[:, :TOKENS] for _ in range(2))
        yield f"regions of {size} tokens", (1.2 * of_region + 0.5 * q, 1.2 * of_region + 0.5 * k, value + 0.5 * v)


def rounded(x: torch.Tensor) -> torch.Tensor:
    small, scale = heads_to_fp8(in_heads(x, HEADS))
    return (small.float() * scale[:, None, :, None]).to(x.dtype).flatten(-2)


def with_values_as_they_are(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Float8 attention, but for the mean of the values, which goes through it."""
    parts = [*in_float8(q, k, v, HEADS)[0][:2], heads_to_fp8(in_heads(v, HEADS))]
    return attend(flash_attention_3_function(), parts)


def main() -> None:
    exact, now = (partial(kernel_of(name), num_heads=HEADS) for name in ("flash3", "flash3_fp8"))
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    say(f"{'':32} {'rounded':>10} {'as it is':>10} {'now':>10}")
    for name, inputs in cases():
        q, k, v = (x.bfloat16() for x in inputs)
        expected = exact(q, k, v)
        found = [exact(*map(rounded, (q, k, v))), with_values_as_they_are(q, k, v), now(q, k, v)]
        say(f"{name:32} " + " ".join(f"{distance(each, expected):10.1e}" for each in found))


if __name__ == "__main__":
    main()
