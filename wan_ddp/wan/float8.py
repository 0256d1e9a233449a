"""Float8, on Ada, Hopper and later: linear layers of half the memory and twice the speed, and what attention takes.

Weights are scaled a row, inputs a token and attention's a head, each to the whole range of e4m3
(https://arxiv.org/abs/2209.05433).
"""

import torch
from torch import nn

FP8, FP8_MAX = torch.float8_e4m3fn, 448.0


class Float8Linear(nn.Module):
    """(out, in) float8 weights with a float32 scale a row; the inputs are scaled a token at every call.

    Plain tensors, no subclass, so that processes can share them as they are.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scaled, scale = rows_to_fp8(linear.weight.detach())
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.bias: torch.Tensor | None
        self.register_buffer("weight", scaled)
        self.register_buffer("scale", scale.T.contiguous())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled, scale = rows_to_fp8(x.reshape(-1, x.shape[-1]))
        return self.product(scaled, scale, self.scale, x.dtype).reshape(*x.shape[:-1], -1)

    def product(
        self, x: torch.Tensor, scale: torch.Tensor, own_scale: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """The product of what is in float8 already; `dtype` is that of the result and the bias."""
        return torch._scaled_mm(
            x, self.weight.T, scale, own_scale, bias=self.bias, out_dtype=dtype, use_fast_accum=True
        )


def rows_to_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) in float8, and what each row of it is to be multiplied by, (rows, 1) float32."""
    scale = _scale_of(x.abs().amax(dim=1, keepdim=True))
    return (x.float() * (1 / scale)).to(FP8), scale


def heads_to_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, tokens, heads, width) in float8, and what each head of it is to be multiplied by, (batch, heads)."""
    scale = _scale_of(x.abs().amax(dim=(1, 3)))
    return (x.float() * (1 / scale)[:, None, :, None]).to(FP8), scale


def _scale_of(largest: torch.Tensor) -> torch.Tensor:
    """Divided by it the largest value is 448, give or take a float32 rounding, which float8 rounds to 448 too."""
    return (largest.float() / FP8_MAX).clamp(min=1e-12)


def to_float8(module: nn.Module) -> None:
    """Replace every linear layer inside, one after another, each of which lets its old weights go."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Float8Linear(child))
        else:
            to_float8(child)
