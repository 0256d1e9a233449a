"""JSON Lines to jobs and back, with every complaint located as `file:line: what is wrong; what is allowed`."""

import difflib
import json
import marshal
import math
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from wan_ddp.errors import ManifestError
from wan_ddp.job import JOB_FIELDS, SETTING_FIELDS, Job, make_job, reference_folder
from wan_ddp.uncollected import uncollected

# The longest file name that the usual file systems take, less what a hidden temporary name adds to it.
_MAX_FILE_NAME_BYTES = 255 - 55
_SHOWN_CHARACTERS = 80
# What the output folder holds besides the categories' folders.
TAKEN_NAMES = (
    *("logs", "report", "report.json", "missing.jsonl", "pilot.json", "speeds.json"),
    *(".claims", ".references.json", ".records.index", ".write-check"),
)
_MAX_INTEGER = 2**63 - 1
_KEY_END = re.compile(r'"\s*:')
SLOWEST_FPS = 1e-6  # an MP4's clock holds 1001 frames of that, and hardly more

_VALIDATOR = TypeAdapter(Job)
ALLOWED: Mapping[str, str] = {
    name: next(item.description for item in hint.__metadata__ if isinstance(item, FieldInfo) and item.description)
    for name, hint in get_type_hints(Job, include_extras=True).items()
    if name in JOB_FIELDS
}


class _BadJsonError(ValueError):
    """JSON that the standard library reads and this format does not take."""


class _BadFieldsError(ValueError):
    """Fields that do not make a job; one argument a problem."""


@uncollected()
def read_manifest(path: Path, defaults: Mapping[str, Any], *, folder: Path | None = None) -> list[Job]:
    """The jobs of a manifest, in its order, references made absolute from `folder`, by default the manifest's own.

    `defaults` are the run's settings for what a line leaves out. Raises ManifestError with every problem of the file.
    """
    jobs: list[Job] = []
    problems: list[str] = []
    first_lines: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    reader = _Reader(defaults, os.path.realpath(folder or path.parent), first_lines)
    like_before = reader.like_before
    for number, line in _lines(path):
        if found := like_before(line):
            job, lines, own = found
        elif text := line.strip(_JSON_SPACE):
            try:
                job, output_folder = reader.read(text)
            except _BadFieldsError as error:
                problems += [f"{path}:{number}: {problem}" for problem in error.args]
                continue
            lines, own = first_lines[output_folder], (job.seed, job.prompt_index)
        else:
            continue
        first = lines.setdefault(own, number)
        if first != number:
            problems.append(
                f"{path}:{number}: same output {job.id}.mp4 as line {first}; every job needs its own "
                "category, reference name, seed and prompt_index"
            )
            continue
        jobs.append(job)
    if problems:
        raise ManifestError(problems)
    if not jobs:
        raise ManifestError([f"{path}: no jobs in it; a manifest has one JSON object a line, see manifests/README.md"])
    return jobs


class _Reader:
    """Turns lines into jobs. Of lines that say the same but for what is every job's own, the first is looked at whole.

    The others are checked in what is their own, which takes a third of the time: a million lines are like that.
    """

    def __init__(self, defaults: Mapping[str, Any], base: str, lines: Mapping[str, dict[tuple[int, int], int]]) -> None:
        self._defaults, self._base, self._lines = defaults, base, lines
        self._shared: dict[str, str] = {}
        self._alike: dict[bytes, tuple[str, tuple[Any, ...]]] = {}
        self._places: dict[tuple[bytes, str], tuple[str, str]] = {}
        self._prompts: dict[str, str] = {}
        self._around: dict[tuple[str, str], _Around] = {}
        self._found: dict[tuple[str, int, int], dict[str, _Place]] = {}

    def like_before(self, line: str) -> tuple[Job, dict[tuple[int, int], int], tuple[int, int]] | None:
        """A line as `json.dumps` writes it, that says what an earlier one said but for reference and prompt.

        The job, the lines that its folder's outputs were first seen in, and what it is called by there. None for a line
        that is to be read: it may be good or not.
        """
        try:
            head, named, prompted, tail = line.split(_BETWEEN, 3)
        except ValueError:
            return None
        around = self._around.get((head, tail))
        if around is None:
            self._look_around(line, head, named, prompted, tail)
            return None
        place = around.places.get(named) or self._find(around, named)
        prompt = self._prompts.get(prompted) or self._take(prompted)
        if place is None or prompt is None:
            return None
        category, prompt_index, seed, settings = around.same
        return make_job(category, place[0], prompt, prompt_index, seed, settings), place[1], around.own

    def _look_around(self, line: str, head: str, named: str, prompted: str, tail: str) -> None:
        """Remember what stands around a reference and a prompt, if they stand in their usual places of a good line."""
        usual = _HEAD.fullmatch(head) and _TAIL.match(tail)
        if not usual or _value(named, _REFERENCE) is None or self._take(prompted) is None:
            return
        if len(self._around) >= _MAX_AROUND:  # every line has a seed of its own, say
            return
        try:
            job, _ = self.read(line)
        except _BadFieldsError:  # which is told when it is read again
            return
        if job.note is not None:
            return
        places = self._found.setdefault((job.category, job.width, job.height), {})
        same = (job.category, job.prompt_index, job.seed, _settings(job))
        self._around[head, tail] = _Around(same, (job.seed, job.prompt_index), (job.width, job.height), places)

    def _find(self, around: "_Around", named: str) -> "_Place | None":
        """Where a reference lies, and its outputs; None if that wants a closer look."""
        value = _value(named, _REFERENCE)
        if value is None:
            return None
        reference = _absolute(self._base, value)
        name = reference_folder(reference, *around.size)
        if _num_bytes(name) > _MAX_FILE_NAME_BYTES:
            return None
        place = around.places[named] = reference, self._lines[f"{around.same[0]}/{name}"]
        return place

    def _take(self, prompted: str) -> str | None:
        """A prompt that need not be looked at again, None if it wants a closer look."""
        prompt = _value(prompted, _PROMPT)
        if prompt is None or prompt.isspace():
            return None
        if len(self._prompts) >= _MAX_PROMPTS:  # most stand in lines that follow one another, or are few
            self._prompts.clear()
        self._prompts[prompted] = prompt
        return prompt

    def read(self, text: str) -> tuple[Job, str]:
        """The job of a line, and the folder that its output lies in. Raises _BadFieldsError."""
        own, rest = _split(text)
        if own is not None and (alike := self._alike.get(rest)):
            (named, prompt, prompt_index, seed), (category, settings) = own, alike
            prompt = self._shared.setdefault(prompt, prompt)
            if place := self._places.get((rest, named)):
                reference, folder = place
                return make_job(category, reference, prompt, prompt_index, seed, settings), folder
            reference = _absolute(self._base, named)
            job = make_job(category, reference, prompt, prompt_index, seed, settings)
            folder = _folder(job)
            if _num_bytes(folder.rpartition("/")[2]) <= _MAX_FILE_NAME_BYTES:
                self._places[rest, named] = reference, folder
                return job, folder
        job = _job(_fields(text), self._defaults, self._base, self._shared)
        if own is not None:
            self._alike[rest] = job.category, _settings(job)
        return job, _folder(job)


_Place = tuple[str, dict[tuple[int, int], int]]
# A line as json.dumps writes it, cut at _BETWEEN: _HEAD, _REFERENCE and its value, _PROMPT and its value, _TAIL.
_BETWEEN = '", "'
_HEAD = re.compile(r'\{"category": "[^"\\]*')
_REFERENCE, _PROMPT = 'reference": "', 'prompt": "'
_TAIL = re.compile(r'prompt_index": [0-9]+, "seed": [0-9]')
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_MAX_AROUND = 100_000
_MAX_PROMPTS = 1 << 16
_BLOCK_BYTES = 1 << 20
_JSON_SPACE = " \t\r\n"


class _Around(NamedTuple):
    """What a line says beside reference and prompt; `own` tells its job from others of one reference."""

    same: tuple[str, int, int, tuple[Any, ...]]
    own: tuple[int, int]
    size: tuple[int, int]
    places: dict[str, _Place]
    """By what is named: the reference's path, and the lines of its folder's outputs."""


def _value(text: str, name: str) -> str | None:
    """The value after the field's name, if it is not empty and stands in JSON as it is."""
    value = text.removeprefix(name)
    return value if value and len(text) == len(name) + len(value) and not _ESCAPED.search(value) else None


def _folder(job: Job) -> str:
    return job.id.rpartition("/")[0]


def _split(text: str) -> tuple[tuple[str, str, int, int] | None, bytes]:
    """A line's good reference, prompt, prompt_index and seed, and exactly what else it says.

    None for a line that wants a closer look.
    """
    try:
        fields, end = _scan(text, 0)
        # Fewer fields than colons: some stand twice, or there are objects inside, or colons in texts.
        is_flat = text.count(":") == len(fields) or len(_KEY_END.findall(text)) == len(fields)
        if end == len(text) and is_flat and "note" not in fields and "\\u" not in text:
            reference, prompt = fields.pop("reference"), fields.pop("prompt")
            prompt_index, seed = fields.pop("prompt_index"), fields.pop("seed")
            if (
                type(reference) is type(prompt) is str
                and type(prompt_index) is type(seed) is int
                and reference
                and "\0" not in reference
                and prompt
                and not prompt.isspace()
                and 0 <= prompt_index <= _MAX_INTEGER
                and 0 <= seed <= _MAX_INTEGER
            ):
                return (reference, prompt, prompt_index, seed), marshal.dumps(fields, 2)
    except (StopIteration, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        pass
    return None, b""


def job_line(job: Job) -> str:
    """The job as a manifest line that says every setting, so that it makes the same video under any defaults."""
    values = {name: getattr(job, name) for name in JOB_FIELDS}
    if job.mechanism != "v2v":
        del values["denoising_strength"]
    if job.note is None:
        del values["note"]
    return json.dumps(values, ensure_ascii=False)


def check_defaults(defaults: Mapping[str, Any]) -> list[str]:
    """What is wrong with the run's settings, one `name is value; it must be ...` each."""
    example = {"category": "a", "reference": "a", "prompt": "a", "prompt_index": 0, "seed": 0}
    try:
        _job(example, defaults, "/", {})
    except _BadFieldsError as error:
        return list(error.args)
    return []


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines, numbered from 1. Split at \\n alone: U+2028 may stand inside a string."""
    return enumerate(chain.from_iterable(_blocks(path)), start=1)


def _blocks(path: Path) -> Iterator[list[str]]:
    """The lines, many at a time: decoded one by one, a million take seconds."""
    num_lines = 0
    try:
        with _open(path) as file:
            while block := file.read(_BLOCK_BYTES) + file.readline():
                try:
                    lines = str(block, "utf-8" if num_lines else "utf-8-sig").split("\n")
                except UnicodeDecodeError as error:
                    line = num_lines + block.count(b"\n", 0, error.start) + 1
                    raise ManifestError([f"{path}:{line}: not UTF-8; save the manifest as UTF-8"]) from error
                if block.endswith(b"\n"):
                    del lines[-1]
                num_lines += len(lines)
                yield lines
    except OSError as error:
        raise ManifestError([f"{path}: cannot be read: {error.strerror}; give a JSON Lines file"]) from error


def _open(path: Path) -> BinaryIO:
    """The file, open. It is read once a rank, so a pipe is refused, and before it is waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a folder says so itself
        os.close(descriptor)
        raise ManifestError([f"{path}: is a pipe, socket or device; give a JSON Lines file"])
    return os.fdopen(descriptor, "rb")


def _fields(text: str) -> dict[str, Any]:
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise _BadFieldsError(f"not JSON: {error.msg} at column {error.colno}; a line holds one JSON object") from error
    except RecursionError as error:
        raise _BadFieldsError("nested too deep; a line holds one flat JSON object") from error
    except ValueError as error:  # ours, and an integer of thousands of digits
        raise _BadFieldsError(f"{error}") from error
    if not isinstance(value, dict):
        raise _BadFieldsError(f"{_shown(value)} is not a job; a line holds one JSON object")
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise _BadJsonError(f"{_shown(double)} stands twice; each field may stand once")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _BadJsonError(f"{name} is not JSON; numbers must be finite")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _BadJsonError(f"{text:.80} is too large; numbers must be finite")
    return number


def _refuse_lone_surrogates(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _BadFieldsError(f"{_shown(name)} holds a lone surrogate; text must be valid Unicode") from error


_scan = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).scan_once  # type: ignore[attr-defined]
_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite).decode
_settings = attrgetter(*SETTING_FIELDS)


def _job(line: dict[str, Any], defaults: Mapping[str, Any], folder: str, shared: dict[str, str]) -> Job:
    """The job of one line. `shared` keeps one copy of each text, so that 100,000 jobs fit in little memory."""
    fields = {**defaults, **line}
    problems = _settle_strength(fields, line)
    reference = fields.get("reference")
    if isinstance(reference, str) and reference:
        fields["reference"] = _absolute(folder, reference)
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = shared.setdefault(value, value)
    try:
        job = _VALIDATOR.validate_python(fields)
    except ValidationError as error:
        problems += [_problem(detail["type"], str(detail["loc"][0]), fields) for detail in error.errors()]
        raise _BadFieldsError(*problems) from error
    longest = max(job.id.split("/"), key=_num_bytes)
    if _num_bytes(longest) > _MAX_FILE_NAME_BYTES:
        problems.append(
            f"its output's name {_shown(longest)} has {_num_bytes(longest)} bytes; it may have {_MAX_FILE_NAME_BYTES}"
        )
    if job.category in TAKEN_NAMES:
        problems.append(f"category is {_shown(job.category)}, where the run's own files lie; it must be another name")
    if job.fps < SLOWEST_FPS:
        problems.append(f"fps is {_shown(job.fps)}, too slow for an MP4; it must be {SLOWEST_FPS:g} or more")
    if problems:
        raise _BadFieldsError(*problems)
    return job


def _settle_strength(fields: dict[str, Any], line: Mapping[str, Any]) -> list[str]:
    """Sets denoising_strength to 1.0 where the mechanism starts from pure noise; returns what is wrong with it."""
    if fields.get("mechanism", "v2v") == "v2v":
        strength = fields.get("denoising_strength")
        if strength == 1 and strength is not True:
            return [
                f"denoising_strength is 1.0, which ignores the reference; it must be {ALLOWED['denoising_strength']}"
            ]
        return []
    fields["denoising_strength"] = 1.0
    if "denoising_strength" not in line:
        return []
    return [
        f"denoising_strength goes with mechanism v2v only, and mechanism is {_shown(fields['mechanism'])}; leave it out"
    ]


def _num_bytes(text: str) -> int:
    return len(text.encode())


@lru_cache(maxsize=4096)
def _absolute(folder: str, reference: str) -> str:
    return os.path.normpath(os.path.join(folder, reference))  # noqa: PTH118 - a Path for each line costs too much


def _problem(kind: str, name: str, fields: Mapping[str, Any]) -> str:
    if kind == "missing":
        return f"{name} is missing; it must be {ALLOWED[name]}"
    if kind == "unexpected_keyword_argument":
        near = difflib.get_close_matches(name, JOB_FIELDS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"unknown field {_shown(name)}{hint}; allowed are {', '.join([*JOB_FIELDS, 'note'])}"
    return f"{name} is {_shown(fields.get(name))}; it must be {ALLOWED[name]}"


def _shown(value: Any) -> str:
    """The value as it would stand in the manifest, shortened, on one line."""
    text = json.dumps(value, ensure_ascii=not (isinstance(value, str) and value.isprintable()), default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
