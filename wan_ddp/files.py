"""Files that other processes may read at any moment: written whole under a hidden name, then renamed."""

import errno
import hashlib
import os
import re
from pathlib import Path

from wan_ddp.process import TOKEN_PATTERN, own_token

# What is said where there is no room for a file, on the disk or in a quota.
NO_ROOM_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})

_CHUNK_BYTES = 1 << 20
_TEMPORARY = re.compile(rf"\.(?P<name>.+)\.(?P<token>{TOKEN_PATTERN})\.tmp", re.DOTALL)


def temporary(path: Path) -> Path:
    """The hidden name, beside `path`, under which this process writes it."""
    return path.with_name(f".{path.name}.{own_token()}.tmp")


def parse_temporary(name: str) -> tuple[str, str] | None:
    """The final name and the writer's token that a hidden name stands for; None for any other name."""
    match = _TEMPORARY.fullmatch(name)
    return (match["name"], match["token"]) if match else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write, sync and rename. Raises OSError, and leaves nothing behind."""
    partial = temporary(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def touched(folder: Path) -> os.stat_result:
    """What a file just written there looks like: its device, and the time by the folder's own clock.

    On a network that is the file server's clock. Raises OSError, and leaves nothing behind.
    """
    mark = temporary(folder / "clock")
    try:
        mark.touch()
        return mark.stat()
    finally:
        mark.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_none(path: Path) -> bytes | None:
    """The file's content, None if there is no such file. Raises OSError for anything else."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def sha256(path: Path) -> str:
    """The file's digest. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
