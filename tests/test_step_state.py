"""Latents travel through bytes unchanged, and what is no state of the video is told apart from one that is."""

import pytest
import torch
from safetensors.torch import save

from wan_ddp.wan.step_state import MisfitError, from_bytes, to_bytes

SHAPE = (1, 16, 2, 4, 6)


def latents(dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_latents_come_back_bit_for_bit_with_their_step(dtype: torch.dtype) -> None:
    step, found = from_bytes(to_bytes(latents(dtype), 3, 50), like=torch.zeros(SHAPE, dtype=dtype), num_steps=50)
    assert step == 3
    assert found.dtype == dtype
    assert torch.equal(found, latents(dtype))


def test_latents_that_lie_in_memory_in_another_order_are_the_same() -> None:
    turned = latents().transpose(3, 4)
    _, found = from_bytes(to_bytes(turned, 1, 2), like=turned, num_steps=2)
    assert torch.equal(found, turned)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (b"", "it does not parse"),
        (b"\xff" * 64, "it does not parse"),
        (to_bytes(latents(), 3, 50)[:-1], "it does not parse"),
        (save({"latents": latents()}), "it does not parse"),
        (save({"latents": latents(), "steps": torch.tensor([3])}), "it does not parse"),
        (save({"latents": latents(), "steps": torch.tensor([[3, 50]])}), "it does not parse"),
        (to_bytes(latents()[:, :, :1], 3, 50), r"its latents are \(1, 16, 1, 4, 6\) torch.bfloat16, and \(1, 16, 2"),
        (to_bytes(latents(torch.float32), 3, 50), "torch.float32, and .* torch.bfloat16 are wanted"),
        (to_bytes(latents(), 3, 40), "it is that after step 3 of 40, and there are 50"),
        (to_bytes(latents(), 51, 50), "it is that after step 51 of 50"),
        (to_bytes(latents(), 0, 50), "it is that after step 0"),
        (to_bytes(latents(), -1, 50), "it is that after step -1"),
        (to_bytes(latents() / 0, 3, 50), "its latents are not finite"),
    ],
)
def test_what_is_no_state_of_this_video_is_refused_with_the_reason(state: bytes, why: str) -> None:
    with pytest.raises(MisfitError, match=why):
        from_bytes(state, like=torch.zeros(SHAPE, dtype=torch.bfloat16), num_steps=50)
