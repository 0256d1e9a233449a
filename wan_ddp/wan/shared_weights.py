"""One copy of a pipeline's weights for many processes: packed into few large pieces by one, used in place by others.

On a GPU a piece is memory that others open by its CUDA IPC handle, on the CPU a file in memory (memfd_create(2)). The
process that packed them has to outlive all that use them. Only weights travel: what a model is made of besides, the
tables of its rotary embedding say, every process builds by itself, without storage for the weights.
"""

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffsynth.configs import MODEL_CONFIGS
from diffsynth.core.loader import hash_model_file
from diffsynth.models.model_loader import ModelPool
from diffsynth.pipelines.wan_video import WanVideoPipeline
from torch import nn
from torch.multiprocessing import reductions  # noqa: F401 - teaches connections to send GPU memory

from wan_ddp.wan.gpu import empty_cache, named_gpu_errors, use_device
from wan_ddp.wan.loading import dtype_of, quiet
from wan_ddp.wan.own_models import register

_PIECE_BYTES = 512 * 2**20
_ALIGNMENT = 512
# DiffSynth's names of models, and where its pipeline has them.
_ATTRIBUTES = {"wan_video_dit": "dit", "wan_video_vae": "vae", "wan_video_vace": "vace"}

# A tensor's first byte in its piece, its shape and dtype.
_Place = tuple[int, tuple[int, ...], str]


class PackedWeights:
    """Every tensor of a pipeline's models, moved out of them: the models cannot be used afterwards."""

    def __init__(self, pipe: WanVideoPipeline, *, device: str) -> None:
        self._pieces: list[_Piece] = []
        # By name, as the pipeline's state_dict has it, with the number of the piece.
        layout: dict[str, tuple[int, _Place]] = {}
        for tensors in _in_groups(_tensors(pipe), _PIECE_BYTES):
            starts, size = [], 0
            for _, tensor in tensors:
                starts.append(size)
                size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
            piece = _Piece(size, device)
            for (name, tensor), start in zip(tensors, starts, strict=True):
                place = start, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
                layout[name] = len(self._pieces), place
                _view(piece.content, place).copy_(tensor)
                tensor.data = tensor.data.new_empty(0)  # so that never more than one piece is there twice
            empty_cache(device)
            self._pieces.append(piece)
        self._layout = json.dumps(layout).encode()
        self.num_bytes = sum(len(piece.content) for piece in self._pieces)

    def give(self, connection: Connection) -> None:
        """Let the process at the other end, a process of this user on this machine, use the weights. Raises OSError."""
        connection.send_bytes(self._layout)
        for piece in self._pieces:
            piece.give(connection)


def take(connection: Connection, *, device: str) -> dict[str, torch.Tensor]:
    """The tensors of the process at the other end, by their names: views of its memory, not to be written to.

    Raises EOFError, OSError if it ends, and GpuError if its memory cannot be opened from here.
    """
    layout: dict[str, tuple[int, _Place]] = json.loads(connection.recv_bytes())
    use_device(device)
    with named_gpu_errors(device, "opening the weights that the GPU's other ranks use too"):
        pieces = [_take_piece(connection, device) for _ in range(1 + max(piece for piece, _ in layout.values()))]
    return {name: _view(pieces[piece], place) for name, (piece, place) in layout.items()}


def empty_pipeline(files: Iterable[tuple[Path, ...]], *, device: str) -> WanVideoPipeline:
    """What `loading.load_pipeline` makes of these files, but for the weights, which have shapes and no storage yet."""
    register()
    use_device(device)
    pipe = WanVideoPipeline(device=device, torch_dtype=dtype_of(device))
    for paths in files:
        model_hash = hash_model_file([str(path) for path in paths])
        for config in MODEL_CONFIGS:
            if config["model_hash"] == model_hash:
                with init_empty_weights(), quiet():
                    model = ModelPool().import_model_class(config["model_class"])(**config.get("extra_kwargs", {}))
                setattr(pipe, _ATTRIBUTES[config["model_name"]], model.to(dtype_of(device)).eval())
    pipe.height_division_factor = pipe.width_division_factor = pipe.vae.upsampling_factor * 2
    return pipe


def fill(pipe: WanVideoPipeline, tensors: Mapping[str, torch.Tensor], *, device: str) -> None:
    """Have the models of an `empty_pipeline` use `tensors` as they are, every one of them in its place."""
    for attribute, model in _models(pipe):
        prefix = f"{attribute}."
        own = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
        model.load_state_dict(own, assign=True, strict=True)
        model.requires_grad_(False)
        model.to(device)  # what is no weight; the weights are there


class _Piece:
    """A stretch of memory, as a tensor of bytes, that can be given away."""

    def __init__(self, num_bytes: int, device: str) -> None:
        self._descriptor: int | None = None
        if device == "cpu":
            self._descriptor = os.memfd_create("weights", os.MFD_CLOEXEC)
            os.ftruncate(self._descriptor, num_bytes)
            self.content = torch.frombuffer(mmap.mmap(self._descriptor, num_bytes), dtype=torch.uint8)
        else:
            self.content = torch.empty(num_bytes, dtype=torch.uint8, device=device)

    def give(self, connection: Connection) -> None:
        if self._descriptor is not None:
            reduction.send_handle(connection, self._descriptor, None)
        else:
            connection.send(self.content)


def _take_piece(connection: Connection, device: str) -> torch.Tensor:
    if device == "cpu":
        descriptor = reduction.recv_handle(connection)
        try:
            # Private: who writes to it by mistake gets a copy, and spoils nobody's videos but its own.
            content = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(descriptor)
        return torch.frombuffer(content, dtype=torch.uint8)
    piece: torch.Tensor = connection.recv()
    return piece


def _view(content: torch.Tensor, place: _Place) -> torch.Tensor:
    start, shape, dtype = place
    kind: torch.dtype = getattr(torch, dtype)
    size = torch.Size(shape)
    return content[start : start + size.numel() * kind.itemsize].view(kind).view(size)


def _models(pipe: WanVideoPipeline) -> list[tuple[str, nn.Module]]:
    found = [(name, getattr(pipe, name)) for name in _ATTRIBUTES.values()]
    return [(name, model) for name, model in found if model is not None]


def _tensors(pipe: WanVideoPipeline) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the models' state_dicts, itself and not a view of it."""
    for attribute, model in _models(pipe):
        itself: dict[str, Any] = dict(model.named_parameters()) | dict(model.named_buffers())
        for name in model.state_dict():
            yield f"{attribute}.{name}", itself[name]


def _in_groups(tensors: Iterable[tuple[str, torch.Tensor]], num_bytes: int) -> Iterator[list[tuple[str, torch.Tensor]]]:
    """Neighbours together, for as long as they are no more than `num_bytes` or one alone is."""
    group: list[tuple[str, torch.Tensor]] = []
    for name, tensor in tensors:
        if group and sum(each.nbytes for _, each in group) + tensor.nbytes > num_bytes:
            yield group
            group = []
        group.append((name, tensor))
    if group:
        yield group
