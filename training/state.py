"""What a training has come to, in a folder: small files that travel between machines, and the optimiser's beside them.

Weights and their moving average are float32 safetensors, cut so that no file is larger than MAX_FILE_BYTES, and
`state.json` counts steps and seconds. `optimiser-<stage>.pt` is large; without it training goes on with a fresh one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MAX_FILE_BYTES = 15_000_000
PROGRESS = "state.json"


@dataclass
class Progress:
    """How far a stage is. `figures`: what was last measured of it."""

    steps: int = 0
    seconds: float = 0.0
    blocks: int = 0
    """Blocks of clips drawn so far: each is drawn from its own seed, so none comes twice."""
    figures: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    """What it was last trained on."""


class Average:
    """An exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in model.named_parameters()]
        self.values = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, list(model.parameters()), weight)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.values, strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, value in zip(self.names, self.values, strict=True):
            value.copy_(state[name])


def read_progress(folder: Path, stage: str) -> Progress:
    path = folder / PROGRESS
    stages = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Progress(**stages.get(stage, {}))


def write_progress(folder: Path, stage: str, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PROGRESS
    stages = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(stages | {stage: asdict(progress)}, indent=2) + "\n"
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def save_weights(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write `<name>-<number>.safetensors` files, and remove those of an earlier call beyond them."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in tensors.items():
        num_bytes = tensor.numel() * tensor.element_size()
        if files[-1] and size + num_bytes > MAX_FILE_BYTES:
            files.append({})
            size = 0
        files[-1][key] = tensor.detach().cpu().contiguous()
        size += num_bytes
    for number, held in enumerate(files, start=1):
        _replace(folder / f"{name}-{number}.safetensors", lambda partial, held=held: save_file(held, partial))
    number = len(files) + 1
    while (extra := folder / f"{name}-{number}.safetensors").exists():
        extra.unlink()
        number += 1


def load_weights(folder: Path, name: str) -> dict[str, Tensor] | None:
    """What `save_weights` wrote; None if there is nothing."""
    found: dict[str, Tensor] = {}
    number = 1
    while (path := folder / f"{name}-{number}.safetensors").exists():
        found |= load_file(path)
        number += 1
    return found or None


def save_stage(
    folder: Path, stage: str, model: nn.Module, average: Average, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    save_weights(folder, stage, model.state_dict())
    save_weights(folder, f"{stage}-average", average.state_dict())
    held = {"steps": progress.steps, "optimiser": optimiser.state_dict()}
    _replace(folder / f"optimiser-{stage}.pt", lambda partial: torch.save(held, partial))
    write_progress(folder, stage, progress)


def load_stage(
    folder: Path, stage: str, model: nn.Module, average: Average, optimiser: torch.optim.Optimizer
) -> tuple[Progress, bool]:
    """Put back what `save_stage` wrote. The flag says whether the optimiser's state was among it."""
    weights, averaged = load_weights(folder, stage), load_weights(folder, f"{stage}-average")
    if weights is None or averaged is None:
        return Progress(), False
    progress = read_progress(folder, stage)
    model.load_state_dict(weights)
    average.load_state_dict(averaged)
    path = folder / f"optimiser-{stage}.pt"
    if not path.exists():
        return progress, False
    held = torch.load(path, map_location="cpu", weights_only=True)
    if held["steps"] != progress.steps:  # of another machine's visit
        return progress, False
    optimiser.load_state_dict(held["optimiser"])
    return progress, True


def _replace(path: Path, write: Any) -> None:
    """Write a file under a hidden name and rename it: one that is cut off is never seen."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)
