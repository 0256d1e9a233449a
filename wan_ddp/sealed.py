"""Files that prove themselves: a line with a word for their kind and the SHA-256 of all that follows."""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from wan_ddp.files import write_atomically

MAX_BYTES = 4 * 2**30
MAX_LINE_BYTES = 64 * 1024


def write_sealed(path: Path, kind: str, content: bytes) -> None:
    """Write the file whole or not at all. Raises OSError."""
    write_atomically(path, _seal(kind, content) + content)


def read_sealed(path: Path, kind: str) -> bytes | None:
    """What was written; None if the file is damaged, or of another kind. Raises OSError, as `open_regular` does."""
    with open_regular(path) as file:
        first = file.readline(MAX_LINE_BYTES)
        content = file.read(MAX_BYTES)
    return content if first == _seal(kind, content) else None


def open_regular(path: Path) -> BinaryIO:
    """Open it to read. Raises OSError: also for what is no regular file, or larger than MAX_BYTES."""
    # A symbolic link could lead anywhere, and a pipe in the file's place must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OSError(errno.EINVAL, "it is not a file of that kind", str(path))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _seal(kind: str, content: bytes) -> bytes:
    return f"{kind} {hashlib.sha256(content).hexdigest()}\n".encode()
