"""Finding a checkpoint's files in a folder and refusing, before anything is loaded, what could not be loaded or used.

Imports no torch and reads no weights: it is part of the check before a run. The layouts are those of the published
repositories (https://huggingface.co/Wan-AI/Wan2.1-T2V-14B): the DiT is one safetensors file, or several with an index.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wan_ddp.errors import ModelError
from wan_ddp.job import Job, Mechanism
from wan_ddp.wan.architectures import ARCHITECTURES, BY_NAME, Architecture, architecture_hash
from wan_ddp.wan.headers import DamagedError, Header, read_header, refuse_placeholder

DIT = "diffusion_pytorch_model"
INDEX = f"{DIT}.safetensors.index.json"
TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16"
VAE = "Wan2.1_VAE"
TOKENIZER = Path("google", "umt5-xxl")
# What AutoTokenizer reads; only these count for the identity.
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "spiece.model", "special_tokens_map.json")
DEFAULT_NAME = "Wan2.1-T2V-14B"
POCKET = "pocket"
RANDOM = "wan_ddp.random"
_SHARD = re.compile(rf"{DIT}-(\d{{5}})-of-(\d{{5}})\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are all there and fit together.

    `identity` is a SHA-256 over its files' names, sizes and safetensors headers: it changes when the model does, and
    costs no reading of weights; `text_identity` is that of the files which encode prompts. `random_weights` says that
    it was made by `wan_ddp.wan.random_checkpoint`.
    """

    folder: Path
    architecture: Architecture
    dit: tuple[Path, ...]
    text_encoder: Path
    vae: Path
    tokenizer: Path
    identity: str
    text_identity: str
    random_weights: bool
    num_bytes: int

    @property
    def name(self) -> str:
        return self.architecture.name

    @property
    def mechanisms(self) -> frozenset[Mechanism]:
        return self.architecture.mechanisms


def find_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`.

    Raises:
        ModelError: files are missing, damaged, do not belong together or are of a model that cannot be used; one line.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}; {how_to_get(folder)}")
    missing: list[str] = []
    dit = _find_dit(folder, missing)
    text_encoder = _find_weights(folder, TEXT_ENCODER, missing)
    vae = _find_weights(folder, VAE, missing)
    tokenizer = _find_tokenizer(folder, missing)
    if missing:
        diffusers = " (this is the layout for diffusers)" if (folder / "model_index.json").exists() else ""
        raise ModelError(f"{folder} lacks {', '.join(missing)}{diffusers}; {how_to_get(folder)}")
    headers = _read_headers([*dit, text_encoder, vae], tokenizer, folder)
    _check_index(folder, {path.name: headers[path] for path in dit})
    architecture = _recognise(
        folder, _merge(headers[path] for path in dit), headers[text_encoder].shapes, headers[vae].shapes
    )
    return Checkpoint(
        folder,
        architecture,
        dit,
        text_encoder,
        vae,
        folder / TOKENIZER,
        identity=_identity(folder, headers, tokenizer),
        text_identity=_identity(folder, {text_encoder: headers[text_encoder]}, tokenizer),
        random_weights=any(RANDOM in header.metadata for header in headers.values()),
        num_bytes=sum(path.stat().st_size for path in headers),
    )


def check_meant(checkpoint: Checkpoint, asked_for: str) -> Checkpoint:
    """The checkpoint, if it is what a run may use that asked for the model of that name.

    Raises:
        ModelError: a stand-in with random weights where another model was asked for, or a damaged tokenizer, whose
            files take too long to parse for a plan.
    """
    if checkpoint.architecture.huggingface is None and checkpoint.name != asked_for:
        raise ModelError(
            f"{checkpoint.folder} holds {checkpoint.name}, {_what_it_does(checkpoint)}, and {asked_for} was asked for; "
            f"name another folder with --model-dir or WAN_MODEL_DIR, or ask for --model {checkpoint.name}"
        )
    damaged = []
    for path in (checkpoint.tokenizer / name for name in TOKENIZER_FILES if name.endswith(".json")):
        try:
            if path.exists() and not isinstance(json.loads(path.read_bytes()), dict):
                damaged.append(f"{path.relative_to(checkpoint.folder)} is not a JSON object")
        except (ValueError, RecursionError) as error:
            damaged.append(f"{path.relative_to(checkpoint.folder)} is not JSON ({error})")
        except OSError as error:
            damaged.append(f"{path.relative_to(checkpoint.folder)} cannot be read: {error.strerror}")
    if damaged:
        raise ModelError(f"damaged in {checkpoint.folder}: {'; '.join(damaged)}; {how_to_get(checkpoint.folder)}")
    return checkpoint


def _what_it_does(checkpoint: Checkpoint) -> str:
    return "a small model of drawn clips" if checkpoint.name == POCKET else "which makes noise"


def check_mechanisms(checkpoint: Checkpoint, jobs: Iterable[Job]) -> None:
    """Raise ModelError, in one line, if jobs use a mechanism that the checkpoint cannot do."""
    refused = Counter(job.mechanism for job in jobs if job.mechanism not in checkpoint.mechanisms)
    if not refused:
        return
    complaints = []
    for mechanism, count in sorted(refused.items()):
        able = [name for name, architecture in BY_NAME.items() if mechanism in architecture.mechanisms]
        complaints.append(f"mechanism {mechanism} of {count} job{'s' * (count > 1)} (which {', '.join(able)} can)")
    can = ", ".join(sorted(checkpoint.mechanisms))
    raise ModelError(f"{checkpoint.name} in {checkpoint.folder} cannot do {' nor '.join(complaints)}; it can do {can}")


def how_to_get(folder: Path) -> str:
    """The commands that fill `folder`, for the checkpoint that its name says, or else the one of the experiment."""
    by_lower_name = {name.lower(): architecture for name, architecture in BY_NAME.items()}
    published = by_lower_name.get(folder.name.lower(), BY_NAME[DEFAULT_NAME])
    if published.name == POCKET:
        return "its trained weights are not there: train and write them as training/README.md says"
    if published.huggingface is None:
        return f"remove the folder and `python -m wan_ddp checkpoint make --like {published.name} {folder}`"
    return (
        f"get it with `hf download {published.huggingface} --local-dir {folder}` or `modelscope download --model "
        f"{published.modelscope} --local_dir {folder}`, or name another folder with --model-dir or WAN_MODEL_DIR"
    )


def _find_dit(folder: Path, missing: list[str]) -> tuple[Path, ...]:
    """The DiT's one file, or its shards in order; the names of those that are not there go into `missing`."""
    single = folder / f"{DIT}.safetensors"
    shards = sorted(path for path in folder.glob(f"{DIT}-*.safetensors") if _SHARD.fullmatch(path.name))
    if single.exists() and shards:
        raise ModelError(f"{folder} holds both {single.name} and {shards[0].name}: two models; keep one of them")
    if single.exists():
        return (single,)
    counts = {int(path.name[-17:-12]) for path in shards}
    if len(counts) > 1:
        raise ModelError(f"{folder} holds shards of different sets: {', '.join(path.name for path in shards)}")
    if (folder / INDEX).exists():
        expected = sorted(set(_read_index(folder).values()))
    elif counts:
        (count,) = counts
        expected = [f"{DIT}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    else:
        expected = [f"{DIT}*.safetensors"]
    missing += [name for name in expected if not (folder / name).exists()]
    return tuple(folder / name for name in expected)


def _find_weights(folder: Path, stem: str, missing: list[str]) -> Path:
    """The `.safetensors` file if there is one (it loads faster), else the `.pth` file as published."""
    for suffix in (".safetensors", ".pth"):
        if (folder / f"{stem}{suffix}").exists():
            return folder / f"{stem}{suffix}"
    missing.append(f"{stem}.pth (or .safetensors)")
    return folder


def _find_tokenizer(folder: Path, missing: list[str]) -> list[Path]:
    files = [folder / TOKENIZER / name for name in TOKENIZER_FILES if (folder / TOKENIZER / name).exists()]
    names = {path.name for path in files}
    if "tokenizer_config.json" not in names:
        missing.append(str(TOKENIZER / "tokenizer_config.json"))
    if not names & {"tokenizer.json", "spiece.model"}:
        missing.append(str(TOKENIZER / "tokenizer.json"))
    return files


def _read_index(folder: Path) -> dict[str, str]:
    """The index's map from tensor to shard."""
    try:
        refuse_placeholder(folder / INDEX)
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        if not weight_map or not all(_SHARD.fullmatch(name) for name in weight_map.values()):
            raise DamagedError("names no shards, or files that are not shards")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, DamagedError) else f"cannot be read ({error!r})"
        raise ModelError(f"damaged in {folder}: {INDEX} {reason}; {how_to_get(folder)}") from error
    return dict(weight_map)


def _check_index(folder: Path, shards: Mapping[str, Header]) -> None:
    if not (folder / INDEX).exists() or len(shards) == 1:
        return
    indexed = _read_index(folder)
    held = {name: shard for shard, header in shards.items() for name in header.shapes}
    wrong = sorted(name for name in indexed.keys() | held.keys() if indexed.get(name) != held.get(name))
    extra = sorted(path.name for path in folder.glob(f"{DIT}-*.safetensors") if path.name not in shards)
    if wrong or extra:
        what = f"places {wrong[0]} and {len(wrong) - 1} more wrongly" if wrong else f"does not name {extra[0]}"
        raise ModelError(f"damaged in {folder}: {INDEX} {what}; {how_to_get(folder)}")


def _read_headers(weights: list[Path], tokenizer: list[Path], folder: Path) -> dict[Path, Header]:
    """The headers of all weights. Every damaged file, the tokenizer's too, is named in one ModelError."""
    headers: dict[Path, Header] = {}
    damaged = []
    for path in [*weights, *tokenizer]:
        try:
            if path in weights:
                headers[path] = read_header(path)
            else:
                refuse_placeholder(path)
        except DamagedError as error:
            damaged.append(f"{path.relative_to(folder)} {error}")
        except OSError as error:
            damaged.append(f"{path.relative_to(folder)} cannot be read: {error.strerror}")
    if damaged:
        raise ModelError(f"damaged in {folder}: {'; '.join(damaged)}; {how_to_get(folder)}")
    return headers


def _merge(headers: Iterable[Header]) -> dict[str, tuple[int, ...]]:
    return {name: shape for header in headers for name, shape in header.shapes.items()}


def _recognise(
    folder: Path,
    dit: Mapping[str, tuple[int, ...]],
    text_encoder: Mapping[str, tuple[int, ...]],
    vae: Mapping[str, tuple[int, ...]],
) -> Architecture:
    architecture = ARCHITECTURES.get(architecture_hash(dit))
    if architecture is None:
        known = ", ".join(name for name, known in BY_NAME.items() if known.huggingface)
        raise ModelError(f"{folder} holds a DiT of {len(dit)} tensors that is none of those known here: {known}")
    for what, shapes, expected in (
        ("text encoder", text_encoder, architecture.text_encoder),
        ("VAE", vae, architecture.vae),
    ):
        if architecture_hash(shapes) != expected:
            raise ModelError(f"the {what} in {folder} is not the one of {architecture.name}; {how_to_get(folder)}")
    return architecture


def _identity(folder: Path, headers: Mapping[Path, Header], tokenizer: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted([*headers, *tokenizer]):
        raw = headers[path].raw if path in headers else b""
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0{len(raw)}\0".encode() + raw)
    return digest.hexdigest()
