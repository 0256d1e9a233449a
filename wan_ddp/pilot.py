"""What a pilot measured, in `pilot.json` beside the videos: the basis of estimates until some of these are there."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wan_ddp.estimate import Sample, Samples
from wan_ddp.files import read_or_none, write_atomically
from wan_ddp.settings import Settings

FILE_NAME = "pilot.json"
CPU = "CPU"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Setup:
    """What the figures hold for. `device` is the GPUs' name, or CPU; `ranks` of them share a GPU, or the CPU."""

    conditions: dict[str, Any]
    cpu_offload: bool
    vram_limit: float | None
    device: str
    ranks: int


@dataclass(frozen=True, slots=True)
class Pilot:
    """A pilot's figures; `gpu_gib` is the most memory that was in use on any GPU, None where nobody said."""

    setup: Setup
    finished: str
    start_seconds: float
    videos: tuple[Sample, ...]
    gpu_gib: float | None = None
    version: int = _VERSION

    def samples(self) -> Samples:
        ranks = "1 rank" if self.setup.ranks == 1 else f"{self.setup.ranks} ranks"
        where = "on the CPU" if self.setup.device == CPU else f"on each {self.setup.device}"
        basis = f"the pilot of {self.finished[:10]}: {len(self.videos)} short videos, {ranks} {where}"
        return Samples(self.videos, self.start_seconds, basis, takes_turns=self.setup.device != CPU)


_PILOT = TypeAdapter(Pilot)


def setup_of(settings: Settings, identity: str | None, device: str, num_ranks: int) -> Setup:
    """The setup of a run of so many ranks with the model of that identity (None: not known)."""
    conditions = json.loads(json.dumps(asdict(replace(settings, lora=()).conditions(identity))))
    ranks = num_ranks if device == CPU else settings.ranks_per_gpu
    return Setup(conditions, settings.cpu_offload, settings.vram_limit, device, ranks)


def write_pilot(output: Path, pilot: Pilot) -> Path:
    """Put it beside the videos. Raises OSError."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / FILE_NAME
    write_atomically(path, json.dumps(asdict(pilot), ensure_ascii=False, indent=1).encode())
    return path


def read_pilot(output: Path) -> Pilot | None:
    """The last pilot's figures; None if there are none, or none that this version understands."""
    try:
        content = read_or_none(output / FILE_NAME)
        pilot = _PILOT.validate_json(content) if content else None
    except (OSError, ValidationError):
        return None
    return pilot if pilot and pilot.version == _VERSION and pilot.videos else None


def fitting_pilot(
    settings: Settings, identity: str | None, num_ranks: int, device: str | None = None
) -> tuple[Pilot | None, str]:
    """The pilot that speaks for a run of so many ranks; if there is another one, what it was measured with instead.

    A plan may be made without the model and away from the GPUs: what is not known then is not compared.
    """
    pilot = read_pilot(settings.output)
    if pilot is None:
        return None, ""
    now = setup_of(settings, identity, device or pilot.setup.device, num_ranks)
    before, after = _flat(pilot.setup), _flat(now)
    if identity is None:
        before["model"] = None
    differences = [
        f"{name} was {before.get(name)!r:.40} and is {after.get(name)!r:.40}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    return (None, "; ".join(differences)) if differences else (pilot, "")


def _flat(setup: Setup) -> dict[str, Any]:
    fields = asdict(setup)
    conditions: dict[str, Any] = fields.pop("conditions")
    fields["number of ranks" if setup.device == CPU else "ranks_per_gpu"] = fields.pop("ranks")
    return fields | conditions
