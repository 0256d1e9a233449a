"""Folders entered without following symbolic links out of them, and their names alone."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wan_ddp.errors import MachineError

_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_folder(root: Path, name: str = ".", *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder `name` in `root`, for calls with `dir_fd`: they stay in it whatever its name becomes.

    Raises MachineError where either is a symbolic link or a file, and OSError.
    """
    with _opened(root, make=make) as top, _opened(root / name, name, top, make=make) as folder:
        yield folder


@contextmanager
def _opened(path: Path, name: str | None = None, top: int | None = None, *, make: bool) -> Iterator[int]:
    try:
        try:
            descriptor = os.open(name or path, _AS_FOLDER, dir_fd=top)
        except FileNotFoundError:
            if not make:
                raise
            # Only now: a folder is made once, and a file server asked in vain each time would say so.
            with suppress(FileExistsError):
                path.mkdir(parents=True) if name is None else os.mkdir(name, dir_fd=top)
            descriptor = os.open(name or path, _AS_FOLDER, dir_fd=top)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise MachineError(
            f"{path}: a symbolic link or a file lies where the claims belong, and is not followed; move it away"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def list_names(folder: int) -> list[str]:
    """The names in an open folder. What was there before the call, and is not removed, is in it."""
    return os.listdir(folder)


def create(name: str, folder: int) -> int:
    """A descriptor of a new file, to be written. Raises FileExistsError where the name is taken, and OSError."""
    return os.open(name, _AS_NEW_FILE, 0o644, dir_fd=folder)


def remove(name: str, folder: int) -> None:
    """Remove a name, if it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
