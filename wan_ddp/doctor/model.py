"""The model's files as they lie there: sizes, and the hashes by which DiffSynth will tell what they are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wan_ddp.doctor.rows import Row, in_one_line
from wan_ddp.errors import ModelError
from wan_ddp.estimate import ModelSize
from wan_ddp.settings import TINY_MODEL, Settings
from wan_ddp.wan.architectures import ARCHITECTURES, BY_NAME, HASHES, Architecture, Shape, architecture_hash
from wan_ddp.wan.checkpoint import (
    DEFAULT_NAME,
    DIT,
    TEXT_ENCODER,
    TOKENIZER,
    VAE,
    Checkpoint,
    check_meant,
    find_checkpoint,
)
from wan_ddp.wan.headers import DamagedError, read_header

TINY_SIZE = ModelSize(num_weights=343_648, width=96, num_text_weights=107_072)


@dataclass(frozen=True, slots=True)
class Model:
    """What a run would load. Without a checkpoint it is what was asked for, with the size that this has."""

    name: str
    size: ModelSize
    checkpoint: Checkpoint | None = None

    @property
    def identity(self) -> str | None:
        return self.checkpoint.identity if self.checkpoint else None

    @property
    def noise(self) -> bool:
        return self.name == TINY_MODEL or bool(self.checkpoint and self.checkpoint.random_weights)


def model_of(checkpoint: Checkpoint) -> Model:
    """The size is counted in the headers of the files. Raises DamagedError and OSError."""
    dit = _shapes(checkpoint.dit)
    num_text_weights = _num_weights(_shapes([checkpoint.text_encoder]))
    size = ModelSize(_num_weights(dit), dit["patch_embedding.weight"][0], num_text_weights)
    return Model(checkpoint.name, size, checkpoint)


def look_at_model(settings: Settings) -> tuple[Model, list[Row]]:
    """The model that a run would use, and what is to be said of it and of each of its files."""
    folder = settings.model_dir.absolute()
    needed = f"the files of {settings.model}"
    meant = Model(settings.model, TINY_SIZE if settings.model == TINY_MODEL else ModelSize())
    if settings.model == TINY_MODEL and not folder.exists():
        return meant, [Row("model", f"none in {folder} yet: a run makes it", needed)]
    try:
        model = model_of(check_meant(find_checkpoint(folder), settings.model))
    except ModelError as error:
        found, _, remedy = str(error).rpartition("; ")
        if settings.download and not folder.exists():
            return meant, [Row("model", found, f"{needed}: 66 GB, which --download fetches before the run", "warning")]
        return meant, [Row("model", found, needed, "fails", remedy), *look_at_files(folder, settings.model)]
    except (OSError, DamagedError) as error:
        return meant, [Row("model", in_one_line(error), needed, "fails")]
    noise = ", with random weights: it makes noise" if model.noise else ""
    num_bytes = model.checkpoint.num_bytes if model.checkpoint else 0
    found = f"{model.name}, {num_bytes / 1e9:.1f} GB in {folder}{noise}"
    return model, [Row("model", found, needed), *look_at_files(folder, model.name)]


def look_at_files(folder: Path, name: str) -> list[Row]:
    """A row for each part of the model: its files with their size, and the hash that they have and should have."""
    meant = BY_NAME.get(name, BY_NAME[DEFAULT_NAME])
    dit = sorted(folder.glob(f"{DIT}*.safetensors"))
    text_encoder, vae = (_weights(folder, stem) for stem in (TEXT_ENCODER, VAE))
    tokenizer = sorted(path for path in (folder / TOKENIZER).glob("*") if path.is_file())
    return [
        _part("DiT", dit, HASHES[meant.name], meant),
        _part("text encoder", text_encoder, meant.text_encoder, meant),
        _part("VAE", vae, meant.vae, meant),
        _files("tokenizer", tokenizer, f"the files of {TOKENIZER}"),
    ]


def _weights(folder: Path, stem: str) -> list[Path]:
    """As a run takes them: safetensors before pth."""
    return [path for suffix in (".safetensors", ".pth") if (path := folder / f"{stem}{suffix}").exists()][:1]


def _part(name: str, files: Sequence[Path], expected: str, meant: Architecture) -> Row:
    needed = f"hash {expected} ({meant.name})"
    row = _files(name, files, needed)
    if row.verdict != "ok":
        return row
    try:
        digest = architecture_hash(_shapes(files))
    except DamagedError as error:
        return Row(name, f"{row.found}: {error}", needed, "fails")
    except OSError as error:
        return Row(name, f"{row.found}: {error.strerror}", needed, "fails")
    others = ARCHITECTURES.get(digest)
    found = f"{row.found}, hash {digest}" + (f" ({others.name})" if others and others != meant else "")
    return Row(name, found, needed, "ok" if digest == expected else "fails")


def _files(name: str, files: Sequence[Path], needed: str) -> Row:
    if not files:
        return Row(name, "not there", needed, "fails")
    try:
        size = f"{sum(path.stat().st_size for path in files) / 1e9:.3f} GB"
    except OSError as error:
        return Row(name, f"{error.filename}: {error.strerror}", needed, "fails")
    return Row(name, f"{files[0].name}, {size}" if len(files) == 1 else f"{len(files)} files, {size}", needed)


def _shapes(files: Iterable[Path]) -> dict[str, Shape]:
    """Raises DamagedError and OSError."""
    return {name: shape for path in files for name, shape in read_header(path).shapes.items()}


def _num_weights(shapes: dict[str, Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
