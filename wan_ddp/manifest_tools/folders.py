"""The layouts that are folders of clips: one prompt file for all, one a category, one a video."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from wan_ddp.errors import UnusableError
from wan_ddp.manifest_tools.matching import Clip, Collected, Entry, Unmatched, match
from wan_ddp.manifest_tools.names import nfc, shown
from wan_ddp.manifest_tools.prompts import PromptList, is_numbered, parse_lines, parse_value
from wan_ddp.manifest_tools.texts import read_json, read_text
from wan_ddp.manifest_tools.tree import Tree

_ALL = "{category: {clip: [prompts]}}"
_ONE = "{clip: [prompts]}"


@dataclass(frozen=True, slots=True)
class Way:
    """What was told about an input: the category where the layout names none, and the encoding of its texts."""

    category: str | None = None
    encoding: str | None = None


def collect_one_file(path: str, tree: Tree, way: Way, collected: Collected) -> Collected:
    """All categories in one file; or one, where the clips lie in the given folder itself."""
    value = read_json(path, way.encoding)
    if not isinstance(value, dict):
        raise UnusableError(f"{shown(path)}: it holds no object; it must be {_ALL}")
    if tree.clips and not any("/" in clip for clip in tree.clips):
        category = way.category or _folder_name(tree.root)
        if len(value) == 1 and all(isinstance(each, dict) and not is_numbered(each) for each in value.values()):
            [(category, value)] = value.items()
            _refuse_category(path, way)
        lists = _lists(nfc(category), value, path, collected.problems)
        clips = [Clip(nfc(category), clip, tree.path(clip)) for clip in tree.clips]
        _add_unusable(tree, collected)
    else:
        _refuse_category(path, way)
        lists = _lists_of_categories(value, path, collected.problems)
        clips = _clips_of_categories(tree, collected)
    collected.summary = f"layout prompt-json: {shown(path)} has {_counted(lists, clips)}"
    return match(clips, lists, collected)


def collect_each_category(paths: Sequence[str], tree: Tree, way: Way, collected: Collected) -> Collected:
    """A `prompts.json` in each category's folder."""
    _refuse_category(paths[0], way)
    lists: list[PromptList] = []
    for path in paths:
        value = read_json(path, way.encoding)
        category = nfc(_folder_name(os.path.dirname(path)))
        if not isinstance(value, dict):
            raise UnusableError(f"{shown(path)}: it holds no object; it must be {_ONE}")
        lists += _lists(category, value, path, collected.problems)
    clips = _clips_of_categories(tree, collected)
    collected.summary = f"layout prompts-json: {len(paths)} prompts.json have {_counted(lists, clips)}"
    return match(clips, lists, collected)


def collect_each_video(tree: Tree, files: Sequence[str], way: Way, collected: Collected) -> Collected:
    """A folder a video, in its category's folder: with one clip, and a `prompts.txt`."""
    beside: dict[str, list[str]] = defaultdict(list)
    for clip in tree.clips:
        beside[os.path.dirname(clip)].append(clip)
    used: set[str] = set()
    for file in files:
        path, folder = tree.path(file), os.path.dirname(file)
        if "/" in folder:
            _refuse_category(path, way)
        category = nfc(folder.partition("/")[0] if "/" in folder else way.category or _folder_name(tree.root))
        lines = read_text(path, way.encoding).split("\n")
        prompts = parse_lines(lines, shown(path), collected.problems)
        clips = beside[folder]
        if len(clips) > 1:
            collected.problems.append(f"{shown(path)}: {len(clips)} clips lie beside it, and one may: {_listed(clips)}")
            used.update(clips)
        elif not clips:
            # One level up, perhaps.
            near = tuple(shown(clip) for clip in tree.clips if PurePath(clip).with_suffix("") == PurePath(folder))
            collected.unmatched.append(Unmatched("prompts", shown(file), "no clip lies beside it", near))
        elif not prompts:
            collected.unmatched.append(Unmatched("prompts", shown(file), "it is empty"))
        elif clips[0] in used:
            collected.problems.append(f"{shown(path)}: a second file of prompts for {clips[0]}; one may be there")
        else:
            used.add(clips[0])
            own = Clip(category, PurePath(folder).name, tree.path(clips[0]))
            collected.entries.append(Entry(own, PromptList(category, folder, path, prompts)))
    alone = [clip for clip in tree.clips if clip not in used]
    collected.unmatched += [Unmatched("clip", shown(clip), "no prompts.txt lies beside it") for clip in alone]
    _add_unusable(tree, collected)
    collected.summary = (
        f"layout prompts-txt: {len(files)} folders have prompts.txt, beside {len(tree.clips)} clips in all"
    )
    return collected


def _clips_of_categories(tree: Tree, collected: Collected) -> list[Clip]:
    """Those at `<category>/<clip>`; the others stand alone."""
    clips = []
    for clip in tree.clips:
        category, _, name = clip.partition("/")
        if name and "/" not in name:
            clips.append(Clip(nfc(category), name, tree.path(clip)))
        elif name:
            why = f"it lies deeper than <category>/<clip>; is it --clips {shown(tree.path(category))}?"
            collected.unmatched.append(Unmatched("clip", shown(clip), why))
        else:
            collected.unmatched.append(Unmatched("clip", shown(clip), "it lies in no category's folder"))
    _add_unusable(tree, collected)
    return clips


def _add_unusable(tree: Tree, collected: Collected) -> None:
    collected.unmatched += [Unmatched("clip", shown(clip), why) for clip, why in tree.unusable.items()]


def _lists_of_categories(value: dict[str, Any], path: str, problems: list[str]) -> list[PromptList]:
    lists: list[PromptList] = []
    for category, clips in value.items():
        if isinstance(clips, dict):
            lists += _lists(nfc(category), clips, path, problems)
        else:
            problems.append(f"{shown(path)}: {shown(category)} holds no clips; with clips in folders it must be {_ALL}")
    return lists


def _lists(category: str, value: dict[str, Any], path: str, problems: list[str]) -> list[PromptList]:
    lists = []
    for name, prompts in value.items():
        where = f"{shown(path)}: {shown(f'{category}/{name}')}"
        lists.append(PromptList(category, name, where, parse_value(prompts, where, problems)))
    return lists


def _refuse_category(path: str, way: Way) -> None:
    if way.category is not None:
        raise UnusableError(f"{shown(path)}: the categories are told by the layout; leave --category out")


def _folder_name(folder: str) -> str:
    return PurePath(os.path.realpath(folder)).name


def _counted(lists: Sequence[PromptList], clips: Sequence[Clip]) -> str:
    num_categories = len({each.category for each in lists})
    categories = f"{num_categories} categor{'y' if num_categories == 1 else 'ies'}"
    return f"prompts for {len(lists)} names in {categories}, beside {len(clips)} clips"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names))
