"""Records that need not be read again: what was proven of a record stands as long as its file has not been touched.

As in git's index, a file is told by its inode, size, modification and change time. The change time cannot be set back:
every write, rename, link, chmod and utime moves it. What is not seen: a change by somebody who sets the machine's clock
back for it, or writes to the disk below the file system. On a file system that keeps no such times or numbers, nothing
is ever found here, and every record is read.

A row says: the record in this file is whole, its fingerprint is this one, and its video has so many bytes. It speaks of
a file's content and not of its name, so it cannot be wrong in another folder; there it is of no use.

The rows lie in the order of their inodes, and are searched where they lie: a dictionary of a million takes 0.2 GB.
"""

import hashlib
import os
import stat
import struct
import sys
from array import array
from bisect import bisect_left
from contextlib import suppress
from pathlib import Path
from typing import cast

from wan_ddp.files import touched, write_atomically

# To be changed with the rules of wan_ddp.verdict: what was proven by other rules is then proven anew.
_HEADER = b"wan-ddp records 2\n"
_PROVEN = struct.Struct("=QQqq32sQ")  # the inode first
_SECONDS = struct.Struct("=d")
_ROW_BYTES = _PROVEN.size + _SECONDS.size
# Times of files come in ticks: 10 ms on most file systems, 2 s on the coarsest. A record that was written in the tick
# in which it was read may have been written again in the same one; git calls that racily clean.
_TICK_NANOSECONDS = 2_000_000_000
_MAX_ROWS = 4_000_000


class RecordIndex:
    """What is known of records, kept in one file of 80 bytes a row. A damaged file is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = _read(path)
        self._inodes = array("Q", memoryview(self._rows).cast("Q")[:: _ROW_BYTES // 8])
        self._next = 0
        self._new: set[bytes] = set()
        self._clock: os.stat_result | None = None

    def seconds(self, record: os.stat_result, mark: bytes, num_bytes: int) -> float | None:
        """What making the video took, if the record is proven to have this fingerprint and video size; else None."""
        proven = _pack(record, mark, num_bytes)
        rows, start = self._rows, self._next  # a folder's records, made one after another, often lie so here
        if not rows.startswith(proven, start):
            start = bisect_left(self._inodes, record.st_ino) * _ROW_BYTES
            while not rows.startswith(proven, start):
                if not rows.startswith(proven[:8], start):  # else one of a file that had the inode before
                    return None
                start += _ROW_BYTES
        self._next = start + _ROW_BYTES
        return cast(float, _SECONDS.unpack_from(rows, start + _PROVEN.size)[0])

    def start(self) -> None:
        """Begin to remember. Where nothing can be written, nothing is."""
        with suppress(OSError):
            self._clock = touched(self._path.parent)

    def add(self, record: os.stat_result, mark: bytes, num_bytes: int, seconds: float) -> None:
        """Remember what reading a record has proven; both the reading and its lstat, `record`, came after `start`.

        One that was written since, or may be written again without its times showing it, is left for a later survey.
        """
        clock = self._clock
        if clock is None or not stat.S_ISREG(record.st_mode) or record.st_dev != clock.st_dev:
            return
        if record.st_ctime_ns < clock.st_mtime_ns - _TICK_NANOSECONDS:
            self._new.add(_pack(record, mark, num_bytes) + _SECONDS.pack(seconds))

    def save(self) -> None:
        """Write the rows down, if there are new ones. Raises OSError."""
        if not self._new:
            return
        rows = self._new
        if len(rows) + len(self._inodes) <= _MAX_ROWS:  # else most are of records that are gone
            rows = rows.union(self._rows[start : start + _ROW_BYTES] for start in range(0, len(self._rows), _ROW_BYTES))
        in_order: list[bytes] = sorted(rows, key=_inode)
        content = b"".join(in_order)
        write_atomically(self._path, _HEADER + hashlib.sha256(content).digest() + content)


def list_files(folder: str) -> dict[str, os.stat_result | None] | None:
    """What lies in a folder that may not be there, None for all but files (for symbolic links as well).

    None if it cannot be listed.

    The folder is listed, not each name asked for: a network file system sends names with their attributes, many at
    once, where it answers a question for one name in half a millisecond.
    """
    found: dict[str, os.stat_result | None] = {}
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    is_file = entry.is_file(follow_symlinks=False)
                    found[entry.name] = entry.stat(follow_symlinks=False) if is_file else None
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return {}
    except OSError:
        return None
    return found


def _read(path: Path) -> bytes:
    """The rows, none where the file is damaged."""
    start = len(_HEADER) + hashlib.sha256().digest_size
    try:
        with path.open("rb") as file:
            head, rows = file.read(start), file.read()
    except OSError:
        return b""
    return rows if head == _HEADER + hashlib.sha256(rows).digest() and len(rows) % _ROW_BYTES == 0 else b""


def _inode(row: bytes) -> int:
    return int.from_bytes(row[:8], sys.byteorder)


def _pack(record: os.stat_result, mark: bytes, num_bytes: int) -> bytes:
    return _PROVEN.pack(record.st_ino, record.st_size, record.st_mtime_ns, record.st_ctime_ns, mark, num_bytes)
