"""What made a video, for its record: no part of the fingerprint, because it should not change pixels, but it may."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from wan_ddp import __version__
from wan_ddp.wan.checkpoint import Checkpoint

_PACKAGES = ("torch", "diffsynth", "transformers", "numpy")


def describe(checkpoint: Checkpoint, device: str) -> dict[str, Any]:
    """Model, device and versions. `random_weights` says that the video is noise whatever its prompt."""
    return {
        "wan_ddp": __version__,
        "model": checkpoint.name,
        "random_weights": checkpoint.random_weights,
        "device": platform.processor() or platform.machine() if device == "cpu" else torch.cuda.get_device_name(device),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
