"""Loading models through DiffSynth's own loader, from local files alone and without its printing."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffsynth.models import wan_video_vae
from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline
from tqdm import tqdm

from wan_ddp.wan.gpu import named_gpu_errors, use_device
from wan_ddp.wan.own_models import register

log = logging.getLogger(__name__)


def dtype_of(device: str) -> torch.dtype:
    """bfloat16, in which Wan's weights are published; float32 on the CPU.

    A processor without bfloat16 instructions convolves 19 to 136 times as slowly in it (benchmarks/RESULTS.md).
    """
    return torch.float32 if device == "cpu" else torch.bfloat16


@dataclass(frozen=True, slots=True)
class Offload:
    """How weights give way on a GPU that is too small for them, as DiffSynth does it.

    `cpu` keeps each model in the CPU's memory while another one works. `vram_limit` (GiB in use on the whole device,
    whoever uses it) does the same layer by layer: layers beyond the limit are copied to the GPU for each forward.
    Neither changes a pixel. On the CPU there is nothing to do.
    https://github.com/modelscope/DiffSynth-Studio/blob/main/docs/en/Pipeline_Usage/VRAM_management.md
    """

    cpu: bool = False
    vram_limit: float | None = None

    def model_options(self, device: str) -> dict[str, Any]:
        """The options for ModelConfig: none at all where everything stays on `device`."""
        if device == "cpu" or not (self.cpu or self.vram_limit is not None):
            return {}
        devices = {
            "offload": "cpu",
            "onload": device if self.vram_limit is None else "cpu",
            "preparing": device,
            "computation": device,
        }
        return {f"{state}_device": where for state, where in devices.items()} | {
            f"{state}_dtype": dtype_of(device) for state in devices
        }


def load_pipeline(
    files: list[tuple[Path, ...]], tokenizer: Path | None, *, device: str, offload: Offload
) -> WanVideoPipeline:
    """DiffSynth's pipeline with the models in `files` (one tuple a model) and no others.

    Local paths alone are given, and DiffSynth's redirection to other repositories is off, so nothing is downloaded.
    DiffSynth reads `.pth` files with `weights_only=True` itself; the pre-flight check has read what they hold.

    Raises:
        OutOfGpuMemoryError, GpuError: the GPU cannot take them.
    """
    register()
    use_device(device)
    options = offload.model_options(device)
    with named_gpu_errors(device, "loading the model"), quiet(), _mapped_pth_files():
        return WanVideoPipeline.from_pretrained(
            torch_dtype=dtype_of(device),
            device=device,
            model_configs=[ModelConfig(path=[str(path) for path in paths], **options) for paths in files],
            tokenizer_config=None if tokenizer is None else ModelConfig(path=str(tokenizer)),
            redirect_common_files=False,
            vram_limit=offload.vram_limit if options else None,
        )


def fuse_lora(pipe: WanVideoPipeline, path: Path, alpha: float, *, device: str) -> None:
    """Add `alpha` times the LoRA in the file to the weights of the pipeline's DiT, through DiffSynth's own loader.

    Where weights are offloaded, DiffSynth would compute it beside them in every forward, which gives other pixels.

    Raises:
        OutOfGpuMemoryError, GpuError: the GPU cannot take it.
    """
    with named_gpu_errors(device, f"adding {path.name}"), quiet(), warnings.catch_warnings(record=True) as warned:
        pipe.load_lora(pipe.dit, str(path), alpha=alpha, hotload=False)
    for warning in warned:
        log.debug("DiffSynth: %s", warning.message)


@contextmanager
def quiet() -> Iterator[None]:
    """Log what DiffSynth prints while it loads, and turn its progress bars over VAE tiles off."""
    wan_video_vae.tqdm = partial(tqdm, disable=True)
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        log.debug("DiffSynth: %s", printed.getvalue())


@contextmanager
def _mapped_pth_files() -> Iterator[None]:
    """Have torch.load map `.pth` files into memory (torch >= 2.6).

    DiffSynth loads each twice, first for its names alone: 11.4 GB of the CPU's memory a rank for the text encoder.
    """
    try:
        from torch.utils.serialization import config
    except ImportError:
        yield
        return
    settings: Any = config
    with settings.patch("load.mmap", True):
        yield
