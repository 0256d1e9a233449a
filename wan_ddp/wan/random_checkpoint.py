"""Writes checkpoints of random weights in the published layout: tiny ones for demos, true shapes for measuring.

Every value comes from one block of normal numbers drawn by a seeded CPU generator: each tensor takes a stretch of it,
starting where its name says, scaled so that activations stay finite. So the files are the same on every machine, and
the 40 GB of a 14B checkpoint cost no more than writing them.
"""

import json
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from diffsynth.configs import MODEL_CONFIGS
from diffsynth.core.vram.initialization import skip_model_initialization
from diffsynth.models.model_loader import ModelPool

from wan_ddp.wan.architectures import BY_NAME, HASHES, Shape, architecture_hash
from wan_ddp.wan.byte_tokenizer import write_byte_tokenizer
from wan_ddp.wan.checkpoint import DIT, INDEX, RANDOM, TEXT_ENCODER, TOKENIZER, VAE
from wan_ddp.wan.own_models import register

# Raised when the values change: it stands in the files' headers, so in the checkpoint's identity.
VERSION = 1
SEED = 0
# A prime, so that no tensor's rows are copies of each other.
BLOCK_ITEMS = 4_194_319
SHARDS = {"Wan2.1-T2V-14B": 6, "Wan2.1-VACE-14B": 7}
WRITERS = 4

Shapes = dict[str, Shape]


def make_checkpoint(folder: Path, name: str) -> None:
    """Write a random checkpoint with the names and shapes of the checkpoint `name`, unless `folder` exists.

    The DiT and the text encoder are bfloat16 safetensors, the VAE a float32 .pth, the tokenizer is one over bytes.
    All of it appears at once or nothing, and several processes may do this at the same time: each writes into a hidden
    folder of its own, and the first to rename it wins.

    Raises:
        OSError: the disk is full, or the like.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_all(name, partial)
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError:
        # Renaming onto a folder with files in it fails: another process was first.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def published_shapes(model_hash: str) -> Shapes:
    """Names and shapes of the tensors in the file (or shards) that DiffSynth knows by `model_hash`, without storage."""
    register()
    pool = ModelPool()
    shapes: Shapes = {}
    for config in MODEL_CONFIGS:
        if config["model_hash"] != model_hash:
            continue
        with skip_model_initialization():
            model = pool.import_model_class(config["model_class"])(**config.get("extra_kwargs", {}))
        # DiffSynth wraps the VAE in a class that adds this to the published names.
        prefix = "model." if config["model_name"] == "wan_video_vae" else ""
        shapes |= {key.removeprefix(prefix): tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if architecture_hash(shapes) != model_hash:
        raise AssertionError(f"DiffSynth's classes no longer make the model {model_hash}")
    return shapes


def _write_all(name: str, folder: Path) -> None:
    architecture = BY_NAME[name]
    dit = published_shapes(HASHES[name])
    with ThreadPoolExecutor(WRITERS) as pool:
        writes = [
            pool.submit(_write_safetensors, folder / file_name, shapes)
            for file_name, shapes in {
                **_split(dit, SHARDS.get(name, 1)),
                f"{TEXT_ENCODER}.safetensors": published_shapes(architecture.text_encoder),
            }.items()
        ]
        for write in writes:
            write.result()
    if name in SHARDS:
        _write_index(folder, _split(dit, SHARDS[name]))
    vae = published_shapes(architecture.vae)
    torch.save({key: _tensor(key, shape) for key, shape in vae.items()}, folder / f"{VAE}.pth")
    write_byte_tokenizer(folder / TOKENIZER)


def _split(shapes: Shapes, count: int) -> dict[str, Shapes]:
    """`shapes` as the DiT's files: `count` consecutive pieces of about the same size."""
    if count == 1:
        return {f"{DIT}.safetensors": shapes}
    files: dict[str, Shapes] = {f"{DIT}-{number:05}-of-{count:05}.safetensors": {} for number in range(1, count + 1)}
    names = list(files)
    total = sum(math.prod(shape) for shape in shapes.values())
    done = 0
    for key, shape in shapes.items():
        files[names[min(count - 1, done * count // total)]][key] = shape
        done += math.prod(shape)
    return files


def _write_index(folder: Path, files: dict[str, Shapes]) -> None:
    index = {
        "metadata": {"total_size": sum(2 * math.prod(shape) for file in files.values() for shape in file.values())},
        "weight_map": {key: name for name, shapes in files.items() for key in sorted(shapes)},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_safetensors(path: Path, shapes: Shapes) -> None:
    """Write random bfloat16 tensors, a block at a time. The format: https://github.com/huggingface/safetensors#format"""
    header: dict[str, object] = {"__metadata__": {"format": "pt", RANDOM: f"version {VERSION}, seed {SEED}"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            for piece in _pieces(name, shape):
                file.write(piece.view(torch.int16).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def _tensor(name: str, shape: Shape) -> torch.Tensor:
    """The tensor of that name in float32."""
    return torch.cat(list(_pieces(name, shape))).float().reshape(shape)


def _pieces(name: str, shape: Shape) -> Iterator[torch.Tensor]:
    """The bfloat16 values of a tensor, in order, as flat stretches of at most a block."""
    left = math.prod(shape)
    start = zlib.crc32(name.encode()) % BLOCK_ITEMS
    block = _scaled_block(_scale(name, shape))
    while left > 0:
        piece = block[start : start + left]
        yield piece
        left -= len(piece)
        start = 0


def _scale(name: str, shape: Shape) -> float | None:
    """The standard deviation of a tensor's values; None for a norm's weights, which are all one.

    1/sqrt(fan-in) keeps the size of activations from layer to layer.
    """
    if name.endswith(".gamma") or ("norm" in name and name.endswith(".weight")):
        return None
    if len(shape) == 1:
        return 0.02
    if name.endswith("modulation"):
        return 1 / math.sqrt(shape[-1])
    return 1 / math.sqrt(math.prod(shape[1:]))


@cache
def _block() -> torch.Tensor:
    return torch.randn(BLOCK_ITEMS, generator=torch.Generator("cpu").manual_seed(SEED))


@cache
def _scaled_block(scale: float | None) -> torch.Tensor:
    block = torch.ones(BLOCK_ITEMS) if scale is None else _block() * scale
    return block.to(torch.bfloat16)
