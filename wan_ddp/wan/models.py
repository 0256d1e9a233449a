"""The models that make a video, the DiT and the VAE, as a preset computes with them: loaded, or another process's."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from diffsynth.pipelines.wan_video import WanVideoPipeline

from wan_ddp.presets import Preset
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.gpu import named_gpu_errors
from wan_ddp.wan.loading import Offload, fuse_lora, load_pipeline
from wan_ddp.wan.presets import prepare_weights
from wan_ddp.wan.shared_weights import empty_pipeline, fill, take


def load_models(
    checkpoint: Checkpoint,
    *,
    device: str,
    offload: Offload | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    preset: Preset = "plain",
) -> WanVideoPipeline:
    """The pipeline without its text encoder, on `device`: `cpu` or `cuda:<index>`.

    Each of `loras`, a file and how many times it counts, is added to the DiT's weights.

    Raises:
        OutOfGpuMemoryError, GpuError: see `named_gpu_errors`.
    """
    pipe = load_pipeline(_files(checkpoint), None, device=device, offload=offload or Offload())
    for path, alpha in loras:
        fuse_lora(pipe, path, alpha, device=device)
    with named_gpu_errors(device, f"preparing the preset {preset}"):
        prepare_weights(pipe, preset)
    return pipe


def attach_models(
    checkpoint: Checkpoint, weights: Connection, *, device: str, preset: Preset = "plain"
) -> WanVideoPipeline:
    """The same with the weights of the process at the other end, for as long as that lives.

    Raises:
        GpuError, EOFError, OSError: see `shared_weights.take`.
    """
    tensors = take(weights, device=device)
    pipe = empty_pipeline(_files(checkpoint), device=device)
    prepare_weights(pipe, preset)
    fill(pipe, tensors, device=device)
    return pipe


def _files(checkpoint: Checkpoint) -> list[tuple[Path, ...]]:
    return [checkpoint.dit, (checkpoint.vae,)]
