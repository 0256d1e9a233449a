"""Clips and lists of prompts brought together by their names. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from wan_ddp.manifest_tools.names import bare, nearest, nfc, shown, stem
from wan_ddp.manifest_tools.prompts import PromptList

NUM_WITH_NEAREST = 200  # looking for near names takes time that grows with the square of their number


@dataclass(frozen=True, slots=True)
class Clip:
    """A reference file. `category` is in NFC, `path` absolute and as the file system has it."""

    category: str
    name: str
    """Its file's name, or its folder's where each video has one."""
    path: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip and its prompts."""

    clip: Clip
    prompts: PromptList


@dataclass(frozen=True, slots=True)
class Unmatched:
    """What stands alone: a clip, or prompts. `count` of them, where a whole category does."""

    kind: Literal["clip", "prompts"]
    what: str
    why: str = ""
    nearest: tuple[str, ...] = ()
    count: int = 1


@dataclass(slots=True)
class Collected:
    """What an input holds, before anything is decided about it."""

    summary: str = ""
    """How it was read, in one line."""
    entries: list[Entry] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What cannot be gone on with, each `where: what is wrong; what to do`."""
    notes: list[str] = field(default_factory=list)


def match(clips: Sequence[Clip], lists: Sequence[PromptList], collected: Collected) -> Collected:
    """Adds entries in the order of the lists, and what stands alone on either side.

    A name is a clip's file name or its stem, and `ref_<name>_<W>x<H>` is `<name>`.
    """
    found = _Candidates(clips)
    taken: dict[Clip, PromptList] = {}
    alone: list[PromptList] = []
    for prompts in lists:
        candidates = found.of(prompts)
        if not prompts.prompts or not candidates:
            alone.append(prompts)
        elif len(candidates) > 1:
            collected.problems.append(
                f"{prompts.where}: {_quoted(prompts.name)} could be {_listed(clip.path for clip in candidates)}; "
                "write the file's whole name there, or move the others away"
            )
        elif other := taken.get(candidates[0]):
            collected.problems.append(
                f"{prompts.where}: {_quoted(prompts.name)} and {_quoted(other.name)} both name "
                f"{shown(candidates[0].path)}; each clip has one list of prompts"
            )
        else:
            taken[candidates[0]] = prompts
            collected.entries.append(Entry(candidates[0], prompts))
    # What could be meant is no clip without prompts as well.
    named = {clip for prompts in lists if prompts.prompts for clip in found.of(prompts)}
    collected.unmatched += _unmatched([clip for clip in clips if clip not in named], alone, clips, lists)
    return collected


class _Candidates:
    """The clips that a name could mean, in its category: by the whole name, else by what is left without the frame."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._exact: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        self._bare: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        for clip in clips:
            for name in dict.fromkeys((nfc(clip.name), stem(clip.name))):
                self._exact[clip.category, name].append(clip)
            self._bare[clip.category, bare(stem(clip.name))].append(clip)

    def of(self, prompts: PromptList) -> list[Clip]:
        name = nfc(prompts.name)
        exact = self._exact.get((prompts.category, name))
        return exact or self._bare.get((prompts.category, bare(name)), [])


def _unmatched(
    clips: Sequence[Clip], lists: Sequence[PromptList], all_clips: Sequence[Clip], all_lists: Sequence[PromptList]
) -> list[Unmatched]:
    """One for a category that is on one side only, else one a name, with the nearest of those left over opposite."""
    with_clips, with_lists = {clip.category for clip in all_clips}, {each.category for each in all_lists}
    found: list[Unmatched] = []
    for category in dict.fromkeys(clip.category for clip in clips if clip.category not in with_lists):
        count = sum(clip.category == category for clip in clips)
        near = nearest(category, with_lists - with_clips or with_lists)
        found.append(Unmatched("clip", f"{shown(category)}/", "no such category opposite", near, count))
    for category in dict.fromkeys(each.category for each in lists if each.category not in with_clips):
        count = sum(each.category == category for each in lists)
        near = nearest(category, with_clips - with_lists or with_clips)
        found.append(Unmatched("prompts", f"{shown(category)}/", "no such category opposite", near, count))
    clip_names = {_place(clip.category, clip.name): clip.category for clip in clips}
    list_names = {_place(each.category, each.name): each.category for each in lists if each.prompts}
    for clip in clips:
        if clip.category in with_lists:
            near = _nearest(clip.category, clip.name, list_names) if len(found) < NUM_WITH_NEAREST else ()
            found.append(Unmatched("clip", _place(clip.category, clip.name), "", near))
    for each in lists:
        if each.category in with_clips:
            why = "" if each.prompts else "its list of prompts is empty"
            near = _nearest(each.category, each.name, clip_names) if len(found) < NUM_WITH_NEAREST else ()
            found.append(Unmatched("prompts", _place(each.category, each.name), why, () if why else near))
    return found


def _nearest(category: str, name: str, others: dict[str, str]) -> tuple[str, ...]:
    """The nearest names of the same category; the same name in another one comes before them."""
    elsewhere = [place for place in others if others[place] != category and _last(place) == stem(name)]
    return (*elsewhere, *nearest(name, [place for place in others if others[place] == category]))[:3]


def _last(place: str) -> str:
    return stem(PurePath(place).name)


def _place(category: str, name: str) -> str:
    return shown(f"{category}/{name}")


def _quoted(name: str) -> str:
    return shown(name) if shown(name).startswith('"') else f'"{name}"'


def _listed(names: Iterable[str]) -> str:
    return " or ".join(shown(name) for name in names)
