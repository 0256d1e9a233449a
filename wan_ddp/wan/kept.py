"""Tensors that took time to make, kept on disk for the workers and runs that need them again.

Each has a key that stands for all that its values depend on, and a sealed file, `<folder>/<2 digits>/<key>`. One that
is damaged or cannot be written costs its making and nothing else, and the folder may be removed at any time.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from wan_ddp.sealed import read_sealed, write_sealed

log = logging.getLogger(__name__)

_KIND = "wan-ddp-tensor-1"


def key_of(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class KeptTensors:
    """The tensors in one folder, a few by name under each key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors of that key, on the CPU; None if they are not there, or of no use."""
        try:
            content = read_sealed(self._path(key), _KIND)
            return dict(load(content)) if content is not None else None
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be used, it is made anew: %s", self._path(key), error)
            return None

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        try:
            self._path(key).parent.mkdir(parents=True, exist_ok=True)
            content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
            write_sealed(self._path(key), _KIND, content)
        except OSError as error:
            log.warning("%s cannot be kept: %s", self._path(key), error.strerror)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key
