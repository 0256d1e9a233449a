"""A job is one video to make: its settings, its output's name, and the fingerprint of what decides its pixels."""

import hashlib
import json
import marshal
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from operator import attrgetter, is_
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

Mechanism = Literal["v2v", "none", "vace", "fun_control"]
Sampling = Literal["frames", "time"]
ShortReference = Literal["refuse", "hold", "loop", "ping-pong", "stretch"]
Control = Literal["as-is", "gray", "canny"]

# DiffSynth-Studio's usual negative prompt for Wan: https://github.com/modelscope/DiffSynth-Studio, examples/wanvideo
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
V2V_STRENGTH = 0.75
MAX_NAME_BYTES = 200

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REF_STEM = re.compile(r"ref_.+_\d+x\d+")


@lru_cache(maxsize=1 << 17)
def reference_folder(reference: str, width: int, height: int) -> str:
    """The reference's folder name: its stem if that is already `ref_<name>_<W>x<H>`, else built so."""
    stem, _, suffix = reference.rpartition("/")[2].rpartition(".")
    if not suffix or not stem or stem.startswith("."):  # rarely: a PurePath takes its time
        stem = PurePath(reference).stem
    stem = unicodedata.normalize("NFC", stem)
    return stem if _REF_STEM.fullmatch(stem) else f"ref_{stem}_{width}x{height}"


@lru_cache(maxsize=4096)
def _file_name(text: str) -> str:
    bad = text in ("", ".", "..") or "/" in text or "\\" in text or CONTROL_CHARACTER.search(text)
    if bad or len(text.encode()) > MAX_NAME_BYTES:
        raise ValueError
    return unicodedata.normalize("NFC", text)


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _four_n_plus_one(number: int) -> int:
    if number % 4 != 1:
        raise ValueError
    return number


_Size = Annotated[StrictInt, Field(ge=16, le=4096, multiple_of=16, description="a multiple of 16, from 16 to 4096")]


@dataclass(frozen=True, slots=True)
class Job:
    """One video to make, every setting resolved. The descriptions are what error messages call allowed."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    category: Annotated[
        StrictStr,
        AfterValidator(_file_name),
        Field(description="a file name: not empty, not . or .., no / or \\ or control character, at most 200 bytes"),
    ]
    reference: Annotated[StrictStr, AfterValidator(_path), Field(description="a path, not empty")]
    prompt: Annotated[StrictStr, AfterValidator(_not_blank), Field(description="text that is not blank")]
    prompt_index: Annotated[StrictInt, Field(ge=0, description="an integer of 0 or more")]
    seed: Annotated[StrictInt, Field(ge=0, le=2**63 - 1, description="an integer from 0 to 2^63 - 1")]
    negative_prompt: Annotated[StrictStr, Field(description="text")] = NEGATIVE_PROMPT
    mechanism: Annotated[Mechanism, Field(description="one of v2v, none, vace, fun_control")] = "v2v"
    denoising_strength: Annotated[StrictFloat, Field(gt=0, le=1, description="above 0 and below 1, with v2v only")] = (
        V2V_STRENGTH
    )
    width: _Size = 832
    height: _Size = 480
    num_frames: Annotated[
        StrictInt,
        AfterValidator(_four_n_plus_one),
        Field(ge=5, le=1001, description="4n+1 from 5 to 1001, such as 77 or 81"),
    ] = 81
    fps: Annotated[StrictFloat, Field(gt=0, le=240, description="a number above 0, at most 240")] = 15.0
    num_inference_steps: Annotated[StrictInt, Field(ge=1, le=1000, description="an integer from 1 to 1000")] = 50
    cfg_scale: Annotated[StrictFloat, Field(ge=0, le=100, description="a number from 0 to 100")] = 5.0
    sigma_shift: Annotated[StrictFloat, Field(gt=0, le=100, description="a number above 0, at most 100")] = 5.0
    note: Annotated[Any, Field(description="any JSON value")] = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Where the video lies below the output folder, without `.mp4`; the job's name everywhere."""
        folder = reference_folder(self.reference, self.width, self.height)
        return f"{self.category}/{folder}/seed_{self.seed}_prompt_{self.prompt_index}"

    @property
    def folder(self) -> str:
        """The folder of the id, one for all videos of a reference."""
        return f"{self.category}/{reference_folder(self.reference, self.width, self.height)}"

    @property
    def stem(self) -> str:
        """The id in its folder."""
        return f"seed_{self.seed}_prompt_{self.prompt_index}"

    @property
    def cost(self) -> int:
        """What the video costs beside others: frames x pixels x steps."""
        return self.num_frames * self.width * self.height * self.num_inference_steps


JOB_FIELDS = tuple(each.name for each in fields(Job))
SETTING_FIELDS = JOB_FIELDS[5:-1]
"""The fields that a run gives a default for: all but the five required ones and the note."""


class _Unfrozen:
    """What is to be a Job. A frozen dataclass sets each field by a call of its own: five times as slow."""

    __slots__ = JOB_FIELDS


def make_job(
    category: str, reference: str, prompt: str, prompt_index: int, seed: int, settings: tuple[Any, ...]
) -> Job:
    """The Job of values that are known to be good; `settings` are those of another one, in order, without a note."""
    job: Any = _Unfrozen()
    job.category, job.reference, job.prompt = category, reference, prompt
    job.prompt_index, job.seed, job.note = prompt_index, seed, None
    # fmt: off
    (
        job.negative_prompt, job.mechanism, job.denoising_strength, job.width, job.height,
        job.num_frames, job.fps, job.num_inference_steps, job.cfg_scale, job.sigma_shift,
    ) = settings
    # fmt: on
    job.__class__ = Job
    return cast(Job, job)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The choices of a run, beyond the job's own fields, that change pixels.

    `model` is the checkpoint's identity (see wan_ddp.wan.checkpoint), None in a dry run without a model, and so is
    `lora`, digests of files and how many times each is added, where a file was not read.
    """

    sampling: Sampling = "frames"
    short_reference: ShortReference = "refuse"
    control: Control = "as-is"
    tiled: bool = True
    preset: str = "plain"
    lora: tuple[str, ...] | None = ()
    model: str | None = None


def fingerprint_inputs(job: Job, conditions: Conditions, reference_digest: str | None) -> dict[str, Any]:
    """Everything that decides the job's pixels, by name: what a record holds and a changed run is told.

    The names that only say where things lie (category, prompt_index, the reference's path) are left out; so is what
    the mechanism does not use. `reference_digest` may be None where it is not known (a dry run).
    """
    return own_inputs(shared_inputs(job, conditions, reference_digest), job)


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """The SHA-256 of the inputs as canonical JSON."""
    return _sha256(_canonical(inputs))


class Identifier:
    """Tells the fingerprints of many jobs, in a tenth of the time where those that are alike follow one another."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._last: tuple[Any, ...] = ()
        self._shared: dict[str, Any] = {}
        self.is_known = False
        """Whether `mark` tells of the jobs that were last turned to."""
        self._begun = hashlib.sha256()
        self._middle = self._tail = ""
        self._prompt, self._quoted = "", _canonical("")

    def identify(self, job: Job, reference_digest: str | None) -> tuple[dict[str, Any], str | None]:
        """What `own_inputs` makes `fingerprint_inputs` of, one for many jobs, and the `fingerprint` of those.

        Without a fingerprint where the model or the reference is not known.
        """
        now = (*_settings(job), reference_digest)
        if len(now) != len(self._last) or not all(map(is_, now, self._last)):  # equal is not enough, 5 and 5.0 are
            self._last = now
            self._shared = self.turn_to(job, reference_digest)
        mark = self.mark(job)
        return self._shared, mark.hex() if mark else None

    def turn_to(self, job: Job, reference_digest: str | None) -> dict[str, Any]:
        """What the job shares with all that have its very settings and reference: those `mark` can be asked for."""
        shared, conditions = shared_inputs(job, self._conditions, reference_digest), self._conditions
        self.is_known = None not in (conditions.model, conditions.lora, shared.get("reference", "unused"))
        if self.is_known:
            _, (head, middle, self._tail) = _template(_packed_settings(job), conditions)
            self._middle = middle.replace(_REFERENCE_HERE, _canonical(reference_digest))
            self._begun = hashlib.sha256(head.encode())
        return shared

    def mark(self, job: Job) -> bytes | None:
        """The fingerprint's bytes, see `identify`."""
        if not self.is_known:
            return None
        prompt = job.prompt
        if prompt != self._prompt:  # seeds of one prompt follow one another
            self._prompt, self._quoted = prompt, _canonical(prompt)
        digest = self._begun.copy()
        digest.update(f"{self._quoted}{self._middle}{job.seed}{self._tail}".encode())
        return digest.digest()


_settings = attrgetter(*SETTING_FIELDS)
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_look = attrgetter(*SETTING_FIELDS, "reference", "category")


def runs_of_alike(jobs: Sequence[Job]) -> Iterator[tuple[int, int]]:
    """Where jobs that differ in prompt, prompt_index and seed alone follow one another: (start, end) of each run."""
    start, last = 0, _look(jobs[0]) if jobs else ()
    for position, now in enumerate(map(_look, jobs)):
        if not all(map(is_, now, last)):
            yield start, position
            start, last = position, now
    if jobs:
        yield start, len(jobs)


def _packed_settings(job: Job) -> bytes:
    """The settings exactly: as a tuple, 5 would stand for 5.0 and 0.0 for -0.0, which have other fingerprints.

    Version 2 of the format is a function of the values alone.
    """
    return marshal.dumps(_settings(job), 2)


def own_inputs(shared: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """The inputs that jobs share, with what is the job's own in its place."""
    return {**shared, "prompt": job.prompt, "seed": job.seed}


def shared_inputs(job: Job, conditions: Conditions, reference_digest: str | None) -> dict[str, Any]:
    """The inputs but for prompt and seed, which jobs share."""
    template, _ = _template(_packed_settings(job), conditions)
    return {**template, "reference": reference_digest} if "reference" in template else template


# No JSON holds this: a control character is escaped in its strings.
_REFERENCE_HERE = "\0"


@lru_cache(maxsize=4096)
def _template(packed_settings: bytes, conditions: Conditions) -> tuple[dict[str, Any], tuple[str, str, str]]:
    """The shared inputs of any reference, and their canonical JSON, cut in three where prompt and seed belong.

    The reference's digest is None there, and _REFERENCE_HERE.
    """
    inputs: dict[str, Any] = {"prompt": None, "seed": None}
    inputs |= zip(SETTING_FIELDS, marshal.loads(packed_settings), strict=True)
    inputs |= {name: value for name, value in asdict(conditions).items() if name != "control"}
    inputs["lora"] = None if conditions.lora is None else list(conditions.lora)
    if inputs["mechanism"] == "none":
        del inputs["sampling"], inputs["short_reference"]
    else:
        inputs["reference"] = None
    if inputs["mechanism"] in ("vace", "fun_control"):
        inputs["control"] = conditions.control
    said = {name: _canonical(value) for name, value in inputs.items()} | {"prompt": "", "seed": ""}
    if "reference" in inputs:
        said["reference"] = _REFERENCE_HERE
    names = sorted(inputs)
    texts = [f"{_canonical(name)}:{said[name]}" for name in names]
    prompt, seed = names.index("prompt"), names.index("seed")
    head = "{" + ",".join(texts[: prompt + 1])
    middle = "," + ",".join(texts[prompt + 1 : seed + 1])
    tail = "".join(f",{text}" for text in texts[seed + 1 :]) + "}"
    return inputs, (head, middle, tail)
