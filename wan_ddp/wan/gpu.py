"""What is asked of the GPU beside the pipeline: waiting for it, its peak memory, and names for its failures."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wan_ddp.errors import GpuError, OutOfGpuMemoryError

# torch < 2.8 raises plain RuntimeErrors with these texts; after any of them but the first kind every later call fails.
_MEMORY_TEXTS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_BROKEN_TEXTS = (
    "CUDA error",
    "CUDA driver error",
    "CUBLAS_STATUS",
    "CUDNN_STATUS",
    "cuDNN error",
    "Triton Error [CUDA]",
)
_ACCELERATOR_ERROR: type[BaseException] = getattr(torch, "AcceleratorError", RuntimeError)


def use_device(device: str) -> None:
    """Make `device` this thread's own: `cpu`, or `cuda:<index>`, because a bare `cuda` would put every rank on GPU 0.

    Raises:
        ValueError: for any other text.
    """
    if device == "cpu":
        return
    kind, _, index = device.partition(":")
    if kind != "cuda" or not index.isdecimal():
        raise ValueError(f"device is {device!r}; it must be cpu or cuda:<index>")
    torch.cuda.set_device(device)


def synchronize(device: str) -> None:
    """Wait until the GPU has done what it was given, so that a clock read next tells the truth."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def start_peak_memory(device: str) -> None:
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: str) -> int:
    """The most GPU memory that this process' tensors took since `start_peak_memory`; 0 on the CPU."""
    return 0 if device == "cpu" else torch.cuda.max_memory_allocated(device)


def release_memory(device: str) -> None:
    """Give memory of dropped tensors back to the GPU, where another rank may want it."""
    gc.collect()
    empty_cache(device)


def empty_cache(device: str) -> None:
    """Give back what torch keeps of the memory of tensors that are gone."""
    if device != "cpu":
        torch.cuda.empty_cache()


@contextmanager
def named_gpu_errors(device: str, doing: str) -> Iterator[None]:
    """Turn CUDA's errors inside the block into this project's.

    Raises:
        OutOfGpuMemoryError: memory ran out. What the failed call held is given back, so the next job has all of it.
        GpuError: CUDA reported anything else; this process' GPU work is over.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if isinstance(error, torch.cuda.OutOfMemoryError) or any(known in text for known in _MEMORY_TEXTS):
            # The frames that failed hold their tensors for as long as the error lives.
            traceback.clear_frames(error.__traceback__)
            release_memory(device)
            raise OutOfGpuMemoryError(f"{device} ran out of memory while {doing}: {text}") from error
        broken = isinstance(error, _ACCELERATOR_ERROR) and _ACCELERATOR_ERROR is not RuntimeError
        if broken or any(known in text for known in _BROKEN_TEXTS):
            raise GpuError(f"{device} failed while {doing}: {text}") from error
        raise
