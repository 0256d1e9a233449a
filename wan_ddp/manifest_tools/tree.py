"""What lies in a folder of clips and prompts. Links are followed; nothing that is there goes without a word."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from wan_ddp.errors import UnusableError
from wan_ddp.manifest_tools.names import is_unicode, shown

# The containers that wan_ddp.ffmpeg reads, by the names that their files have.
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".gif"})
# Videos that it does not read: not to be taken for something else that lies about.
UNREAD_SUFFIXES = frozenset(
    {".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".vob", ".ogv", ".rm", ".rmvb", ".y4m"}
)
PROMPT_FILES = frozenset({"prompt.json", "prompts.json", "prompt.txt", "prompts.txt"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
_HIDDEN_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})  # of macOS archives, Synology and Windows


@dataclass(slots=True)
class Tree:
    """The files of a folder and of those in it, as paths below it, in order."""

    root: str
    clips: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    """Videos that no job could read, each with the reason."""
    prompt_files: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def path(self, relative: str) -> str:
        return os.path.join(self.root, relative)

    @property
    def notes(self) -> list[str]:
        """What was passed over, for the reader of the report."""
        return [
            f"passed over, {kind}: {len(files)}, such as {shown(self.path(files[0]))}"
            for kind, files in (("hidden", self.hidden), ("neither clips nor prompts", self.others))
            if files
        ]


def walk(root: str) -> Tree:
    """Everything in the folder. Raises UnusableError where a folder cannot be read."""
    tree = Tree(root)
    for entry, relative in _entries(root, "", ()):
        name = entry.name
        suffix = PurePath(name).suffix.lower()
        if _is_hidden(name):
            tree.hidden.append(relative)
        elif is_video(name):
            if problem := why_unusable(tree.path(relative)):
                tree.unusable[relative] = problem
            else:
                tree.clips.append(relative)
        elif name.casefold() in PROMPT_FILES:
            tree.prompt_files.append(relative)
        elif suffix in TABLE_SUFFIXES:
            tree.tables.append(relative)
        else:
            tree.others.append(relative)
    return tree


def why_unusable(path: str) -> str | None:
    """Why no job can use a file that has a video's name, as far as name and kind tell; None if it can."""
    if not is_unicode(path):
        return "its name is not UTF-8, and a manifest is; rename it, e.g.: convmv -r -f gbk -t utf-8 --notest FOLDER"
    suffix = PurePath(path).suffix.lower()
    if suffix in UNREAD_SUFFIXES:
        return f"{suffix} is not read; encode it anew: ffmpeg -i OLD -an -c:v libx264 -crf 10 NEW.mp4"
    if not os.path.exists(path):
        return "it is a link to a file that is not there" if os.path.islink(path) else "it is not there"
    if not os.path.isfile(path):
        return "it is no file"
    return (
        None
        if suffix in VIDEO_SUFFIXES
        else f"it is no clip by its name, which are {', '.join(sorted(VIDEO_SUFFIXES))}"
    )


def list_names(folder: str) -> list[str]:
    """The names in a folder that are not hidden, in order; none if it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if not _is_hidden(name))
    except OSError:
        return []


def is_clip(name: str) -> bool:
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES and not _is_hidden(name)


def is_video(name: str) -> bool:
    """Whether the name is a video's, of a kind that is read or not."""
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES | UNREAD_SUFFIXES and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    """Also `._x.mp4`, which macOS writes beside `x.mp4` on other systems' disks."""
    return name.startswith(".") or name in _HIDDEN_FOLDERS


def _entries(root: str, relative: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Files, and hidden folders as if they were files. A folder that is linked into itself is entered once."""
    folder = os.path.join(root, relative) if relative else root
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UnusableError(f"{shown(folder)}: cannot be read: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        below = f"{relative}/{entry.name}" if relative else entry.name
        if os.path.isdir(entry.path) and not _is_hidden(entry.name):
            yield from _entries(root, below, (*above, here))
        else:
            yield entry, below
