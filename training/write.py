"""Writes the checkpoint: the averaged weights in bfloat16, in the published layout, with a digest of their values."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.dit import STAGE
from training.state import PROGRESS, load_weights
from training.tokens import write_tokenizer
from training.vae import FINAL
from wan_ddp.wan.checkpoint import DIT, TEXT_ENCODER, TOKENIZER, VAE

DIGEST = "wan_ddp.pocket"
"""In each file's header: a checkpoint is known by its headers, so other weights of the same shapes need another one."""

TRAINED = "training.json"
"""Beside the weights: steps, minutes and the figures that the stages measured themselves."""


def write_checkpoint(state: Path, folder: Path) -> None:
    """Write what the training in `state` has come to into `folder`, which is replaced as a whole.

    Raises FileNotFoundError if a stage has not been trained.
    """
    vae, denoiser = load_weights(state, FINAL), load_weights(state, f"{STAGE}-average")
    if vae is None or denoiser is None:
        raise FileNotFoundError(f"{state} lacks the {'VAE' if vae is None else 'DiT'}; train it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        _write(partial / f"{DIT}.safetensors", _part(denoiser, "dit."))
        _write(partial / f"{TEXT_ENCODER}.safetensors", _part(denoiser, "text_encoder."))
        _write(partial / f"{VAE}.safetensors", vae)
        write_tokenizer(partial / TOKENIZER)
        trained = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
        (partial / TRAINED).write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    rounded = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in sorted(tensors.items())}
    digest = hashlib.sha256()
    for name, tensor in rounded.items():
        digest.update(name.encode() + tensor.view(torch.int16).numpy().tobytes())
    save_file(rounded, path, {"format": "pt", DIGEST: digest.hexdigest()})
    path.chmod(0o644)
