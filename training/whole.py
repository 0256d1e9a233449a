"""DiffSynth's video VAE over all frames of a clip at once, for training: the same function, many times as fast.

DiffSynth's own `encode` and `decode` go through a clip in five pieces and keep the ends of each layer's input, so that
81 frames fit into memory. Every layer is causal, so the pieces together compute exactly what the layers compute over
all frames with zeros before the first one. Three things make that cheap here:

- Values lie as (B, T, H, W, C), so that a norm over channels is one fused kernel.
- A causal 3x3x3 convolution is a 2-D one whose channels are those of a frame and of the two before it, for which GPUs
  have far better kernels than for 3-D ones; over a single frame only the last third of the weights counts.
- The resampling layers in time leave the first frame out and go over the others, as the pieces do.

A test holds it against DiffSynth's.
"""

import torch
from diffsynth.models.wan_video_vae import (
    AttentionBlock,
    CausalConv3d,
    Resample,
    ResidualBlock,
    RMS_norm,
    VideoVAE_,
    WanVideoVAE,
)
from torch import Tensor, nn
from torch.nn import functional


def encode(vae: WanVideoVAE, video: Tensor) -> Tensor:
    """Clips (B, T, H, W, 3) in -1 to 1 as latents (B, 1 + T // 4, H / 8, W / 8, 16), by the VAE's mean and scale."""
    model: VideoVAE_ = vae.model
    x = _conv(video, model.encoder.conv1)
    x = _through(x, [*model.encoder.downsamples, *model.encoder.middle, *model.encoder.head])
    mean, _ = _conv(x, model.conv1).chunk(2, dim=-1)
    latents: Tensor = (mean - vae.mean.to(mean)) / vae.std.to(mean)
    return latents


def decode(vae: WanVideoVAE, latents: Tensor) -> Tensor:
    """The inverse of `encode`."""
    model: VideoVAE_ = vae.model
    x = _conv(latents * vae.std.to(latents) + vae.mean.to(latents), model.conv2)
    x = _conv(x, model.decoder.conv1)
    return _through(x, [*model.decoder.middle, *model.decoder.upsamples, *model.decoder.head])


def _through(x: Tensor, layers: list[nn.Module]) -> Tensor:
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            x = _through(x, list(layer.residual)) + (
                _conv(x, layer.shortcut) if isinstance(layer.shortcut, CausalConv3d) else x
            )
        elif isinstance(layer, CausalConv3d):
            x = _conv(x, layer)
        elif isinstance(layer, RMS_norm):
            x = _norm(x, layer)
        elif isinstance(layer, nn.SiLU):
            x = functional.silu(x)
        elif isinstance(layer, AttentionBlock):
            x = _attention(x, layer)
        elif isinstance(layer, Resample):
            x = _resample(x, layer)
        elif not isinstance(layer, nn.Dropout):
            raise TypeError(f"a VAE with a {type(layer).__name__} is not known here")
    return x


def _norm(x: Tensor, layer: RMS_norm) -> Tensor:
    # Its own epsilon is on the length of the vector; this one keeps the gradient finite where a vector is all but zero.
    return functional.rms_norm(x, x.shape[-1:], layer.gamma.to(x.dtype).flatten(), 1e-8)


def _conv(x: Tensor, layer: CausalConv3d) -> Tensor:
    """A causal convolution over (B, T, H, W, C)."""
    weight, bias = layer.weight.to(x.dtype), layer.bias.to(x.dtype)
    reach, high, wide = weight.shape[2:]
    if high == wide == reach == 1:
        return functional.linear(x, weight[:, :, 0, 0, 0], bias)
    if x.shape[1] == 1:
        return _conv_2d(x, weight[:, :, -1], bias)
    before = functional.pad(x, (0, 0, 0, 0, 0, 0, reach - 1, 0))
    return _windows(before, weight, bias, x.shape[1], 1)


def _windows(x: Tensor, weight: Tensor, bias: Tensor, count: int, stride: int) -> Tensor:
    """Convolve `count` windows in time of (B, T, H, W, C), `stride` frames apart: each window as one frame."""
    reach = weight.shape[2]
    if reach == 1:
        return _conv_2d(x, weight[:, :, 0], bias)
    frames = [x[:, k : k + stride * (count - 1) + 1 : stride] for k in range(reach)]
    kernel = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)  # (out, reach x in, h, w), as the frames lie side by side
    return _conv_2d(torch.cat(frames, dim=-1), kernel, bias)


def _conv_2d(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    batch, num_frames, high, wide, channels = x.shape
    if weight.shape[-1] == weight.shape[-2] == 1:
        return functional.linear(x, weight[:, :, 0, 0], bias)
    # A permuted view: PyTorch calls it channels_last, and gives its output the same.
    flat = x.reshape(batch * num_frames, high, wide, channels).permute(0, 3, 1, 2)
    kernel = weight.contiguous(memory_format=torch.channels_last)
    made = functional.conv2d(flat, kernel, bias, stride, weight.shape[-1] // 2 if padding is None else padding)
    return made.permute(0, 2, 3, 1).reshape(batch, num_frames, made.shape[2], made.shape[3], -1)


def _linear(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A 1x1 convolution of the last dimension."""
    assert layer.bias is not None
    return functional.linear(x, layer.weight[:, :, 0, 0].to(x.dtype), layer.bias.to(x.dtype))


def _attention(x: Tensor, layer: AttentionBlock) -> Tensor:
    batch, num_frames, high, wide, channels = x.shape
    flat = _norm(x, layer.norm).reshape(batch * num_frames, 1, high * wide, channels)
    q, k, v = _linear(flat, layer.to_qkv).chunk(3, -1)
    out = _linear(functional.scaled_dot_product_attention(q, k, v), layer.proj)
    return x + out.reshape(x.shape)


def _resample(x: Tensor, layer: Resample) -> Tensor:
    if layer.mode == "upsample3d" and x.shape[1] > 1:
        x = torch.cat([x[:, :1], _twice_in_time(x[:, 1:], layer.time_conv)], dim=1)
    conv = layer.resample[1]
    weight, bias = conv.weight.to(x.dtype), conv.bias.to(x.dtype)
    if layer.mode.startswith("upsample"):
        batch, num_frames, high, wide, channels = x.shape
        x = x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2, -1)
        return _conv_2d(x.reshape(batch, num_frames, 2 * high, 2 * wide, channels), weight, bias)
    x = _conv_2d(functional.pad(x, (0, 0, 0, 1, 0, 1)), weight, bias, stride=2, padding=0)
    if layer.mode == "downsample3d" and x.shape[1] > 1:
        conv, count = layer.time_conv, (x.shape[1] - 1) // 2
        later = _windows(x, conv.weight.to(x.dtype), conv.bias.to(x.dtype), count, 2)
        x = torch.cat([x[:, :1], later], dim=1)
    return x


def _twice_in_time(x: Tensor, layer: CausalConv3d) -> Tensor:
    """Twice as many frames: the convolution gives each frame's two, one half of its channels each."""
    batch, num_frames, high, wide, channels = x.shape
    made = _conv(x, layer).reshape(batch, num_frames, high, wide, 2, channels)
    return made.permute(0, 1, 4, 2, 3, 5).reshape(batch, 2 * num_frames, high, wide, channels)
