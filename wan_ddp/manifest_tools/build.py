"""From what an input holds to the lines of a manifest: numbered, sampled, checked by the reader, written whole."""

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from wan_ddp.errors import MachineError, ManifestError, UnusableError
from wan_ddp.files import write_atomically
from wan_ddp.job import JOB_FIELDS, Job
from wan_ddp.manifest import read_manifest
from wan_ddp.manifest_tools.counts import count, unexpected
from wan_ddp.manifest_tools.matching import Clip, Collected, Entry, Unmatched
from wan_ddp.manifest_tools.names import bare, shown, stem
from wan_ddp.manifest_tools.prompts import number


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made of an input."""

    output: str
    """The manifest's path, absolute."""
    seeds: tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Job fields for every line."""
    first_prompt_number: int | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    sample: int | None = None
    sample_seed: int = 0
    allow_unmatched: bool = False
    links: str | None = None
    """A folder for links to clips, under the names of their folders."""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest that can be written. `links` are to be made first, from a path to the file that it stands for."""

    text: str
    jobs: list[Job]
    links: Mapping[str, str]


def build(collected: Collected, request: Request) -> Built:
    """The manifest. Raises UnusableError with all that stands in its way: what matched nothing, counts, bad fields."""
    problems = list(collected.problems)
    entries, links = _linked(collected.entries, request)
    problems += _name_clashes(entries, request.settings)
    indices = number([entry.prompts for entry in entries], request.first_prompt_number, problems)
    problems += _seed_problems(entries, request)
    if collected.unmatched and not request.allow_unmatched:
        problems += describe_unmatched(collected.unmatched)
        problems.append("correct the names, or go on without these with --allow-unmatched")
    if not entries and not problems:
        problems.append("no clip has prompts: there is nothing to write")
    if problems:
        raise UnusableError(
            "\n".join([f"{collected.summary or 'nothing can be read'}; no manifest is written", *problems])
        )
    numbered = list(zip(entries, indices, strict=True))
    jobs = _read_back(_all_lines(numbered, request), request)
    if wrong := unexpected(count(jobs), request.expected):
        raise UnusableError("\n".join([*wrong, "correct --expect, or the clips and prompts; no manifest is written"]))
    if request.sample is not None:
        chosen = _sampled(entries, request.sample, request.sample_seed)
        numbered = [each for each in numbered if each[0].clip in chosen]
        links = {link: path for link, path in links.items() if link in {clip.path for clip in chosen}}
        jobs = _read_back(_all_lines(numbered, request), request)
    return Built(_text(_all_lines(numbered, request)), jobs, links)


def write(built: Built, request: Request) -> None:
    """Links first, then the manifest, whole. Raises UnusableError where something is in the way, MachineError."""
    output = Path(request.output)
    refuse_existing(request)
    try:
        for link, path in built.links.items():
            _link(Path(link), path)
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, built.text.encode())
    except OSError as error:
        raise MachineError(f"{shown(request.output)}: cannot be written: {error.strerror or error}") from error


def refuse_existing(request: Request) -> None:
    """Raises UnusableError where the manifest is there already, unless it may be replaced."""
    if os.path.isdir(request.output):
        raise UnusableError(f"{shown(request.output)}: is a folder; name a file in it")
    if os.path.lexists(request.output) and not request.force:
        raise UnusableError(f"{shown(request.output)}: is there already; name another file, or replace it with --force")


def describe_unmatched(unmatched: Sequence[Unmatched]) -> list[str]:
    """What stands alone, clips first, each with what it may have been meant to match."""
    lines = []
    for kind, title in (("clip", "clips without prompts"), ("prompts", "lists of prompts without a clip")):
        alone = [each for each in unmatched if each.kind == kind]
        if alone:
            lines.append(f"{title}: {sum(each.count for each in alone)}")
        for each in alone:
            whole = f": {each.why}, {each.count}" if each.count > 1 else f": {each.why}" if each.why else ""
            near = f"; nearest: {', '.join(each.nearest)}" if each.nearest else ""
            lines.append(f"  {each.what}{whole}{near}")
    return lines


def _linked(entries: Sequence[Entry], request: Request) -> tuple[list[Entry], dict[str, str]]:
    """With --links: entries whose clips are links, each named as its video's folder; and what the links stand for."""
    if request.links is None:
        return list(entries), {}
    linked, links = [], {}
    for entry in entries:
        file = PurePath(entry.clip.path)
        if entry.clip.name == file.name:
            raise UnusableError("--links goes with a folder a video; leave it out")
        path = os.path.join(request.links, entry.clip.category, f"{entry.clip.name}{file.suffix}")
        links[path] = entry.clip.path
        linked.append(replace(entry, clip=replace(entry.clip, path=path)))
    return linked, links


def _name_clashes(entries: Sequence[Entry], settings: Mapping[str, Any]) -> list[str]:
    """Clips whose videos would have one name, which a run makes of the clip's stem."""
    size = {name: settings[name] for name in ("width", "height") if name in settings}
    same: dict[str, list[Clip]] = defaultdict(list)
    for clip in dict.fromkeys(entry.clip for entry in entries):
        same[Job(clip.category, clip.path, "", 0, 0, **size).id].append(clip)
    clashes = []
    for clips in same.values():
        if len(clips) > 1:
            names = " and ".join(shown(clip.path) for clip in clips[:3]) + (" and more" if len(clips) > 3 else "")
            remedy = "rename all but one"
            if len({clip.name for clip in clips}) == len(clips) and clips[0].name != PurePath(clips[0].path).name:
                remedy = "have links made for them, named as their folders: --links DIR"
            clashes.append(f"{names}: their videos would have one name; {remedy}")
    return clashes


def _seed_problems(entries: Sequence[Entry], request: Request) -> list[str]:
    if request.seeds is not None and len(set(request.seeds)) < len(request.seeds):
        return ["--seeds names a seed twice; each gives one video a prompt"]
    prompts = [prompt for entry in entries for prompt in entry.prompts.prompts]
    without = [prompt for prompt in prompts if "seed" not in prompt.fields]
    if request.seeds is None and without:
        where = f"{without[0].where}: has no seed; " if len(without) < len(prompts) else ""
        return [f"{where}say which seeds each prompt is made with: --seeds 42 142"]
    if request.seeds is not None and len(without) < len(prompts):
        return ["the table has a column of seeds; leave --seeds out"]
    return []


def _all_lines(numbered: Sequence[tuple[Entry, Sequence[int]]], request: Request) -> list[tuple[dict[str, Any], str]]:
    return [line for entry, indices in numbered for line in _lines(entry, indices, request)]


def _text(lines: Sequence[tuple[dict[str, Any], str]]) -> str:
    return "".join(json.dumps(job, ensure_ascii=False) + "\n" for job, _ in lines)


def _lines(entry: Entry, indices: Sequence[int], request: Request) -> list[tuple[dict[str, Any], str]]:
    """The jobs of one clip as the manifest's objects, each with where it comes from."""
    lines = []
    reference = written(entry.clip.path, request.output)
    for prompt, index in zip(entry.prompts.prompts, indices, strict=True):
        fields = {**request.settings, **prompt.fields}
        for seed in request.seeds or (fields.pop("seed"),):
            job = {
                "category": entry.clip.category,
                "reference": reference,
                "prompt": prompt.text,
                "prompt_index": index,
                "seed": seed,
            }
            lines.append((job | {name: fields[name] for name in JOB_FIELDS if name in fields}, prompt.where))
    return lines


def written(path: str, output: str) -> str:
    """How the manifest names a clip: from its own folder, if the clip lies in that or beside it; else absolute.

    A run resolves it from the folder's real path, and so from there it is told.
    """
    folder = os.path.realpath(os.path.dirname(output))
    beside = os.path.dirname(folder)
    near = folder if beside == "/" else beside
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for name in (path, real):
        if near != "/" and name.startswith(f"{near}/"):
            return os.path.relpath(name, folder)
    return path


def _read_back(lines: Sequence[tuple[dict[str, Any], str]], request: Request) -> list[Job]:
    """The jobs as a run would read them. Its complaints are told of where the lines come from, each once."""
    try:
        content = _text(lines).encode()
    except UnicodeEncodeError as error:
        raise UnusableError("a text holds half of a surrogate pair, which is no Unicode; correct it") from error
    try:
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as draft:
            draft.write(content)
            draft.flush()
            return read_manifest(Path(draft.name), {})
    except OSError as error:
        raise MachineError(f"a draft of the manifest cannot be written: {error}") from error
    except ManifestError as error:
        complaints: dict[str, str] = {}
        for problem in error.problems:
            line, _, what = problem.removeprefix(f"{draft.name}:").partition(": ")
            complaints.setdefault(what.split(" as line ")[0], lines[int(line) - 1][1])
        told = [f"{where}: {what}" for what, where in complaints.items()]
        raise UnusableError("\n".join([*told, f"{shown(request.output)}: no manifest is written"])) from error


def _sampled(entries: Sequence[Entry], num_references: int, seed: int) -> set[Clip]:
    """So many clips of each category. One more asked for, or one more there, leaves the others as they are."""

    def rank(clip: Clip) -> bytes:
        return hashlib.sha256(f"{seed}/{clip.category}/{bare(stem(clip.path))}".encode()).digest()

    by_category: dict[str, list[Clip]] = defaultdict(list)
    for entry in entries:
        by_category[entry.clip.category].append(entry.clip)
    return {clip for own in by_category.values() for clip in sorted(own, key=rank)[:num_references]}


def _link(link: Path, path: str) -> None:
    if link.is_symlink() and str(link.readlink()) == path:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(path)
    except FileExistsError:
        raise UnusableError(f"{shown(str(link))}: is there already; give --links another folder") from None
