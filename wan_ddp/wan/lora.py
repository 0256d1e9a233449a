"""LoRA files: whether they fit a checkpoint's DiT, told from headers alone, before anything is loaded.

DiffSynth fuses what it finds a layer for and passes the rest by without a word, so that a LoRA of another model changes
nothing and nobody notices. The names are those that DiffSynth's `GeneralLoRALoader` knows.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from wan_ddp.errors import ModelError
from wan_ddp.wan.architectures import Shape
from wan_ddp.wan.checkpoint import Checkpoint
from wan_ddp.wan.headers import DamagedError, Header, read_header

_UP = re.compile(r"(?:diffusion_model\.)?(.+)\.(lora_B|lora_up)((?:\.default)?\.weight)")
_DOWN = {"lora_B": "lora_A", "lora_up": "lora_down"}


def check_lora(path: Path, checkpoint: Checkpoint) -> str:
    """Raise ModelError, in one line, for a file that cannot be fused with the checkpoint's DiT.

    Returns what of it DiffSynth will pass by, as a warning in one line; nothing if that is nothing.
    """
    try:
        header = read_header(path)
        weights = {name: shape for part in checkpoint.dit for name, shape in read_header(part).shapes.items()}
    except DamagedError as error:
        raise ModelError(f"--lora {path} {error}") from error
    except OSError as error:
        raise ModelError(f"--lora {path} cannot be read: {error.strerror}") from error
    pairs = _pairs(header)
    known = {layer: shapes for layer, shapes in pairs.items() if f"{layer}.weight" in weights}
    if not known:
        some = f", the first of {len(header.shapes)} tensors is {next(iter(header.shapes))}" if header.shapes else ""
        raise ModelError(f"--lora {path} fits no layer of {checkpoint.name}{some}; it is of another model, or no LoRA")
    for layer, (up, down) in known.items():
        if (up[0], down[1]) != weights[f"{layer}.weight"]:
            raise ModelError(
                f"--lora {path} is of another model: it changes {layer} of {up[0]} x {down[1]}, which is "
                f"{' x '.join(map(str, weights[f'{layer}.weight']))} in {checkpoint.name}"
            )
    num_used = sum(len(shapes) for shapes in known.values())
    unused = [name for name in header.shapes if not name.endswith("alpha")]
    if len(unused) == num_used:
        return ""
    return f"--lora {path}: DiffSynth fuses {num_used} of its {len(unused)} tensors, and has no use for the others"


def _pairs(header: Header) -> Mapping[str, tuple[Shape, Shape]]:
    """The shapes of each layer's two matrices: (out, rank) and (rank, in)."""
    pairs = {}
    for name, up in header.shapes.items():
        if match := _UP.fullmatch(name):
            layer, kind, rest = match.groups()
            prefix = name[: match.start(2)]
            down = header.shapes.get(f"{prefix}{_DOWN[kind]}{rest}", ())
            if len(up) == len(down) == 2:
                pairs[layer] = (up, down)
    return pairs
