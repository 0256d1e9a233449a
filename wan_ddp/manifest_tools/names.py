"""Names as people write them: compared in NFC, shown on one line, and the nearest to one that matches nothing."""

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

# As `Job.id` builds the folder of a reference's videos: with it or without, it is the same reference.
_FRAMED = re.compile(r"ref_(.+)_\d+x\d+")
# Half of the characters alike: of a Chinese name of two, one.
_ALIKE = 0.5


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def stem(name: str) -> str:
    """A file name in NFC without its last suffix."""
    return nfc(PurePath(name).stem)


def bare(name: str) -> str:
    """The `<name>` of `ref_<name>_<W>x<H>`, any other name as it is; in NFC."""
    match = _FRAMED.fullmatch(nfc(name))
    return match[1] if match else nfc(name)


def nearest(name: str, others: Iterable[str], num_nearest: int = 3) -> tuple[str, ...]:
    """The names most like this one, best first. Case, width (full or half) and frame make no difference."""
    folded: dict[str, list[str]] = {}
    for other in others:
        folded.setdefault(_folded(other), []).append(other)
    near = difflib.get_close_matches(_folded(name), folded, n=num_nearest, cutoff=_ALIKE)
    return tuple(other for key in near for other in folded[key])[:num_nearest]


def is_unicode(name: str) -> bool:
    """Whether a file's name, as the system gives it, is UTF-8: a manifest holds no other."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """The name on one line: as it is where it can be printed, else escaped. A path as seen from the working folder."""
    here = os.getcwd()
    name = "." if name == here else name.removeprefix(f"{here}/")
    if name and name.isprintable() and name == name.strip():
        return name
    return json.dumps(name, ensure_ascii=not name.isprintable())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", bare(PurePath(name).stem)).casefold()
