"""What a weights file holds, read without torch and without its weights: names and shapes of tensors.

A `.safetensors` file starts with a JSON header (https://github.com/huggingface/safetensors#format). A `.pth` file is a
zip archive whose `data.pkl` describes tensors; it is unpickled here with nothing allowed but tensors in a dictionary.
"""

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from wan_ddp.wan.architectures import Shape

# The safetensors library's own limit.
MAX_HEADER_BYTES = 100_000_000


class DamagedError(ValueError):
    """The file is not what its name says; the text says why, without naming it."""


@dataclass(frozen=True, slots=True)
class Header:
    """The names and shapes of a file's tensors. `raw` is a safetensors file's header as it is on disk."""

    shapes: dict[str, Shape]
    metadata: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""


def read_header(path: Path) -> Header:
    """The header of a `.safetensors` or `.pth` file.

    Raises:
        DamagedError: the file is empty, truncated, a git-lfs pointer, or not of the kind that its name says.
        OSError: it cannot be read.
    """
    refuse_placeholder(path)
    try:
        return read_safetensors_header(path) if path.suffix == ".safetensors" else read_pth_header(path)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"its header cannot be read ({error})") from error


def refuse_placeholder(path: Path) -> None:
    """Raise DamagedError for an empty file and for the text that git leaves in place of a file kept in LFS."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise DamagedError("is empty")
    if start.startswith(b"version https://git-lfs"):
        raise DamagedError("is a git-lfs pointer, not the file (run `git lfs pull`)")


def read_safetensors_header(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise DamagedError("is truncated or not a safetensors file")
        raw = file.read(length)
    tensors = json.loads(raw)
    metadata = tensors.pop("__metadata__", {})
    promised = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    if size != promised:
        raise DamagedError(f"has {size:,} bytes where its header promises {promised:,}")
    return Header({name: tuple(tensor["shape"]) for name, tensor in tensors.items()}, metadata, raw)


def read_pth_header(path: Path) -> Header:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            (pickled,) = [name for name in sizes if name.endswith("/data.pkl")]
            with archive.open(pickled) as file:
                reader = _TensorReader(file)
                tensors = reader.load()
    except zipfile.BadZipFile as error:
        raise DamagedError("is truncated or not a PyTorch zip file") from error
    except (pickle.UnpicklingError, EOFError, IndexError) as error:
        raise DamagedError(f"is refused: {error}") from error
    folder = pickled.removesuffix("data.pkl")
    for key, num_bytes in reader.storages.items():
        if sizes.get(f"{folder}data/{key}") != num_bytes:
            raise DamagedError(f"lacks bytes of the tensor storage {key}")
    if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise DamagedError("is not a plain dictionary of tensors")
    return Header({name: tensor.shape for name, tensor in tensors.items()})


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: Shape


def _rebuild_tensor(storage: object, offset: int, size: Shape, *rest: object) -> _Tensor:
    return _Tensor(tuple(size))


def _rebuild_parameter(data: _Tensor, *rest: object) -> _Tensor:
    return data


class _TensorReader(pickle.Unpickler):
    """Unpickles a state dict with stand-ins for its tensors; anything else in it is refused, never run.

    `storages` maps each storage's key to its bytes.
    """

    ITEM_BYTES: ClassVar[dict[str, int]] = {
        f"{kind}Storage": num_bytes
        for num_bytes, kinds in {
            8: "Double Long",
            4: "Float Int",
            2: "Half BFloat16 Short",
            1: "Byte Char Bool",
        }.items()
        for kind in kinds.split()
    }
    ALLOWED: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in self.ITEM_BYTES:
            return self.ITEM_BYTES[name]
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not a tensor") from None

    def persistent_load(self, pid: Any) -> None:
        _, item_bytes, key, _, num_items = pid
        self.storages[key] = item_bytes * num_items
