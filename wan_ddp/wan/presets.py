"""What a preset (`wan_ddp.presets`) does to DiffSynth's pipeline, without touching DiffSynth's files."""

import io
import logging
import os
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from diffsynth.pipelines.wan_video import WanVideoPipeline

from wan_ddp.errors import MachineError
from wan_ddp.presets import Attention, Capability, Preset, attention_refusal, best_attention, is_installed, refusal
from wan_ddp.wan.float8 import to_float8
from wan_ddp.wan.kernels import kernel_of, use_kernel, use_logistic_gelu, use_real_rope
from wan_ddp.wan.step_cache import install_step_cache

log = logging.getLogger(__name__)

# Of video, beyond which dynamo would stop compiling without a word, and later videos would be rounded otherwise.
_MAX_SIZES = 1024


def check_device(preset: Preset, attention: Attention, device: str) -> None:
    """Raises MachineError, in one line with the remedy, if the device cannot do what is asked for."""
    capability = capability_of(device)
    if why := refusal(preset, capability) or attention_refusal(attention, capability, is_installed):
        raise MachineError(f"{device}: {why}")


def capability_of(device: str) -> Capability | None:
    return None if device == "cpu" else torch.cuda.get_device_capability(device)


def prepare_weights(pipe: WanVideoPipeline, preset: Preset) -> None:
    """Turn the pipeline's weights, in place, into those that the preset computes with.

    After LoRAs are fused. On the meta device too, where it gives the names, shapes and dtypes. Layer after layer, so
    that memory is never more than that of the weights as loaded.
    """
    if preset not in ("fp8", "fast"):
        return
    for block in (*pipe.dit.blocks, *(pipe.vace.vace_blocks if pipe.vace is not None else ())):
        to_float8(block)
        torch.cuda.empty_cache()  # nothing where CUDA was not started


def speed_up(pipe: WanVideoPipeline, preset: Preset, attention: Attention, device: str) -> dict[str, Any]:
    """Have the pipeline compute as the preset asks, in this process. Returns what a record should say of it.

    Nothing is compiled on the CPU, where it takes a minute, nor where weights are offloaded: DiffSynth's wrapped layers
    decide at every call where their weights are.
    """
    if preset == "plain":
        return {}
    kernel = best_attention(capability_of(device), is_installed) if attention == "auto" else attention
    for model in filter(None, (pipe.dit, pipe.vace)):
        use_kernel(model, kernel_of(kernel))
    use_real_rope(pipe.dit, device)
    if preset == "fast":
        install_step_cache(pipe)
    is_compiled = device != "cpu" and not pipe.vram_management_enabled
    if is_compiled:
        compile_blocks(pipe)
    return {"attention": kernel, "compiled": is_compiled}


def compile_blocks(pipe: WanVideoPipeline) -> None:
    """Compile the DiT's blocks, which share one compilation; it happens at the first forward of each size.

    Their GELU takes a form that compiles well. VACE's own blocks, each of which sees another shape, stay as they are.
    """
    keep_compile_caches()
    use_logistic_gelu(pipe.dit.blocks)
    config: Any = torch._dynamo.config
    config.cache_size_limit = config.accumulated_cache_size_limit = _MAX_SIZES
    printed = io.StringIO()
    with redirect_stdout(printed):
        pipe.compile_pipeline(dynamic=False)
    log.debug("DiffSynth: %s", printed.getvalue())


def keep_compile_caches() -> None:
    """Have torch keep what it compiles where the workers and runs to come find it; what the user has set stays.

    Where the home folder cannot be written, torch's own folder for temporary files serves until it is swept.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    for variable, name in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        if variable in os.environ:
            continue
        folder = Path(os.path.expanduser(base), "wan_ddp", name)  # noqa: PTH111 - which raises where there is no home
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                os.environ[variable] = str(folder)
        except OSError as error:
            log.warning("what is compiled is not kept in %s: %s", folder, error.strerror)
