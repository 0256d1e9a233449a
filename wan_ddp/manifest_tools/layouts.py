"""Which layout an input has, found by looking at what is there; two at once are not guessed at."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from wan_ddp.errors import UnusableError
from wan_ddp.manifest_tools.folders import Way, collect_each_category, collect_each_video, collect_one_file
from wan_ddp.manifest_tools.matching import Collected, Unmatched
from wan_ddp.manifest_tools.names import shown
from wan_ddp.manifest_tools.table import collect_table
from wan_ddp.manifest_tools.texts import read_json, read_rows
from wan_ddp.manifest_tools.tree import TABLE_SUFFIXES, Tree, walk

Layout = Literal["prompt-json", "prompts-json", "prompts-txt", "table"]
LAYOUTS: Mapping[Layout, str] = {
    "prompt-json": "<category>/<clip>.mp4, and one prompt.json: {category: {clip: [prompts]}}",
    "prompts-json": "<category>/<clip>.mp4, and one <category>/prompts.json each: {clip: [prompts]}",
    "prompts-txt": "<category>/<video>/ with a clip, and prompts.txt beside it: one prompt a line",
    "table": "a .csv, .tsv or .jsonl file: a row names a clip and a prompt",
}
_MANIFEST_COLUMNS = frozenset({"category", "reference", "prompt", "prompt_index", "seed"})


@dataclass(frozen=True, slots=True)
class Options:
    """How an input is to be read, where it does not say so itself. Paths are absolute."""

    layout: Layout | None = None
    clips: str | None = None
    """The folder of the clips, where they do not lie with the prompts."""
    category: str | None = None
    encoding: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """The table's column for a job's field, where it has another name."""
    output: str | None = None
    """The manifest to write: not a part of the input."""

    @property
    def way(self) -> Way:
        return Way(self.category, self.encoding)


def collect(source: str, options: Options) -> Collected:
    """What the input holds. `source` is the absolute path of a folder, or of a file of prompts.

    Raises UnusableError where nothing can be made of it, or more than one thing.
    """
    if os.path.isdir(source):
        return _collect_folder(walk(source), options)
    suffix = PurePath(source).suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return _collect_table(source, None, options, Collected())
    if suffix != ".json" and os.path.exists(source):
        raise UnusableError(f"{shown(source)}: is no folder, and no .json, .csv, .tsv or .jsonl file")
    if isinstance(read_json(source, options.encoding), list):
        return _collect_table(source, None, options, Collected())
    _refuse_other_layout(source, "prompt-json", options)
    tree = walk(options.clips or os.path.dirname(source))
    unused = [file for file in tree.prompt_files if tree.path(file) != source]
    notes = [*tree.notes, *(f"not used: {shown(tree.path(file))}" for file in unused)]
    return collect_one_file(source, tree, options.way, Collected(notes=notes))


def _collect_folder(tree: Tree, options: Options) -> Collected:
    found = _prompt_files(tree, options)
    layout = options.layout or _only_layout(tree, found)
    files = found[layout]
    if not files:
        raise UnusableError(f"{shown(tree.root)}: has no layout {layout}: {LAYOUTS[layout]}")
    if len(files) > 1 and layout in ("prompt-json", "table"):
        names = " and ".join(shown(tree.path(file)) for file in files)
        raise UnusableError(f"{names}: only one of them can count; give it instead of the folder")
    collected = Collected(notes=tree.notes)
    unused = [file for other, files_of_other in found.items() if other != layout for file in files_of_other]
    collected.notes += [f"not used, by --layout {layout}: {shown(tree.path(file))}" for file in unused]
    placed = {file for files_of_any in found.values() for file in files_of_any}
    why = "no layout has such a file there"
    strays = [file for file in tree.prompt_files if file not in placed]
    collected.unmatched += [Unmatched("prompts", shown(tree.path(file)), why) for file in strays]
    if layout == "table":
        return _collect_table(tree.path(files[0]), tree, options, collected)
    if layout == "prompts-txt":
        if options.clips:
            raise UnusableError("--clips does not go with a folder a video, whose clips lie with their prompts")
        return collect_each_video(tree, files, options.way, collected)
    clips = _clips_tree(tree, options, collected)
    if layout == "prompts-json":
        return collect_each_category([tree.path(file) for file in files], clips, options.way, collected)
    return collect_one_file(tree.path(files[0]), clips, options.way, collected)


def _prompt_files(tree: Tree, options: Options) -> dict[Layout, list[str]]:
    """The files that each layout would use."""
    found: dict[Layout, list[str]] = {layout: [] for layout in LAYOUTS}
    for file in tree.prompt_files:
        depth, is_json = file.count("/"), PurePath(file).suffix.lower() == ".json"
        if is_json and depth < 2:
            found["prompts-json" if depth else "prompt-json"].append(file)
        elif not is_json and depth in (1, 2):
            found["prompts-txt"].append(file)
    for file in tree.tables:
        if "/" not in file and tree.path(file) != options.output and not _is_manifest(tree.path(file)):
            found["table"].append(file)
    return found


def _is_manifest(path: str) -> bool:
    """Whether it may be what an earlier call wrote, beside the prompts that it was made from."""
    if PurePath(path).suffix.lower() not in (".jsonl", ".ndjson"):
        return False
    try:
        return set(read_rows(path, None).columns) >= _MANIFEST_COLUMNS
    except UnusableError:
        return False


def _only_layout(tree: Tree, found: Mapping[Layout, Sequence[str]]) -> Layout:
    layouts = [layout for layout, files in found.items() if files]
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        seen = "; ".join(f"{layout}, by {shown(tree.path(found[layout][0]))}" for layout in layouts)
        choices = " or ".join(f"--layout {layout}" for layout in layouts)
        raise UnusableError(f"{shown(tree.root)}: {len(layouts)} layouts at once: {seen}; say which counts: {choices}")
    candidates = [file for file in tree.others if file.lower().endswith((".json", ".txt"))]
    candidates = [*tree.prompt_files, *tree.tables, *candidates]
    hint = f"; if {shown(tree.path(candidates[0]))} holds them, give that file or its folder" if candidates else ""
    known = "\n".join([f"{hint}; layouts are:", *(f"  {layout:12}  {text}" for layout, text in LAYOUTS.items())])
    raise UnusableError(f"{shown(tree.root)}: {len(tree.clips)} clips, and no prompts where a layout has them{known}")


def _clips_tree(tree: Tree, options: Options, collected: Collected) -> Tree:
    if options.clips is None:
        return tree
    clips = walk(options.clips)
    collected.notes += clips.notes
    passed = [clip for clip in tree.clips if not tree.path(clip).startswith(f"{options.clips}/")]
    if passed:
        collected.notes.append(f"{len(passed)} clips are not in --clips, such as {shown(tree.path(passed[0]))}")
    return clips


def _collect_table(path: str, tree: Tree | None, options: Options, collected: Collected) -> Collected:
    """`tree` is the folder that was given, where no file was: then all its clips are to be accounted for."""
    _refuse_other_layout(path, "table", options)
    table = read_rows(path, options.encoding)
    if options.clips is not None:
        tree = _clips_tree(tree or Tree(options.clips), options, collected)
    clips = [tree.path(clip) for clip in (*tree.clips, *tree.unusable)] if tree else []
    folder = tree.root if tree else os.path.dirname(path)
    return collect_table(table, folder, options.columns, options.category, clips, collected)


def _refuse_other_layout(source: str, layout: Layout, options: Options) -> None:
    if options.layout not in (None, layout):
        raise UnusableError(f"{shown(source)}: is of layout {layout}; --layout {options.layout} goes with a folder")
