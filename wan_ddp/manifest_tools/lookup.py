"""Files found by what people write for them: in another Unicode form, without suffix or frame, below a category."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from wan_ddp.manifest_tools.names import bare, nfc, stem
from wan_ddp.manifest_tools.tree import is_clip, is_video, list_names


@dataclass(slots=True)
class _Folder:
    """A folder's names, by what each can be called."""

    path: str
    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    stems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    bare: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    videos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def find(self, name: str) -> list[str]:
        wanted = stem(name) if is_clip(name) else nfc(name)
        found = self.names.get(nfc(name)) or self.stems.get(nfc(name)) or self.bare.get(bare(wanted), [])
        return [os.path.join(self.path, each) for each in found]


class Lookup:
    """Looks for files below a folder; each folder is listed once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders: dict[str, _Folder] = {}

    def find(self, reference: str, category: str) -> list[str]:
        """The files that it can mean: none, one, or several that differ in what it leaves out."""
        for text in dict.fromkeys((reference, reference.replace("\\", "/"))):
            for starts in ([self._root], self._categories(category)):
                if found := [path for start in starts for path in self._below(start, text)]:
                    return found
        return []

    def clips_around(self, reference: str, category: str) -> list[str]:
        """The clips that lie where this one would."""
        starts = (self._root, *self._categories(category))
        places = dict.fromkeys(os.path.dirname(os.path.normpath(os.path.join(start, reference))) for start in starts)
        return [path for place in places for path in self._folder(place).videos if is_clip(path)]

    def videos_beside(self, paths: Iterable[str]) -> list[str]:
        """The videos in these files' folders, and in those beside them below the root: a category may lack all rows."""
        folders = dict.fromkeys(os.path.dirname(path) for path in paths)
        above = dict.fromkeys(os.path.dirname(folder) for folder in folders if folder.startswith(f"{self._root}/"))
        siblings = [folder for each in above for folder in self._folder(each).folders]
        return [path for folder in dict.fromkeys((*folders, *siblings)) for path in self._folder(folder).videos]

    def _folder(self, path: str) -> _Folder:
        if path not in self._folders:
            folder = self._folders[path] = _Folder(path)
            for name in list_names(path):
                if os.path.isdir(os.path.join(path, name)):
                    folder.folders.append(os.path.join(path, name))
                    continue
                folder.names[nfc(name)].append(name)
                if is_video(name):
                    folder.videos.append(os.path.join(path, name))
                if is_clip(name):
                    folder.stems[stem(name)].append(name)
                    folder.bare[bare(stem(name))].append(name)
        return self._folders[path]

    def _categories(self, category: str) -> list[str]:
        """The category's folder; where none is told, all there are."""
        return self._named(self._root, category) if category else self._folder(self._root).folders

    def _named(self, start: str, name: str) -> list[str]:
        return [path for path in self._folder(start).folders if nfc(os.path.basename(path)) == nfc(name)]

    def _below(self, start: str, text: str) -> list[str]:
        path = os.path.normpath(os.path.join(start, text))
        if os.path.isfile(path):
            return [path]
        *parts, last = [part for part in path.split("/") if part]
        folders = ["/"]
        for part in parts:
            exact = [os.path.join(folder, part) for folder in folders]
            exact = [folder for folder in exact if os.path.isdir(folder)]
            folders = exact or [each for folder in folders for each in self._named(folder, part)]
        return [found for folder in folders for found in self._folder(folder).find(last)]
