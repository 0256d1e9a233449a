"""The content of reference files as SHA-256 digests, remembered by size and modification time."""

import json
import os
from pathlib import Path

from wan_ddp.files import read_or_none, sha256, write_atomically

REMEMBERED = ".references.json"
"""The file, in the output folder, that digests are remembered in."""


class ReferenceDigests:
    """Digests of files, kept in a small JSON file so that a file is read again only when it has changed."""

    def __init__(self, remembered: Path) -> None:
        self._path = remembered
        self._known: dict[str, list[object]] = {}
        try:
            known = json.loads(read_or_none(remembered) or b"{}")
        except (OSError, ValueError):
            known = {}
        if isinstance(known, dict):
            self._known = known
        self._seen: dict[str, str | None] = {}

    def digest(self, reference: str, *, read: bool = True) -> str | None:
        """The file's digest; None if it cannot be read, or with read=False if it is not remembered."""
        if self._seen.get(reference) is None:
            self._seen[reference] = self._look(reference, read)
        return self._seen[reference]

    def save(self) -> None:
        """Remember what was read. Raises OSError."""
        write_atomically(self._path, json.dumps(self._known, ensure_ascii=False).encode())

    def _look(self, reference: str, read: bool) -> str | None:
        try:
            stat = os.stat(reference)  # noqa: PTH116 - a Path for each of 100,000 costs too much
            stamp = [stat.st_size, stat.st_mtime_ns]
            known = self._known.get(reference)
            if isinstance(known, list) and known[:2] == stamp and isinstance(known[-1], str):
                return known[-1]
            if not read or not Path(reference).is_file():
                return None
            digest = sha256(Path(reference))
        except OSError:
            return None
        self._known[reference] = [*stamp, digest]
        return digest
